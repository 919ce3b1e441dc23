"""The TEMPLATE of a chat template: inferred, written, and proven; or the reason why there is none."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from framework.api.errors import FrameworkError
from framework.api.records import Message
from framework_plugins.exports.ollama.probe import NoTemplateError, Render, conversation, mark
from framework_plugins.exports.ollama.proof import prove
from framework_plugins.exports.ollama.shape import Place, infer
from framework_plugins.exports.ollama.template import go_template
from framework_plugins.exports.ollama.tokens import Tokens

_DATE = re.compile(r"""strftime_now\(\s*(["'])(.+?)\1""")


@dataclass(frozen=True)
class Derived:
    """A proven TEMPLATE.

    Attributes:
        template: in Go's language.
        default_system: the system prompt that the chat template gives by itself; empty where it gives none.
        takes_system: whether a system prompt has a place at all.
        notes: in what it differs from the chat template outside of what is proven, a sentence each.
    """

    template: str
    default_system: str
    takes_system: bool
    notes: list[str]


def derive(render: Render, tokens: Tokens) -> Derived:
    """Find the TEMPLATE that gives what `render` gives.

    Raises:
        NoTemplateError: there is none that could be proven.
    """
    shape = infer(render, tokens.stops)
    template = go_template(shape)
    for _, form in _DATE.findall(tokens.template):
        if time.strftime(form) in template:
            message = (
                "it writes today's date. Where it has a switch for the date, train with one, such as "
                "model.chat_template_kwargs={date_string: 26 Jul 2024}"
            )
            raise NoTemplateError(message)
    notes = prove(template, render, shape.place)
    return Derived(template, shape.default_system, shape.place is not Place.nowhere, notes)


def without_begin(render: Render, tokens: Tokens, *, added: bool) -> Render:
    """Return what Ollama has to write for the model to get what `render` writes.

    Args:
        render: the chat template.
        tokens: of the model.
        added: whether a BOS token is put before each text by itself, as the GGUF file tells.

    Raises:
        FrameworkError: it is, and the chat template writes none: the model would get what it was not trained on.
    """
    if not added:
        return render
    if not render(conversation("u", mark)).startswith(tokens.begin):
        message = (
            f"the GGUF file puts {tokens.begin} before each text (tokenizer.ggml.add_bos_token), the chat template "
            "does not,\nso the model would get what it was not trained on: make the file again, exporter=[gguf,ollama]"
        )
        raise FrameworkError(message)

    def rest(messages: Sequence[Message]) -> str:
        text = render(messages)
        if not text.startswith(tokens.begin):
            message = f"it begins with {tokens.begin} in some conversations only"
            raise NoTemplateError(message)
        return text.removeprefix(tokens.begin)

    return rest
