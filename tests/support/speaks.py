"""The part of a model that writes and reads conversations, by a tokenizer and without weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from framework import testing
from framework.api.records import Prompt
from framework_plugins.hf.tokens.chat import Chat


class Speaks(testing.EchoModel):
    """Renders and tokenizes as a model of the framework does; all else is the echo model's."""

    def __init__(self, tokenizer: Any, settings: Mapping[str, Any] | None = None) -> None:
        # No plan: nothing of the echo model's own is asked for.
        self.tokenizer = tokenizer
        self.chat = Chat(tokenizer, frozenset(), settings)

    def render(self, prompt: Prompt) -> str:
        return self.chat.prompt(prompt.messages, prompt.tools)

    def tokenize(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False))
