"""All checks at once: in order, by topic, with what the plan needs, and without secrets."""

import time
from pathlib import Path
from types import ModuleType

import pytest

from framework import testing
from framework.api.diagnostic import Diagnostic, State
from framework.api.plan import Plan
from framework.hooks.session import current
from framework_plugins.doctor import DiagnosticRecord, gather
from framework_plugins.doctor.gather import MAX_PROCESSES, DiagnosticRun

ACTS = "doctor_acts"


@pytest.fixture
def without_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out whether the plan can run, which imports torch: test_run.py looks at that."""
    monkeypatch.setattr(gather, "run", lambda *_: iter(()))


def needs(plan: Plan) -> bool:
    return plan.name == "needy"


def fails(plan: Plan) -> bool:
    raise KeyError(plan.name)


def diagnostic(name: str, function: str = "", topic: str = "acme", process: str = "") -> Diagnostic:
    return Diagnostic(name, topic, f"{ACTS}:{function or name}", needs, process)


def examine(plan: Plan | None, *given: Diagnostic) -> list[DiagnosticRecord]:
    """Return what a plugin was asked for."""
    found = DiagnosticRun(plan).records([("acme", each) for each in given])
    return [one for one in found if one.plugin == "acme" and one.topic != "plugins"]


def test_checks_stand_by_topic_in_the_order_in_which_they_were_given() -> None:
    given = [diagnostic("well"), diagnostic("noisy", topic="other"), diagnostic("nothing"), diagnostic("process")]
    found = examine(None, *given)
    assert [(one.topic, one.name, one.state) for one in found] == [
        ("acme", "well", State.ok), ("acme", "process", State.ok), ("other", "noisy", State.ok),
    ]  # fmt: skip


@pytest.mark.usefixtures("without_the_run")
def test_only_what_the_plan_needs_and_lacks_keeps_it_from_starting(tmp_path: Path) -> None:
    given = [diagnostic("raises"), diagnostic("well")]
    needy = examine(testing.plan(["name=needy"], run_dir=tmp_path / "run"), *given)
    other = examine(testing.plan(["name=other"], run_dir=tmp_path / "run"), *given)
    assert [(one.needed, one.blocks) for one in needy] == [(True, True), (True, False)]
    assert [(one.needed, one.blocks) for one in other] == [(False, False), (False, False)]
    assert [one.blocks for one in examine(None, *given)] == [False, False]


def test_secrets_in_an_error_are_hidden(acts: ModuleType) -> None:
    (found,) = examine(None, diagnostic("raises"))
    assert found.detail.startswith("RuntimeError: no anvil for (hidden)")
    assert acts.TOKEN not in str(found)


def test_checks_share_a_process_where_they_say_so() -> None:
    first, second, alone = examine(
        None,
        diagnostic("first", "process", process="one"),
        diagnostic("second", "process", process="one"),
        diagnostic("alone", "process"),
    )
    assert first.detail == second.detail != alone.detail


def test_a_crash_leaves_the_checks_that_share_its_process_alone() -> None:
    crashed, well = examine(None, diagnostic("crash", process="one"), diagnostic("well", process="one"))
    assert (crashed.state, well.state) == (State.broken, State.ok)


@pytest.mark.usefixtures("without_the_run")
def test_a_need_that_is_not_known_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(current().plugins, "_skipped", {})
    given = Diagnostic("vague", "acme", f"{ACTS}:well", fails)
    (found,) = examine(testing.plan([], run_dir=tmp_path / "run"), given)
    assert (found.state, found.needed) == (State.ok, False)
    assert "plugin 'acme': needed of the diagnostic 'vague' is skipped: KeyError: 'run'" in capsys.readouterr().err
    assert current().plugins.skipped_plugins()[-1].what == "needed of the diagnostic 'vague'"


def test_checks_run_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANGS", str(tmp_path / "ids"))
    start = time.perf_counter()
    given = [Diagnostic(f"hang {number}", "acme", f"{ACTS}:hang", seconds=4) for number in range(2)]
    found = examine(None, *given)
    assert [one.detail for one in found] == ["no answer within 4 s (slow)"] * 2
    assert MAX_PROCESSES >= 2
    assert time.perf_counter() - start < 8
