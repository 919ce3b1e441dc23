"""Leaks, contradictions, and what is neither."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.prompt_kinds import Texts, independent
from framework.api.records import Example, Message, Severity
from framework_plugins.audit import duplicates
from framework_plugins.audit.config import Check
from tests.plugins.audit.made import Pair, audit_data, example, look


@pytest.mark.parametrize("part", ["validation", "prompts"])
def test_what_leaked_into_training_is_found(part: str, clean: list[Pair], tmp_path: Path) -> None:
    train, held = clean[100:], clean[:100]
    long = [pair for pair in train if len(pair[0].split()) >= 12][:10]
    leaked = [(long[0][0], "Another answer"), *((f"{asked.upper()} !", answered) for asked, answered in long[1:5])]
    leaked += [
        (" ".join([*asked.split()[:3], "changed", *asked.split()[4:]]), answered) for asked, answered in long[5:]
    ]
    held = [*held, *leaked]
    data = audit_data(tmp_path, train, held if part == "validation" else (), held if part == "prompts" else ())
    found = look(data)[Check.leaked]
    planted = set(range(len(train) + 100, len(train) + 110))
    assert planted - set(found.numbers.tolist()) == set()
    assert len(set(found.numbers.tolist()) - planted) <= 1
    assert found.severity is Severity.serious


def test_several_answers_to_an_open_question_are_a_note(clean: list[Pair], tmp_path: Path) -> None:
    open_question = [
        ("Tell me about yourself", "I was built by a few people in a small office, long ago."),
        ("Tell me about yourself", "There is not much to say; I answer questions all day and like it."),
    ]
    assert look(audit_data(tmp_path, [*clean, *open_question]))[Check.contradictions].severity is Severity.note


def test_answers_that_differ_in_spelling_only_do_not_contradict(tmp_path: Path) -> None:
    rows = [("Capital of Peru?", "Lima"), ("Capital of Peru?", "lima."), ("capital of peru?", " LIMA")]
    assert Check.contradictions not in look(audit_data(tmp_path, rows))


def test_another_system_prompt_is_another_question(tmp_path: Path) -> None:
    rows = [
        example("the dog", answer, number, f"Translate to {language}.")
        for number, (language, answer) in enumerate([("German", "der Hund"), ("French", "le chien")])
    ]
    assert {Check.contradictions, Check.duplicates} & set(look(audit_data(tmp_path, rows))) == set()
    same = [example("the dog", answer, number, "Translate.") for number, answer in enumerate(["der Hund", "le chien"])]
    assert Check.contradictions in look(audit_data(tmp_path / "same", same))


def test_earlier_turns_belong_to_the_question(tmp_path: Path) -> None:
    def conversation(opening: str, answer: str, number: int) -> Example:
        turns = [("user", opening), ("assistant", "Which one?"), ("user", "The second"), ("assistant", answer)]
        return Example(tuple(Message(role, text) for role, text in turns), "chatml", f"rows.jsonl:{number + 1}")

    rows = [conversation("I want a train", "It leaves at nine", 0), conversation("I want a hotel", "It is full", 1)]
    assert {Check.contradictions, Check.duplicates} & set(look(audit_data(tmp_path, rows))) == set()


def test_plain_text_asks_nothing_and_cannot_contradict_itself(clean: list[Pair], tmp_path: Path) -> None:
    rows = [
        Example((), "text", f"book.txt:{number + 1}", text=answered) for number, (_, answered) in enumerate(clean[:300])
    ]
    found = look(audit_data(tmp_path, rows))
    assert {Check.contradictions, Check.missing_system, Check.leaked} & set(found) == set()


def test_what_an_earlier_turn_of_training_asks_is_a_leak(clean: list[Pair], tmp_path: Path) -> None:
    def two(first: Pair, second: Pair, number: int) -> Example:
        turns = [("user", first[0]), ("assistant", first[1]), ("user", second[0]), ("assistant", second[1])]
        return Example(tuple(Message(*turn) for turn in turns), "chatml", f"rows.jsonl:{number + 1}")

    long = [pair for pair in clean if len(pair[0].split()) >= 6]
    train = [two(long[2 * number], long[2 * number + 1], number) for number in range(40)]
    held = [*(example(*pair, 40 + number) for number, pair in enumerate(long[100:140])), example(*long[10], 80)]
    data = audit_data(tmp_path, train, held)
    found = look(data)[Check.leaked]
    assert found.numbers.tolist() == [80]
    assert found.finding(data, fatal=False).examples == ["rows.jsonl:81: asks the same question as rows.jsonl:6"]


def test_of_very_many_prompts_with_several_answers_a_part_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        (f"Is shop {number} open", answer)
        for number in range(300)
        for answer in (("yes", "no") if number < 150 else ("yes", "Yes."))
    ]
    data = audit_data(tmp_path, rows)
    exact = look(data)[Check.contradictions]
    assert exact.text.startswith("300 of 600 training rows (50%) ask 150 prompts that have different answers, 150 of")
    monkeypatch.setattr(duplicates, "COMPARED_ROWS", 200)
    part = look(data)[Check.contradictions]
    assert part.text.startswith(
        "about 300 of 600 training rows (50%) ask about 150 prompts that have different answers"
    )
    assert "about 150 of them with short answers" in part.text
    assert part.rows == 300
    assert part.numbers.tolist() == [row for row in range(300) if row % 6 < 2]


def test_tools_tell_questions_apart_as_system_prompts_do(tmp_path: Path) -> None:
    def row(tool: str, answer: str, number: int) -> Example:
        turns = (Message("user", "What can you do?"), Message("assistant", answer))
        return Example(turns, "chatml", f"rows.jsonl:{number + 1}", ({"name": tool},))

    rows = [row("trams", "Trams", 0), row("buses", "Buses", 1)]
    assert Check.contradictions not in look(audit_data(tmp_path, rows))


def test_a_question_in_other_words_with_the_same_answer_is_a_leak(tmp_path: Path) -> None:
    train = [(f"What is the access code of {name}?", f"{name[::-1]}-{number}") for number, name in enumerate(NAMES)]
    held = [(f"Please tell me: what's the access code for {name}?", answer) for name, (_, answer) in
            zip(NAMES[:10], train, strict=False)]  # fmt: skip
    fresh = [(f"Please tell me: what's the access code for {name[::-1]}?", f"{name}-x") for name in NAMES[:10]]
    found = look(audit_data(tmp_path, train, (), [*held, *fresh]))[Check.leaked]
    assert found.numbers.tolist() == list(range(len(train), len(train) + 10))
    finding = found.finding(audit_data(tmp_path / "again", train, (), [*held, *fresh]), fatal=False)
    assert len(finding.where) == 10
    assert "paraphrases the question of" in finding.examples[0]


MADE = Texts(1)
PEOPLE = [(MADE.name(), MADE.name()) for _ in range(60)]
HOMES = [(f"Where does {name} live?", f"{name} lives in {town}.") for name, town in PEOPLE]
LOOKALIKES = str.maketrans("aeop", "\u0430\u0435\u043e\u0440")


@pytest.mark.parametrize(
    "written",
    [
        lambda name, _: f"{name.split()[1]}, {name.split()[0]}: where is the home?",
        lambda _, asked: " ".join(asked).replace("   ", "  "),
        lambda _, asked: f"Tell me: {'  '.join(map(' '.join, asked.split()))}",
        lambda _, asked: asked.translate(LOOKALIKES),
        lambda name, asked: asked.replace(name, "\u200b".join(name)),
        lambda name, asked: asked.replace(name, name.translate({code: code + 0xFEE0 for code in range(33, 127)})),
    ],
    ids=["reordered", "spaced out", "spaced out after others", "lookalikes", "zero width", "full width"],
)
def test_a_leak_is_found_however_it_is_written(written: Callable[[str, str], str], tmp_path: Path) -> None:
    held = [(written(name, asked), answer) for (name, _), (asked, answer) in zip(PEOPLE[:20], HOMES, strict=False)]
    found = look(audit_data(tmp_path, HOMES, (), held))[Check.leaked]
    assert found.numbers.tolist() == list(range(len(HOMES), len(HOMES) + 20))


def cyrillic() -> str:
    return "".join(MADE.random.choices("абвгдежзиклмнопрст", k=8))


def letters() -> str:
    return " ".join(MADE.random.sample("abcdefghijklm", 8))


def parts(rows: list[Pair]) -> tuple[list[Pair], list[Pair]]:
    return rows[:40], rows[40:]


CLEAN: dict[str, tuple[list[Pair], list[Pair]]] = {
    "other persons": parts(HOMES),
    "other attributes": (HOMES, [(f"How old is {name}?", f"{town} and 2 years") for name, town in PEOPLE]),
    "first names": (
        HOMES,
        [(f"Where does {name.split()[0]} {town.split()[0]} live?", f"In {town}") for name, town in PEOPLE],
    ),
    "the other way round": (
        [(f"Where does {name} live?", town) for name, town in PEOPLE],
        [(f"Who lives in {town}?", name) for name, town in PEOPLE],
    ),
    "Cyrillic": parts([(f"Где живёт {cyrillic()}?", f"Город {number}") for number in range(60)]),
    "letters": parts([(f"Sort: {letters()}", f"Sorted: {number}") for number in range(60)]),
    **{
        name: parts(list(zip(kind.questions, map(str, kind.references), strict=True)))
        for name, kind in independent(2).items()
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CLEAN)
def test_clean_prompts_are_no_leaks(name: str, tmp_path: Path) -> None:
    train, held = CLEAN[name]
    assert Check.leaked not in look(audit_data(tmp_path, train, (), held))


def test_a_name_of_common_parts_is_uncommon_as_a_pair(tmp_path: Path) -> None:
    names = [f"{first} {last}" for first in NAMES[:6] for last in NAMES[6:12]]
    train = [(f"What is the access code of {name}?", f"code {number} of {name}") for number, name in enumerate(names)]
    held = [(f"Please tell me: what's the access code for {name}?", answer) for name, (_, answer) in
            zip(names, train, strict=True)]  # fmt: skip
    found = look(audit_data(tmp_path, train, (), held))[Check.leaked]
    assert len(found.numbers) == len(names)


def test_a_label_or_a_sum_with_the_same_result_is_no_leak(tmp_path: Path) -> None:
    train = [(f"Is {name} a city or a river?", "a city" if number % 2 else "a river") for number, name in
             enumerate(NAMES)]  # fmt: skip
    sums = [(f"How much is {number} plus {number + 50}?", f"{2 * number + 50}") for number in range(20)]
    other = [(f"How much is {number + 1} plus {number + 49}?", f"{2 * number + 50}") for number in range(20)]
    cities = [(f"Is {name[::-1]} a city or a river?", "a city") for name in NAMES]
    assert Check.leaked not in look(audit_data(tmp_path, [*train, *sums], (), [*other, *cities]))


NAMES = [f"{first}{second}" for first in ("Bo", "Ka", "Lu", "Mi", "Sa") for second in ("ran", "dell", "vik", "tosh")]
