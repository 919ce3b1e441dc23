"""`chat` on a real model: SmolLM2-135M-Instruct, trained for twenty steps to turn orders into JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from framework.api.records import Message, Prompt
from framework.rundir.read import read_run
from framework_plugins.chat.session import BASE, TUNED
from framework_plugins.chat.trained import open_run_speakers
from tests.support.program import environment, framework
from tests.support.terminal import Terminal

ASKED = "Turn the order into JSON with exactly these keys: customer, item, quantity, city."
ORDER = "Please send 15 storage crates to Seattle. My name is Bob Holm."
RIGHT = {"customer": "Bob Holm", "item": "storage crates", "quantity": 15, "city": "Seattle"}
PIPED = f'"""{ASKED}\n\n{ORDER}"""\n'

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cwd = tmp_path_factory.mktemp("chat") / "work"
    cwd.mkdir()
    words = ["trainer.max_steps=20", "stages=[plan,data,train]", "run_dir=run", "logger=[]"]
    done = framework(*words, cwd=cwd, env=environment(cwd.parent), timeout=900)
    assert done.returncode == 0, done.stderr
    return cwd / "run"


def chat(run: Path, *words: str, lines: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "framework", "chat", "run", *words],
        cwd=run.parent, env=environment(run.parent.parent), input=lines, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_piped_the_trained_model_gives_json_and_nothing_else(run: Path) -> None:
    assert json.loads(chat(run, lines=PIPED)) == RIGHT


def test_base_and_tuned_differ_and_each_is_marked(run: Path) -> None:
    lines = chat(run, "--both", lines=PIPED).splitlines()
    said = {name: "\n".join(line[len(name) + 2 :] for line in lines if line.startswith(f"{name}: ")) for name in
            (BASE, TUNED)}  # fmt: skip
    assert len(lines) == sum(text.count("\n") + 1 for text in said.values())
    assert json.loads(said[TUNED]) == RIGHT
    assert said[BASE] != said[TUNED]


def test_what_is_streamed_is_what_is_generated_for_both(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    prompt = Prompt((Message("user", f"{ASKED}\n\n{ORDER}"),))
    with open_run_speakers(read_run(run), []) as speakers:
        tuned = speakers.available[TUNED]
        model = tuned._model  # type: ignore[attr-defined]  # noqa: SLF001 - the model behind both
        streams = {
            name: speakers.available[name].stream(prompt, max_new_tokens=24, seed=None) for name in (BASE, TUNED)
        }
        pieces = [[next(stream, "") for stream in streams.values()] for _ in range(26)]
        said = ["".join(parts) for parts in zip(*pieces, strict=True)]
        (whole,) = model.generate([prompt], max_new_tokens=24, batch_size=1)
        with model.as_base():
            (base,) = model.generate([prompt], max_new_tokens=24, batch_size=1)
        assert said == [base.text, whole.text]
        assert base.text != whole.text
        assert (tuned.context, tuned.count(prompt)) == (8192, len(model.tokenize(model.render(prompt))))
        asked = Prompt((Message("system", "You are a pirate."), *prompt.messages))
        assert "You are a pirate." in model.render(asked)
        assert tuned.count(asked) != tuned.count(prompt)


def test_an_answer_that_was_stopped_leaves_both_as_they_were(run: Path) -> None:
    command = [sys.executable, "-m", "framework", "chat", "run", "--max-new-tokens", "400"]
    with Terminal(command, cwd=run.parent, env=environment(run.parent.parent, NO_COLOR="1")) as typed:
        typed.wait("base+tuned> ")
        for _ in range(3):
            typed.type("Tell me a very long story about the sea.\n")
            typed.wait("─\r\n")
            typed.wait(" │ ")
            typed.type("\x03")
            assert "stopped" in typed.wait("base+tuned> ")
        typed.type("/reset\n")
        typed.wait("base+tuned> ")
        typed.type("/tuned\n")
        typed.wait("tuned> ")
        typed.type(f'"""{ASKED}\n')
        typed.wait("... ")
        typed.type("\n")
        typed.wait("... ")
        typed.type(f'{ORDER}"""\n')
        shown = typed.wait("tuned> ")
        assert json.loads(shown[shown.index("{") : shown.rindex("}") + 1]) == RIGHT
        typed.type("\x04")
        assert typed.end()[0] == 0
