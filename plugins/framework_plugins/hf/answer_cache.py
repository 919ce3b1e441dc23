"""A cache of a model's answers, so that it is not asked twice.

A pass over a true row tells what is likeliest at each place of it. As long as that is what the row says, a greedy
answer to its prompt is the row itself. So an answer is known up to the first place where the two part, and is made from
there on: a trained model that answers as its data do generates next to nothing. `Known` belongs to one state of the
weights; what changes them makes a new one.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from typing import Any

import torch

from framework.api.records import IGNORE, Answer, Scored, TokenRow

MOST = 500_000
"""Tokens that are remembered, of scores and of answers each: about 40 MB of scores."""
NEUTRAL = frozenset({
    "_from_model_config", "assistant_confidence_threshold", "bos_token_id", "cache_config", "cache_implementation",
    "decoder_start_token_id", "do_sample", "dtype", "eos_token_id", "epsilon_cutoff", "eta_cutoff", "max_length",
    "max_new_tokens", "min_p", "output_attentions", "output_hidden_states", "pad_token_id", "return_dict_in_generate",
    "temperature", "top_k", "top_p", "transformers_version", "typical_p", "use_cache",
})  # fmt: skip
"""Settings of a generation_config.json that leave a greedy answer what the likeliest token at each place makes it."""
ONE = frozenset(
    {"encoder_repetition_penalty", "num_beam_groups", "num_beams", "num_return_sequences", "repetition_penalty"}
)
"""Settings that do nothing where they are 1."""
Ids = Sequence[int]


@dataclass(frozen=True)
class Heard:
    """Token ids that stand behind others, and of each its log-probability in nats and what was likeliest there."""

    ids: list[int]
    log_probs: list[float]
    top: list[int]

    @property
    def beginning(self) -> list[int]:
        """Return what a greedy answer says: what stands there, up to the first place where something else is likelier.

        There it says that.
        """
        apart = (place for place, (one, other) in enumerate(zip(self.ids, self.top, strict=True)) if one != other)
        place = next(apart, None)
        return self.top if place is None else self.top[: place + 1]


@dataclass
class Known:
    """What was found out of one state of the weights.

    Attributes:
        guesses: answers that this state may give, by the key of their prompts: those of the base where the model
            differs little. A pass over one shows how much of it is right, before anything is generated.
        taught: whether the model was trained, so that an answer may be the true one.
        answers: what it answered, by the key of the prompt.
    """

    guesses: dict[bytes, list[int]] = field(default_factory=dict)
    taught: bool = False
    answers: dict[bytes, Answer] = field(default_factory=dict)
    _heard: dict[bytes, list[Heard]] = field(default_factory=lambda: defaultdict(list))
    _scored_tokens: int = 0
    _said_tokens: int = 0

    def copy(self) -> Known:
        """Return one that knows the same, and learns by itself."""
        heard = defaultdict(list, {start: list(all_of_it) for start, all_of_it in self._heard.items()})
        return replace(self, guesses=dict(self.guesses), answers=dict(self.answers), _heard=heard)

    def score(self, rows: Sequence[TokenRow], tell: Callable[[Sequence[TokenRow]], Sequence[Scored]]) -> list[Scored]:
        """Return the scores of rows; `tell` is asked for those that are not known."""
        told = {key(row.input_ids, row.labels): self._recall(row) for row in rows}
        new = {name: row for row in rows if told[name := key(row.input_ids, row.labels)] is None}
        found = tell(list(new.values())) if new else []
        for (name, row), scored in zip(new.items(), found, strict=True):
            told[name] = scored
            self.keep(row, scored)
        return [made for row in rows if (made := told[key(row.input_ids, row.labels)])]

    def _recall(self, row: TokenRow) -> Scored | None:
        """Put the scores of a row together from those of rows that begin like it; None where one is not known."""
        log_probs: list[float] = []
        top: list[int] = []
        for start, ids in spans(row):
            alike = (one for one in self._heard.get(key(row.input_ids[:start]), []) if one.ids[: len(ids)] == ids)
            heard = next(alike, None)
            if heard is None:
                return None
            log_probs += heard.log_probs[: len(ids)]
            top += heard.top[: len(ids)]
        return Scored(log_probs, top)

    def keep(self, row: TokenRow, scored: Scored) -> None:
        """Remember the scores of a row, while there is room."""
        self._scored_tokens += len(scored.top)
        if self._scored_tokens > MOST:
            return
        place = 0
        for start, ids in spans(row):
            of_span = slice(place, place + len(ids))
            heard = Heard(ids, scored.log_probs[of_span], scored.top[of_span])
            self._heard[key(row.input_ids[:start])].append(heard)
            place += len(ids)

    def answered(self, start: Ids, answer: Answer) -> None:
        """Remember an answer, while there is room."""
        self._said_tokens += answer.tokens
        if self._said_tokens <= MOST:
            self.answers[key(start)] = answer

    def beginning(self, start: Ids) -> list[int]:
        """Return how the greedy answer to token ids begins, as far as it is known."""
        return max((one.beginning for one in self._heard.get(key(start), [])), key=len, default=[])

    def unsure(self, starts: Sequence[Ids]) -> list[TokenRow]:
        """Return rows to be scored: prompts of which nothing is known, each with the answer that is guessed."""
        rows = []
        for start in starts:
            guess = [] if key(start) in self._heard else self.guesses.get(key(start), [])
            if guess:
                rows.append(TokenRow([*start, *guess], [IGNORE] * len(start) + guess))
        return rows

    def said(self, stop_id: int) -> dict[bytes, list[int]]:
        """Return the answers as guesses."""
        return {start: [*made.ids, *([stop_id] if made.stopped else [])] for start, made in self.answers.items()}


def spans(row: TokenRow) -> list[tuple[int, list[int]]]:
    """Return where each run of learned tokens starts, and the tokens; a learned first token is left out."""
    learned = [(place, label) for place, label in enumerate(row.labels) if label != IGNORE and place]
    runs = (list(run) for _, run in groupby(enumerate(learned), lambda numbered: numbered[1][0] - numbered[0]))
    return [(run[0][1][0], [label for _, (_, label) in run]) for run in runs]


def key(*lists: Ids) -> bytes:
    """Return a short name for lists of token ids."""
    made = hashlib.blake2b(digest_size=16)
    for ids in lists:
        made.update(array("q", ids).tobytes())
        made.update(b"|")
    return made.digest()


def plain(settings: Any) -> bool:
    """Whether a greedy answer under a GenerationConfig is the likeliest token at each place, with nothing on top."""
    own = settings.to_diff_dict() if settings is not None else {}
    return all(name in NEUTRAL or not value or (name in ONE and value == 1) for name, value in own.items())


def fingerprint(weights: Mapping[str, torch.Tensor]) -> bytes:
    """Return a hash of the weights of an adapter."""
    made = hashlib.blake2b(digest_size=16)
    for name, weight in sorted(weights.items(), key=itemgetter(0)):
        made.update(name.encode())
        made.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return made.digest()
