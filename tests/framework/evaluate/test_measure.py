"""An evaluator that looks in stages is asked for more only while it decides nothing, and the base beside it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from framework import testing
from framework.api.data import Data
from framework.api.protocols import Evaluator, Model
from framework.api.records import IGNORE, EvalResult, GroupedRows, Measure, Results, Sample, TokenRow
from framework.api.schema import Role
from framework.evaluate.checked import CheckedEvaluator
from framework.evaluate.measure import Measuring
from framework.hooks.session import current
from framework.run.report import comparable
from framework.testing.echo import EchoModel
from framework.util.errors import FrameworkError
from tests.support.results import EVEN


class Staged(Evaluator):
    """Measures at each look one item more, decides after `enough`, and notes who is asked what."""

    def __init__(self, enough: int) -> None:
        self.enough = enough
        self.asked: list[tuple[str, int]] = []

    def evaluate(self, model: Model, data: Data, metrics: Mapping[str, Any]) -> EvalResult:
        return self.look(1, model, data, metrics)

    def looks(self, model: Model, data: Data, metrics: Mapping[str, Any]) -> int:
        del model, data, metrics
        return 3

    def look(
        self, number: int, model: Any, data: Data, metrics: Mapping[str, Any], seen: EvalResult | None = None
    ) -> EvalResult:
        del data, metrics
        known = len(seen.measures["one"].items) if seen else 0
        self.asked.append(("base" if model.base else "tuned", number - known))
        items: list[float | None] = [float(model.base)] * number
        samples = [Sample(f"prompt {place}", "", None, stopped=True, scores={}) for place in range(number)]
        return EvalResult({"one": Measure(float(number), items, look_share=1 / 3)}, samples)

    def decided(self, results: Results, confidence: float) -> bool:
        assert confidence == 0.95
        before, after = ({} if one is None else one.measures for one in (results.before, results.after))
        assert not before or len(before["one"].items) == len(after["one"].items)
        assert [*results.changes] == ["one"]
        return len(after["one"].items) >= self.enough


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EchoModel:
    monkeypatch.setattr(EchoModel, "base_key", "one", raising=False)
    return EchoModel(testing.plan([], run_dir=tmp_path))


def measured(model: EchoModel, evaluator: Evaluator, *, asks_base: bool = True) -> tuple[EvalResult | None, EvalResult]:
    measuring = Measuring(model.plan, model, Data([], [], [], EVEN), {"staged": evaluator}, {}, current())
    before = None
    if asks_base:
        before = measuring.before()
    return before, measuring.trained(before)


@pytest.mark.parametrize("enough", [1, 2, 3, 4])
def test_more_is_asked_of_both_until_it_is_decided(model: EchoModel, enough: int) -> None:
    evaluator, last = Staged(enough), min(enough, 3)
    before, after = measured(model, evaluator)
    more = [(who, 1) for _ in range(last - 1) for who in ("tuned", "base")]
    assert evaluator.asked == [("base", 1), ("tuned", 1), *more]
    found = comparable(before, after)
    assert found is not None
    assert [len(result.measures["one"].items) for result in (found, after)] == [last, last]
    assert found.measures["one"].items == [1.0] * last
    assert [sample.prompt for sample in found.samples] == [sample.prompt for sample in after.samples]


def test_a_base_that_will_be_gone_is_asked_everything_before(model: EchoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(EchoModel, "base_key")
    evaluator = Staged(2)
    before, after = measured(model, evaluator)
    assert evaluator.asked == [("base", 3), ("tuned", 1), ("tuned", 1)]
    found = comparable(before, after)
    assert found is not None
    assert found.measures["one"].items == [1.0, 1.0]
    assert found.measures["one"].value == 1
    assert len(found.samples) == 2


def test_without_a_baseline_the_trained_model_is_asked_alone(model: EchoModel) -> None:
    evaluator = Staged(2)
    before, after = measured(model, evaluator, asks_base=False)
    assert evaluator.asked == [("tuned", 1), ("tuned", 1)]
    assert (before, after.base) == (None, {})


def test_what_an_evaluator_raises_is_an_error_with_its_name(model: EchoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = Staged(1)
    monkeypatch.setattr(evaluator, "looks", lambda *_: sys.exit(0))
    with pytest.raises(FrameworkError, match=r"^evaluator=staged: SystemExit"):
        measured(model, CheckedEvaluator("staged", evaluator))


@pytest.mark.parametrize(
    ("method", "roles", "names"),
    [
        ("kto", (Role.answer,), {"eval_loss", "label_margin"}),
        ("dpo", (Role.answer, Role.rejected), {"eval_loss", "preference_accuracy", "preference_margin"}),
    ],
)
def test_what_a_method_measures_counts_the_similar_rows_as_one(
    method: str, roles: tuple[Role, ...], names: set[str], tmp_path: Path
) -> None:
    groups = [
        GroupedRows(tuple(TokenRow([0, 1, 2], [IGNORE, 1, 2], f"rows:{row}") for _ in roles), roles, {"desirable": 1.0})
        for row in range(8)
    ]
    rows, customers = [group.rows[0] for group in groups], [row % 3 for row in range(8)]
    model = EchoModel(testing.plan([f"method={method}"], run_dir=tmp_path))
    for clusters, counted in ((customers, customers), ([*range(8)], [])):
        data = Data([], rows, [], EVEN, validation_groups=groups, clusters=clusters)
        found = Measuring(model.plan, model, data, {}, {}, current()).now().measures
        assert {name: found[name].clusters for name in names} == dict.fromkeys(names, counted)
