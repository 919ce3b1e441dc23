"""Requests of OpenAI's API, read strictly: a field that would change the answer is honoured or refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from framework import FrameworkError
from framework.api import Prompt
from framework.api.program import read_prompts

MAX_NEW_TOKENS = 512
"""Of an answer, if a request does not say."""
MAX_STOPS = 4
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,), "best_of": (1,), "frequency_penalty": (0,), "presence_penalty": (0,), "logit_bias": ({},),
    "echo": (False,),
    "suffix": ("",), "response_format": ({"type": "text"},), "tool_choice": ("auto", "none"),
}  # fmt: skip
"""Fields that only these values leave without an effect."""


@dataclass(frozen=True)
class AnswerRequest:
    """What is asked.

    Attributes:
        prompt: a conversation; None for `text`.
        text: what is continued as it is; of `/v1/completions`.
        max_new_tokens: most tokens of the answer.
        temperature: 0 takes the likeliest token each time.
        top_p: sample from the likeliest tokens with this total probability.
        seed: of the samples.
        stops: texts at which the answer ends.
        stream: whether pieces are sent as they come.
        log_probs: whether the tokens come with their log-probabilities.
        with_usage: whether a stream ends with the numbers of tokens.
    """

    prompt: Prompt | None
    text: str
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    stops: tuple[str, ...]
    stream: bool
    log_probs: bool
    with_usage: bool


def read_request(body: Any, *, chat: bool) -> AnswerRequest:
    """Read the JSON of a request.

    Raises:
        FrameworkError: a field is wrong, or asks for what is not offered.
    """
    if not isinstance(body, dict):
        raise FrameworkError("the request is not a JSON object")
    for name, values in NEUTRAL.items():
        if body.get(name) not in (None, *values):
            raise FrameworkError(f"{name}={body[name]!r} is not offered here: leave it out")
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    stops = body.get("stop") or ()
    stops = (stops,) if isinstance(stops, str) else tuple(stops) if isinstance(stops, list | tuple) else (None,)
    if len(stops) > MAX_STOPS or not all(isinstance(stop, str) and stop for stop in stops):
        raise FrameworkError(f"stop={body['stop']!r} must be a text, or a list of at most {MAX_STOPS}")
    stream, log_probs = body.get("stream") is True, body.get("logprobs") not in (None, False)
    if stream and log_probs:
        raise FrameworkError("logprobs are not offered with stream=true: leave one of them out")
    options = body.get("stream_options")
    return AnswerRequest(
        prompt=_read_conversation(body) if chat else None,
        text="" if chat else _read_text(body),
        max_new_tokens=int(_number(body, "max_tokens", limit, 1, math.inf, MAX_NEW_TOKENS)),
        temperature=_number(body, "temperature", body.get("temperature"), 0, 2, 1.0),
        top_p=_number(body, "top_p", body.get("top_p"), 1e-9, 1, 1.0),
        seed=None if body.get("seed") is None else int(_number(body, "seed", body["seed"], 0, 2**32 - 1, 0)),
        stops=stops,
        stream=stream,
        log_probs=log_probs,
        with_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def _number(body: Mapping[str, Any], name: str, value: Any, low: float, high: float, default: float) -> float:
    del body
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise FrameworkError(f"{name}={value!r} must be a number from {low:g} to {high:g}")
    return value


def _read_text(body: Mapping[str, Any]) -> str:
    if not isinstance(text := body.get("prompt"), str) or not text:
        raise FrameworkError("prompt must be a text")
    return text


def _read_conversation(body: Mapping[str, Any]) -> Prompt:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise FrameworkError("messages must be a list of objects with role and content")
    row = {"messages": [message | {"content": _content(message)} for message in messages]}
    if body.get("tools") and body.get("tool_choice") != "none":
        row["tools"] = body["tools"]
    (prompt,) = read_prompts(None, [row], "messages", form=None)
    if prompt.reference is not None:
        raise FrameworkError("the last of the messages is the assistant's: end with a user or a tool")
    return prompt


def _content(message: Mapping[str, Any]) -> str:
    """Return the text of a message; OpenAI's client may send it in parts."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    if not all(isinstance(part, dict) and part.get("type") == "text" for part in parts):
        raise FrameworkError("a part of a message is not text: pictures and sound are not offered")
    return "".join(str(part.get("text", "")) for part in parts)
