"""What the process of a trial knows of its trial."""

import json
from pathlib import Path

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from framework.api.records import Step
from framework_plugins.sweeps.config import Direction, Optuna5Config
from framework_plugins.sweeps.study import open_study
from framework_plugins.sweeps.trial import STORAGE_VARIABLE, TRIAL_VARIABLE, TrialPlace, current_trial, prune_reason


def values(told: TrialPlace) -> dict[str, str]:
    """Return what the words of a place set, as Hydra reads them."""
    overrides = OverridesParser.create().parse_overrides(told.words())
    return {override.key_or_group.removeprefix("hydra.job.env_set."): override.value() for override in overrides}


def test_a_path_is_handed_over_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    told = TrialPlace("/it's/study.journal", "mine", 3, "median", 5, 3)
    for name, value in values(told).items():
        monkeypatch.setenv(name, value)
    assert current_trial() == told


def test_a_url_is_handed_over_as_that_of_the_config() -> None:
    found = values(TrialPlace("postgresql://me:secret@host/db", "mine", 3, "median", 5, 3))
    assert found[STORAGE_VARIABLE] == "${hydra.sweeper.storage}"
    assert "secret" not in json.dumps(found)
    assert json.loads(found[TRIAL_VARIABLE])["study"] == "mine"


def test_a_run_that_is_no_point_has_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRIAL_VARIABLE, raising=False)
    assert current_trial() is None


def test_a_trial_that_was_taken_over_is_not_given_up_and_not_reported(tmp_path: Path) -> None:
    file = str(tmp_path / "study.journal")
    study = open_study(Optuna5Config(), "mine", file, Direction.minimize)
    best = study.ask()
    best.report(1.0, 1)
    study.tell(best, 1.0)
    step = Step(
        1, total_steps=9, epoch=0.1, loss=9.0, learning_rate=1.0, grad_norm=1, tokens=1, seconds=1, eval_loss=9.0
    )
    lost = study.ask()
    study.tell(lost.number, state=optuna.trial.TrialState.FAIL)
    assert list(prune_reason(TrialPlace(file, "mine", lost.number, "median", 1, 3), step)) == []
    assert study.trials[lost.number].intermediate_values == {}
    assert list(prune_reason(TrialPlace(file, "mine", study.ask().number, "median", 1, 3), step)) != []
