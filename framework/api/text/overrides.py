"""Overrides as they are typed on the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
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
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{quoted(part)}' for key, part in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(quoted, value))}]"
    if isinstance(value, str | Path) and value and not PLAIN.fullmatch(str(value)):
        return str(QuotedString(str(value), Quote.single).with_quotes())
    return as_text(value)


def override_key(word: str) -> str:
    """Return the key of an override: `experiment` of `+experiment=quickstart`."""
    return word.partition("=")[0].lstrip("+~")
