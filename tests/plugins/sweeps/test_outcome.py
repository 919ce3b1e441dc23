"""What a study records of a trial."""

import json
import math
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus

from framework import FrameworkError
from framework_plugins.sweeps.outcome import Outcome, make_outcome


def result(value: object, status: JobStatus = JobStatus.COMPLETED) -> JobReturn:
    made = JobReturn()
    made.return_value, made.status = value, status
    return made


def status(run: Path, state: str, error: str | None = None) -> None:
    (run / "status.json").write_text(json.dumps({"state": state, "error": error}), encoding="utf-8")


def test_a_finished_point_has_its_objective(tmp_path: Path) -> None:
    status(tmp_path, "finished")
    assert make_outcome(tmp_path, result(0.5), None, maximize=False) == Outcome(0.5)


@pytest.mark.parametrize("state", ["pruned", "passed over"])
def test_a_point_that_was_given_up_or_does_not_fit_has_not_failed(tmp_path: Path, state: str) -> None:
    status(tmp_path, state, "why")
    assert make_outcome(tmp_path, result(None), None, maximize=False) == Outcome(given_up=True, reason="why")


def test_a_failed_point_has_its_error(tmp_path: Path) -> None:
    error = FrameworkError("no")
    found = make_outcome(tmp_path, result(error, JobStatus.FAILED), None, maximize=False)
    assert (found.error, found.value, found.reason) == (error, None, "FrameworkError: no")


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_without_a_number_it_has_failed(tmp_path: Path, value: float | None) -> None:
    status(tmp_path, "finished")
    found = make_outcome(tmp_path, result(value), None, maximize=False)
    assert found.value is None
    assert f"the objective is {'missing' if value is None else value}" in found.reason


def test_of_a_launcher_that_was_lost_the_folder_tells_what_became_of_the_point(tmp_path: Path) -> None:
    lost = OSError("a worker was killed")
    status(tmp_path, "running")
    assert make_outcome(tmp_path, None, lost, maximize=False).error is lost
    status(tmp_path, "finished")
    (tmp_path / "report.json").write_text('{"objective": {"value": 0.25}}', encoding="utf-8")
    assert make_outcome(tmp_path, None, lost, maximize=False) == Outcome(0.25)


def test_an_objective_that_goes_the_other_way_than_the_study_is_refused(tmp_path: Path) -> None:
    status(tmp_path, "finished")
    report = '{"objective": {"name": "eval_loss", "value": 0.25, "higher_is_better": false}}'
    (tmp_path / "report.json").write_text(report, encoding="utf-8")
    assert make_outcome(tmp_path, result(0.25), None, maximize=False) == Outcome(0.25)
    found = make_outcome(tmp_path, result(0.25), None, maximize=True)
    assert found.value is None
    assert "the objective is eval_loss, of which lower is better, but the study goes the other way" in found.reason
