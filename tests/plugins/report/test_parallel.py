"""The coordinates of the parallel-coordinates plot."""

from itertools import pairwise

import pytest

from framework_plugins.report import parallel


def heights(*column: str) -> list[float]:
    ((_, found),) = parallel.axes(["x"], [column])
    return found


def labels(*column: str) -> list[tuple[float, str]]:
    ((axis, _),) = parallel.axes(["x"], [column])
    return axis.labels


def test_numbers_stand_from_the_bottom_up_and_far_apart_ones_by_their_logarithm() -> None:
    assert heights("8", "16", "12") == [260.0, 0.0, 130.0]
    assert heights("1e-5", "1e-3", "1e-4") == [260.0, 0.0, pytest.approx(130.0)]
    assert labels("8", "16") == [(260.0, "8"), (0.0, "16")]


def test_words_stand_in_the_order_in_which_they_come() -> None:
    assert heights("lora", "dora", "lora", "full") == [260.0, 130.0, 260.0, 0.0]
    assert [label for _, label in labels("lora", "dora")] == ["lora", "dora"]


def test_a_single_value_stands_in_the_middle() -> None:
    assert heights("3", "3") == heights("a", "a") == [130.0, 130.0]
    assert labels("3", "3") == [(130.0, "3")]


def test_what_is_no_finite_number_is_a_word() -> None:
    assert heights("nan", "1") == [260.0, 0.0]


def test_of_many_words_so_many_are_written_as_have_room_the_first_and_the_last_among_them() -> None:
    found = labels(*(f"w{number}" for number in range(50)))
    heights = [height for height, _ in found]
    assert (found[0], found[-1]) == ((260.0, "w0"), (0.0, "w49"))
    assert min(one - two for one, two in pairwise(heights)) >= parallel.MIN_LABEL_DISTANCE


def test_axes_are_spread_over_the_width_and_the_best_line_lies_on_top() -> None:
    placed = parallel.axes(["a", "b", "c"], [["1", "2"], ["x", "y"], ["0.5", "0.1"]])
    assert [axis.x for axis, _ in placed] == [0.0, 450.0, 900.0]
    drawn = parallel.lines(placed, ["one", "two"], [1.0, 0.0])
    assert [line.title for line in drawn] == ["two", "one"]
    assert drawn[1].corners == "0.0,260.0 450.0,260.0 900.0,0.0"
