"""One pass over the texts of all rows: what is odd in each, and the few numbers that later checks need."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from framework.data.audit import LEFT_OUT, AuditData
from framework.data.store import TRAIN, Texts
from framework_audit import patterns, secrets
from framework_audit.config import Check, StandardConfig
from framework_audit.found import Numbers
from framework_audit.patterns import Joined, Pattern

PATTERNS = (*patterns.PATTERNS, *secrets.PATTERNS)
KEPT = 4000
"""Characters of a text in the sample."""
WORD_LENGTH = 24
"""Characters of a word, at most: what is longer is an identifier, or a script without spaces."""
ONE_WORD = re.compile(
    r"[^\s{\[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff][^\s\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]*|\S{1,2}"
)
NO_JSON, JSON, BROKEN = range(3)


@dataclass
class Sample:
    """Pairs of neighbours in training, evenly drawn: the rows and their texts. `second[i]` follows on `first[i]`."""

    numbers: Numbers
    first: Numbers
    second: Numbers
    questions: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, train: Numbers, size: int) -> Sample:
        """Choose at most `size` rows; all, where there are no more."""
        if len(train) <= size:
            places = np.arange(max(len(train) - 1, 0))
        else:
            places = np.unique(np.linspace(0, len(train) - 2, size // 2).astype(np.int64))
        both = np.concatenate([places, places + 1]) if len(train) > 1 else np.arange(len(train))
        chosen = np.sort(both)
        chosen = chosen[np.concatenate([[True], chosen[1:] != chosen[:-1]])] if len(chosen) else chosen
        return cls(train[chosen], np.searchsorted(chosen, places), np.searchsorted(chosen, places + 1))


@dataclass
class Survey:
    """All rows, as far as the checks need to know them. Arrays have an entry for each row.

    Attributes:
        data: the rows.
        config: the settings.
        train: numbers of the rows in training.
        used: whether a row is in any part.
        asked: a hash of the question, in small letters and with single spaces.
        answered: the same of the answer.
        words: words of the answer.
        json: NO_JSON, JSON, or BROKEN where an answer begins as JSON and is none.
        one_word: whether the answer is a single word.
        hits: rows in which a pattern of a check was found.
        kinds: what was found in the first of them, (row, kind).
        sample: some rows with their texts.
    """

    data: AuditData
    config: StandardConfig
    train: Numbers
    used: NDArray[np.bool_]
    asked: NDArray[np.int64]
    answered: NDArray[np.int64]
    words: NDArray[np.int32]
    json: NDArray[np.int8]
    one_word: NDArray[np.bool_]
    sample: Sample
    hits: dict[Check, list[Numbers]] = field(default_factory=dict)
    kinds: dict[Check, list[tuple[int, str]]] = field(default_factory=dict)

    def found(self, check: Check) -> Numbers:
        """Return the rows in use that a check's patterns were found in."""
        rows = np.zeros(len(self.data), dtype=bool)
        for numbers in self.hits.get(check, ()):
            rows[numbers] = True
        return np.flatnonzero(rows & self.used)


def survey(data: AuditData, config: StandardConfig) -> Survey:
    """Go through all rows once."""
    count, train = len(data), np.flatnonzero(data.part == TRAIN)
    made = Survey(
        data=data,
        config=config,
        train=train,
        used=data.part != LEFT_OUT,
        asked=np.zeros(count, np.int64),
        answered=np.zeros(count, np.int64),
        words=np.zeros(count, np.int32),
        json=np.zeros(count, np.int8),
        one_word=np.zeros(count, dtype=bool),
        sample=Sample.of(train, config.sample),
    )
    looked_for = [pattern for pattern in PATTERNS if pattern.check not in config.ignore]
    for texts in data.batches():
        _measure(made, texts)
        _sample(made.sample, texts)
        _search(made, texts, looked_for)
    return made


def _measure(made: Survey, texts: Texts) -> None:
    rows = slice(texts.start, texts.start + len(texts.answer))
    plain = [" ".join(text.lower().split()) for text in texts.answer]
    made.asked[rows] = [hash(" ".join(text.lower().split())) for text in texts.question]
    made.answered[rows] = [hash(text) for text in plain]
    made.words[rows] = [text.count(" ") + 1 if text else 0 for text in plain]
    made.one_word[rows] = [len(text) <= WORD_LENGTH and ONE_WORD.fullmatch(text) is not None for text in plain]
    made.json[rows] = [_json(text) for text in texts.answer]


def _json(answer: str) -> int:
    """Tell what kind of JSON an answer is; numbers and words alone are not meant."""
    text = answer.lstrip()
    if not text.startswith(("{", "[")):
        return BROKEN if '{"' in text else NO_JSON
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return BROKEN
    return JSON


def _sample(sample: Sample, texts: Texts) -> None:
    low, high = np.searchsorted(sample.numbers, [texts.start, texts.start + len(texts.answer)])
    for number in sample.numbers[low:high] - texts.start:
        sample.questions.append(texts.question[int(number)][:KEPT])
        sample.answers.append(texts.answer[int(number)][:KEPT])


def _search(made: Survey, texts: Texts, looked_for: Sequence[Pattern]) -> None:
    asked, answered = Joined(texts.question), Joined(texts.answer)
    for pattern in looked_for:
        rows = {
            row for joined in ([answered] if pattern.answers else [asked, answered]) for row in joined.rows(pattern)
        }
        if rows:
            found = np.array(sorted(rows), dtype=np.int64) + texts.start
            made.hits.setdefault(pattern.check, []).append(found)
            made.kinds.setdefault(pattern.check, []).extend(_first(found, pattern, made))


def _first(found: Numbers, pattern: Pattern, made: Survey) -> Iterator[tuple[int, str]]:
    """Keep what was found in the first rows only."""
    room = max(0, 5 - len(made.kinds.get(pattern.check, ())))
    yield from ((int(number), pattern.kind) for number in found[made.used[found]][:room])
