"""The schemas of a plugin's components: such that a config can hold, one to a component, documented, in their range."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from framework.api.fields import Field, fields
from framework.testing.checks.hooks import Offer, PluginParts
from framework.util.errors import summarize_error
from framework.util.requirements import missing


def problems(plugin: PluginParts) -> Iterator[str]:
    """Look at each component."""
    owners: dict[Any, Offer] = {}
    for offer in plugin.offers:
        schema = offer.component.schema
        if wrong := _kind(offer):
            yield f"{offer}: {wrong}"
        elif schema in owners:
            yield (
                f"{offer} and {owners[schema]} share the schema {schema.__name__}: give each a class of its own, "
                "the class identifies the option"
            )
        else:
            owners[schema] = offer
            yield from (f"{offer}: {problem}" for problem in _schema(schema))
        yield from _extra(offer)


def usable(offer: Offer) -> bool:
    """Whether a component can be registered at all."""
    return not _kind(offer)


def _kind(offer: Offer) -> str:
    try:
        OmegaConf.structured(offer.component.schema)
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        return f"its schema {offer.component.schema.__name__} cannot be a config: {summarize_error(error)}"
    return ""


def _schema(schema: type) -> Iterator[str]:
    doc = schema.__doc__ or ""
    if not doc.strip() or doc.startswith(f"{schema.__name__}("):  # what @dataclass writes if there is none
        yield f"{schema.__name__} has no docstring: its first line is what `plugins` prints"
    for setting in fields(schema):
        if not setting.doc:
            yield f"{schema.__name__}.{setting.name} has no sentence under it that says what it does"
        if problem := _default(setting):
            yield f"{schema.__name__}.{setting.name}: {problem}"


def _default(setting: Field) -> str:
    """Say what is wrong with the default of a setting; empty if nothing is."""
    default = setting.default
    if setting.required or (isinstance(default, str) and "${" in default):
        return ""
    try:
        holds = setting.type.holds(default)
    except Exception as error:  # noqa: BLE001 - a bound that is not understood, or a third-party predicate
        return f"its range cannot be tested: {summarize_error(error)}"
    return "" if holds else f"the default {default!r} is not {setting.valid}"


def _extra(offer: Offer) -> Iterator[str]:
    try:
        missing(offer.component.extras)
    except Exception as error:  # noqa: BLE001 - packaging raises its own
        yield f"{offer}: extra={offer.component.extra!r} is not a requirement of pip: {summarize_error(error)}"
