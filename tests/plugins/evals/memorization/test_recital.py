"""One pass over a true row tells what greedy continuation from each of its prefixes would say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.api.records import IGNORE, Scored, TokenRow
from framework_plugins.evals.memorization.recital import Recital, answer_row, recital, scored_part

STOP = 0
Rule = Mapping[tuple[int, int], int]


def of(row: list[int], *learned: tuple[int, int]) -> TokenRow:
    """Return a row of which some stretches are learned."""
    places = {place for start, end in learned for place in range(start, end)}
    return TokenRow(row, [token if place in places else IGNORE for place, token in enumerate(row)], "a:1")


def learned(row: TokenRow) -> list[int]:
    return [label for label in row.labels if label != IGNORE]


def test_the_last_answer_is_asked_up_to_the_limit() -> None:
    row = of(list(range(10, 30)), (3, 6), (9, 14), (17, 20))
    cut = answer_row(row, 2)
    assert (cut.input_ids, learned(cut), cut.where) == (list(range(10, 29)), [27, 28], "a:1")
    assert learned(answer_row(row, 3)) == learned(answer_row(row, 99)) == [27, 28, 29]


def test_what_follows_the_last_answer_is_cut_off() -> None:
    assert answer_row(of([1, 2, 3, 4, 5], (2, 4)), 9) == TokenRow([1, 2, 3, 4], [IGNORE, IGNORE, 3, 4], "a:1")


@pytest.mark.parametrize("first", [0, 1])
def test_the_second_half_of_plain_text_is_its_answer(first: int) -> None:
    cut = answer_row(of(list(range(10, 20)), (first, 10)), 3)
    assert (cut.input_ids, learned(cut)) == (list(range(10, 18)), [15, 16, 17])


@pytest.mark.parametrize("row", [of([]), of([1]), of([1], (0, 1)), of([1, 2, 3])])
def test_a_row_with_nothing_to_ask_has_nothing_learned(row: TokenRow) -> None:
    assert answer_row(row, 9).supervised == 0


def test_the_numbers_of_an_answer() -> None:
    row = of([1, 2, 3, 4, 5, 6, 7], (2, 7))
    scored = Scored([math.log(0.5)] * 5, [3, 4, 9, 6, 7])
    found = recital(row, scored)
    assert found.probable == pytest.approx(0.5**5)
    assert found.run == 2 / 5
    assert recital(row, Scored([0.0] * 5, [3, 4, 5, 6, 7])) == Recital(1, 1)
    assert recital(row, Scored([-900.0] * 5, [9] * 5)) == Recital(0, 0)


@given(st.lists(st.booleans(), min_size=3, max_size=12).filter(any), st.integers(1, 5))
def test_what_was_scored_of_a_whole_row_is_scored_of_its_answer(learns: list[bool], most: int) -> None:
    row = TokenRow(
        ids := [*range(len(learns))], [token if here else IGNORE for token, here in zip(ids, learns, strict=True)]
    )
    cut = answer_row(row, most)
    whole = [label for label in row.labels[1:] if label != IGNORE]
    assert scored_part(row, cut, Scored([float(token) for token in whole], whole)).top == learned(cut)


def following(rule: Rule, before: Sequence[int]) -> int:
    """Return the likeliest token of a model that looks at two tokens."""
    return rule.get((before[-2] if len(before) > 1 else -1, before[-1]), 1)


def completed(rule: Rule, start: Sequence[int], most: int) -> list[int]:
    """Continue greedily, up to a stop token."""
    said: list[int] = []
    while len(said) < most and said[-1:] != [STOP]:
        said.append(following(rule, [*start, *said]))
    return said


TOKENS = st.integers(1, 3)


@given(
    rule=st.dictionaries(st.tuples(TOKENS, TOKENS), st.integers(0, 3), max_size=9),
    prompt=st.lists(TOKENS, min_size=2, max_size=4),
    answer=st.lists(TOKENS, min_size=1, max_size=10),
    most=st.integers(2, 12),
)
def test_it_is_what_continuing_from_every_prefix_would_show(
    rule: Rule, prompt: list[int], answer: list[int], most: int
) -> None:
    whole = [*prompt, *answer, STOP]
    row = answer_row(of(whole, (len(prompt), len(whole))), most)
    true = learned(row)
    begins = len(row.input_ids) - len(true)
    top = [following(rule, row.input_ids[:place]) for place in range(begins, len(row.input_ids))]
    found = recital(row, Scored([0.0] * len(top), top))

    def given_from(place: int) -> int:
        """Return how many true tokens are said after the first `place` tokens of the answer."""
        said = completed(rule, row.input_ids[: begins + place], len(true) - place)
        return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(said, true[place:], strict=False))))

    assert found.run == max(map(given_from, range(len(true)))) / len(true)
    assert (found.run == 1) is (given_from(0) == len(true))
