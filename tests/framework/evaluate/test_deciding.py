"""framework/evaluate/deciding.py: the metric that decides follows from the references."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework import testing
from framework.api import ToolCall
from framework.api.records.rows import call_text
from framework.evaluate.deciding import applying, deciding

CALL = call_text([ToolCall("weather", {"city": "Lima"})])
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
        ("exact_match,token_f1,tool_calls", [CALL, "no"], "tool_calls", "not exact_match or token_f1, since 1 of 2"),
        ("exact_match,token_f1,tool_calls", [CALL, *SENTENCES], "token_f1", "not exact_match, since half of"),
        ("exact_match,tool_calls", ["yes", "no"], "exact_match", "the first metric that compares"),
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


def test_a_metric_that_finds_nothing_in_the_references_is_left_out_unless_it_is_the_only_one() -> None:
    plan = testing.plan(["metric=[exact_match,tool_calls,json_valid]"], run_dir=Path("run"))
    made = {each: choice.create() for each, choice in plan.metric.items()}
    assert [*applying(plan.judging, made, ["Lima"])] == ["exact_match", "json_valid"]
    assert [*applying(plan.judging, made, ["Lima", CALL])] == [*made]
    only = {name: made[name] for name in ("tool_calls", "json_valid")}
    assert [*applying(plan.judging, only, ["Lima"])] == [*only]
