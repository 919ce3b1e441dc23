"""The chat template inside a GGUF file, rendered as transformers would render it, without transformers or torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import Environment, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from framework import FrameworkError
from framework.api import Message, summarize_error


class GenerationTag(Extension):
    """`{% generation %}` marks the assistant's text for masks; its content is rendered as it is."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja has it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return the nodes between the tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Template:
    """A chat template with the words it may use.

    Args:
        source: Jinja.
        words: special tokens by their roles, `bos_token`, and the switches of the template.

    Raises:
        FrameworkError: it is not valid Jinja.
    """

    def __init__(self, source: str, words: Mapping[str, Any]) -> None:
        self._words = words
        try:
            self._template = _environment().from_string(source)
        except TemplateError as error:
            raise FrameworkError(f"the chat template cannot be read: {summarize_error(error)}") from error

    def render(self, messages: Iterable[Message]) -> str:
        """Return a conversation with the opening of the assistant's next turn.

        Raises:
            FrameworkError: the template refuses it.
        """
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return self._template.render(messages=turns, tools=None, add_generation_prompt=True, **self._words)
        except (TemplateError, TypeError, ValueError, KeyError, IndexError) as error:
            raise FrameworkError(
                f"the chat template refuses the turns {', '.join(turn['role'] for turn in turns)}: {error}"
            ) from error


def _environment() -> Environment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, GenerationTag]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    return environment


def _to_json(value: Any, **layout: Any) -> str:
    """Write JSON as it is; Jinja's own filter would escape it for HTML."""
    return json.dumps(value, **{"ensure_ascii": False, **layout})


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)
