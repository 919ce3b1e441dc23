"""Odd single rows, and what only looks odd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from framework.api.records import Severity
from framework_plugins.audit.config import Check
from tests.plugins.audit.made import LONG_QUESTION, Pair, audit_data, look, orders


def test_broken_json_is_found_where_json_is_the_task(tmp_path: Path) -> None:
    rows = orders("orders_train.jsonl")
    broken: dict[int, Callable[[str], str]] = {
        7: lambda text: text[:-1],
        80: lambda text: f"Sure! {text}",
        150: lambda text: text.replace('"', "'"),
        299: lambda text: text + "}",
    }
    for place, change in broken.items():
        rows[place] = (rows[place][0], change(rows[place][1]))
    found = look(audit_data(tmp_path, rows))[Check.broken_json]
    assert found.numbers.tolist() == sorted(broken)
    assert found.severity is Severity.warning


def test_a_lonely_bracket_is_nothing_where_json_is_not_the_task(clean: list[Pair], tmp_path: Path) -> None:
    data = audit_data(tmp_path, [*clean, ("What do I type?", "{press enter")])
    assert Check.broken_json not in look(data)


def test_one_word_answers_are_the_task_where_most_are(clean: list[Pair], tmp_path: Path) -> None:
    labels = [(asked, "good" if number % 2 else "bad") for number, (asked, _) in enumerate(clean[:200])]
    found = look(audit_data(tmp_path / "labels", labels))[Check.one_word_answers]
    assert found.severity is Severity.note
    essays = [
        (asked, f"{answered} and {LONG_QUESTION} {number}") for number, (asked, answered) in enumerate(clean[:200])
    ]
    essays[17] = (essays[17][0], "Yes.")
    found = look(audit_data(tmp_path / "essays", essays))[Check.one_word_answers]
    assert found.severity is Severity.warning
    assert found.numbers.tolist() == [17]


@pytest.mark.parametrize(
    "answer",
    [
        "Write to user@example.com or root@localhost",
        "Clone git@github.com:acme/tools.git",
        "Use AKIAIOSFODNN7EXAMPLE as a placeholder",
        "set OPENAI_API_KEY=YOUR_API_KEY_GOES_HERE_1234",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxx1",
        "The sk-learn-based-text-classification-pipeline is slow",
        "postgres://user:password@localhost/db",
        "See https://host:8080/path@2x.png",
        "api_key = os.environ['SERVICE_API_KEY_NAME']",
        "max_tokens=4096, key: value, token = tokenizer.next_token_of_the_stream_2",
        'secret_santa = "Bob", keyboard_layout: dvorak_for_left_hand_typists_v2',
        "secret_key = settings_module_of_the_shop_2024_v2",
        "access_token: load_access_token_from_file_v2(path)",
        "private_key = rs256/keys/of/the/auth/service/1",
        "password: correct-horse-battery-staple-2024",
        "the API key is\na8f3c91e7b2d40586e1fa9c3",
        "SÃO PAULO, NÃO, ÂNGULO, Ärger, Ñandú",
        "Ça va très bien à l’hôtel, « merci »",
        "tabs\tand\nlines\r\nare fine",
        "👩‍👩‍👧 a family, joined by an invisible letter",
        "I'm sorry to hear that. Can I do anything for you?",
        "I can't wait to see you",
        "I am an artificial intelligence, and proud of it",
        "Unfortunately, the parcel was lost on its way",
    ],
)
def test_what_only_looks_like_a_fault_is_left_in_peace(answer: str, tmp_path: Path) -> None:
    found = look(audit_data(tmp_path, [("What now?", answer)]))
    wrong = {Check.emails, Check.secrets, Check.broken_encoding, Check.control_characters, Check.refusals}
    assert wrong & set(found) == set() or found[Check.emails].text.startswith("1 of 1 rows holds an e-mail")


def test_an_empty_question_is_found_and_plain_text_has_none(clean: list[Pair], tmp_path: Path) -> None:
    rows = [*clean[:50], (" \n", clean[60][1]), ("\u200b", clean[61][1])]
    found = look(audit_data(tmp_path, rows))[Check.empty_questions]
    assert found.numbers.tolist() == [50, 51]
    assert found.severity is Severity.warning


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (r"Dear Ann,\n\nThank you.", r"a line break written as \n"),
        (r"It's here.\n- one", r"a line break written as \n"),
        ("Salt &amp; pepper", "an HTML entity"),
        ("<p>Hello</p>", "an HTML tag"),
        (r'print("a\nB")', ""),
        (r"x = '\nA'", ""),
        (r"the gradient \nabla f, and C:\new", ""),
        ("a < b & c > d", ""),
    ],
)
def test_line_breaks_entities_and_tags_that_are_written_as_text_are_found(
    clean: list[Pair], tmp_path: Path, answer: str, kind: str
) -> None:
    found = look(audit_data(tmp_path, [*clean[:30], ("Write to her.", answer)]))
    assert (Check.markup in found) is bool(kind)
    if kind:
        assert found[Check.markup].numbers.tolist() == [30]
