"""formats/dialogue_text.py: dialogues that are written as text, and texts that only look so."""

from __future__ import annotations

import pytest

from framework_plugins.formats.dialogue_text import half, lines_problem, marked_turns, rendered, speakers

IOS = ["[31.12.23, 21:41:03] Anna: Hi", "\u200e[31.12.23, 21:41:09] Bob: Hello", "[1/2/24, 9:41:03\u202fPM] Anna: Bye"]
ANDROID = [
    "12/31/23, 9:41\u202fPM - Anna: Hi",
    "31.12.23, 21:41 - Bob: Hello",
    "and more",
    "31/12/2023 21:42 - Anna: Bye",
]
LOG = ["[2024-01-01 12:00:00] INFO: a", "[2024-01-01 12:00:01] INFO: b", "2024-01-01 12:00:02 WARN: c"] * 3


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        (IOS, "messages of a chat"),
        (ANDROID, "messages of a chat"),
        (["1", "00:00:01,000 --> 00:00:02,000", "Hi", "2", "00:00:03,000 --> 00:00:04,000"], "sed -E"),
        (["WEBVTT", "Hi"], "sed -E"),
        (["Q: a?", "A: b", "Q: c?", "A: d"], "'Q:' and 'A:'"),
        (["User: a?", "**Assistant:** b", "user: c?", "assistant: d"], "'User:' and '**Assistant:'"),
        (["Frage 1: a?", "Antwort 1: b", "Frage 2: c?", "Antwort 2: d"], "'Frage 1:' and 'Antwort 1:'"),
        (LOG, ""),
        (["A man walks in.", "He asks: why?", "Q: is a letter."], ""),
        (["Q: a? A: b"] * 4, ""),
        (["Note: a", "Anna: b", "Bob: c"] * 3, ""),
        ([], ""),
    ],
)
def test_lines_of_chats_subtitles_and_dialogues_are_not_rows(lines: list[str], shown: str) -> None:
    problem = lines_problem(lines, "x.txt")
    assert shown in problem
    assert bool(problem) is bool(shown)


@pytest.mark.parametrize(
    ("text", "answer", "mark"),
    [
        ("<|im_start|>user\nsay", False, "<|im_start|>"),
        ("<s> [INST] say [/INST]", False, "[INST]"),
        ("Q: say\nA:", False, "A:"),
        ("### Instruction:\nsay\n\n### Response:\n", False, "### Response:"),
        ("it</s>", True, "</s>"),
        ("it<|eot_id|>\n", True, "<|eot_id|>"),
        ("What does <|im_start|> mean?", False, ""),
        ("</s>", True, ""),
        ("Complete this list:", False, ""),
        ("<b>bold</b>", False, ""),
        ("Which letter comes after\nA:", False, ""),
    ],
)
def test_a_half_of_rendered_text_is_known_by_its_beginning_or_its_end(text: str, mark: str, *, answer: bool) -> None:
    assert half(text, answer=answer) == mark


def test_a_dialogue_begins_with_a_speaker_and_has_another() -> None:
    assert speakers("User: say\nAssistant: it") == ("User:", "Assistant:")
    assert speakers("Human: it is") is None
    assert speakers("A report.\nQ: say\nA: it") is None
    assert rendered("### Human: say### Assistant: it") == "### Human:"
    assert rendered("a list [1] and <b>") == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n\nHuman: say\n\nAssistant: it", [("user", "say"), ("assistant", "it")]),
        ("\n\nHuman: say\n\nAssistant:", [("user", "say")]),
        ("Human: say\n\nAssistant: it\n\nHuman: so", [("user", "say"), ("assistant", "it"), ("user", "so")]),
        ("Human: it is", []),
        ("say", []),
    ],
)
def test_the_old_form_of_anthropic_becomes_turns(text: str, said: list[tuple[str, str]]) -> None:
    assert marked_turns(text) == said
