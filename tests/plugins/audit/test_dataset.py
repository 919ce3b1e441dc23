"""The data as a whole: templates, order, system prompts, languages."""

from __future__ import annotations

import string
from pathlib import Path

import pytest

from framework.api.records import Severity
from framework_plugins.audit.config import Check
from tests.plugins.audit.made import Pair, audit_data, chatterbot, example, look, shuffled


def test_rows_of_one_template_are_found(tmp_path: Path) -> None:
    nouns = [
        f"{first}{second}{third}" for first in "bdfgklm" for second in "aeiou" for third in string.ascii_lowercase[:10]
    ]
    rows = [
        (f"Tell me something about {noun}.", f"The {noun} is a nice thing, and many people like it a lot.")
        for noun in nouns
    ]
    found = look(audit_data(tmp_path, rows))
    assert found[Check.homogeneous].rows == len(rows)
    assert set(found[Check.homogeneous].numbers.tolist()) == set(range(len(rows)))
    assert "one template" in found[Check.homogeneous].text


def test_rows_that_are_nearly_the_same_are_a_warning(clean: list[Pair], tmp_path: Path) -> None:
    long = "Please tell me, in the fewest words that you can find, what the weather will be like tomorrow in"
    rows = [(f"{long} {number}", "It will rain") for number in range(len(clean))]
    found = look(audit_data(tmp_path, [*clean, *rows]))[Check.homogeneous]
    assert found.severity is Severity.warning
    assert set(found.numbers.tolist()) == set(range(len(clean), 2 * len(clean)))


def test_answers_that_repeat_phrases_are_found(clean: list[Pair], tmp_path: Path) -> None:
    answers = [
        "Your parcel is on its way to you now",
        "Please hold the line for a moment",
        "We are closed, call again tomorrow",
    ]
    rows = [(asked, answers[number % 3]) for number, (asked, _) in enumerate(clean[:600])]
    found = look(audit_data(tmp_path, rows))
    assert Check.homogeneous in found
    assert Check.homogeneous not in look(audit_data(tmp_path / "clean", clean))


def test_an_order_by_topic_is_found_and_a_shuffled_one_is_fine(tmp_path: Path) -> None:
    as_they_stand = list(dict.fromkeys(chatterbot()))
    found = look(audit_data(tmp_path / "sorted", as_they_stand))
    assert found[Check.unshuffled].severity is Severity.note
    assert Check.unshuffled not in look(audit_data(tmp_path / "mixed", shuffled(as_they_stand)))
    first_only = look(audit_data(tmp_path / "first", as_they_stand, words=["data.max_rows=500"]))
    assert first_only[Check.unshuffled].severity is Severity.warning
    assert "data.max_rows=500" in first_only[Check.unshuffled].advice


def test_rows_without_the_system_prompt_of_the_others_are_found(clean: list[Pair], tmp_path: Path) -> None:
    without = {3, 40, 77}
    rows = [
        example(*pair, number, None if number in without else "Be brief.") for number, pair in enumerate(clean[:200])
    ]
    found = look(audit_data(tmp_path, rows))[Check.missing_system]
    assert set(found.numbers.tolist()) == without
    assert found.severity is Severity.warning
    none = look(audit_data(tmp_path / "none", clean))[Check.missing_system]
    assert none.severity is Severity.note
    all_have = [example(*pair, number, "Be brief.") for number, pair in enumerate(clean[:200])]
    assert Check.missing_system not in look(audit_data(tmp_path / "all", all_have))


FOREIGN = {
    "German": "Das ist nicht die Frage, die ich mir gestellt habe, und auch sie wird es nicht verstehen",
    "French": "Je ne sais pas ce que vous voulez dire avec cette phrase, mais elle est très belle",
    "Spanish": "No sé lo que quieres decir con esta frase, pero me parece que es muy bonita",
    "Russian or another one in Cyrillic": "Я не знаю, что вы хотите сказать этой фразой, но она мне нравится",
    "Chinese": "我不知道你说这句话是什么意思，但是它听起来很美，我想再听一遍",
    "Japanese": "この文が何を意味するのかわかりませんが、とても美しいと思います",
    "Arabic or Persian": "لا أعرف ماذا تقصد بهذه الجملة لكنها تبدو جميلة جدا بالنسبة لي",
}


@pytest.mark.parametrize("language", FOREIGN)
def test_rows_in_another_language_are_found(language: str, clean: list[Pair], tmp_path: Path) -> None:
    rows = list(clean)
    planted = set(range(10, len(rows), 40))
    for number in planted:
        rows[number] = (f"{number}?", f"{FOREIGN[language]} ({number})")
    found = look(audit_data(tmp_path, rows))[Check.languages]
    assert language in found.text
    assert "English" in found.text
    assert planted - set(found.numbers.tolist()) == set()
    assert len(set(found.numbers.tolist()) - planted) <= len(rows) / 100
