"""A speaker that says what it was asked, counts words as tokens, and remembers how it was asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from framework.api.records import Prompt
from framework_plugins.chat.options import Sampling
from framework_plugins.chat.session import BASE, TUNED, ChatSession, Speakers


class Parrot:
    """Says `name: prompt`, or the pieces that it was given."""

    def __init__(self, name: str, *, context: int | None = None, pieces: Sequence[str] = ()) -> None:
        self.name = name
        self.context = context
        self.pieces = pieces
        self.asked: list[Prompt] = []
        self.given: list[dict[str, Any]] = []

    def count(self, prompt: Prompt) -> int:
        return sum(len(message.content.split()) for message in prompt.messages)

    def stream(
        self, prompt: Prompt, *, max_new_tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int | None
    ) -> Iterator[str]:
        self.asked.append(prompt)
        self.given.append({"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p, "seed": seed})
        yield from self.pieces or [f"{self.name}:", f" {prompt.messages[-1].content}"]


def pair(*, context: int | None = None) -> tuple[Parrot, Parrot]:
    return Parrot(BASE, context=context), Parrot(TUNED, context=context)


def session(*parrots: Parrot, system: str | None = None, sampling: Sampling | None = None) -> ChatSession:
    """Return a session in which all of them talk."""
    speakers = Speakers({parrot.name: parrot for parrot in parrots}, {BASE: "no base", TUNED: "nothing trained"})
    return ChatSession(speakers, tuple(speakers.available), system, sampling or Sampling())


def turns(prompt: Prompt) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in prompt.messages]


def said(asked: ChatSession, text: str) -> list[str]:
    return ["".join(reply.pieces) for reply in asked.ask(text)]
