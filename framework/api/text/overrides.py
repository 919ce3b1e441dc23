"""Overrides as they are typed on the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

from framework.api.fields import as_text

__all__ = ["as_overrides", "brief", "override_key", "quoted", "short_keys"]

PLAIN = re.compile(r"(?!(null|true|false|nan|inf)$)[a-z_/~.][\w/~.:+-]*", re.IGNORECASE)
"""A text that Hydra reads as text without quotes."""
LONGEST_NUMBER = 9
"""Longest number, in characters, that a table does not shorten."""


def as_overrides(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as they are typed on the command line."""
    return [f"{key}={quoted(value)}" for key, value in settings.items()]


def quoted(value: object) -> str:
    """Return a value as it is typed, in quotes if Hydra would read another value without them."""
    return as_text(
        value, lambda text: text if PLAIN.fullmatch(text) else QuotedString(text, Quote.single).with_quotes()
    )


def override_key(word: str) -> str:
    """Return the key of an override: `experiment` of `+experiment=quickstart`."""
    return word.partition("=")[0].lstrip("+~")


def short_keys(keys: Sequence[str]) -> list[str]:
    """Shorten keys to their last part if that is unique, for tables and axes."""
    names = [key.rpartition(".")[2] for key in keys]
    return [name if names.count(name) == 1 else key for name, key in zip(names, keys, strict=True)]


def brief(value: str) -> str:
    """Write a number with many places as a short one; any other value stays as it is."""
    if len(value) <= LONGEST_NUMBER:
        return value
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value
