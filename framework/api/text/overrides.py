"""Overrides as they are typed on the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

from framework.api.fields import as_text

PLAIN = re.compile(r"(?!(null|true|false|nan|inf)$)[a-z_/~.][\w/~.:+-]*", re.IGNORECASE)
"""A text that Hydra takes for one without quotes."""


def as_overrides(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as they are typed on the command line."""
    return [f"{key}={quoted(value)}" for key, value in settings.items()]


def quoted(value: object) -> str:
    """Return a value as it is typed, in quotes where Hydra would read another without them."""
    return as_text(
        value, lambda text: text if PLAIN.fullmatch(text) else QuotedString(text, Quote.single).with_quotes()
    )


def override_key(word: str) -> str:
    """Return the key of an override: `experiment` of `+experiment=quickstart`."""
    return word.partition("=")[0].lstrip("+~")
