"""Reads the calls of tools in what a model writes, by the parser of its chat template: its own or TRL's."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase
from trl.chat_template_utils import add_response_schema, parse_response

from framework.api import ToolCall


class CallParser:
    """Parses answers.

    Raises:
        ValueError: nothing is known to read the calls of this chat template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer: Any = copy.copy(tokenizer)  # its parser is not a part of the model that is saved
        if not any(getattr(self.tokenizer, name, None) for name in ("response_template", "response_schema")):
            self.tokenizer = add_response_schema(self.tokenizer)

    def turn(self, ids: Sequence[int], prefix: Sequence[int], tools: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return what was written after `prefix` as a turn."""
        # TRL 1.15 reads calls without the description of the tools.
        described = {"tools": [*tools]} if "tools" in inspect.signature(parse_response).parameters else {}
        turn: Mapping[str, Any] = parse_response(self.tokenizer, [*ids], prefix=[*prefix], **described)
        return turn

    def calls(
        self, ids: Sequence[int], prefix: Sequence[int], tools: Sequence[Mapping[str, Any]]
    ) -> tuple[ToolCall, ...]:
        """Return the calls of an answer."""
        functions = [call.get("function", call) for call in self.turn(ids, prefix, tools).get("tool_calls") or ()]
        readable = all(isinstance(function["arguments"], Mapping) for function in functions)
        return tuple(ToolCall(function["name"], function["arguments"]) for function in functions) if readable else ()
