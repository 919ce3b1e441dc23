"""`chat` as a script and a user start it: what is printed, what is refused, and what is imported for that."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from framework import Component, FrameworkError, hookimpl, testing
from framework.api.protocols import Speaker
from framework.api.records import Message, Prompt
from framework.api.run_folder import ENVIRONMENT, SavedRun
from framework.api.schema import SpeakerConfig
from framework.cli.main import run_command
from framework.hooks.session import current
from framework.run import pipeline
from framework.rundir.read import read_run
from framework.testing import EchoModel
from framework_plugins.chat.session import BASE, TUNED
from framework_plugins.chat.trained import open_run_speakers
from tests.plugins.chat.parrot import Parrot
from tests.support.forked_program import ECHO, MODULE, launch
from tests.support.program import environment

HEAVY = ("torch", "transformers", "datasets", "trl", "peft", "bitsandbytes")
WATCH = f"""
import atexit, sys
atexit.register(lambda: print("imported:", *sorted({{*{HEAVY}}} & sys.modules.keys()), file=sys.stderr))
from framework.cli.main import main
main()
"""


def make(place: Path, *words: str) -> Path:
    """Run with the echo backend; it learns to answer `say 3` with `it is 3`. Return the folder."""
    overrides = ["data=local_file", "data.path=rows.jsonl", "data.validation_split=0", "objective=train_loss", *words]
    plan = testing.plan(overrides, run_dir=place / "run")
    pipeline.run(plan)
    return plan.run_dir


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Pipe lines into the command and return those that it prints."""

    def asked(run: Path, *words: str, lines: str) -> list[str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        assert run_command("chat", [str(run), *words]) == 0
        return capsys.readouterr().out.splitlines()

    return asked


def test_without_a_folder_the_newest_run_answers_as_it_was_asked_in_the_training(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its prompts begin with a line that is put before what is typed: the model has seen none without it."""
    rows = [{"instruction": f"Repeat.\nsay {n}", "output": f"it is {n}"} for n in range(20)]
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run = make(place, "stages=[data,train,evaluate]", "evaluator=[prompts]", "data.prompts_path=rows.jsonl")
    (place / "outputs").mkdir()
    run.rename(place / "outputs" / "run")
    monkeypatch.setattr("sys.stdin", io.StringIO("say 3\n"))
    assert run_command("chat", []) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["it is 3"]
    notice = '"Repeat." is put before each prompt, as in the run; /begin switches this off'
    assert notice in printed.err
    assert "the newest run: " in printed.err
    assert "loading the model …" in printed.err
    monkeypatch.setattr("sys.stdin", io.StringIO("say 3\n"))
    assert run_command("chat", ["--no-begin"]) == 0
    assert capsys.readouterr().out.splitlines() != ["it is 3"]


def test_where_no_run_was_trained_none_is_opened(place: Path) -> None:
    with pytest.raises(FrameworkError, match=r"^no run below outputs has trained weights: `.*` trains the quickstart$"):
        run_command("chat", [])
    assert place.is_dir()


def test_piped_it_prints_the_answers_of_the_trained_model_alone(place: Path) -> None:
    run = make(place)
    done = subprocess.run(
        [*ECHO, "chat", run.name], cwd=place, env=environment(place), input="say 3\n/reset\nsay 4",
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "it is 3\nit is 4\n")
    assert done.stderr == "loading the model …\nthe conversation is forgotten\n"


def test_a_run_on_a_store_answers_on_a_machine_that_does_not_have_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "memory://chat/runs/first"
    make(place, f"run_dir={url}", "stages=[data,train]")
    monkeypatch.setenv("FRAMEWORK_CACHE", str(place / "other"))
    monkeypatch.setattr("sys.stdin", io.StringIO("say 3\n"))
    assert run_command("chat", [url]) == 0
    assert capsys.readouterr().out.splitlines() == ["it is 3"]


def test_both_and_json(place: Path, ask: Callable[..., list[str]]) -> None:
    run = make(place)
    assert ask(run, "--both", lines="say 3\n") == ["base: say 3", "tuned: it is 3"]
    assert ask(run, "--base", lines="say 3\n/both\n/reset\nsay 4\n") == ["say 3", "base: say 4", "tuned: it is 4"]
    (told,) = map(json.loads, ask(run, "--json", lines="say 3\n"))
    assert told == {"speaker": "tuned", "prompt": "say 3", "answer": "it is 3", "dropped": 0}


def test_an_answer_is_cut_where_it_is_asked_for(place: Path, ask: Callable[..., list[str]]) -> None:
    assert ask(make(place), "--max-new-tokens", "2", lines="say 3\n") == ["it is"]


def test_the_conversation_is_one(place: Path, ask: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def stream(_: EchoModel, prompt: Prompt, **__: Any) -> Iterator[str]:
        seen.append([f"{message.role}: {message.content}" for message in prompt.messages])
        yield "yes"

    monkeypatch.setattr(EchoModel, "stream", stream)
    ask(make(place), lines="one\ntwo\n")
    assert seen[1] == ["user: one", "assistant: yes", "user: two"]


@pytest.mark.parametrize(
    ("words", "system"), [([], "Be brief."), (["--system", "Be long."], "Be long."), (["--system", ""], None)]
)
def test_the_system_prompt_is_that_of_the_training_unless_another_is_given(
    place: Path, ask: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, words: list[str], system: str | None
) -> None:
    seen: list[Prompt] = []

    def stream(_: EchoModel, prompt: Prompt, **__: Any) -> Iterator[str]:
        seen.append(prompt)
        yield "yes"

    run = make(place, "format.system_prompt='Be brief.'")
    monkeypatch.setattr(EchoModel, "stream", stream)
    ask(run, *words, lines="one\n")
    assert seen[0].messages[:-1] == ((Message("system", system),) if system else ())


class NoBase(EchoModel):
    """Trains all weights."""

    @contextmanager
    def as_base(self) -> Iterator[None]:
        if self.learned:
            raise FrameworkError("full fine-tuning keeps no base")
        yield


def test_a_run_that_keeps_no_base_says_so(
    place: Path, ask: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(place)
    monkeypatch.setattr("framework.testing.echo.EchoModel", NoBase)
    assert ask(run, lines="say 3\n") == ["it is 3"]
    for words, lines in ((["--base"], ""), (["--both"], ""), ([], "/base\n")):
        with pytest.raises(FrameworkError, match=r"^full fine-tuning keeps no base$"):
            ask(run, *words, lines=lines)


def test_base_and_tuned_may_answer_in_turns(place: Path) -> None:
    run = read_run(make(place))
    with open_run_speakers(run, []) as speakers:
        prompt = Prompt((Message("user", "say 3"),))
        streams = [speakers.available[name].stream(prompt, max_new_tokens=9, seed=None) for name in (BASE, TUNED, BASE)]
        pieces = [next(stream) for _ in range(2) for stream in streams]
    assert pieces == ["say", "it", "say", " 3", " is", " 3"]


@dataclass
class SayConfig(SpeakerConfig):
    """Says what it was given."""


class Says:
    def __init__(self, config: SayConfig) -> None:
        self.config = config

    @contextmanager
    def open(self, run: SavedRun, word: str) -> Iterator[Speaker]:
        yield Parrot("say", pieces=[f"{run.folder.name} {word}"])


class Offers:
    @hookimpl
    def framework_components(self) -> Iterator[Component]:
        yield Component("say", SayConfig, "tests.plugins.chat.test_command:Says")


def test_a_speaker_of_a_plugin_answers_instead(place: Path, ask: Callable[..., list[str]]) -> None:
    run = make(place)
    current().plugins.add(Offers(), name="offers")
    try:
        assert ask(run, "--say", "hello", lines="one\n") == ["run hello"]
        with pytest.raises(
            FrameworkError, match=r"^only say answers here: leave --say out to talk to the model itself"
        ):
            ask(run, "--say", "--both", lines="")
    finally:
        current().plugins.manager.unregister(name="offers")


def damaged(place: Path, name: str) -> Path:
    """Return a folder that nobody can talk to."""
    if name == "nowhere":
        return place / "nowhere"
    if name == "empty":
        (place / "empty").mkdir()
        return place / "empty"
    if name == "a sweep":
        shutil.copytree(make(place), place / "sweep" / "0")
        return place / "sweep"
    if name == "planned":
        return make(place, "stages=[plan]", f"run_dir={place / 'run'}")
    run = make(place)
    if name == "untrained":
        shutil.rmtree(run / "checkpoint")
    elif name == "no model":
        edit(run / "plan.json", "model", None)
    elif name == "a plugin gone":
        edit(run / "plan.json", "plugins", ["./gone.py"])
    return run


def edit(file: Path, key: str, value: Any) -> None:
    saved = json.loads(file.read_text(encoding="utf-8"))
    *groups, name = key.split(".")
    node = saved
    for group in groups:
        node = node[group]
    node[name] = value
    file.write_text(json.dumps(saved), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere", "nowhere: there is no such folder"),
        ("empty", "empty holds no plan.json: no run wrote it"),
        ("a sweep", "sweep holds no plan.json: it is a sweep; give one of its trials: "),
        ("planned", "run holds no folder 'checkpoint' with trained weights: run the train stage first"),
        ("untrained", "run holds no folder 'checkpoint' with trained weights: run the train stage first"),
        ("a plugin gone", "plugins=./gone.py"),
        ("no model", "plan.json has no settings of model: restore the file"),
    ],
)
def test_a_folder_without_a_model_is_reported_in_one_line(place: Path, name: str, told: str) -> None:
    folder = damaged(place, name)
    with pytest.raises(FrameworkError) as refused:
        run_command("chat", [str(folder)])
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["chat", "--help"], 0),
        (["chat", "run", "--temprature", "1"], 2),
        (["chat", "run"], 2),
    ],
)
def test_help_and_mistakes_import_no_torch(place: Path, words: list[str], code: int) -> None:
    run = make(place)
    # The run of a model that is not there any more: everything is checked that can be without torch.
    model = {"path": str(place / "gone"), "revision": None}
    for key, value in model.items():
        edit(run / "plan.json", f"model.{key}", value)
    for group, option in (("model", "local"), ("trainer", "hf")):
        edit(run / ENVIRONMENT, f"options.{group}", option)
    done = launch((sys.executable, "-c", WATCH), *words, cwd=place)
    lines = [line for line in done.err.splitlines() if not line.endswith("loading the model …")]
    assert (done.code, lines[-1]) == (code, "imported:"), done.err
    assert len(lines) == (1 if code == 0 else 2)
    if words == ["chat", "run"]:
        assert str(place / "gone") in lines[0]


def test_help_lists_the_options_and_is_no_conversation(place: Path) -> None:
    done = launch(MODULE, "chat", "--help", cwd=place)
    for word in ("[--base | --tuned | --both]", "--system TEXT", "--json", "--top-p X"):
        assert word in done.out
