"""Takes secrets out of a config before anything is written, logged or uploaded."""

from __future__ import annotations

import os
import re
from typing import Any

HIDDEN = "(hidden)"
SECRET_NAME = re.compile(r"(^|_)(token|api_?key|secret|password|passwd|credentials?|auth)($|_)", re.IGNORECASE)
SECRET_VALUE = re.compile(
    r"\b(hf_\w{20,}|sk-[\w-]{20,}|gh[pousr]_\w{20,}|AKIA[0-9A-Z]{16})\b|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)
SHORTEST = 8
"""Values of secret environment variables below this length are too common as plain words to be looked for."""


def redact(value: Any) -> Any:
    """Return `value` (plain dicts, lists and scalars) without secrets.

    A secret is what stands under a telling name, what looks like a token, and what a telling environment variable
    holds.
    """
    words = {text for name, text in os.environ.items() if SECRET_NAME.search(name) and len(text) >= SHORTEST}
    return _redact(value, sorted(words, key=len, reverse=True))  # a secret may begin with another one


def _redact(value: Any, words: list[str]) -> Any:
    if isinstance(value, dict):
        return {
            key: HIDDEN if isinstance(part, str) and SECRET_NAME.search(str(key)) else _redact(part, words)
            for key, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redact(part, words) for part in value]
    if isinstance(value, str):
        for word in words:
            value = value.replace(word, HIDDEN)
        return SECRET_VALUE.sub(HIDDEN, value)
    return value
