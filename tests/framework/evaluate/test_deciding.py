"""framework/evaluate/deciding.py: the metric that decides follows from the references."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework import testing
from framework.evaluate.deciding import deciding

SENTENCES = [f"The parcel {number} arrives on Monday." for number in range(4)]


@pytest.mark.parametrize(
    ("metrics", "references", "name", "why"),
    [
        ("exact_match,token_f1", ["yes", "no", "yes"], "exact_match", "the first metric that compares"),
        ("exact_match,token_f1", ["2024-05-01", "2023-12-24"], "exact_match", "the first metric that compares"),
        ("exact_match,token_f1", ['{"a": 1}', '{"a": 2}'], "exact_match", "the first metric that compares"),
        ("exact_match,token_f1", SENTENCES[:1] * 4, "exact_match", "the first metric that compares"),
        ("exact_match,token_f1", SENTENCES, "token_f1", "not exact_match, since half of the references have 6 words"),
        ("exact_match,token_f1", ["東京は日本の首都です", "大阪も大きい都市です"], "token_f1", "not exact_match"),
        ("json_fields,token_f1", SENTENCES, "token_f1", "not json_fields, since most references are not JSON"),
        ("exact_match,json_valid", SENTENCES, "exact_match", "the first of exact_match, but none suits: half of"),
        ("json_valid", SENTENCES, "", ""),
        ("exact_match", [], "", ""),
    ],
)
def test_it_is_the_first_that_suits_the_references(metrics: str, references: list[str], name: str, why: str) -> None:
    plan = testing.plan([f"metric=[{metrics}]"], run_dir=Path("run"))
    made = {each: choice.create() for each, choice in plan.metric.items()}
    found = deciding(plan.judging, made, references)
    assert (found[0], found[1][: len(why)]) == (name, why)


def test_the_config_has_the_last_word() -> None:
    plan = testing.plan(["metric=[token_f1]", "verdict.primary=token_f1"], run_dir=Path("run"))
    assert deciding(plan.judging, {}, []) == ("token_f1", "verdict.primary says so")
