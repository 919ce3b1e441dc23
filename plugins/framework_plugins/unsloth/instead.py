"""What works where Unsloth does not: the nearest settings, each checked and tested before it is recommended."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from framework.api.errors import FrameworkError
from framework.api.plan import Plan
from framework.api.registry import ask, components
from framework_plugins.unsloth.capabilities import capabilities

Settings = Mapping[str, str]
"""Options by their groups, `{"trainer": "hf"}`."""
OTHER_TRAINER = {"trainer": "hf"}


def instead(plan: Plan, config: Mapping[str, Any]) -> str:
    """Return what to do where a plan does not work, as the end of a message.

    Args:
        plan: the plan that does not.
        config: what config.json of its model says.
    """
    told = ""
    for settings in nearest(plan):
        problem = _problem(_with(plan, settings), config)
        if not problem:
            return f"{told}Set {_words(settings)}"
        if settings == OTHER_TRAINER:
            told = f"{_words(settings)} does not work either: {problem}. "
    return f"{told}Nothing near it works here"


def nearest(plan: Plan) -> Iterator[Settings]:
    """Give other settings, the nearest first: the other trainer, another single setting, both."""
    yield OTHER_TRAINER
    other: list[Settings] = []
    if group := plan.launch.config.group():
        other += [{"launch": name} for name in ("ddp", "single") if name != group.engine.value]
    other += [{"quantization": "none"}] if plan.quantization.component.name != "none" else []
    other += [{"adapter": "lora"}] if plan.adapter.component.name != "lora" else []
    yield from other
    yield from (OTHER_TRAINER | dict(each) for each in other)


def _with(plan: Plan, settings: Settings) -> Plan:
    """Return a plan with other options, which keep the settings that they have in common with those before."""
    for group, name in settings.items():
        component, before = components(group)[name], getattr(plan, group)
        fields = {field.name for field in dataclasses.fields(component.schema)}
        kept = {name: value for name, value in vars(before.config).items() if name in fields}
        choice = dataclasses.replace(before, component=component, config=component.schema(**kept))
        plan = dataclasses.replace(plan, **{group: choice})
    return plan


def _problem(plan: Plan, config: Mapping[str, Any]) -> str:
    """Say why a plan does not work: by what the plugins say of its settings, and by asking its trainer."""
    refused = [str(told) for _, told in ask("framework_check_plan", plan=plan)]
    try:
        return refused[0] if refused else capabilities(plan, config).problem
    except FrameworkError as error:
        return str(error)


def _words(settings: Settings) -> str:
    return " ".join(f"{group}={name}" for group, name in settings.items())
