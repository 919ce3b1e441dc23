"""The study of a sweep: which way is better, how points are chosen and given up."""

from pathlib import Path

import optuna
import pytest

from framework import FrameworkError
from framework.compose import compose
from framework_sweeps.config import Direction, Optuna5Config, Pruner, Sampler
from framework_sweeps.study import direction, make_pruner, open_study


@pytest.mark.parametrize(
    ("words", "better"),
    [
        (["objective=eval_loss"], Direction.minimize),
        (["objective=train_loss"], Direction.minimize),
        (["objective=verdict.score"], Direction.maximize),
        (["objective=exact_match"], Direction.maximize),
        (["metric=[perplexity]", "objective=perplexity"], Direction.minimize),
    ],
)
def test_the_direction_is_that_of_the_objective(words: list[str], better: Direction) -> None:
    assert direction(Optuna5Config(), compose(words)) is better


def test_a_measure_of_an_evaluator_wants_it_set() -> None:
    config = compose(["objective=general_accuracy"])
    with pytest.raises(FrameworkError, match=r"objective=general_accuracy: .* hydra\.sweeper\.direction="):
        direction(Optuna5Config(), config)
    assert direction(Optuna5Config(direction=Direction.maximize), config) is Direction.maximize


def test_a_study_that_looks_the_other_way_is_refused(tmp_path: Path) -> None:
    place = str(tmp_path / "study.journal")
    open_study(Optuna5Config(), "mine", place, Direction.minimize)
    with pytest.raises(FrameworkError, match=r"the study 'mine' does not maximize: give this one a name"):
        open_study(Optuna5Config(), "mine", place, Direction.maximize)


@pytest.mark.parametrize("sampler", list(Sampler))
def test_a_seeded_study_that_goes_on_draws_other_points(tmp_path: Path, sampler: Sampler) -> None:
    settings = Optuna5Config(sampler=sampler, seed=1)
    space: dict[str, optuna.distributions.BaseDistribution] = {"x": optuna.distributions.FloatDistribution(0, 1)}
    drawn = []
    for name in ("a", "a", "b"):
        study = open_study(settings, name, str(tmp_path / "study.journal"), Direction.minimize)
        trial = study.ask(space)
        study.tell(trial, trial.params["x"])
        drawn.append(trial.params["x"])
    assert drawn[0] == drawn[2] != drawn[1]


@pytest.mark.parametrize(("kind", "gives_up"), [(Pruner.none, False), (Pruner.median, True), (Pruner.asha, True)])
def test_a_pruner_gives_up_a_point_that_is_far_behind_and_not_the_best(kind: Pruner, *, gives_up: bool) -> None:
    study = optuna.create_study(pruner=make_pruner(kind, 1, 3))
    given_up = []
    for losses in ([1.0, 0.5, 0.2], [2.0, 1.0, 0.9]):
        trial = study.ask()
        for number, loss in enumerate(losses, start=1):
            trial.report(loss, number)
            given_up.append(bool(trial.should_prune()))
        study.tell(trial, losses[-1])
    assert not any(given_up[:3])
    assert given_up[3] is gives_up
