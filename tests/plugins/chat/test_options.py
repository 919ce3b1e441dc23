"""chat/options.py: the words of the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from framework import Component, FrameworkError, hookimpl
from framework.api.schema import SpeakerConfig
from framework.hooks.session import current
from framework_plugins.chat.options import Sampling, read_options


@dataclass
class SayConfig(SpeakerConfig):
    """Says what is on the command line."""


@dataclass
class JsonConfig(SpeakerConfig):
    """Has the name of an option."""


class Offers:
    @hookimpl
    def framework_components(self) -> Iterator[Component]:
        yield Component("say", SayConfig, "tests.plugins.chat.parrot:Parrot")
        yield Component("json", JsonConfig, "tests.plugins.chat.parrot:Parrot")


@pytest.fixture
def offers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(current().plugins, "_skipped", {})
    current().plugins.add(Offers(), name="offers")
    yield
    current().plugins.manager.unregister(name="offers")


def test_what_is_not_said_has_its_default() -> None:
    options = read_options(["run"])
    assert (options.run_dir, options.overrides, options.talking, options.as_json) == ("run", (), (), False)
    assert (options.speaker, options.word, options.system) == (None, "", None)
    assert options.sampling == Sampling(512, 0.0, 1.0, None)


def test_every_option_is_read() -> None:
    numbers = ["--max-new-tokens", "9", "--temperature", "0.7", "--top-p=0.9", "--seed", "4"]
    options = read_options(["run", "trainer.device=cpu", "--both", *numbers, "--json", "--system", "Be brief."])
    assert (options.overrides, options.talking, options.as_json) == (("trainer.device=cpu",), ("base", "tuned"), True)
    assert (options.sampling, options.system) == (Sampling(9, 0.7, 0.9, 4), "Be brief.")


@pytest.mark.parametrize(("word", "talking"), [("--base", ("base",)), ("--tuned", ("tuned",))])
def test_one_of_them_may_answer(word: str, talking: tuple[str, ...]) -> None:
    assert read_options(["run", word]).talking == talking


def test_the_folder_may_be_left_out_and_overrides_stay() -> None:
    options = read_options(["--base", "trainer.device=cpu", "seed=1"])
    assert (options.run_dir, options.overrides) == (None, ("trainer.device=cpu", "seed=1"))
    assert read_options([]).begin
    assert read_options(["--system", "x" * 5000]).run_dir is None
    assert not read_options(["--no-begin"]).begin


def test_several_runs_are_refused_and_the_newest_is_named(tmp_path: Path) -> None:
    for name, year in (("old", 2024), ("new", 2026), ("middle", 2025)):
        (tmp_path / name).mkdir()
        status = {"state": "finished", "started": f"{year}-01-31T09:00:00+00:00"}
        (tmp_path / name / "status.json").write_text(json.dumps(status), encoding="utf-8")
    with pytest.raises(FrameworkError) as refused:
        read_options([str(tmp_path / name) for name in ("old", "new", "middle")])
    assert f"3 runs are given, and chat opens one; the newest is {tmp_path / 'new'}" in str(refused.value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "--sistem", "x"], "unknown option '--sistem'. Did you mean '--system'?"),
        (["run", "--bas"], "unknown option '--bas'. Did you mean '--base'?"),
        (["run", "other"], "'other' is not an override of the form key=value"),
        (["run", "seed=1", "seed=2"], "seed=1 and seed=2 set the same key"),
        (["run", "--base", "--both"], "--both: not allowed with"),
        (["run", "--system"], "--system: expected one argument"),
        (["run", "--max-new-tokens", "0"], "--max-new-tokens: 0 must be a whole number above 0"),
        (["run", "--max-new-tokens", "1.5"], "--max-new-tokens: 1.5 must be a whole number above 0"),
        (["run", "--temperature", "hot"], "--temperature: hot must be a number of at least 0"),
        (["run", "--temperature", "-1"], "--temperature: -1 must be"),
        (["run", "--temperature", "nan"], "--temperature: nan must be"),
        (["run", "--temperature", "inf"], "--temperature: inf must be"),
        (["run", "--top-p", "0"], "--top-p: 0 must be a number above 0, up to 1"),
        (["run", "--seed", "-1"], "--seed: -1 must be a whole number from 0 to 4294967295"),
    ],
)
def test_a_wrong_word_is_reported_in_one_line(words: list[str], told: str) -> None:
    with pytest.raises(FrameworkError) as refused:
        read_options(words)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("offers")
def test_a_speaker_of_a_plugin_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    options = read_options(["run", "--say", "hello"])
    assert options.speaker is not None
    assert (options.speaker.name, options.word) == ("say", "hello")
    assert read_options(["run", "--say"]).word == ""
    assert read_options(["run", "--json"]).as_json
    told = capsys.readouterr().err
    assert "plugin 'offers': speaker 'json' is skipped: chat has an option of that name" in told
