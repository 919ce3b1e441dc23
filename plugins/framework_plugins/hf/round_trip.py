"""Whether learned tokens are the answer: some tokenizers drop or change characters, and then no model can write it.

The learned tokens are decoded and compared with the rendered text that they come from. White space does not count,
since decoders add it and take it away, nor do the ways in which Unicode composes a character.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from framework.api.records import TokenRow
from framework_plugins.hf.drafts import Draft
from framework_plugins.hf.masks import common

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

    def checked(self, drafts: Sequence[Draft], rows: Sequence[TokenRow]) -> Iterator[TokenRow]:
        """Give rows; one whose learned tokens are not its text has a problem, or is `normalized`."""
        runs = [[] if row.problem else list(_runs(draft)) for draft, row in zip(drafts, rows, strict=True)]
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
