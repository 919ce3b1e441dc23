"""Switches of a chat template, such as `enable_thinking`, and the values with which a row is tried."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError, meta
from transformers import PreTrainedTokenizerBase

from framework.api.schema import THINKING_SWITCHES
from framework_plugins.hf.settings.config import NOT_SWITCHES
from framework_plugins.hf.tokens.render import COMPILE

MOST = 6
"""Names that are tried."""
SWITCH = re.compile("think|thought|reason|history")
NO_SWITCH = re.compile("_(content|text|effort|parts|strength|message|budget|option|mode)$")
"""Names of texts and of choices from a list; with true or false for one of them nobody renders."""


@dataclass(frozen=True)
class Values:
    """Values of switches: as a template is `given` them, and the `overrides` to type."""

    given: dict[str, Any]
    overrides: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.given)


def names(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return what a template reads about thinking and nobody gives it; that of `model.thinking` comes first."""
    if COMPILE is None:
        return []
    source = tokenizer.get_chat_template()
    try:
        template = COMPILE(source)
        read = meta.find_undeclared_variables(template.environment.parse(source))
    except TemplateError:
        return []
    given = {*template.globals, *tokenizer.special_tokens_map, *NOT_SWITCHES}
    found = [name for name in read - given if SWITCH.search(name) and not NO_SWITCH.search(name)]
    return sorted(found, key=lambda name: (name not in THINKING_SWITCHES, name))[:MOST]


def candidates(read: Sequence[str]) -> Iterator[Values]:
    """Give the values to try, none first, then those of one switch, then those of two.

    Args:
        read: names of switches.
    """
    thinking = [name for name in read if name in THINKING_SWITCHES]
    others = [name for name in read if name not in THINKING_SWITCHES]
    switches = [*([thinking] if thinking else []), *([name] for name in others)]
    for count in range(3):
        for chosen in itertools.combinations(switches, count):
            for on in itertools.product((False, True), repeat=count):
                yield _values(dict(zip(map(tuple, chosen), on, strict=True)))


def _values(on: dict[tuple[str, ...], bool]) -> Values:
    given = {name: value for names, value in on.items() for name in names}
    words = [f"model.thinking={'on' if value else 'off'}" for names, value in on.items() if _is_thinking(names)]
    more = {names[0]: value for names, value in on.items() if not _is_thinking(names)}
    inside = ", ".join(f"{name}: {str(value).lower()}" for name, value in more.items())
    # In quotes: a shell expands braces with a comma.
    words += [f'"model.chat_template_kwargs={{{inside}}}"'] if more else []
    return Values(given, tuple(words))


def _is_thinking(names: tuple[str, ...]) -> bool:
    return names[0] in THINKING_SWITCHES
