"""Log-likelihoods of texts, by `framework.api.Model`. Texts are cut into tokens as lm-eval does it.

A context is tokenized with its continuation, and what follows the context's own tokens is scored. lm-eval itself
is not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from framework.api import Model
from framework.api.training import TokenRow

MAX_NATS = 700.0
"""The exponential of more is too large for a number; a damaged model reaches that."""
CACHED_TEXTS = 8192
"""Texts of which the token ids are remembered: each context comes once with every choice."""
Pair = tuple[list[int], list[int]]
"""The token ids of a context and of its continuation."""


class Likelihood:
    """Scores continuations and whole texts.

    Args:
        model: base or tuned, as it is when it is asked.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.form = model.text_form
        self.longest = self.form.longest
        """Tokens that the model can read."""
        self._tokenize = lru_cache(CACHED_TEXTS)(model.tokenize)

    def encode(self, text: str, add_special_tokens: bool | None = None) -> list[int]:  # noqa: FBT001 - as lm-eval has it
        """Return token ids, after those with which the tokenizer begins a text unless they are there."""
        ids, begin = self._tokenize(text), list(self.form.begin)
        if add_special_tokens is False or (add_special_tokens is None and ids[: len(begin)] == begin):
            return list(ids)
        return [*begin, *ids]

    def pair(self, context: str, continuation: str) -> Pair:
        """Return the tokens of a context and its continuation, which gets the spaces at the context's end."""
        ids = self.encode(context + continuation)
        # As lm-eval does: most tokenizers have the space at the beginning of a word's token.
        before = self.encode(context.rstrip())
        return before, ids[len(before) :]

    def score(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        """Return the log-likelihood in nats of each continuation, and whether the model would generate it."""
        scored = self.model.score([self._token_row(*pair) for pair in pairs])
        return [
            (sum(row.log_probs), row.top == continuation[-len(row.top) :])
            for row, (_, continuation) in zip(scored, pairs, strict=True)
        ]

    def score_texts(self, texts: Sequence[str]) -> list[float]:
        """Return the log-likelihood in nats of whole texts, cut into windows if the model cannot read so much."""
        windows: list[Pair] = []
        owners: list[int] = []
        for index, text in enumerate(texts):
            ids = [self.form.prefix, *self.encode(text)]
            for start in range(1, len(ids), self.longest):
                end = min(start + self.longest, len(ids))
                windows.append((ids[max(0, end - self.longest - 1) : start], ids[start:end]))
                owners.append(index)
        totals = [0.0] * len(texts)
        for index, (likelihood, _) in zip(owners, self.score(windows), strict=True):
            totals[index] += likelihood
        return totals

    def _token_row(self, context: list[int], continuation: list[int]) -> TokenRow:
        """Lay a pair out as a row.

        No token has a part in its own probability. The one before it replaces the last one, so that
        choices of one token are the same row but for the label, which a backend that shares beginnings reads once.
        """
        ids = (context + continuation)[-self.longest - 1 :]
        labels = [TokenRow.IGNORE] * (len(ids) - len(continuation)) + continuation[-len(ids) :]
        return TokenRow([*ids[:-1], ids[-2]], labels)
