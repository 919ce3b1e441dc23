"""Whether llama.cpp writes conversations by an exported file as the training did: the same text, the same token ids."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework import FrameworkError
from framework.api import Model, Prompt, missing
from framework_plugins.exports.chat_template import SAMPLE_CONVERSATIONS
from framework_plugins.exports.llama.process import run_in_process
from framework_plugins.exports.llama.server import PACKAGE, ServedPrompt
from framework_plugins.lib.host import threads as cpu_threads
from framework_plugins.lib.turns import as_turns

SHOWN_CHARS = 30
"""Characters that are shown around the first difference."""
SERVER_TIMEOUT = 1800
"""For the server with all conversations: it reads the weights once, from a slow disk perhaps."""


@dataclass(frozen=True)
class ConversationResult:
    """The result of a comparison, as in `record.conversations`."""

    problem: str = ""
    tools: str = ""
    not_checked: str = ""


@dataclass(frozen=True)
class RenderedConversation:
    """A conversation with its text in the training."""

    prompt: Prompt
    text: str
    ids: tuple[int, ...]

    @property
    def roles(self) -> str:
        return ", ".join(message.role for message in self.prompt.messages)

    @property
    def tools(self) -> bool:
        return bool(self.prompt.tools) or any(message.tool_calls for message in self.prompt.messages)

    @property
    def request(self) -> dict[str, Any]:
        """The conversation as OpenAI's API has it."""
        messages = as_turns(self.prompt.messages)
        for call in (call for turn in messages for call in turn.get("tool_calls", ())):
            call.setdefault("id", "")
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
        return {"messages": messages, **({"tools": list(self.prompt.tools)} if self.prompt.tools else {})}

    def problem(self, served: ServedPrompt, begin: str) -> str:
        """Return the difference of the server's text; empty if there is none. The server puts `begin` before each."""
        if served.refusal:
            return f"llama.cpp's chat template refuses the turns {self.roles}: {served.refusal}"
        expected = self.text if served.text.startswith(begin) else self.text.removeprefix(begin)
        if served.text != expected:
            ours, theirs = first_difference(expected, served.text)
            return (
                f"llama.cpp's chat template writes the turns {self.roles} differently, {theirs!r} instead of {ours!r}"
            )
        if served.ids != self.ids:
            return f"llama.cpp reads the turns {self.roles} as {len(served.ids)} tokens that are not the tokenizer's"
        return ""


def render_conversations(model: Model, prompts: Sequence[Prompt]) -> Iterator[RenderedConversation]:
    """Give the conversations that are compared: one of each form, and those of the run, with the roles of its data.

    Those that the chat template does not take are left out: it refuses them, or drops their system prompt.
    """
    for prompt in [*(Prompt(tuple(talk)) for talk in SAMPLE_CONVERSATIONS), *prompts]:
        try:
            text = model.render(prompt)
        except FrameworkError:
            continue
        if all(message.content.strip() in text for message in prompt.messages if message.role == "system"):
            yield RenderedConversation(prompt, text, tuple(model.tokenize(text)))


def compare_in_server(
    model: Model, file: Path, rendered: Sequence[RenderedConversation], log: Path
) -> ConversationResult:
    """Render all conversations in llama.cpp's server, and return the difference of the first that differs.

    A difference with tools is not a problem of the file: the server rebuilds schemas and numbers before any template
    sees them, 1.0 becomes 1 for example, and so does Ollama. A server that fails says nothing of the file either.
    """
    try:
        served, bos_id = run_in_process(
            f"llama.cpp's server of {PACKAGE}", "framework_plugins.exports.llama.server:serve", log,
            seconds=SERVER_TIMEOUT, file=str(file), requests=[chat.request for chat in rendered], threads=cpu_threads(),
        )  # fmt: skip
    except FrameworkError as error:
        return ConversationResult(not_checked=str(error))
    begin = model.decode(bos_id) if bos_id else ""
    problems = {True: "", False: ""}
    for chat, answer in zip(rendered, served, strict=True):
        problems[chat.tools] = problems[chat.tools] or chat.problem(ServedPrompt(*answer), begin)
    return ConversationResult(problems[False], problems[True])


def missing_server() -> str:
    """Say why nothing can be compared; empty if it can."""
    return f"{PACKAGE}, part of the extra gguf, is not installed" if missing([PACKAGE]) else ""


def first_difference(ours: str, theirs: str) -> tuple[str, str]:
    """Return both texts around the first character in which they differ."""
    pairs = zip(ours, theirs, strict=False)
    at = next(
        (n for n, (our_char, their_char) in enumerate(pairs) if our_char != their_char), min(len(ours), len(theirs))
    )
    start = max(0, at - SHOWN_CHARS)
    return ours[start : at + SHOWN_CHARS], theirs[start : at + SHOWN_CHARS]
