"""How many values of the reference are in the answer, in the same place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from framework_plugins.evals.config import JsonFieldsConfig
from framework_plugins.evals.metrics.json_fields import JsonFields
from tests.plugins.evals.metrics.test_json_valid import VALUES

REFERENCE = '{"customer": "Ana Stone", "items": [{"name": "lamp", "count": 2}]}'


def score(answer: str, reference: str = REFERENCE) -> float:
    return JsonFields(JsonFieldsConfig()).score(answer, reference)


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        (REFERENCE, 1.0),
        ('{"items": [{"count": 2, "name": "lamp"}], "customer": "Ana Stone", "city": "Bern"}', 1.0),
        (f"Sure! Here it is:\n```json\n{REFERENCE}\n```", 1.0),
        ('{"customer": "Ana Stone", "items": []}', 1 / 3),
        ('{"customer": "Ana Stone", "items": [{"name": "lamp", "count": "2"}]}', 2 / 3),
        ('{"customer": "Bo Hill", "items": [{"name": "desk", "count": 4}]}', 0.0),
        ('{"customer": "Ana Stone", "items": [{"name": "lamp", "count": 2}', 0.0),
        ("[1]", 0.0),
        ("Ana Stone orders two lamps.", 0.0),
        ("", 0.0),
    ],
)
def test_the_share_of_the_values_that_are_right_is_the_score(answer: str, share: float) -> None:
    assert score(answer) == pytest.approx(share)


@given(VALUES)
def test_what_is_the_reference_has_all_of_it(value: object) -> None:
    assert score(json.dumps(value), json.dumps(value)) == 1


def test_true_is_not_one_and_nothing_is_not_an_empty_list() -> None:
    assert score("true", "1") == 0
    assert score("[]", "{}") == 0
    assert score("{}", "{}") == 1


def test_a_reference_without_json_is_one_value() -> None:
    assert score(" two lamps\n", "two lamps") == 1
    assert score("{}", "two lamps") == 0
