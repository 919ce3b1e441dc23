"""framework/hooks/training_decorators.py: functions that are a part of a training."""

from __future__ import annotations

from typing import Any

import pytest

from framework import callback, optimizer, sampler, schedule
from framework.api.component import GROUPS
from framework.api.protocols import TrainedWeight
from framework.api.schema import OptimizerConfig
from framework.testing.protocols import lacks


@optimizer(state_bytes=4, shards=True)
def heavy(groups: Any, rate: Any, warmup: Any) -> Any:
    """Heavy."""
    return groups, rate, warmup


@optimizer
def light(groups: Any, rate: Any, options: OptimizerConfig) -> Any:
    """Light."""
    return groups, rate, options


@schedule
def flat(step: Any, steps: Any) -> Any:
    """Flat."""
    return step, steps


@schedule
def warm(step: Any, steps: Any, warmup: Any, rate: Any) -> Any:
    """Warm."""
    return step, steps, warmup, rate


@sampler
def first(lengths: Any, batch: Any) -> Any:
    """First."""
    return lengths, batch


@callback
def counts(step: Any, state: Any) -> Any:
    """Counts."""
    state["seen"] = state.get("seen", 0) + 1
    return step


def made(function: Any) -> Any:
    return function.create(function.schema())


def test_a_function_is_called_with_what_it_takes() -> None:
    assert made(heavy).create("groups", 0.1, 3) == ("groups", 0.1, 3)
    options: Any = light
    assert made(light).create("groups", 0.1, 3) == ("groups", 0.1, options.schema())
    assert made(flat).factor(1, 2, 3, 0.1) == (1, 2)
    assert made(warm).factor(1, 2, 3, 0.1) == (1, 2, 3, 0.1)
    assert made(first).order("lengths", 2, 3, 4) == ("lengths", 2)


def test_what_a_decorator_says_is_known_before_anything_is_made() -> None:
    parts: Any = (heavy, light, flat, warm)
    schemas = [function.schema for function in parts]
    assert [schemas[0].shards, schemas[1].shards, schemas[2].warms_up, schemas[3].warms_up] == [
        True,
        False,
        False,
        True,
    ]
    weights = [TrainedWeight("a", (2, 3)), TrainedWeight("b", (4,))]
    assert made(heavy).state_bytes(weights, on_gpu=True) == 40
    assert made(light).state_bytes(weights, on_gpu=True) is None


def test_the_state_of_a_callback_is_a_dict_of_its_own() -> None:
    one, two = made(counts), made(counts)
    one.on_step("step")
    one.on_step("step")
    saved = one.state()
    two.restore(saved)
    two.on_step("step")
    assert (saved, two.state()) == ({"seen": 2}, {"seen": 3})


@pytest.mark.parametrize(
    ("decorator", "takes", "told"),
    [
        (optimizer, "groups", r"takes \(groups\); it may take \(groups, rate, warmup\), and the options after that"),
        (schedule, "steps, step", r"takes \(steps, step\); it may take \(step, steps, warmup, rate\)"),
        (sampler, "lengths", r"takes \(lengths\); it may take \(lengths, batch, steps, seed\)"),
        (callback, "state", r"takes \(state\); it may take \(step, state\)"),
    ],
)
def test_other_parameters_are_refused(decorator: Any, takes: str, told: str) -> None:
    place: dict[str, Any] = {"__name__": "mine"}
    exec(f"def odd({takes}):\n    'Odd.'", place)  # noqa: S102 - functions of all these shapes
    with pytest.raises(TypeError, match=told):
        decorator(place["odd"])


@pytest.mark.parametrize(
    ("function", "group"), [(heavy, "optimizer"), (warm, "schedule"), (first, "sampler"), (counts, "callback")]
)
def test_it_satisfies_the_protocol_of_its_group(function: Any, group: str) -> None:
    assert lacks(made(function), GROUPS[group].product) == []


@pytest.mark.parametrize("given", [-1, float("nan"), float("inf"), "8", True, 10**400])
def test_bytes_that_are_not_a_number_of_bytes_are_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="@optimizer takes bytes for each parameter: state_bytes=8, not "):
        optimizer(state_bytes=given)
