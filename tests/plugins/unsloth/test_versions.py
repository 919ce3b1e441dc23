"""unsloth/versions.py: whether versions go together, of distributions made up here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from framework_plugins.unsloth import versions

ADMITS = ("transformers!=5.0.0,<=5.17.0,>=4.52.4", "trl!=0.19.0,<=1.15.0,>=0.18.2", 'mlx==0.1; extra == "mlx"')
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make distributions that are before those of the environment."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, version: str, *requires: str) -> None:
        about = tmp_path / f"{name}-{version}.dist-info"
        about.mkdir()
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {each}" for each in requires)]
        (about / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n", encoding="utf-8")

    return write


def test_versions_that_go_together_are_no_problem(install: Install) -> None:
    install("unsloth", "2026.10.9", *ADMITS)
    install("unsloth_zoo", "2026.10.9", *ADMITS)
    install("transformers", "5.17.0")
    install("trl", "1.15.0")
    assert versions.installed() == "2026.10.9"
    assert list(versions.problems()) == []


def test_newer_libraries_are_named_with_both_versions_and_the_command(install: Install) -> None:
    install("unsloth", "2026.10.9", *ADMITS)
    install("unsloth_zoo", "2026.10.9", *ADMITS)
    install("transformers", "5.24.0")
    install("trl", "1.16.0")
    assert [problem.text for problem in versions.problems()] == [
        "trainer=unsloth: unsloth 2026.10.9 requires transformers <=5.17.0,>=4.52.4, and 5.24.0 is installed; "
        "trl <=1.15.0,>=0.18.2, and 1.16.0 is installed. "
        "pip install 'transformers<=5.17.0,>=4.52.4' 'trl<=1.15.0,>=0.18.2', or set trainer=hf"
    ]


def test_a_version_that_is_left_out_is_reported_as_such(install: Install) -> None:
    install("unsloth", "2026.10.9", *ADMITS)
    install("unsloth_zoo", "2026.10.9")
    install("transformers", "5.0.0")
    install("trl", "1.15.0")
    (problem,) = versions.problems()
    assert "requires transformers !=5.0.0,<=5.17.0,>=4.52.4, and 5.0.0 is installed" in problem.text


def test_what_is_not_installed_is_reported_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "installed", str)
    (problem,) = versions.problems()
    assert problem.missing_library
    assert problem.text.startswith("trainer=unsloth needs unsloth, which is not installed: pip install ")
    assert "[unsloth]" in problem.text


def test_versions_that_the_tests_did_not_run_are_named(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, version in versions.TESTED.items():
        install(name, "2026.11.1" if name == "unsloth" else version)
    tested = versions.TESTED["unsloth"]
    assert versions.untested() == f"unsloth 2026.11.1 is installed, but {tested} was tested"
    monkeypatch.setattr(versions, "TESTED", {"unsloth": "2026.11.1"})
    assert versions.untested() == ""
