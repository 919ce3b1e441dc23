"""The libraries that train are imported; unsloth where it is installed."""

from importlib.metadata import version
from pathlib import Path

import pytest

from framework.checkup import Found, State
from framework.doctor.worker import Worker
from framework_hf.checkups import training

CODE = training.__name__


@pytest.mark.parametrize("name", ["transformers", "peft", "trl"])
def test_a_library_that_can_be_imported_is_told_with_its_version(name: str) -> None:
    found = getattr(training, name)(None)
    assert (found.state, found.version) == (State.ok, version(name))
    assert found.detail.endswith(" can be imported")


def install_unsloth(site: Path, source: str) -> None:
    (site / "unsloth.py").write_text(source, encoding="utf-8")
    about = site / "unsloth-2026.10.9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: unsloth\nVersion: 2026.10.9\n", encoding="utf-8")


def test_unsloth_that_is_not_installed_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "missing", lambda _: ["unsloth"])
    assert training.unsloth(None) == Found(State.missing, "not installed", fix=training.UNSLOTH)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("FastLanguageModel = 1", Found(State.ok, "FastLanguageModel can be imported", "2026.10.9")),
        ("raise NotImplementedError('You need a GPU.')", Found(State.broken, "NotImplementedError: You need a GPU.")),
        ("import os; os._exit(3)", Found(State.broken, "it ended Python with exit code 3")),
    ],
)
def test_unsloth_is_really_imported(source: str, found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_unsloth(tmp_path, source)
    monkeypatch.syspath_prepend(tmp_path)
    with Worker() as worker:
        told = worker.ask(f"{CODE}:unsloth", None, seconds=60)
    assert told is not None
    assert (told.state, told.version, told.detail.partition(" (")[0]) == (found.state, found.version, found.detail)
