"""framework/data/shared_prefix.py: a question that another row answers on its way belongs to that row."""

from __future__ import annotations

from pathlib import Path

from framework.api.audit import RowPart
from framework.api.records import Example, Message, TokenRow
from framework.data import audit, shared_prefix, writer
from framework.data.store import Store
from framework.data.writer import Writer


def talk(*said: str, learned: bool = True) -> Example:
    turns = [Message("system", "Be brief")]
    for number, text in enumerate(said):
        role = "assistant" if number % 2 else "user"
        turns.append(Message(role, text, learned=learned or number == len(said) - 1))
    return Example(tuple(turns), "chatml", said[0])


def stored(folder: Path, *examples: Example) -> Store:
    """Write conversations; a learned token stands for each answer."""

    def row(example: Example) -> TokenRow:
        answers = [turn.learned for turn in example.messages if turn.role == "assistant"]
        pairs = [pair for learned in answers for pair in ((1, -100), (2, 2 if learned else -100))]
        return TokenRow([token for token, _ in pairs], [label for _, label in pairs])

    def fill(into: Writer) -> None:
        into.add(examples, [row(example) for example in examples], RowPart.train, 0)

    return writer.write(folder / "rows", fill)


FILLING = [talk(f"{word} {word}ly?", "yes") for word in ("red", "blue", "green", "yellow", "black", "white", "pink")]


def test_a_row_that_asks_what_another_answers_on_its_way_is_grouped_with_it(tmp_path: Path) -> None:
    long = talk("How tall is the tower?", "Very", "And how old is it?", "Old")
    short = talk("how  tall is the Tower?", "Very")
    store = stored(tmp_path, long, *FILLING, short)
    left, right = shared_prefix.pairs(store)
    assert {tuple(sorted(pair)) for pair in zip(left.tolist(), right.tolist(), strict=True) if pair[0] != pair[1]} == {
        (0, 8)
    }
    groups = audit.groups(store, "near_duplicate_questions")
    assert groups[0] == groups[8] == 0
    assert len(set(groups.tolist())) == 8


def test_what_is_not_learned_on_the_way_does_not_count(tmp_path: Path) -> None:
    long = talk("How tall is the tower?", "Very", "And how old is it?", "Old", "Thanks", "Sure", learned=False)
    store = stored(tmp_path, long, *FILLING, talk("How tall is the tower?", "Very"))
    assert len(shared_prefix.pairs(store)[0]) == 0


def test_what_very_many_rows_begin_with_tells_nothing(tmp_path: Path) -> None:
    rows = [
        talk("Hello", "Hi", f"What about the {color} {color}ish one?", "Yes")
        for color in ("red", "blue", "green", "pink")
    ]
    store = stored(tmp_path, *rows, *FILLING[:2])
    assert len(shared_prefix.pairs(store)[0]) == 0


def test_rows_of_one_turn_are_left_as_they_are(tmp_path: Path) -> None:
    assert len(shared_prefix.pairs(stored(tmp_path, *FILLING))[0]) == 0
