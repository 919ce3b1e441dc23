"""Whether a plan can run: what a run does before it reads a weight."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from framework import testing
from framework.api.diagnostic import State
from framework.api.plan import Plan
from framework.api.selection import Selection
from framework_plugins.doctor import DiagnosticRecord
from framework_plugins.doctor.run import run
from framework_plugins.doctor.worker import DiagnosticProcess


@pytest.fixture(scope="module")
def worker() -> Iterator[DiagnosticProcess]:
    with DiagnosticProcess() as started:
        yield started


def test_a_plan_that_can_run_is_opened_and_leaves_nothing(worker: DiagnosticProcess, tmp_path: Path) -> None:
    found = list(run(testing.plan([], run_dir=tmp_path / "run"), worker))
    assert [one.name for one in found] == ["run folder", "options", "model", "trainer"]
    assert {(one.state, one.needed) for one in found} == {(State.ok, True)}
    assert found[2].detail == "echo"
    assert list(tmp_path.iterdir()) == []


def test_the_plan_stage_alone_opens_nothing(worker: DiagnosticProcess, tmp_path: Path) -> None:
    found = list(run(testing.plan(["stages=[plan]"], run_dir=tmp_path / "run"), worker))
    assert [one.name for one in found] == ["run folder", "options", "model"]


def test_a_folder_that_holds_something_else_ends_it(worker: DiagnosticProcess, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    (found,) = run(testing.plan([], run_dir=tmp_path), worker)
    assert (found.name, found.blocks) == ("run folder", True)
    assert found.detail == f"run_dir={tmp_path} holds other files: give a new folder, or the folder of an earlier run"


def last(worker: DiagnosticProcess, plan: Plan) -> DiagnosticRecord:
    """Return what ended it."""
    *_, found = run(plan, worker)
    return found


def test_an_option_that_lacks_a_library_is_reported_with_the_command(
    worker: DiagnosticProcess, acts: ModuleType, tmp_path: Path
) -> None:
    plan = testing.plan([], run_dir=tmp_path / "run")
    found = last(worker, dataclasses.replace(plan, logger={"tall": Selection(acts.TALL, acts.TallConfig())}))
    assert (found.name, found.state, found.blocks) == ("logger.tall=tall", State.missing, True)
    assert (found.detail, found.fix) == ("not installed: acme-absent", "pip install 'acme-absent>=2'")


def test_a_model_whose_check_passes_needs_no_library_that_it_asks_for(
    worker: DiagnosticProcess, tmp_path: Path
) -> None:
    plan = testing.plan([], run_dir=tmp_path / "run")
    wanting = dataclasses.replace(plan.model.component, extra="acme-absent>=2")
    found = list(run(dataclasses.replace(plan, model=Selection(wanting, plan.model.config)), worker))
    assert [one.state for one in found] == [State.ok, State.missing, State.ok, State.ok, State.ok]
    assert not any(one.blocks for one in found)


def test_an_exporter_whose_check_passes_does_with_a_part_of_its_extra(
    worker: DiagnosticProcess, tmp_path: Path
) -> None:
    """The quickstart's environment has no xllamacpp, which only checks the chat template of a GGUF file."""
    plan = testing.plan(["exporter=[adapter]"], run_dir=tmp_path / "run")
    chosen = plan.exporter["adapter"]
    wanting = Selection(dataclasses.replace(chosen.component, extra="acme-absent>=2"), chosen.config)
    found = list(run(dataclasses.replace(plan, exporter={"adapter": wanting}), worker))
    (absent,) = (one for one in found if one.state is State.missing)
    assert (absent.name, absent.detail) == (
        "exporter.adapter=adapter",
        "not installed, and not required here: acme-absent",
    )
    assert not any(one.blocks for one in found)


def test_an_option_whose_code_is_broken_is_reported(
    worker: DiagnosticProcess, acts: ModuleType, tmp_path: Path
) -> None:
    plan = testing.plan([], run_dir=tmp_path / "run")
    found = last(worker, dataclasses.replace(plan, logger={"bad": Selection(acts.BAD, acts.BadConfig())}))
    assert (found.name, found.state, found.blocks) == ("logger.bad=bad", State.broken, True)
    assert f"'bad' cannot be loaded from {acts.__name__}:NotThere" in found.detail


def test_what_the_trainer_refuses_is_reported(worker: DiagnosticProcess, acts: ModuleType, tmp_path: Path) -> None:
    plan = testing.plan(["name=big"], run_dir=tmp_path / "run")
    found = last(worker, dataclasses.replace(plan, trainer=Selection(acts.PICKY, acts.PickyConfig())))
    assert (found.name, found.state, found.blocks) == ("trainer", State.broken, True)
    assert found.detail == "the machine is too small for big: take a larger one"


def test_a_model_that_is_not_there_is_reported(worker: DiagnosticProcess, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    words = ["model=local", f"model.path={tmp_path / 'model'}"]
    found = last(worker, testing.plan(words, run_dir=tmp_path / "run"))
    assert (found.name, found.state, found.blocks) == ("model", State.broken, True)
    assert "the folder has no config.json" in found.detail
