"""Metrics score one answer."""

import pytest

from framework.protocols import Metric
from framework_evals.config import ExactMatchConfig, JsonValidConfig
from framework_evals.metrics import ExactMatch, JsonValid


@pytest.mark.parametrize(
    ("answer", "reference", "exact", "folded"),
    [
        ("Paris", "Paris", 1, 1),
        ("\n Paris ", "Paris", 1, 1),
        ("paris", "PARIS", 0, 1),
        ("Straße", "STRASSE", 0, 1),
        ("Paris.", "Paris", 0, 0),
        ("a  b", "a b", 0, 0),
        ("", "Paris", 0, 0),
    ],
)
def test_an_answer_matches_when_it_is_the_reference(answer: str, reference: str, exact: int, folded: int) -> None:
    assert ExactMatch(ExactMatchConfig()).score(answer, reference) == exact
    assert ExactMatch(ExactMatchConfig(ignore_case=True)).score(answer, reference) == folded


@pytest.mark.parametrize(
    ("answer", "score"),
    [('{"a": 1}', 1), (" [1]\n", 1), ("3", 1), ('{"a": 1', 0), ('```json\n{"a": 1}\n```', 0), ("Sure: {}", 0), ("", 0)],
)
def test_an_answer_is_valid_when_all_of_it_is_json(answer: str, score: int) -> None:
    assert JsonValid(JsonValidConfig()).score(answer, None) == score


def test_metrics_say_whether_they_need_a_reference() -> None:
    metrics: list[Metric] = [ExactMatch(ExactMatchConfig()), JsonValid(JsonValidConfig())]
    assert all(isinstance(metric, Metric) and metric.higher_is_better for metric in metrics)
    assert [metric.needs_reference for metric in metrics] == [True, False]
