"""One pass over the texts of all rows: the findings of each, and the few numbers that later checks need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from framework.api import AuditData, RowPart, Texts
from framework.api.training import Role
from framework_plugins.audit import patterns
from framework_plugins.audit.batch_texts import BROKEN, JSON, BatchTexts, is_blank, is_silent, is_word, json_kind
from framework_plugins.audit.config import Check, StandardConfig
from framework_plugins.audit.finding_draft import SHOWN_ROWS, Numbers
from framework_plugins.lib import secrets
from framework_plugins.lib.patterns import Pattern

PATTERNS = (*patterns.PATTERNS, *secrets.PATTERNS)
MIX = np.int64(-7046029254386353131)
"""Sets a hash apart from another one of the same text, with which it is joined."""
MAX_SAMPLE_CHARS = 4000
"""Characters of a text in the sample."""


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
        """Choose at most `size` rows; all, if there are no more."""
        if len(train) <= size:
            places = np.arange(max(len(train) - 1, 0))
        else:
            places = np.unique(np.linspace(0, len(train) - 2, size // 2).astype(np.int64))
        indexes = np.concatenate([places, places + 1]) if len(train) > 1 else np.arange(len(train))
        chosen = np.sort(indexes)
        chosen = chosen[np.concatenate([[True], chosen[1:] != chosen[:-1]])] if len(chosen) else chosen
        return cls(train[chosen], np.searchsorted(chosen, places), np.searchsorted(chosen, places + 1))


@dataclass
class Survey:
    """The properties of all rows that the checks need. Arrays have an entry for each row.

    Attributes:
        data: the rows.
        config: the settings.
        train: numbers of the rows in training.
        used: whether a row is in any part.
        trained: whether a row is in training.
        questions: a hash of the question, in small letters and with single spaces.
        answered: the same of the last answer.
        words: words of the last answer.
        json: NO_JSON, JSON, or BROKEN if the last answer begins as JSON and is none.
        answers: how many answers are learned, the last and those before it.
        json_answers: how many of them are JSON.
        framed: whether the model reads more than questions and answers: a system prompt, tools, thoughts, calls.
        rejected: a hash of the rejected answer, as of the last answer; 0 if there is none that the method learns from.
        rejected_words: words of it.
        label: 1 if the label of the answer calls it wanted, 0 if it does not, -1 without a label that counts.
        ranked: of how many ranked answers the pair is the best and the worst; 0 if it is of none.
        tied: how many of these tie with one of the pair.
        sample: some rows with their texts.
        hits: rows in which a check found something.
        kinds: kind and place of the match in the first of them; the place is empty for question and last answer.
    """

    data: AuditData
    config: StandardConfig
    train: Numbers
    used: NDArray[np.bool_]
    trained: NDArray[np.bool_]
    questions: NDArray[np.int64]
    answered: NDArray[np.int64]
    words: NDArray[np.int32]
    json: NDArray[np.int8]
    answers: NDArray[np.int32]
    json_answers: NDArray[np.int32]
    framed: NDArray[np.bool_]
    rejected: NDArray[np.int64]
    rejected_words: NDArray[np.int32]
    label: NDArray[np.int8]
    ranked: NDArray[np.int32]
    tied: NDArray[np.int32]
    sample: Sample
    hits: dict[Check, list[Numbers]] = field(default_factory=dict)
    kinds: dict[Check, dict[int, tuple[str, str]]] = field(default_factory=dict)

    @property
    def beside(self) -> NDArray[np.int64]:
        """A hash of the rejected answer and the label of each row."""
        return self.rejected * MIX + self.label + 1

    def note(self, check: Check, rows: Numbers, among: NDArray[np.bool_], kind: str, location: str = "") -> None:
        """Keep the rows of `among` in which a check found something; the batches come in order."""
        rows = rows[among[rows]]
        if len(rows):
            self.hits.setdefault(check, []).append(rows)
            kinds = self.kinds.get(check, {})
            kinds |= {int(row): (kind, location) for row in rows[:SHOWN_ROWS] if int(row) not in kinds}
            self.kinds[check] = dict(sorted(kinds.items())[:SHOWN_ROWS])

    def found(self, check: Check) -> Numbers:
        """Return the rows in which a check found something."""
        hits = self.hits.get(check)
        return np.unique(np.concatenate(hits)) if hits else np.zeros(0, np.int64)


def make_survey(data: AuditData, config: StandardConfig) -> Survey:
    """Read all rows once and return their survey."""
    count, trained = len(data), data.part == RowPart.train
    result = Survey(
        data=data,
        config=config,
        train=np.flatnonzero(trained),
        used=data.part != RowPart.left_out,
        trained=trained,
        questions=np.zeros(count, np.int64),
        answered=np.zeros(count, np.int64),
        words=np.zeros(count, np.int32),
        json=np.zeros(count, np.int8),
        answers=np.ones(count, np.int32),
        json_answers=np.zeros(count, np.int32),
        framed=np.zeros(count, dtype=bool),
        rejected=np.zeros(count, np.int64),
        rejected_words=np.zeros(count, np.int32),
        label=np.full(count, -1, np.int8),
        ranked=np.zeros(count, np.int32),
        tied=np.zeros(count, np.int32),
        sample=Sample.of(np.flatnonzero(trained), config.sample),
    )
    searched = [pattern for pattern in PATTERNS if pattern.check not in config.ignore]
    for texts in data.batches():
        earlier = BatchTexts.earlier(texts.earlier)
        _measure_batch(result, texts)
        _measure_earlier(result, earlier, texts.start)
        _measure_preference(result, texts)
        _add_to_sample(result.sample, texts)
        _search(result, texts, earlier, searched)
    return result


def _measure_preference(result: Survey, texts: Texts) -> None:
    """Add the rejected answers, labels and ranks that the method reads."""
    method = result.data.plan.method.config
    for row, (answer, facts) in enumerate(zip(texts.rejected, texts.facts, strict=True), start=texts.start):
        if answer and Role.rejected in method.roles:
            plain = " ".join(answer.lower().split())
            result.rejected[row] = hash(plain) or 1
            result.rejected_words[row] = 0 if is_blank(plain) else plain.count(" ") + 1
        if facts:
            if method.own_objective:  # with another one, all answers are learned
                result.label[row] = facts.get("desirable", -1)
            result.ranked[row], result.tied[row] = facts.get("answers", 0), facts.get("tied", 0)


def _measure_batch(result: Survey, texts: Texts) -> None:
    rows = slice(texts.start, texts.start + len(texts.answer))
    plain = [" ".join(text.lower().split()) for text in texts.answer]
    result.questions[rows] = [hash(" ".join(text.lower().split())) for text in texts.question]
    result.answered[rows] = [hash(text) for text in plain]
    result.words[rows] = [0 if is_blank(text) else text.count(" ") + 1 for text in plain]
    result.json[rows] = [json_kind(text) for text in texts.answer]
    result.json_answers[rows] = result.json[rows] == JSON
    result.framed[rows] = [bool(text) for text in texts.around]
    words, kinds = result.words[rows], result.json[rows]
    short = np.array([is_word(text) for text in plain], dtype=bool)
    for check, odd, kind in (
        (Check.empty_answers, (words == 0) & ~result.data.asks[rows], "an empty answer"),
        (
            Check.empty_questions,
            np.array([is_blank(text) for text in texts.question], dtype=bool) & ~result.data.plain[rows],
            "an empty question",
        ),
        (Check.one_word_answers, short, "an answer of one word"),
        (Check.broken_json, (kinds == BROKEN) & (words > 0), "broken JSON"),
    ):
        result.note(check, np.flatnonzero(odd) + texts.start, result.trained, kind)


def _measure_earlier(result: Survey, earlier: BatchTexts, start: int) -> None:
    """Check the answers before the last like the last ones."""
    if not earlier.texts:
        return
    kinds = np.array([json_kind(text) for text in earlier.texts])
    np.add.at(result.answers, earlier.rows + start, 1)
    np.add.at(result.json_answers, earlier.rows[kinds == JSON] + start, 1)
    blank = earlier.select(is_blank)
    for check, rows, kind in (
        (
            Check.empty_answers,
            [row for row in blank if is_silent(result.data.example(int(row) + start))],
            "an empty answer",
        ),
        (Check.one_word_answers, earlier.select(lambda text: is_word(text.strip().lower())), "an answer of one word"),
        (Check.broken_json, np.unique(earlier.rows[kinds == BROKEN]), "broken JSON"),
    ):
        result.note(check, np.array(rows, np.int64) + start, result.trained, kind, earlier.place)


def _add_to_sample(sample: Sample, texts: Texts) -> None:
    low, high = np.searchsorted(sample.numbers, [texts.start, texts.start + len(texts.answer)])
    for index in sample.numbers[low:high] - texts.start:
        sample.questions.append(texts.question[int(index)][:MAX_SAMPLE_CHARS])
        sample.answers.append(texts.answer[int(index)][:MAX_SAMPLE_CHARS])


def _search(result: Survey, texts: Texts, earlier: BatchTexts, searched: Sequence[Pattern]) -> None:
    """Search everything that the model reads; the answers before the last are in the question too."""
    questions, answers = BatchTexts.of(texts.question), BatchTexts.of(texts.answer)
    around = BatchTexts.around(texts.around)
    learned = Role.rejected in result.data.plan.method.config.roles
    rejected = BatchTexts.rejected(texts.rejected if learned else [])
    for pattern in searched:
        for batch_texts in (answers, earlier) if pattern.answers else (questions, answers, around, rejected):
            result.note(
                Check(pattern.check),
                batch_texts.match(pattern) + texts.start,
                result.used,
                pattern.kind,
                batch_texts.place,
            )
