"""Switches of a chat template, such as `enable_thinking`, and the values with which a row is tried."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError, meta
from transformers import PreTrainedTokenizerBase

from framework import FrameworkError
from framework.api.training import ModelConfig
from framework_plugins.hf.settings.config import RESERVED_TEMPLATE_ARGUMENTS
from framework_plugins.hf.tokens.template_limits import COMPILE

MAX_SWITCHES = 6
"""Names that are tried."""
SWITCH = re.compile("think|thought|reason|history")
NOT_A_SWITCH = re.compile("_(content|text|effort|parts|strength|message|budget|option|mode)$")
"""Names of texts and of choices from a list; with true or false for one of them nobody renders."""


@dataclass(frozen=True)
class SwitchValues:
    """Values of switches: as a template is `given` them, and the `overrides` to type."""

    given: dict[str, Any]
    overrides: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.given)


def names(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the switches of thinking that a template reads and nobody sets; those of `model.thinking` come first."""
    provided = {*tokenizer.special_tokens_map, *RESERVED_TEMPLATE_ARGUMENTS}
    read = _undeclared(tokenizer.get_chat_template())
    switches = [name for name in read - provided if SWITCH.search(name) and not NOT_A_SWITCH.search(name)]
    return sorted(switches, key=lambda name: (name not in ModelConfig.THINKING_SWITCHES, name))[:MAX_SWITCHES]


@functools.lru_cache(maxsize=16)
def _undeclared(source: str) -> frozenset[str]:
    """Return the variables that a template does not set and that do not come with Jinja."""
    if COMPILE is None:
        return frozenset()
    try:
        template = COMPILE(source)
        return frozenset(meta.find_undeclared_variables(template.environment.parse(source)) - {*template.globals})
    except TemplateError:
        return frozenset()


def thinking_fact(tokenizer: PreTrainedTokenizerBase, settings: ModelConfig, name: str) -> str:
    """Name the switches of the template that `model.thinking` sets; empty if it sets none.

    Raises:
        FrameworkError: the template of the model, called `name`, reads none of them.
    """
    if not settings.sets_thinking:
        return ""
    read = names(tokenizer)
    set_here = [switch for switch in read if switch in ModelConfig.THINKING_SWITCHES]
    if not set_here:
        has = f"; its switches are {', '.join(read)}, set with model.chat_template_kwargs" if read else ""
        raise FrameworkError(
            f"model.thinking={settings.thinking.value}: the chat template of model {name} reads neither "
            f"{' nor '.join(ModelConfig.THINKING_SWITCHES)}{has}: leave model.thinking=auto"
        )
    values = ", ".join(f"{switch}={str(settings.template_switches[switch]).lower()}" for switch in set_here)
    return f"{settings.thinking.value} ({values} in the chat template)"


# The switches are only tried for the message: how an exported model answers is the user's choice.
def candidates(read: Sequence[str]) -> Iterator[SwitchValues]:
    """Give the values to try: of no switch first, then of one, then of two.

    Args:
        read: names of switches.
    """
    thinking = [name for name in read if name in ModelConfig.THINKING_SWITCHES]
    other_switches = [name for name in read if name not in ModelConfig.THINKING_SWITCHES]
    switches = [*([thinking] if thinking else []), *([name] for name in other_switches)]
    for count in range(3):
        for chosen in itertools.combinations(switches, count):
            for on in itertools.product((False, True), repeat=count):
                yield _values(dict(zip(map(tuple, chosen), on, strict=True)))


def _values(on: dict[tuple[str, ...], bool]) -> SwitchValues:
    values = {name: value for names, value in on.items() for name in names}
    words = [f"model.thinking={'on' if value else 'off'}" for names, value in on.items() if _is_thinking(names)]
    kwargs = {names[0]: value for names, value in on.items() if not _is_thinking(names)}
    inside = ", ".join(f"{name}: {str(value).lower()}" for name, value in kwargs.items())
    # In quotes: a shell expands braces with a comma.
    words += [f'"model.chat_template_kwargs={{{inside}}}"'] if kwargs else []
    return SwitchValues(values, tuple(words))


def _is_thinking(names: tuple[str, ...]) -> bool:
    return names[0] in ModelConfig.THINKING_SWITCHES
