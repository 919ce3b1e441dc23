"""A plan with other settings, made without composing again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from framework.component import GROUPS
from framework.plan import Choice, Plan
from framework.plugins import components
from framework.redact import redact


def changed(plan: Plan, settings: Mapping[str, Any]) -> Plan:
    """Return a plan with settings changed, `{"evaluator.prompts.batch_size": 4, "quantization": "nf4"}`.

    A group without a field chooses an option with its defaults. The plan's config and words change with it, so that a
    rerun is the same run.
    """
    for key, value in settings.items():
        group, *names = key.split(".")
        one = _one(plan, group, names, value)
        whole: dict[str, Any] = {group: one}
        section: Any = _section(one)
        if GROUPS[group].several:
            whole = {group: {**getattr(plan, group), names[0]: one}}
            section = {**plan.config[group], names[0]: section}
        others = (word for word in plan.overrides if not _sets(word, key))
        whole |= {"config": {**plan.config, group: section}, "overrides": (*others, f"{key}={written(value)}")}
        plan = dataclasses.replace(plan, **whole)
    return plan


def _one(plan: Plan, group: str, names: Sequence[str], value: Any) -> Choice:
    """Return the option that a key is about, changed."""
    several = GROUPS[group].several
    choice: Choice = getattr(plan, group)[names[0]] if several else getattr(plan, group)
    if field := ".".join(names[1:] if several else names):
        return dataclasses.replace(choice, config=dataclasses.replace(choice.config, **{field: value}))
    component = components(group)[value]
    return dataclasses.replace(choice, component=component, config=component.schema())


def _section(choice: Choice) -> dict[str, Any]:
    """Return the settings of an option as they stand in `plan.json`."""
    settings = {field.name: _plain(getattr(choice.config, field.name)) for field in dataclasses.fields(choice.config)}
    return dict(redact(settings))


def words(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as they are typed on the command line."""
    return [f"{key}={written(value)}" for key, value in settings.items()]


def written(value: object) -> str:
    """Return a value as it is typed."""
    return str(value.name if isinstance(value, Enum) else value)


def _sets(word: str, key: str) -> bool:
    """Whether a word sets a key, or a field of an option that is replaced."""
    name = word.partition("=")[0].lstrip("+")
    return name == key or ("." not in key and name.startswith(f"{key}."))


def _plain(value: Any) -> Any:
    """Return a setting as it stands in `plan.json`."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(part) for part in value]
    return value if isinstance(value, str | int | float | None) else str(value)
