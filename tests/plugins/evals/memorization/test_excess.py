"""The interval of a difference of two means holds for shares and for values between zero and one."""

import numpy as np
import pytest

from framework_plugins.evals.memorization.excess import excess


def ones(count: int, total: int) -> list[float]:
    return [1.0] * count + [0.0] * (total - count)


@pytest.mark.parametrize(
    ("one", "two"), [((56, 70), (48, 80)), ((9, 10), (3, 10)), ((0, 10), (0, 20)), ((10, 10), (0, 20))]
)
def test_the_bounds_of_shares_are_those_of_agresti_and_caffo(one: tuple[int, int], two: tuple[int, int]) -> None:
    found = excess(ones(*one), ones(*two), 0.95)
    assert found.value == pytest.approx(one[0] / one[1] - two[0] / two[1])
    (hits, total), (others, rows) = one, two
    first, second = (hits + 1) / (total + 2), (others + 1) / (rows + 2)
    half = 1.959964 * (first * (1 - first) / (total + 2) + second * (1 - second) / (rows + 2)) ** 0.5
    assert [found.low, found.high] == pytest.approx([first - second - half, min(1, first - second + half)])


def test_without_a_second_group_two_of_each_are_added() -> None:
    found = excess(ones(9, 10), [], 0.95)
    assert found.value == 0.9
    assert [found.low, found.high] == pytest.approx([11 / 14 - 1.959964 * (11 * 3 / 14**3) ** 0.5, 1])


def test_probabilities_have_narrower_bounds_than_shares() -> None:
    graded, whole = (excess(part, part, 0.95) for part in ([0.4, 0.6] * 32, [0.0, 1.0] * 32))
    assert (graded.value, whole.value) == (0, 0)
    assert graded.high < whole.high / 2


def test_the_true_difference_is_below_the_lower_bound_as_rarely_as_promised() -> None:
    random = np.random.default_rng(0)
    for shape, few in (((0.4, 0.4), 4), ((8.0, 2.0), 4), ((2.0, 8.0), 24)):
        drawn = [
            excess(list(random.beta(*shape, size=24)), list(random.beta(*shape, size=few)), 0.95) for _ in range(2000)
        ]
        assert np.mean([found.low > 0 for found in drawn]) <= 0.03


@pytest.mark.parametrize(
    ("level", "trained", "held_out"),
    [
        (0.5, (64, 8), (48, 6)),  # persons whose rows are all learned or not, and nothing is copied
        (0.1, (256, 40), (192, 6)),  # six persons of whom none may be known by chance: 13% with one row added
        (0.1, (256, 96), (40, 12)),
        (0.5, (256, 40), (96, 3)),
    ],
)
def test_rows_of_one_cluster_count_as_one(level: float, trained: tuple[int, int], held_out: tuple[int, int]) -> None:
    random, flagged = np.random.default_rng(0), {False: 0, True: 0}
    for _ in range(400):
        parts = []
        for rows, persons in (trained, held_out):
            levels, person = random.beta(level, 1 - level, persons), np.arange(rows) % persons
            parts.append((levels[person].tolist(), person.tolist()))
        (train, ours), (others, theirs) = parts
        flagged[False] += excess(train, others, 0.95).low > 0
        flagged[True] += excess(train, others, 0.95, ours, theirs).low > 0
    assert flagged[False] > 0.08 * 400
    assert flagged[True] <= 0.04 * 400


def test_one_cluster_shows_nothing_and_six_show_what_is_recited_by_heart() -> None:
    alone = excess([1.0] * 8, [0.0] * 8, 0.95, held_out_clusters=[3] * 8)
    assert (alone.low, alone.high) == (-1, 1)
    persons = [number % 6 for number in range(48)]
    assert excess([1.0] * 48, [0.0] * 48, 0.95, persons, persons).low > 0.3
    many = [number % 12 for number in range(192)]
    assert excess([0.0] * 192, [0.0] * 192, 0.95, many, many).high < 0.1
