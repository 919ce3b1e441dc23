"""unsloth/diagnostics.py: it is imported in a process of its own, and reported in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework import testing
from framework.api.diagnostic import Diagnostic, DiagnosticResult, State
from framework_plugins.doctor.worker import DiagnosticProcess
from framework_plugins.unsloth import diagnostics, versions

CODE = diagnostics.__name__
ADMITS = "transformers<=1"


def install(site: Path, source: str, requires: str = "packaging") -> None:
    (site / "unsloth.py").write_text(source, encoding="utf-8")
    for name in ("unsloth", "unsloth_zoo"):
        about = site / f"{name}-2026.10.9.dist-info"
        about.mkdir()
        lines = f"Metadata-Version: 2.1\nName: {name}\nVersion: 2026.10.9\nRequires-Dist: {requires}\n"
        (about / "METADATA").write_text(lines, encoding="utf-8")


def test_hook_checkups_gives_one_that_its_own_plans_need(tmp_path: Path) -> None:
    (each,) = diagnostics.diagnostics()
    assert Diagnostic.problem_of(each) == ""
    for trainer in ("hf", "unsloth"):
        plan = testing.plan([f"trainer={trainer}", "stages=[plan]"], run_dir=tmp_path / "run")
        assert each.needed(plan) is (trainer == "unsloth")


def test_what_is_not_installed_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "installed", str)
    found = diagnostics.unsloth(None)
    assert (found.state, found.detail) == (State.missing, "not installed")
    assert found.fix.startswith("pip install ")
    assert found.fix.endswith(diagnostics.ENVIRONMENT)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (
            "DEVICE_TYPE = 'cpu'\nFastLanguageModel = 1",
            DiagnosticResult(State.ok, "FastLanguageModel can be imported, and trains on the CPU", "2026.10.9"),
        ),
        (
            "raise NotImplementedError('You need a GPU.')",
            DiagnosticResult(
                State.broken,
                "unsloth 2026.10.9 refuses this machine: NotImplementedError: You need a GPU.",
                "2026.10.9",
            ),
        ),
        ("import os; os._exit(3)", DiagnosticResult(State.broken, "its Python process exited with code 3")),
    ],
)
def test_it_is_really_imported(
    source: str, found: DiagnosticResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, source)
    monkeypatch.syspath_prepend(tmp_path)
    with DiagnosticProcess() as worker:
        told = worker.ask(f"{CODE}:unsloth", None, seconds=60)
    assert told is not None
    detail = told.detail.partition(" (")[0].partition("; ")[0]  # here are other versions than tested
    assert (told.state, told.version, detail) == (found.state, found.version, found.detail)


def test_libraries_that_it_does_not_admit_are_reported_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "raise RuntimeError('imported')", ADMITS)
    monkeypatch.syspath_prepend(tmp_path)
    found = diagnostics.unsloth(None)
    assert found.state is State.broken
    assert found.detail.startswith("unsloth 2026.10.9 requires transformers <=1, and ")
    assert found.fix.startswith("pip install ")
