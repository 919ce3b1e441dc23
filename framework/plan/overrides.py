"""A plan with other settings, made without composing again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from framework.api.component import GROUPS
from framework.api.fields import CONTAINERS, Type, fields
from framework.api.plan import Plan, Selection
from framework.api.text.overrides import quoted
from framework.config.check import option_name, out_of_range, unknown_key
from framework.hooks.session import current
from framework.util.errors import FrameworkError, unknown
from framework.util.redact import redact

KINDS: dict[Any, Any] = {float: int | float, **CONTAINERS}
"""What a field takes besides values of its own type."""


def changed(plan: Plan, settings: Mapping[str, Any]) -> Plan:
    """Return a plan with settings changed, `{"evaluator.prompts.batch_size": 4, "quantization": "nf4"}`.

    A group without a field chooses an option with its defaults. The plan's config and words change with it, so that a
    rerun is the same run.

    Raises:
        FrameworkError: the plan has no such setting, or it cannot have that value.
    """
    for key, value in settings.items():
        group, *names = key.split(".")
        one = _one(plan, key, value)
        whole: dict[str, Any] = {group: one}
        section: Any = _section(one)
        if GROUPS[group].several:
            whole = {group: {**getattr(plan, group), names[0]: one}}
            section = {**plan.config[group], names[0]: section}
        others = (word for word in plan.overrides if not _sets(word, key))
        whole |= {"config": {**plan.config, group: section}, "overrides": (*others, f"{key}={quoted(value)}")}
        plan = dataclasses.replace(plan, **whole)
    return plan


def _one(plan: Plan, key: str, value: Any) -> Selection:
    """Return the option that a key is about, changed."""
    group, *names = key.split(".")
    if group not in GROUPS:
        raise FrameworkError(unknown("config group", group, GROUPS))
    choice: Selection = getattr(plan, group)
    if GROUPS[group].several:
        chosen, (name, *names) = getattr(plan, group), names or [""]
        if name not in chosen or not names:
            raise FrameworkError(
                f"'{key}' is not a setting of a chosen option. Valid in {group}: {', '.join(chosen) or 'none'}."
            )
        choice = chosen[name]
    if names:
        return dataclasses.replace(choice, config=_replaced(choice.config, names, value, key))
    options = current().plugins.components(group)
    if str(value) not in options:
        raise FrameworkError(unknown(group, str(value), options))
    return dataclasses.replace(choice, component=options[str(value)], config=options[str(value)].schema())


def _replaced(config: Any, names: Sequence[str], value: Any, key: str) -> Any:
    """Return the settings of an option with the field changed to which the names lead."""
    name, *below = names
    schema: Any = type(config)
    known = {field.name: field for field in fields(schema)} if dataclasses.is_dataclass(config) else {}
    if name not in known:
        raise FrameworkError(unknown_key(key, known, option_name(schema)))
    if below:
        value = _replaced(getattr(config, name), below, value, key)
    elif not _holds(known[name].type, value):
        raise FrameworkError(out_of_range(key, value, known[name].type))
    elif known[name].type.choices and isinstance(value, str):
        value = known[name].type.base[value]
    return dataclasses.replace(config, **{name: value})


def _holds(field_type: Type, value: Any) -> bool:
    """Whether a field may have a value; one of several by its name too."""
    if value in field_type.choices:
        return True
    kind = KINDS.get(field_type.base, field_type.base)
    right = value is None or kind is Any or isinstance(value, kind)
    return right and (not isinstance(value, bool) or field_type.base in {bool, Any}) and field_type.holds(value)


def _section(choice: Selection) -> dict[str, Any]:
    """Return the settings of an option as they are in `plan.json`."""
    return dict(redact(choice.settings))


def _sets(word: str, key: str) -> bool:
    """Whether a word sets a key, or a field of an option that is replaced."""
    name = word.partition("=")[0].lstrip("+")
    return name == key or ("." not in key and name.startswith(f"{key}."))
