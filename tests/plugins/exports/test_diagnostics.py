"""What the doctor says of llama.cpp and Ollama; both are stand-ins."""

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from framework import testing
from framework.api.diagnostic import DiagnosticResult, State
from framework_plugins.doctor.worker import DiagnosticProcess
from framework_plugins.exports import diagnostics
from framework_plugins.exports.llama.library import NEEDED
from framework_plugins.exports.plugin import framework_diagnostics

WORKS = "def llama_model_quantize_default_params(): pass\ndef llama_model_quantize(): pass\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for packages and programs; no others are found on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def install(site: Path, name: str, module: str, source: str) -> None:
    file = site / module
    file.parent.mkdir(exist_ok=True)
    file.write_text(source, encoding="utf-8")
    about = site / f"{name.replace('-', '_')}-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n", encoding="utf-8")


def program(site: Path, name: str, *lines: str) -> None:
    (site / name).write_text("\n".join(["#!/bin/sh", *lines]) + "\n", encoding="utf-8")
    (site / name).chmod(0o755)


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the packages that are there; the real ones of this environment do not count."""
    names: set[str] = set()
    monkeypatch.setattr(diagnostics, "missing", lambda wanted: [name for name in wanted if name not in names])
    for name in [name for name in sys.modules if name.partition(".")[0] in {"llama_cpp", "llama_cpp_py_sync"}]:
        monkeypatch.delitem(sys.modules, name)
    assert site
    return names


@pytest.mark.usefixtures("installed")
def test_no_quantizer_is_missing_and_tells_the_wheel_that_needs_no_compiler() -> None:
    found = diagnostics.quantizer(None)
    assert (found.state, found.fix) == (State.missing, f"pip install {NEEDED}")


def test_a_package_that_loads_is_found(site: Path, installed: set[str]) -> None:
    install(site, "llama-cpp-python", "llama_cpp.py", WORKS)
    installed.add("llama-cpp-python")
    assert diagnostics.quantizer(None) == DiagnosticResult(State.ok, "llama_model_quantize of llama-cpp-python", "1.2")
    source = f"class Lib:\n    {WORKS.replace(chr(10), chr(10) + '    ')}\ndef get_lib(): return Lib\n"
    install(site, "llama-cpp-py-sync", "llama_cpp_py_sync/_cffi_bindings.py", source)
    installed.add("llama-cpp-py-sync")
    assert diagnostics.quantizer(None) == DiagnosticResult(State.ok, "llama_model_quantize of llama-cpp-py-sync", "1.2")


def test_the_real_package_is_found_in_a_process_of_its_own() -> None:
    with DiagnosticProcess() as worker:
        found = worker.ask("framework_plugins.exports.diagnostics:quantizer", None, seconds=60)
    assert found == DiagnosticResult(
        State.ok, "llama_model_quantize of llama-cpp-py-sync", version("llama-cpp-py-sync")
    )


def test_a_package_that_does_not_load_is_broken_unless_the_program_is_there(site: Path, installed: set[str]) -> None:
    install(site, "llama-cpp-python", "llama_cpp.py", "raise OSError('libllama.so: cannot open')")
    installed.add("llama-cpp-python")
    detail = "llama-cpp-python 1.2: OSError: libllama.so: cannot open"
    assert diagnostics.quantizer(None) == DiagnosticResult(State.broken, detail, fix=f"pip install {NEEDED}")
    program(site, "llama-quantize")
    assert diagnostics.quantizer(None) == DiagnosticResult(State.ok, str(site / "llama-quantize"))


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
