"""The callback on losses that are counted by hand, and as an option of a run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import framework_plateau.plugin
from framework import testing
from framework.api import Step
from framework.testing import CallbackSuite
from framework_plateau.config import Measured, PlateauConfig
from framework_plateau.plateau import Plateau


class TestPlateau(CallbackSuite):
    option = "plateau"
    overrides = ("callback.plateau.measure=loss", "callback.plateau.patience=2")
    losses = (2.0, 1.0, 1.0, 1.0, 0.9, 0.95, 0.95)


def rates(config: PlateauConfig, losses: Sequence[float], validations: Sequence[float | None] = ()) -> list[float]:
    """Return the factors that are asked for, 1 if none is."""
    callback, factors = Plateau(config), []
    for index, (loss, value) in enumerate(zip(losses, validations or [None] * len(losses), strict=True), start=1):
        step = Step(index, len(losses), 0.1, loss, 1e-3, 1.0, 10, 1.0, eval_loss=value)
        factors.append(control.rate if (control := callback.on_step(step)) else 1.0)
    return factors


def test_the_plugin_has_no_problems() -> None:
    assert testing.check_plugin(framework_plateau.plugin) == []


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([3, 2, 1], [1, 1, 1]),
        ([1, 1, 1, 1, 1], [1, 1, 0.5, 1, 0.5]),
        ([1, 1, 0.9995, 0.5], [1, 1, 0.5, 1]),  # 0.05% lower does not count
        ([1, float("nan"), float("nan")], [1, 1, 0.5]),
    ],
)
def test_the_rate_falls_after_as_many_values_without_a_lower_one(losses: list[float], expected: list[float]) -> None:
    assert rates(PlateauConfig(Measured.loss, patience=2), losses) == expected


def test_only_validations_count_by_default() -> None:
    assert rates(PlateauConfig(patience=1), [1, 1, 1, 1], [2.0, None, None, 2.0]) == [1, 1, 1, 0.5]


def test_the_rate_does_not_fall_below_the_lowest_share() -> None:
    config = PlateauConfig(Measured.loss, patience=1, factor=0.1, lowest=0.05)
    assert rates(config, [1, 1, 1, 1]) == pytest.approx([1, 0.1, 0.5, 1])
