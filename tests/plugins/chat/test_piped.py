"""chat/piped.py: what a script reads."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from framework import FrameworkError
from framework_plugins.chat.piped import converse
from tests.plugins.chat.parrot import Parrot, pair, session


def test_lines_are_prompts_and_the_answers_are_all_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    converse(session(Parrot("tuned")), ["one\n", "\n", "two\r\n", '"""a\n', 'b"""'], as_json=False)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("tuned: one\ntuned: two\ntuned: a\nb\n", "")


def test_where_two_answer_each_line_begins_with_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    base, tuned = Parrot("base", pieces=["one\n", "two"]), Parrot("tuned", pieces=["", "yes", "\n"])
    converse(session(base, tuned), ["say it\n", "/tuned\n", "again\n"], as_json=False)
    told = capsys.readouterr()
    assert told.out == "base: one\nbase: two\ntuned: yes\ntuned: \nyes\n\n"
    assert told.err == "tuned answers\n"


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    base, tuned = pair()
    converse(session(base, tuned), ["Grüße\n", '"""a\n', 'b"""\n', "/reset\n"], as_json=True)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told[0] == {"speaker": "base", "prompt": "Grüße", "answer": "base: Grüße", "dropped": 0}
    assert [one["speaker"] for one in told] == ["base", "tuned", "base", "tuned"]
    assert told[3]["prompt"] == "a\nb"


def test_what_was_forgotten_is_reported_beside_the_answers(capsys: pytest.CaptureFixture[str]) -> None:
    converse(session(Parrot("tuned", context=8)), ["a b\n", "c d\n"], as_json=True)
    told = capsys.readouterr()
    assert [json.loads(line)["dropped"] for line in told.out.splitlines()] == [0, 1]
    assert told.err.startswith("the conversation is longer than tuned reads")


def test_quit_leaves_the_rest_unread(capsys: pytest.CaptureFixture[str]) -> None:
    lines = iter(["one\n", "/quit\n", "two\n"])
    converse(session(Parrot("tuned")), lines, as_json=False)
    assert capsys.readouterr().out == "tuned: one\n"
    assert list(lines) == ["two\n"]


def test_a_wrong_word_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FrameworkError, match="unknown command '/foo'"):
        converse(session(Parrot("tuned")), ["one\n", "/foo\n", "two\n"], as_json=False)
    assert capsys.readouterr().out == "tuned: one\n"


def test_a_line_that_is_no_text_is_reported() -> None:
    def lines() -> Iterator[str]:
        yield "one\n"
        b"\xff".decode()

    with pytest.raises(FrameworkError, match=r"^standard input is not UTF-8 text after line 1$"):
        converse(session(Parrot("tuned")), lines(), as_json=False)


EVIL = ("\x1b]0;owned\x07\x1b[2J", "Hi \x9b31m\ttab\r")


def test_control_characters_of_an_answer_are_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    converse(session(Parrot("tuned", pieces=EVIL)), ["one\n"], as_json=False)
    assert capsys.readouterr().out == r"\u001b]0;owned\u0007\u001b[2JHi \u009b31m" + "\ttab\\u000d\n"


def test_in_json_they_are_escaped_and_read_back_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    converse(session(Parrot("tuned", pieces=EVIL)), ["one\n"], as_json=True)
    out = capsys.readouterr().out
    assert out.rstrip("\n").isprintable()
    assert json.loads(out)["answer"] == "".join(EVIL)
