"""Preference data: pairs of equal answers, contradictions, length, one-sided labels, ranks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from framework.api.records import Example, Message, Severity
from framework_plugins.audit.config import Check
from tests.plugins.audit.made import audit_data, look
from tests.support.pairs import pairs

METHOD = ("method=pairs",)
OURS = {Check.identical_pairs, Check.length_bias, Check.contradictory_labels, Check.one_sided_labels, Check.ranks}


@pytest.fixture(autouse=True, scope="module")
def plugin() -> Iterator[None]:
    with pairs():
        yield


def pair(asked: str, chosen: str, rejected: str, number: int = 0, **facts: float) -> Example:
    turns = (Message("user", asked), Message("assistant", chosen))
    wrong = (Message("assistant", rejected),)
    return Example(turns, "preference", f"rows.jsonl:{number + 1}", rejected=wrong, facts=facts)


def labelled(asked: str, answered: str, number: int, *, wanted: bool) -> Example:
    turns = (Message("user", asked), Message("assistant", answered))
    return Example(turns, "unpaired", f"rows.jsonl:{number + 1}", facts={"desirable": float(wanted)})


def even(count: int) -> list[Example]:
    """Return pairs of which nothing is to be said: the longer answer is chosen as often as the shorter one."""
    rows = []
    for number in range(count):
        short, long = f"Say {number}", f"Say the number {number} now"
        chosen, rejected = (short, long) if number % 2 else (long, short)
        rows.append(pair(f"Which number is the {number}th?", chosen, rejected, number))
    return rows


def test_pairs_without_a_fault_have_no_finding(tmp_path: Path) -> None:
    assert not OURS & set(look(audit_data(tmp_path, even(40), words=METHOD)))


def test_pairs_of_equal_answers_and_of_both_orders_are_found(tmp_path: Path) -> None:
    rows = [*even(40), pair("Why?", "Because.", " because.", 40), pair("How?", "So", "Not so", 41)]
    rows += [pair("How?", "Not so", "So", 42), pair("Who?", "So", "Not so", 43)]
    found = look(audit_data(tmp_path, rows, words=METHOD))
    assert found[Check.identical_pairs].numbers.tolist() == [40]
    assert found[Check.identical_pairs].text == (
        "1 of 44 preference pairs has a chosen and a rejected answer that are the same, except for case and white space"
    )
    assert found[Check.contradictory_labels].numbers.tolist() == [41, 42]
    assert found[Check.contradictory_labels].text == "2 of 44 preference pairs (5%) occur in both orders"


def test_one_chosen_answer_beside_several_rejected_ones_is_no_duplicate(tmp_path: Path) -> None:
    rows = [pair("Why?", "Because.", f"No {number}", number) for number in range(3)]
    assert not {Check.duplicates, Check.near_duplicates} & set(look(audit_data(tmp_path, rows, words=METHOD)))
    again = [*rows, pair("Why?", "Because.", "No 1", 3)]
    assert look(audit_data(tmp_path / "again", again, words=METHOD))[Check.duplicates].numbers.tolist() == [3]


@pytest.mark.parametrize(("chosen", "kind"), [(4, "longer"), (1, "shorter")])
def test_a_bias_of_length_is_reported_with_its_size(chosen: int, kind: str, tmp_path: Path) -> None:
    rows = even(10) + [pair(f"Why {n}?", "word " * chosen, "word " * 2, n) for n in range(10, 40)]
    found = look(audit_data(tmp_path, rows, words=METHOD))[Check.length_bias]
    assert found.severity is Severity.warning
    ratio = "1.6" if chosen == 4 else "0.68"
    assert found.text == (
        f"the chosen answer is the {kind} one in 35 of 40 preference pairs (88%); all chosen answers together have "
        f"{ratio} times the words of the rejected ones"
    )


def test_labels_of_one_side_and_of_both_for_one_answer_are_found(tmp_path: Path) -> None:
    good = [labelled(f"Why {n}?", f"Since {n} is so", n, wanted=True) for n in range(40)]
    found = look(audit_data(tmp_path / "all", good, words=METHOD))[Check.one_sided_labels]
    assert (found.severity, found.text) == (
        Severity.serious,
        "the labels of all 40 training rows call the answer wanted: no unwanted answer is there to compare with",
    )
    rows = [*good, labelled("Why 3?", "since 3 IS so", 40, wanted=False), labelled("Eh?", "No", 41, wanted=False)]
    made = look(audit_data(tmp_path / "both", rows, words=METHOD))
    assert made[Check.one_sided_labels].text.startswith("only 2 of 42 labelled training rows (5%) have an answer that")
    assert made[Check.contradictory_labels].numbers.tolist() == [3, 40]
    assert not {Check.contradictions, Check.duplicates, Check.near_duplicates} & set(made)
    # Supervised training learns answers that are wanted only, so their labels say nothing.
    assert not OURS & set(look(audit_data(tmp_path / "sft", good)))


def test_what_ranks_leave_out_is_said_whatever_the_method(tmp_path: Path) -> None:
    rows = [pair("Why?", "A", "B", 0, answers=7, tied=0), pair("How?", "A", "B", 1, answers=4, tied=2)]
    found = look(audit_data(tmp_path, rows))[Check.ranks]
    assert (found.rows, found.numbers.tolist()) == (2, [1])
    assert found.text == (
        "2 rows rank 11 answers, of which the best and the worst are taken: 7 are left out; in 1 of 2 rows answers tie "
        "with the best or the worst, and the first is taken"
    )


def test_a_secret_in_a_rejected_answer_is_found_if_it_is_learned_from(tmp_path: Path) -> None:
    rows = [pair("The key?", "None.", "AKIA" + "Z7QK4JW2MB6XT9RD"), *even(4)]
    (label,) = look(audit_data(tmp_path, rows, words=METHOD))[Check.secrets].labels
    assert label[1].endswith(" in the rejected answer")
    assert Check.secrets not in look(audit_data(tmp_path / "sft", rows))


def test_pairs_of_one_prompt_do_not_leak_over_the_split(tmp_path: Path) -> None:
    held = [pair("Which number is the 3th?", "Another", "answer", 40)]
    found = look(audit_data(tmp_path, even(40), held, words=METHOD))[Check.leaked]
    assert found.numbers.tolist() == [40]
