"""How much a setting of a sweep matters."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework_plugins.report.importance import grouped, importances, share


def test_of_a_grid_the_setting_that_makes_the_difference_has_all_of_it() -> None:
    points = list(itertools.product(["1", "2", "3"], ["a", "b"]))
    values = [float(number) for number, _ in points]
    found = importances(["number", "letter"], points, values)
    assert [(each.name, each.share) for each in found] == [("number", 1.0), ("letter", 0.0)]


def test_two_settings_that_add_up_share_the_variance() -> None:
    points = list(itertools.product(["0", "1"], ["0", "1"]))
    values = [float(one) + 0.5 * float(two) for one, two in points]
    shares = [share([row[column] for row in points], values) for column in (0, 1)]
    # Between the groups lie 1 and 0.25 of 1.25; chance alone would give groups half of what is left.
    assert shares == [pytest.approx((1 - 0.125) / 1.25), pytest.approx(0.0)]


@pytest.mark.parametrize(
    ("setting", "values"),
    [(["1", "2", "3"], [1.0, 2.0, 3.0]), (["a", "a"], [1.0, 2.0]), (["a", "a", "b"], [1.0, 1.0, 1.0]), ([], [])],
    ids=["each alone", "one value", "all the same", "no point"],
)
def test_where_the_points_do_not_tell_there_is_none(setting: list[str], values: list[float]) -> None:
    assert share(setting, values) is None


def test_numbers_with_many_values_are_cut_into_groups_of_one_size_and_words_are_not() -> None:
    assert grouped([str(number / 10) for number in range(8)]) == ["0", "0", "1", "1", "2", "2", "3", "3"]
    words = [f"w{number}" for number in range(8)]
    assert grouped(words) == words
    assert share([f"{number}e-5" for number in range(12)], [float(number) for number in range(12)]) > 0.8  # type: ignore[operator]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(-1e3, 1e3)), max_size=12))
def test_a_share_lies_between_nothing_and_all(points: list[tuple[str, float]]) -> None:
    found = share([letter for letter, _ in points], [value for _, value in points])
    assert found is None or 0 <= found <= 1
