"""Switches of a chat template, such as `enable_thinking`, and which of them makes a row exact: found by trying."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jinja2 import TemplateError, meta
from transformers import PreTrainedTokenizerBase

from framework_plugins.hf.config import NOT_SWITCHES
from framework_plugins.hf.render import COMPILE

MOST = 8
"""Names that are tried."""


def names(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return what a template reads and nobody gives it; what is about thinking comes first."""
    if COMPILE is None:
        return []
    source = tokenizer.get_chat_template()
    try:
        template = COMPILE(source)
        read = meta.find_undeclared_variables(template.environment.parse(source))
    except TemplateError:
        return []
    given = {*template.globals, *tokenizer.special_tokens_map, *NOT_SWITCHES}
    return sorted(read - given, key=lambda name: ("think" not in name, name))[:MOST]


def found(read: list[str], proves: Callable[[Mapping[str, Any]], bool]) -> dict[str, bool]:
    """Return the first values with which a row is exact: of one switch, else of two; empty where none are.

    Args:
        read: names of switches.
        proves: whether a row is exact with some values.
    """
    return next((values for values in _candidates(read) if proves(values)), {})


def _candidates(read: list[str]) -> Iterator[dict[str, bool]]:
    for count in (1, 2):
        for chosen in itertools.combinations(read, count):
            for values in itertools.product((False, True), repeat=count):
                yield dict(zip(chosen, values, strict=True))


def as_override(values: Mapping[str, bool]) -> str:
    """Return the override to type, in quotes: a shell expands braces with a comma."""
    inside = ", ".join(f"{name}: {str(value).lower()}" for name, value in values.items())
    return f'"model.chat_template_kwargs={{{inside}}}"'
