"""The monitor as a whole: what is done about what it sees, how often it speaks, and that nothing brings it down."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.api.schema import Action, HealthConfig
from framework.hooks.session import current
from framework_plugins.monitor.health_monitor import MAX_REPORTS, HealthMonitor
from framework_plugins.monitor.recommendations import RECOMMENDATIONS
from framework_plugins.monitor.rewards import LIMITS
from tests.support.curves import entries, falling, kinds, plan, seen
from tests.support.examples import examples

ROOT = Path(__file__).resolve().parents[3]
FLAT = falling(400, start=2.0, end=2.0, noise=0.0)
KINDS = [field.name for field in dataclasses.fields(HealthConfig) if field.name != "lower_to"]


def test_every_kind_has_a_setting_and_a_cure() -> None:
    # What is wrong with drawn answers has an advice for each cause.
    assert set(KINDS) - {"truncated_answers"} == set(HealthMonitor(plan()).rules)
    assert {*HealthMonitor(plan()).rules} - {"drawn_answers"} < set(RECOMMENDATIONS)
    assert {limit.cause for limit in LIMITS.values()} < set(RECOMMENDATIONS)


def test_the_page_says_which_rule_watches_which_method() -> None:
    methods: dict[str, Any] = {name: option.schema for name, option in current().plugins.components("method").items()}
    about_rewards = {"falling_likelihood", "falling_reward", "drawn_answers"}  # other methods log nothing of it
    watched = {
        kind: {
            name
            for name, schema in methods.items()
            if (kind not in about_rewards if schema.health_rules is None else kind in schema.health_rules)
            or kind == "truncated_answers"
        }
        for kind in KINDS
    }
    page = (ROOT / "docs/how-to/health.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([a-z_, ]+) \|$", page, re.MULTILINE)
    assert {kind: set(methods) if names == "all" else set(names.split(", ")) for kind, names in rows} == watched


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_ignored_is_not_looked_at(kind: str) -> None:
    assert kind not in HealthMonitor(plan(f"health.{kind}=ignore")).rules


def test_the_action_is_that_of_the_settings_and_is_reported() -> None:
    (warned, *_) = seen(entries(FLAT))
    assert warned.action is Action.warn
    (stopped, *_) = seen(entries(FLAT), "health.plateau=stop")
    assert (stopped.action, stopped.text) == (Action.stop, f"{warned.text}; the training stops")
    (lowered, *_) = seen(entries(FLAT), "health.plateau=lower", "health.lower_to=0.25")
    assert lowered.text == f"{warned.text}; from here on, the learning rate is 0.25 times what it would be"


def test_one_kind_is_reported_a_few_times_and_then_known() -> None:
    losses = ([0.5] * 30 + [9.0]) * 6
    assert kinds(entries(losses), "health.plateau=ignore") == [(31, "spike"), (62, "spike"), (93, "spike")]
    assert MAX_REPORTS == 3


def test_a_lower_rate_is_looked_at_by_itself() -> None:
    losses, norms = falling(40) + [3.0] * 30, [1.0] * 40 + [50.0] * 5 + [1.0] * 25
    words = ["health.spike=ignore", "health.oscillation=ignore", "health.plateau=ignore"]
    told = [
        kinds(entries(losses, norms), *words, f"health.exploding_gradient={action}") for action in ("warn", "lower")
    ]
    assert [[kind for _, kind in found] for found in told] == [
        ["exploding_gradient", "rising_loss"],
        ["exploding_gradient"],
    ]


def test_an_entry_that_is_reported_again_is_looked_at_for_its_validation_alone() -> None:
    steps = entries([*falling(60, noise=0.0)], checks={20: 1.0, 40: 0.8})
    again = dataclasses.replace(steps[-1], eval_loss=2.0)
    assert kinds([*steps, again]) == [(60, "rising_eval_loss")]
    spike = [dataclasses.replace(step, loss=9.0) for step in (steps[-1], again)]
    assert kinds([*steps[:-1], *spike]) == [(60, "spike"), (60, "rising_eval_loss")]


@settings(derandomize=True, max_examples=examples(60))
@given(
    st.lists(
        st.tuples(*[st.floats(width=32, min_value=0) | st.sampled_from([float("nan"), float("inf")])] * 3), max_size=120
    )
)
def test_no_number_brings_it_down(numbers: list[tuple[float, float, float]]) -> None:
    losses, norms, checks = ([part[place] for part in numbers] for place in range(3))
    found = kinds(entries(losses, norms, dict(enumerate(checks, start=1))), "health.nan=warn")
    assert {kind for _, kind in found} <= set(KINDS)
    assert all(sum(kind == each for _, each in found) <= MAX_REPORTS for kind in KINDS)
