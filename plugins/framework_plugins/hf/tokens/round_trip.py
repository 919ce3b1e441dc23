"""Whether learned tokens are the answer: some tokenizers drop or change characters, and then no model can write it.

The learned tokens are decoded and compared with the rendered text that they come from. White space does not count,
since decoders add it and take it away, nor do the ways in which Unicode composes a character. A tokenizer of bytes, or
one of SentencePiece that falls back to bytes, loses only those without a token, and what it leaves out when it cuts:
few of its rows have to be decoded.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from tokenizers.decoders import ByteLevel
from tokenizers.normalizers import NFC, NFKC
from transformers.convert_slow_tokenizer import bytes_to_unicode

from framework.api.training import TokenRow
from framework_plugins.hf.packing.tree import common_prefix_length
from framework_plugins.hf.tokens.loss_mask import Draft

LOSSLESS_STEPS = frozenset({"ByteLevel", "Digits", "Split", "Punctuation"})
"""Steps that cut a text and, unless they say so, leave nothing out."""
BYTE_LETTERS: Mapping[int, str] = bytes_to_unicode()
"""The letters that stand for bytes in such a tokenizer."""
FALLBACKS: Mapping[int, str] = {number: f"<0x{number:02X}>" for number in range(256)}
"""The tokens of bytes in a tokenizer of SentencePiece."""
DECODES = frozenset({"ByteFallback", "Fuse", "Metaspace"})
"""Steps of a decoder that, beside those for spaces, lose nothing."""
SPACE = "\u2581"
"""What SentencePiece writes for a space, so it comes back as one."""
CHARACTERS_BEFORE, CHARACTERS_SHOWN = 10, 30
"""Characters of a text that a message gives before a difference, and in all."""


class RoundTrip:
    """Decodes the learned tokens of rows.

    Args:
        core: a tokenizer of the library `tokenizers`.
    """

    def __init__(self, core: Any) -> None:
        self.core = core
        self._first = ""

    @functools.cached_property
    def _lost_bytes(self) -> bytes | None:
        """The bytes without a token in a tokenizer; None if it does not fall back to bytes, or may lose more."""
        core = self.core
        cuts, normalizes, decodes = map(_steps, (core.pre_tokenizer, core.normalizer, core.decoder))
        kinds = {step["type"] for step in cuts}
        names = None
        if "ByteLevel" in kinds and kinds <= LOSSLESS_STEPS and isinstance(core.decoder, ByteLevel):
            names = BYTE_LETTERS if core.normalizer is None or self._composes else None
        elif getattr(core.model, "byte_fallback", False) and kinds <= LOSSLESS_STEPS - {"ByteLevel"} | {"Metaspace"}:
            spaced = all(_is_of_spaces(step) or step["type"] in DECODES for step in decodes)
            falls_back = any(step["type"] == "ByteFallback" for step in decodes)
            names = FALLBACKS if spaced and falls_back and all(map(_is_of_spaces, normalizes)) else None
        if names is None or any(step.get("behavior") == "Removed" for step in cuts):
            return None
        return bytes(byte for byte, name in names.items() if core.token_to_id(name) is None)

    @functools.cached_property
    def _composes(self) -> bool:
        return isinstance(self.core.normalizer, NFC | NFKC)

    def _is_certain(self, text: str) -> bool:
        """Whether no character of a text can be lost; a normal form of Unicode leaves ASCII as it is."""
        if self._lost_bytes is None or (self._composes and not text.isascii()):
            return False
        content = text.encode(errors="replace")
        return len(content.translate(None, self._lost_bytes)) == len(content)

    def check_rows(self, drafts: Sequence[Draft], rows: Sequence[TokenRow]) -> Iterator[TokenRow]:
        """Give rows; one whose learned tokens are not its text has a problem, or is `normalized`."""
        runs = [
            [] if row.problem or self._is_certain(draft.text) else list(_learned_runs(draft))
            for draft, row in zip(drafts, rows, strict=True)
        ]
        texts = iter(
            self.core.decode_batch([ids for row_runs in runs for ids, _ in row_runs], skip_special_tokens=False)
        )
        for row, row_runs in zip(rows, runs, strict=True):
            pairs = [(text, next(texts)) for _, text in row_runs]
            different = [pair for pair in pairs if not _is_equal_text(*pair, "NFC")]
            if lost := next((pair for pair in different if not _is_equal_text(*pair, "NFKC")), None):
                yield dataclasses.replace(row, problem=self._answer_problem(*lost))
            else:
                yield dataclasses.replace(row, normalized=True) if different else row

    def _answer_problem(self, text: str, answer: str) -> str:
        """Return the problem of an answer, with the first one of a run as the example, so that all have one problem."""
        if not self._first:
            start = max(0, common_prefix_length(text, answer) - CHARACTERS_BEFORE)
            became = answer[start : start + CHARACTERS_SHOWN]
            self._first = f"such as {text[start : start + CHARACTERS_SHOWN]!r}, which becomes {became!r}"
        return (
            f"the tokenizer drops or changes characters of an answer, {self._first}, so the model could never write "
            "it: restore tokenizer.json, or take these characters out of the data"
        )


def _steps(part: Any) -> list[Mapping[str, Any]]:
    """Return the steps of a pre-tokenizer, a normalizer or a decoder; none if there is none."""
    return list(_parts(json.loads(part.__getstate__()))) if part else []


def _parts(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if part["type"] != "Sequence":
        yield part
        return
    for inner in next(value for value in part.values() if isinstance(value, list)):
        yield from _parts(inner)


def _is_of_spaces(step: Mapping[str, Any]) -> bool:
    """Whether a step only adds spaces, removes them, or writes them in another way."""
    values = {"Prepend": ("prepend",), "Replace": ("pattern", "content"), "Strip": ("content",)}.get(step["type"])
    shown = [step.get(name) for name in values or ()]
    shown = [value.get("String") if isinstance(value, dict) else value for value in shown]
    return bool(shown) and all(value in {" ", SPACE} for value in shown)


def _learned_runs(draft: Draft) -> Iterator[tuple[list[int], str]]:
    """Give the learned tokens of a row without the stop tokens at their ends, each run with its source text."""
    encoding, token_count = draft.encoding, len(draft.encoding)
    if draft.example.text is not None:
        yield encoding.ids, draft.text
    for first, stop in draft.spans:
        before = encoding.token_to_chars(first - 1) if first else (0, 0)
        after = encoding.token_to_chars(stop) if stop < token_count else (len(draft.text), 0)
        if before and after:  # a token that stands for no character has no place
            yield draft.ids[first : min(stop, token_count)], draft.text[before[1] : after[0]]


def _is_equal_text(text: str, answer: str, form: Literal["NFC", "NFKC"]) -> bool:
    """Whether two texts are equal but for white space and the characters that a normal form of Unicode joins."""
    if text == answer:
        return True
    bare_text, bare_answer = (
        "".join(unicodedata.normalize(form, string).replace(SPACE, " ").split()) for string in (text, answer)
    )
    return bare_text == bare_answer
