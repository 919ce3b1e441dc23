"""chat/session.py and history.py: who is asked what, and what each remembers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework import FrameworkError
from framework.api.records import Prompt
from framework_plugins.chat.options import Sampling
from framework_plugins.chat.session import HELP, is_command, prompt_of
from tests.plugins.chat.parrot import Parrot, pair, said, session, turns


def test_both_are_asked_and_each_remembers_its_own_answers() -> None:
    base, tuned = pair()
    asked = session(base, tuned)
    assert said(asked, "one") == ["base: one", "tuned: one"]
    assert said(asked, "two") == ["base: two", "tuned: two"]
    assert turns(base.asked[1]) == [("user", "one"), ("assistant", "base: one"), ("user", "two")]
    assert turns(tuned.asked[1]) == [("user", "one"), ("assistant", "tuned: one"), ("user", "two")]


def test_who_is_not_asked_does_not_hear_it() -> None:
    base, tuned = pair()
    asked = session(base, tuned)
    assert asked.run_command("/tuned") == "tuned answers"
    assert said(asked, "one") == ["tuned: one"]
    assert asked.run_command("/base") == "base answers"
    assert said(asked, "two") == ["base: two"]
    assert asked.run_command("/both") == "base and tuned answer"
    assert turns(base.asked[0]) == [("user", "two")]


def test_reset_forgets_the_turns_and_keeps_the_system_prompt() -> None:
    base, tuned = pair()
    asked = session(base, tuned, system="Be brief.")
    said(asked, "one")
    asked.run_command("/reset")
    said(asked, "two")
    assert turns(tuned.asked[1]) == [("system", "Be brief."), ("user", "two")]


def test_the_system_prompt_is_set_and_taken_away() -> None:
    (parrot,) = (Parrot("tuned"),)
    asked = session(parrot)
    asked.run_command("/system  Be very brief. ")
    said(asked, "one")
    asked.run_command("/system")
    said(asked, "two")
    assert turns(parrot.asked[0])[0] == ("system", "Be very brief.")
    assert turns(parrot.asked[1])[0] == ("user", "one")


def test_the_settings_arrive() -> None:
    parrot = Parrot("tuned")
    said(session(parrot, sampling=Sampling(7, 0.5, 0.9, 3)), "one")
    assert parrot.given == [{"max_new_tokens": 7, "temperature": 0.5, "top_p": 0.9, "seed": 3}]


def test_an_answer_that_is_left_is_remembered_as_far_as_it_came_and_one_without_a_word_is_not() -> None:
    parrot = Parrot("tuned", pieces=["", "It", " is", " so."])
    asked = session(parrot)
    for count in (1, 3):
        (reply,) = asked.ask(f"after {count}")
        for _ in range(count):
            next(reply.pieces)
        reply.pieces.close()
    (reply,) = asked.ask("not begun")
    reply.pieces.close()
    said(asked, "last")
    assert turns(parrot.asked[-1]) == [("user", "after 3"), ("assistant", "It is"), ("user", "last")]


class Breaking(Parrot):
    """Fails in the middle of an answer."""

    def stream(self, prompt: Prompt, **settings: Any) -> Iterator[str]:
        yield next(super().stream(prompt, **settings))
        raise FrameworkError("out of memory")


def test_an_answer_that_fails_is_remembered_as_far_as_it_came() -> None:
    parrot = Breaking("tuned")
    asked = session(parrot)
    for text in ("one", "two"):
        (reply,) = asked.ask(text)
        with pytest.raises(FrameworkError, match="out of memory"):
            list(reply.pieces)
    assert turns(parrot.asked[1]) == [("user", "one"), ("assistant", "tuned:"), ("user", "two")]


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("/bas", "unknown command '/bas'. Did you mean '/base'?"),
        ("/etc/hosts is what?", "to begin a prompt with /, type //"),
        ("/base", "no base"),
        ("/both", "no base"),
    ],
)
def test_a_wrong_word_is_reported_and_nothing_changes(word: str, told: str) -> None:
    asked = session(Parrot("tuned"))
    with pytest.raises(FrameworkError) as refused:
        asked.run_command(word)
    assert told in str(refused.value)
    assert asked.talking == ("tuned",)


def test_help_lists_every_word_and_quit_ends() -> None:
    asked = session(Parrot("tuned"))
    for word in HELP:
        assert word in asked.run_command("/help")
        if word != "/both":
            assert not asked.over
    assert asked.run_command("/quit") == ""
    assert asked.over


def test_every_word_in_the_help_is_one() -> None:
    base, tuned = pair()
    asked = session(base, tuned)
    for word in HELP:
        asked.run_command(word.partition(" ")[0])


# context 12, answers of 4 tokens: 8 remain for the conversation
def test_the_oldest_turns_are_forgotten_where_the_conversation_is_too_long() -> None:
    parrot = Parrot("tuned", context=12, pieces=["yes", " yes"])
    asked = session(parrot, sampling=Sampling(4), system="Brief.")
    for text in ("a b", "c d"):
        said(asked, text)
    (reply,) = asked.ask("e f")
    assert reply.dropped == 1
    assert (
        reply.notice == "the conversation is longer than tuned reads: the oldest question with its answer is forgotten"
    )
    assert "".join(reply.pieces) == "yes yes"
    assert turns(parrot.asked[-1]) == [
        ("system", "Brief."), ("user", "c d"), ("assistant", "yes yes"), ("user", "e f"),
    ]  # fmt: skip
    (reply,) = asked.ask("g h i j k")
    assert reply.dropped == 2
    assert "the 2 oldest questions with answers are forgotten" in reply.notice


def test_a_long_prompt_leaves_less_room_for_the_answer() -> None:
    parrot = Parrot("tuned", context=12)
    asked = session(parrot, sampling=Sampling(100))
    said(asked, "a b c")
    assert parrot.given[0]["max_new_tokens"] == 9
    said(asked, " ".join("abcdefghijk"))
    assert parrot.given[1]["max_new_tokens"] == 1


def test_a_prompt_that_is_too_long_by_itself_is_refused_and_nothing_is_forgotten() -> None:
    parrot = Parrot("tuned", context=12, pieces=["yes"])
    asked = session(parrot, sampling=Sampling(4))
    said(asked, "one")
    with pytest.raises(
        FrameworkError, match=r"^this prompt has 12 tokens, but tuned reads 12 with the answer: shorten"
    ):
        asked.ask(" ".join("abcdefghijkl"))
    said(asked, "two")
    assert len(parrot.asked[-1].messages) == 3


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 20), st.integers(10, 40))
def test_prompt_and_answer_always_fit(lengths: list[int], new: int, context: int) -> None:
    parrot = Parrot("tuned", context=context, pieces=["word"])
    asked = session(parrot, sampling=Sampling(new))
    for length in lengths:
        said(asked, " ".join(["w"] * length))
        assert parrot.count(parrot.asked[-1]) + parrot.given[-1]["max_new_tokens"] <= context
        assert 1 <= parrot.given[-1]["max_new_tokens"] <= new


@pytest.mark.parametrize(
    ("lines", "prompt"),
    [
        (["plain"], "plain"),
        (["//etc/hosts"], "/etc/hosts"),
        (['"""one', 'two"""'], "one\ntwo"),
        (['"""', "one", "", "two", '"""'], "\none\n\ntwo\n"),
        (['"""one"""'], "one"),
        (['"""never', "closed"], "never\nclosed"),
        (['a "quoted" word'], 'a "quoted" word'),
    ],
)
def test_a_prompt_of_several_lines_stands_between_quotes(lines: list[str], prompt: str) -> None:
    rest = iter(lines)
    assert prompt_of(next(rest), lambda: next(rest)) == prompt
    assert list(rest) == []


def test_two_slashes_are_no_word() -> None:
    assert [is_command(line) for line in ("/base", "//base", "base", "")] == [True, False, False, False]
