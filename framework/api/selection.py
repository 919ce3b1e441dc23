"""A chosen option, and the plain form of settings and records."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from framework.api.component import Component, complete, groups_of
from framework.api.fields import fields
from framework.util.affects import Affects
from framework.util.guard import Guard

__all__ = ["Selection", "affecting", "as_plain"]


@dataclass(frozen=True)
class Selection:
    """One chosen option: its component and its settings, an instance of the component's schema."""

    component: Component
    config: Any

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as plain values, including secrets: for keys, never to be written."""
        return {field.name: as_plain(getattr(self.config, field.name)) for field in dataclasses.fields(self.config)}

    def create(self) -> Any:
        """Import the factory's module and call it.

        Raises:
            FrameworkError: it cannot be imported, or raises.
        """
        factory = self.component.load()
        with Guard(lambda: f"{self.component.named} cannot be made with {self.component.factory}"):
            product = factory(self.config)
            for group in groups_of(self.component.schema):
                complete(product, group.product)
            return product


def as_plain(value: Any, what: Affects | None = None) -> Any:
    """Convert a setting, options with their settings, or a record to JSON values; an enum becomes its name.

    Args:
        value: the setting, or an object with settings: an option, a dataclass.
        what: include only settings that affect this; None for all.
    """
    if isinstance(value, Selection):
        return [value.component.name, as_plain(value.config, what)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        values = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return as_plain(values) if what is None else affecting(type(value), values, what)
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): as_plain(part, what) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [as_plain(part, what) for part in value]
    if hasattr(value, "item") and not isinstance(value, type):  # a number of numpy or torch
        value = value.item()
    return value if isinstance(value, str | int | float | None) else str(value)


def affecting(schema: type, values: Mapping[str, Any], what: Affects) -> dict[str, Any]:
    """Return the values of a schema's fields that affect something; below a field, only what it can affect itself."""
    effects = {field.name: field.affects & what for field in fields(schema)}
    return {name: as_plain(values[name], effect) for name, effect in effects.items() if effect}
