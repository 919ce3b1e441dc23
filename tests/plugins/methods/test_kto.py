"""methods/kto.py: what is measured of held-out answers, good and bad ones apart."""

from __future__ import annotations

from typing import cast

import pytest

from framework.api.protocols import Model
from framework.api.records import IGNORE, GroupedRows, TokenRow
from framework.api.records.rows import Scored
from framework.api.schema import Role
from framework_plugins.methods.config import KtoConfig
from framework_plugins.methods.kto import Kto


class Scores:
    """A model that gives each learned token the log-probability of its label, as a negative number."""

    def score(self, rows: list[TokenRow]) -> list[Scored]:
        return [Scored([-float(label) for label in row.labels if label != IGNORE], []) for row in rows]


def answer(labels: list[int], *, good: bool) -> GroupedRows:
    return GroupedRows(
        (TokenRow([0, *labels], [IGNORE, *labels], "rows:1"),), (Role.answer,), {"desirable": float(good)}
    )


def test_the_loss_of_good_answers_is_apart_from_that_of_bad_ones() -> None:
    groups = [answer([1, 3], good=True), answer([9], good=False), answer([4], good=True)]
    found = Kto(KtoConfig()).measures(cast("Model", Scores()), groups)
    assert {name: measure.value for name, measure in found.items()} == {
        "eval_loss": pytest.approx(8 / 3), "bad_loss": 9.0, "label_margin": pytest.approx((9 - 4 - 4) / 3)
    }  # fmt: skip
    assert (found["eval_loss"].weights, found["bad_loss"].items) == ([2, 0, 1], [])
    only_bad = Kto(KtoConfig()).measures(cast("Model", Scores()), groups[1:2])
    assert not only_bad["eval_loss"].items  # there is nothing to compare
