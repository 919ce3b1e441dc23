"""Which tokens of a row belong to the prompt, and which are learned.

The prompt of an answer is the beginning of the row's text, and it has to be the beginning of its tokens too. To know
that it need not be tokenized a second time. A tokenizer first cuts a text at its added tokens, `<|im_start|>` and the
like, from left to right, the longest first, and then works on each piece by itself. So up to the last added token
within the prompt the tokens of prompt and row are the same, and from there on they are compared: what is there is
short, and nearly always the opening of the assistant's turn, which is tokenized once for all rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class PromptCut:
    """A prompt within a row: up to token `start` the two are the same, from there on the prompt's text is `tail`."""

    start: int
    tail: str


class PromptTokens:
    """Counts the tokens of prompts within rows."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.core = tokenizer.backend_tokenizer
        split = tokenizer.split_special_tokens
        # Left out are the tokens that are matched only after a piece was normalized, and those that count only
        # where no letter is beside them: what comes after could change them.
        self.added = {
            token_id: token.content
            for token_id, token in self.core.get_added_tokens_decoder().items()
            if token.content and not token.normalized and not token.single_word and not (split and token.special)
        }
        self.tails: dict[str, list[int]] = {}

    def cut(self, encoding: Any, ids: list[int], text: str, length: int) -> PromptCut:
        """Find the last added token in the first `length` characters of a row.

        Args:
            encoding: the row's `tokenizers.Encoding`.
            ids: its token ids.
            text: its text.
            length: of the prompt, in characters.
        """
        token = _token_before(encoding, length)
        while token >= 0:
            content = self.added.get(ids[token])
            if content is not None:
                start, end = encoding.token_to_chars(token)
                start = text.find(content, start, end)  # the token may have taken the white space beside it
                if start >= 0 and start + len(content) <= length:
                    return PromptCut(token, text[start:length])
            token -= 1
        return PromptCut(0, text[:length])

    def ids(self, text: str) -> list[int]:
        ids: list[int] = self.core.encode(text, add_special_tokens=False).ids
        return ids

    def tokenize_tails(self, cuts: Iterable[PromptCut]) -> None:
        """Tokenize the tails of a batch; of earlier batches only the tails that occur again stay cached."""
        tails = {cut.tail for cut in cuts}
        self.tails = {tail: self.tails[tail] for tail in tails & self.tails.keys()}
        uncached = sorted(tails - self.tails.keys())
        for tail, encoding in zip(uncached, self.core.encode_batch(uncached, add_special_tokens=False), strict=True):
            self.tails[tail] = encoding.ids

    def count(self, ids: list[int], cut: PromptCut) -> int | None:
        """Return how many of a row's tokens are its prompt; None if the row does not begin with the prompt's tokens."""
        tail = self.tails[cut.tail]
        end = cut.start + len(tail)
        return end if ids[cut.start : end] == tail else None


def _token_before(encoding: Any, length: int) -> int:
    """Return the token of the last character before `length` that has one, or -1."""
    for position in range(length - 1, -1, -1):
        token = encoding.char_to_token(position)
        if token is not None:
            return int(token)
    return -1


def token_from(encoding: Any, position: int, length: int, tokens: int) -> int:
    """Return the token of the first character from `position` on that has one; `tokens`, their number, at the end."""
    for index in range(position, length):
        token = encoding.char_to_token(index)
        if token is not None:
            return int(token)
    return tokens
