"""Whether learned tokens are the answer: some tokenizers drop or change characters, and then no model can write it.

The learned tokens are decoded and compared with the rendered text that they come from. White space does not count,
since decoders add it and take it away, nor do the ways in which Unicode composes a character. A tokenizer of bytes
loses only those without a token, and what it leaves out when it cuts: few of its rows have to be decoded.
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

from framework.api.records import TokenRow
from framework_plugins.hf.tokens.drafts import Draft
from framework_plugins.hf.tokens.prompt_tokens import common

WHOLE = frozenset({"ByteLevel", "Digits", "Split", "Punctuation"})
"""Steps that cut a text and, unless they say so, leave nothing out."""
NAMES: Mapping[int, str] = bytes_to_unicode()
"""The letters that stand for bytes in such a tokenizer."""
SPACE = "\u2581"
"""What SentencePiece writes for a space, so it comes back as one."""
BEFORE, SHOWN = 10, 30
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
    def _lost(self) -> bytes | None:
        """The bytes that a tokenizer of bytes has no tokens for; None if it is another, or may leave out more."""
        core = self.core
        parts = list(_parts(json.loads(core.pre_tokenizer.__getstate__()))) if core.pre_tokenizer else []
        kinds = {part["type"] for part in parts}
        removes = any(part.get("behavior") == "Removed" for part in parts)
        changes = core.normalizer is not None and not isinstance(core.normalizer, NFC | NFKC)
        if "ByteLevel" not in kinds or not kinds <= WHOLE or not isinstance(core.decoder, ByteLevel):
            return None
        return None if removes or changes else bytes(n for n, name in NAMES.items() if core.token_to_id(name) is None)

    def _is_certain(self, text: str) -> bool:
        """Whether no character of a text can be lost; a normalizer leaves ASCII as it is."""
        if self._lost is None or not (self.core.normalizer is None or text.isascii()):
            return False
        content = text.encode(errors="replace")
        return len(content.translate(None, self._lost)) == len(content)

    def checked(self, drafts: Sequence[Draft], rows: Sequence[TokenRow]) -> Iterator[TokenRow]:
        """Give rows; one whose learned tokens are not its text has a problem, or is `normalized`."""
        runs = [
            [] if row.problem or self._is_certain(draft.text) else list(_runs(draft))
            for draft, row in zip(drafts, rows, strict=True)
        ]
        texts = iter(self.core.decode_batch([ids for some in runs for ids, _ in some], skip_special_tokens=False))
        for row, some in zip(rows, runs, strict=True):
            pairs = [(text, next(texts)) for _, text in some]
            different = [pair for pair in pairs if not _same(*pair, "NFC")]
            if lost := next((pair for pair in different if not _same(*pair, "NFKC")), None):
                yield dataclasses.replace(row, problem=self._problem(*lost))
            else:
                yield dataclasses.replace(row, normalized=True) if different else row

    def _problem(self, text: str, answer: str) -> str:
        """Say what becomes of an answer; the first of a run is the example for all, so that they are one problem."""
        if not self._first:
            start = max(0, common(text, answer) - BEFORE)
            became = answer[start : start + SHOWN]
            self._first = f"such as {text[start : start + SHOWN]!r}, which becomes {became!r}"
        return (
            f"the tokenizer drops or changes characters of an answer, {self._first}, so the model could never write "
            "it: restore tokenizer.json, or take these characters out of the data"
        )


def _parts(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Give the steps of a pre-tokenizer."""
    if part["type"] != "Sequence":
        yield part
    for inner in part.get("pretokenizers", ()):
        yield from _parts(inner)


def _runs(draft: Draft) -> Iterator[tuple[list[int], str]]:
    """Give the learned tokens of a row without the stop tokens at their ends, and the text that they were made from."""
    encoding, known = draft.encoding, len(draft.encoding)
    if draft.example.text is not None:
        yield encoding.ids, draft.text
    for first, stop in draft.spans:
        before = encoding.token_to_chars(first - 1) if first else (0, 0)
        after = encoding.token_to_chars(stop) if stop < known else (len(draft.text), 0)
        if before and after:  # a token that stands for no character has no place
            yield draft.ids[first : min(stop, known)], draft.text[before[1] : after[0]]


def _same(text: str, answer: str, form: Literal["NFC", "NFKC"]) -> bool:
    """Whether two texts are the same but for white space and what a normal form of Unicode makes one."""
    if text == answer:
        return True
    bare, other = ("".join(unicodedata.normalize(form, each).replace(SPACE, " ").split()) for each in (text, answer))
    return bare == other
