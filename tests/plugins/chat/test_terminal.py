"""chat/terminal.py: typed in a real terminal, and what of an answer is printed."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from framework_plugins.chat import terminal
from framework_plugins.chat.columns import THINKING, THINKING_AFTER
from framework_plugins.chat.session import ChatSession
from tests.plugins.chat.parrot import Parrot, pair, session
from tests.support.forked_program import program
from tests.support.program import environment
from tests.support.terminal import Terminal

SLOW = """
import time
from contextlib import contextmanager

from framework import Component, hookimpl
from framework.testing.echo import EchoBackend, EchoModel, EchoModelConfig, EchoTrainerConfig


class Model(EchoModel):
    def stream(self, prompt, **settings):
        for piece in super().stream(prompt, **settings):
            yield piece
            if "forever" in prompt.messages[-1].content:
                time.sleep(0.1)


class Backend(EchoBackend):
    @contextmanager
    def open(self, plan):
        yield Model(plan)


@hookimpl
def framework_components():
    yield Component("echo", EchoModelConfig, "framework.testing.echo:EchoSource")
    yield Component("echo", EchoTrainerConfig, "slow:Backend")
"""
FOREVER = "forever " + "and ever " * 200
READ = "\x1b[?2004l"
"""What readline writes once it has a line."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that has learned to answer `say 3` with `it is 3`."""
    place = tmp_path_factory.mktemp("place")
    (place / "slow.py").write_text(SLOW, encoding="utf-8")
    rows = "".join(f'{{"instruction": "say {number}", "output": "it is {number}"}}\n' for number in range(12))
    (place / "rows.jsonl").write_text(rows, encoding="utf-8")
    words = ["plugins=[./slow.py]", "model=echo", "trainer=echo", "data=local_file", "data.path=rows.jsonl"]
    done = program(*words, "data.validation_split=0", "objective=train_loss", "run_dir=run", "logger=[]", cwd=place)
    assert done.code == 0, done.err
    return place / "run"


def opened(run: Path, *words: str, columns: int = 100) -> Terminal:
    command = [sys.executable, "-m", "framework", "chat", run.name, *words]
    return Terminal(command, cwd=run.parent, env=environment(run.parent, NO_COLOR="1"), columns=columns)


def test_a_conversation_is_typed(run: Path) -> None:
    with opened(run) as typed:
        greeting = typed.wait("base+tuned> ")
        assert "run: base and tuned answer" in greeting
        assert "/help lists the commands" in greeting
        typed.type("say 3\n")
        shown = typed.wait("base+tuned> ")
        lines = [line.split("\r")[-1] for line in shown.replace("\r\n", "\n").split("\n")]
        (heading,) = [line for line in lines if line.startswith("base ")]
        assert heading.split() == ["base", "│", "tuned"]
        assert [line.split("│")[0].strip() for line in lines if "it is 3" in line] == ["say 3"]
        typed.type("/tuned\n")
        typed.wait("tuned> ")
        typed.type("/reset\n")
        assert "the conversation is forgotten" in typed.wait("tuned> ")
        typed.type("say 4\n")
        assert "\rit is 4\r\n" in typed.wait("tuned> ")
        typed.type("/nothing\n")
        assert "unknown command '/nothing'" in typed.wait("tuned> ")
        typed.type("/help\n")
        assert "forget the conversation" in typed.wait("tuned> ")
        typed.type("/quit\n")
        assert typed.end()[0] == 0


def test_ctrl_c_stops_an_answer_and_ends_the_program_at_the_prompt(run: Path) -> None:
    with opened(run) as typed:
        typed.wait("base+tuned> ")
        for who in ("/both", "/tuned"):
            typed.type(f"{who}\n")
            typed.wait("> ")
            typed.type(f"{FOREVER}\n")
            typed.wait(READ)
            typed.wait("and ever and ever")
            typed.type("\x03")
            assert "stopped" in typed.wait("> ")
        typed.type("/reset\n")
        typed.wait("> ")
        typed.type("say 5\n")
        assert "it is 5" in typed.wait("> ")
        time.sleep(0.5)  # Python's `input` loses a signal that comes after the prompt and before it waits
        typed.type("\x03")
        code, rest = typed.end()
        assert code == 0
        assert "Traceback" not in rest


def test_the_end_of_input_ends_it(run: Path) -> None:
    with opened(run, "--tuned") as typed:
        typed.wait("tuned> ")
        typed.type("\x04")
        assert typed.end()[0] == 0


def test_a_narrow_terminal_shows_one_after_the_other(run: Path) -> None:
    with opened(run, columns=40) as typed:
        typed.wait("base+tuned> ")
        typed.type("say 3\n")
        lines = re.sub(r"\x1b\[[\d;?]*\w|\r", "", typed.wait("base+tuned> ")).split("\n")
        place = lines.index("base")
        assert lines[place : place + 4] == ["base", "say 3", "tuned", "it is 3"]


def typing(monkeypatch: pytest.MonkeyPatch, asked: ChatSession, *lines: str, width: int = 100) -> str:
    """Hold a conversation in which these lines are typed, and return what is shown."""
    rest = iter(lines)

    def typed(_: str) -> str:
        try:
            return next(rest)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", typed)
    console = Console(file=io.StringIO(), width=width, highlight=False)
    terminal.converse(asked, console, "hello")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_control_characters_of_an_answer_are_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    parrot = Parrot("tuned", pieces=["a\x1b[31m", "b\x07\r\x9b", "\tc\nd"])
    assert "a[31mb    c\nd\n" in typing(monkeypatch, session(parrot), "one")


def test_a_model_that_thinks_for_long_is_reported_and_that_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    thinks = Parrot("tuned", pieces=[*[""] * THINKING_AFTER, "So."])
    assert f"{THINKING}\r{' ' * len(THINKING)}\rSo.\n" in typing(monkeypatch, session(thinks), "one")
    quick = Parrot("tuned", pieces=["", "So."])
    assert THINKING not in typing(monkeypatch, session(quick), "one")


def test_both_stream_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    base, tuned = Parrot("base", pieces=["b "] * 12), Parrot("tuned", pieces=["t "] * 12)
    shown = typing(monkeypatch, session(base, tuned), "one").split("\r")
    assert any(line.count("b ") == 4 and line.count("t ") == 4 for line in shown)


def test_what_was_forgotten_and_what_is_wrong_are_shown_and_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    parrot = Parrot("tuned", context=8)
    shown = typing(monkeypatch, session(parrot), "a b", "c d", "a b c d e f g h i", "/base", "e f")
    assert "the conversation is longer than tuned reads" in shown
    assert "this prompt has 9 tokens, but tuned reads 8 with the answer" in shown
    assert "no base" in shown
    assert "tuned: e f" in shown


def test_several_lines_and_empty_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    parrot = Parrot("tuned")
    typing(monkeypatch, session(parrot), "", '"""one', 'two"""', "  ")
    assert [prompt.messages[-1].content for prompt in parrot.asked] == ["one\ntwo"]


def test_a_second_ctrl_c_ends_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf(Parrot):
        def count(self, prompt: object) -> int:
            del prompt
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            return 1

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        typing(monkeypatch, session(Deaf("tuned", context=9)), "one")
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_before_the_first_word_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(Parrot):
        def count(self, prompt: object) -> int:
            del prompt
            os.kill(os.getpid(), signal.SIGINT)
            return 1

    parrot = Interrupted("tuned", context=9)
    assert "stopped" in typing(monkeypatch, session(parrot), "one")
    assert parrot.asked == []


def test_an_answer_in_columns_is_left_whole_for_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    base, tuned = pair()
    typing(monkeypatch, session(base, tuned), "one", "two")
    assert tuned.asked[1].messages[1].content == "tuned: one"
