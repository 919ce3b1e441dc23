"""How byte-level tokenizers cut text into words, by the names that llama.cpp has for it.

llama.cpp's converter knows a tokenizer by a hash over its tokens of one text, so it refuses one that was trained or
changed by its owner though it cuts words like a known one. Such a tokenizer is recognised by its `pre_tokenizer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_EXPRESSIONS = {
    (_LLAMA3, True): "llama-bpe",
    (_LLAMA3, False): "dbrx",
    (_QWEN2, False): "qwen2",
    (_TEKKEN, True): "tekken",
    (_TEKKEN, False): "tekken",
}
"""By the expression, and whether a word that is a token is left whole whatever its merges say."""


def pre_tokenizer_name(tokenizer: Mapping[str, Any]) -> str | None:
    """Return llama.cpp's name for the pre-tokenizer of a `tokenizer.json`; None if no name is known here."""
    cutter = tokenizer.get("pre_tokenizer") or {}
    parts: Sequence[Mapping[str, Any]] = cutter.get("pretokenizers", [cutter])
    ignores_merges = bool(tokenizer["model"].get("ignore_merges"))
    match [part.get("type") for part in parts]:
        case ["ByteLevel"] if parts[0]["use_regex"] and not ignores_merges:
            return "gpt-2"
        case ["Digits", "ByteLevel"] if parts[0]["individual_digits"] and parts[1]["use_regex"] and not ignores_merges:
            return "smollm"
        case ["Split", "ByteLevel"] if not parts[1]["use_regex"]:
            return _EXPRESSIONS.get((parts[0]["pattern"].get("Regex", ""), ignores_merges))
    return None
