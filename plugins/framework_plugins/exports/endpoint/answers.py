"""What an OpenAI-compatible endpoint answers, read strictly: half of an answer is an error, not evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from framework_plugins.lib.chat_endpoint import NoReplyError

ALTERNATIVES = 2
"""Likeliest tokens that are asked for at each position."""
LEAD = 0.05
"""Nats by which another token is likelier, in the endpoint's own numbers, where the answer was not chosen greedily."""


@dataclass(frozen=True)
class ServedToken:
    """A token of an answer.

    Attributes:
        data: its bytes.
        log_prob: in nats, as the endpoint says.
        token_id: None if the endpoint does not say.
        is_greedy: whether no other token is likelier by `LEAD` in the endpoint's own numbers.
    """

    data: bytes
    log_prob: float
    token_id: int | None
    is_greedy: bool


@dataclass(frozen=True)
class ServedAnswer:
    """An answer.

    Attributes:
        text: what was written, without thoughts.
        stopped: whether the model ended it, and not the limit.
        prompt_tokens: of the conversation as the endpoint's template writes it; None if it does not say.
        tokens: with their log-probabilities; empty if it gives none.
    """

    text: str
    stopped: bool
    prompt_tokens: int | None
    tokens: tuple[ServedToken, ...]


def read_answer(completion: Mapping[str, Any]) -> ServedAnswer:
    """Read a chat completion.

    Raises:
        NoReplyError: the answer or its log-probabilities are incomplete.
    """
    choice = completion["choices"][0]
    text, reason = choice["message"].get("content") or "", choice.get("finish_reason")
    if not isinstance(text, str) or not isinstance(reason, str):
        raise NoReplyError(f"half an answer: finish_reason is {reason!r} after {str(text)[:40]!r}")
    usage = completion.get("usage")
    counted = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    log_probs = choice.get("logprobs")
    entries = log_probs.get("content") if isinstance(log_probs, dict) else None
    try:
        tokens = tuple(map(_read_token, entries or ()))
    except (TypeError, KeyError, ValueError, AttributeError):
        raise NoReplyError(f"logprobs are not those of OpenAI's API: {str(entries)[:80]}: --no-logprobs") from None
    length, whole = sum(len(token.data) for token in tokens), len(text.strip().encode())
    if tokens and length < whole:
        raise NoReplyError(f"logprobs are of {length} of {whole} bytes of an answer: --no-logprobs compares without")
    return ServedAnswer(text, reason != "length", counted if isinstance(counted, int) else None, tokens)


def _read_token(entry: Mapping[str, Any]) -> ServedToken:
    log_prob, token_id, raw = float(entry["logprob"]), entry.get("id"), entry.get("bytes")
    others = [float(other["logprob"]) for other in entry.get("top_logprobs") or ()]
    data = bytes(raw) if raw else str(entry["token"]).encode()
    is_greedy = all(other <= log_prob + LEAD for other in others)
    return ServedToken(data, log_prob, token_id if isinstance(token_id, int) else None, is_greedy)
