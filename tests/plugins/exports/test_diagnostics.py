"""What the doctor says of llama.cpp and Ollama; both are stand-ins."""

from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework.api.diagnostic import DiagnosticResult, State
from framework_plugins.exports import diagnostics
from framework_plugins.exports.llama.library import NEEDED
from framework_plugins.exports.plugin import framework_diagnostics

NAME, TESTED = NEEDED.split("==")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for packages and programs; no others are found on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def program(site: Path, name: str, *lines: str) -> None:
    (site / name).write_text("\n".join(["#!/bin/sh", *lines]) + "\n", encoding="utf-8")
    (site / name).chmod(0o755)


def test_no_quantizer_is_missing_and_the_wheel_that_needs_no_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "installed", lambda _: None)
    assert diagnostics.quantizer(None) == DiagnosticResult(
        State.missing, f"{NAME} is not installed", fix=f"pip install {NEEDED}"
    )


def test_a_package_that_the_exporter_refuses_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Any:
        raise FrameworkError("llama.cpp does not load: libllama.so: cannot open")

    monkeypatch.setattr(diagnostics, "library", refuse)
    for version, detail in ((TESTED, "llama.cpp does not load: libllama.so: cannot open"), ("0.9", f"needs {TESTED}")):
        monkeypatch.setattr(diagnostics, "installed", lambda _, version=version: version)
        found = diagnostics.quantizer(None)
        assert (found.state, found.fix) == (State.broken, f"pip install {NEEDED}")
        assert found.detail.startswith(f"{NAME} {version}: ")
        assert detail in found.detail


@pytest.mark.usefixtures("site")
def test_ollama_that_is_not_there_is_missing() -> None:
    assert diagnostics.ollama(None) == DiagnosticResult(
        State.missing, "no ollama on PATH", fix="https://ollama.com/download"
    )


def test_ollama_tells_its_version(site: Path) -> None:
    program(site, "ollama", "echo 'Warning: could not connect'", "echo 'Warning: client version is 0.9.1'")
    assert diagnostics.ollama(None) == DiagnosticResult(State.ok, "Warning: client version is 0.9.1")


def test_ollama_that_fails_is_broken(site: Path) -> None:
    program(site, "ollama", "exit 3")
    assert diagnostics.ollama(None) == DiagnosticResult(State.broken, str(site / "ollama"))


@pytest.mark.parametrize(("exporters", "needed"), [("[]", [False, False]), ("[adapter,gguf]", [True, False])])
def test_hook_checkups_of_exports_are_needed_by_who_writes_gguf(
    tmp_path: Path, exporters: str, needed: list[bool]
) -> None:
    plan = testing.plan([f"exporter={exporters}"], run_dir=tmp_path)
    assert [each.needed(plan) for each in framework_diagnostics()] == needed
