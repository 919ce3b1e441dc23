"""Duplicate rows, contradicting rows, and leaks from training into validation."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from framework.api import RowPart, Severity, similarity
from framework_plugins.audit.batch_texts import JSON
from framework_plugins.audit.config import Check
from framework_plugins.audit.finding_draft import SHOWN_ROWS, FindingDraft, Numbers, are, of
from framework_plugins.audit.texts import MAX_SAMPLE_CHARS, MIX, Survey

WARNING_SHARE = 0.01
"""Share of the rows from which on repetition is a warning."""
SHORT_ANSWER_WORDS = 3
"""An answer of at most this many words is a label, a name or a number: of two different ones, one is wrong."""
SERIOUS_LEAK_SHARE = 0.05
"""Share of the validation from which on its loss says nothing."""
COMPARED_ROWS = 20_000
"""Rows whose answers are compared word by word, about; if there are more, the rest is estimated by them."""
COMPARED_ANSWERS = 100
"""Different answers to one prompt that are compared, at most."""
MAX_ROWS_OF_AN_ANSWER = 3
"""An answer that at most this many training rows give is not a label."""
UNCOMMON_SHARE, SHARED_WORDS_SHARE, REORDERED_SHARE = 0.05, 0.5, 0.75
"""Share of the training rows that an uncommon word or pair of words is in at most; share of them that two questions
share; the same of two or more words without pairs, whose order may differ."""


def findings(survey: Survey) -> Iterator[FindingDraft]:
    """Give the findings, before their examples are read."""
    prompts = hash_prompts(survey)
    exact, groups = _find_repeats(survey, prompts)
    yield from _duplicates(survey, exact, groups)
    yield from _near_duplicates(survey, exact)
    yield from _contradictions(survey, prompts)
    yield from _leaks(survey)


def hash_prompts(survey: Survey) -> Numbers:
    """Return a hash of the prompt of each training row: its question, with system prompt and tools if they matter."""
    return survey.questions[survey.train] ^ _hash_systems(survey)


def _find_repeats(survey: Survey, prompts: Numbers) -> tuple[Numbers, Numbers]:
    """Return the training rows that equal an earlier one, and a number for each row that equal rows share."""
    # Mixed, or a prompt that equals its answer would be 0 in every row.
    hashes = (prompts * MIX) ^ survey.answered[survey.train] ^ survey.beside[survey.train]
    groups = np.full(len(survey.data), -1, dtype=np.int64)
    groups[survey.train] = hashes
    return survey.train[_occurred_before(hashes)], groups


def _hash_systems(survey: Survey) -> NDArray[np.int64]:
    """Return a hash of system prompt and tools, for training rows whose question occurs more than once."""
    hashes = np.zeros(len(survey.train), dtype=np.int64)
    questions = survey.questions[survey.train]
    # Only where it can matter: the whole conversation has to be read for it.
    for index in np.flatnonzero(_is_repeated(questions) & survey.framed[survey.train]):
        example = survey.data.example(int(survey.train[index]))
        system = [message.content for message in example.messages[:-1] if message.role == "system"]
        text = json.dumps([system, list(example.tools)], sort_keys=True, default=str).encode()
        hashes[index] = np.frombuffer(hashlib.blake2b(text, digest_size=8).digest(), np.int64)[0]
    return hashes


def _occurred_before(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which values occurred before."""
    order = np.argsort(values, kind="stable")
    again = np.zeros(len(values), dtype=bool)
    again[order[1:]] = values[order][1:] == values[order][:-1]
    return again


def _is_repeated(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which values occur more than once."""
    return _occurred_before(values) | _occurred_before(values[::-1])[::-1]


def _duplicates(survey: Survey, exact: Numbers, groups: Numbers) -> Iterator[FindingDraft]:
    if len(exact):
        count, total = len(exact), len(survey.train)
        yield FindingDraft(
            Check.duplicates,
            Severity.warning if count > WARNING_SHARE * total else Severity.note,
            exact,
            f"{of(count, total, 'training rows')} {are(count, 'repeats', 'repeat')} an earlier one word for word",
            "remove them: repeated rows count double and tend to be memorized word for word",
            labels=_repeat_labels(survey, exact, groups, "repeats"),
        )


def _near_duplicates(survey: Survey, exact: Numbers) -> Iterator[FindingDraft]:
    alike = survey.data.near_duplicates[survey.train] * MIX ^ survey.beside[survey.train]
    again = survey.train[_occurred_before(alike)]
    close = np.setdiff1d(again, exact, assume_unique=True)
    if len(close):
        count, total = len(close), len(survey.train)
        yield FindingDraft(
            Check.near_duplicates,
            Severity.warning if count > WARNING_SHARE * total else Severity.note,
            close,
            f"{of(count, total, 'training rows')} {are(count, 'differs', 'differ')} from another in only a few words",
            "keep one of each kind, or make sure that the difference is what the model should learn",
            labels=_repeat_labels(survey, close, survey.data.near_duplicates, "is nearly"),
        )


def _contradictions(survey: Survey, prompts: NDArray[np.int64]) -> Iterator[FindingDraft]:
    several = _rows_by_prompt(survey, prompts)
    sampled = several[:: -(-sum(map(len, several)) // COMPARED_ROWS) or 1]  # evenly, if there are too many
    conflicts = _find_contradictions(survey, sampled)
    if not conflicts:
        return
    rows, closed = np.sort(np.concatenate(conflicts)), sum(_has_one_answer(survey, group) for group in conflicts)
    scale = sum(map(len, several)) / sum(map(len, sampled))
    counts = [
        _round_estimate(count * scale, exact=len(sampled) == len(several))
        for count in (len(rows), len(conflicts), closed)
    ]
    about = "" if len(sampled) == len(several) else "about "
    yield FindingDraft(
        Check.contradictions,
        Severity.warning if closed else Severity.note,
        rows,
        f"{about}{of(counts[0], len(survey.train), 'training rows')} ask {about}{counts[1]} "
        f"{are(counts[1], 'prompt that has', 'prompts that have')} different answers"
        + (f", {about}{counts[2]} of them with short answers, of which only one can be right" if closed else ""),
        "if only one answer can be right, decide which; several answers to an open question are fine",
        rows=counts[0],
    )


def _round_estimate(count: float, *, exact: bool) -> int:
    """Round an estimate to two digits."""
    return round(count) if exact else int(float(f"{count:.1e}"))


def _rows_by_prompt(survey: Survey, prompts: NDArray[np.int64]) -> list[Numbers]:
    """Gather the training rows of each prompt that has more than one answer; an empty answer is none."""
    unwanted = survey.label[survey.train] == 0
    places = np.flatnonzero(~survey.data.plain[survey.train] & (survey.words[survey.train] > 0) & ~unwanted)
    places = places[_is_repeated(prompts[places])]
    if not len(places):
        return []
    places = places[np.argsort(prompts[places], kind="stable")]
    begins = np.concatenate([[True], prompts[places][1:] != prompts[places][:-1]])
    answers, starts = survey.answered[survey.train[places]], np.flatnonzero(begins)
    # More than one answer if the least and the largest hash of a prompt differ.
    several = np.minimum.reduceat(answers, starts) != np.maximum.reduceat(answers, starts)
    ends = np.append(starts[1:], len(places))
    groups = [survey.train[places[starts[group] : ends[group]]] for group in np.flatnonzero(several)]
    return sorted(groups, key=lambda rows: int(rows[0]))  # not by their hashes, which differ from run to run


def _has_one_answer(survey: Survey, rows: Numbers) -> bool:
    """Whether a prompt has one right answer: all of them are labels, or JSON."""
    return bool((survey.words[rows] <= SHORT_ANSWER_WORDS).all() or (survey.json[rows] == JSON).all())


def _find_contradictions(survey: Survey, several: list[Numbers]) -> list[Numbers]:
    """Keep the prompts whose answers differ in more than a few words, short ones in anything but their full stop.

    Of each the first rows with different answers are compared.
    """
    compared = [rows[np.unique(survey.answered[rows], return_index=True)[1]] for rows in several]
    compared = [np.sort(rows)[:COMPARED_ANSWERS] for rows in compared]
    selected = np.sort(np.concatenate(compared)) if compared else np.zeros(0, np.int64)
    texts: dict[int, str] = {}
    for batch in survey.data.batches() if compared else ():
        low, high = np.searchsorted(selected, [batch.start, batch.start + len(batch.answer)])
        texts |= {int(row): batch.answer[int(row) - batch.start][:MAX_SAMPLE_CHARS] for row in selected[low:high]}
    answers = [list(dict.fromkeys(_normalize_answer(texts[int(row)]) for row in rows)) for rows in compared]
    return [rows for rows, different in zip(several, answers, strict=True) if _answers_differ(different)]


def _normalize_answer(answer: str) -> str:
    return " ".join(answer.lower().split()).rstrip(".! ")


def _answers_differ(answers: list[str]) -> bool:
    if len(answers) == 1:
        return False
    if all(len(answer.split()) <= SHORT_ANSWER_WORDS for answer in answers):
        return True
    vectors = similarity.features(answers)
    indexes = np.arange(1, len(answers))
    return bool((similarity.similarities(vectors, np.zeros_like(indexes), indexes) < similarity.SIMILARITY).any())


def _leaks(survey: Survey) -> Iterator[FindingDraft]:
    part = survey.data.part
    if not np.isin(part, (RowPart.validation, RowPart.prompts)).any():
        return
    groups = survey.data.near_duplicate_questions
    trained = np.zeros(len(groups), dtype=bool)
    trained[groups[part == RowPart.train]] = True
    answered = _paraphrase_pairs(survey)
    leaks, counts, highest_share = [], [], 0.0
    for row_part, name in ((RowPart.validation, "validation rows"), (RowPart.prompts, "prompts of the evaluation")):
        rows = np.flatnonzero(part == row_part)
        leaked = rows[trained[groups[rows]] | np.isin(rows, list(answered))]
        if len(leaked):
            leaks.append(leaked)
            counts.append(of(len(leaked), len(rows), name))
            highest_share = max(highest_share, len(leaked) / len(rows))
    if leaks:
        rows = np.sort(np.concatenate(leaks))
        yield FindingDraft(
            Check.leaked,
            Severity.serious if highest_share > SERIOUS_LEAK_SHARE else Severity.warning,
            rows,
            f"{' and '.join(counts)} {are(len(rows), 'asks', 'ask')} the same as a training row, or nearly the same",
            "remove them from one side, or let data.validation_split choose, which keeps such rows together: "
            "a score on them measures memory",
            labels=_leak_labels(survey, rows, groups, answered),
            named=True,
            leaks=_leaking_rows(survey, rows, groups, answered),
        )


def _leaking_rows(survey: Survey, rows: Numbers, groups: Numbers, answered: dict[int, list[int]]) -> Numbers:
    """Return the training rows that ask the same as some rows, or answer a paraphrase of their question."""
    alike = survey.train[np.isin(groups[survey.train], groups[rows])]
    paraphrases = [train_row for row in rows.tolist() for train_row in answered.get(row, ())]
    return np.unique(np.concatenate([alike, np.array(paraphrases, np.int64)]))


def _paraphrase_pairs(survey: Survey) -> dict[int, list[int]]:
    """Return the rows of an evaluation that paraphrase the question of training rows, with those training rows.

    Both have one answer, which few training rows give, and their questions share half of their uncommon words and pairs
    of words: names, numbers, codes. A label is the answer of many rows, and sums with one result have other numbers.
    """
    pairs = _pair_same_answers(survey)
    if not pairs:
        return {}
    candidates = np.unique(np.array(pairs).ravel())
    texts: dict[int, set[str]] = {}
    for batch in survey.data.batches():
        low, high = np.searchsorted(candidates, [batch.start, batch.start + len(batch.question)])
        texts |= {int(row): _words(batch.question[int(row) - batch.start]) for row in candidates[low:high]}
    vocabulary = set[str]().union(*texts.values())
    counts = Counter[str]()
    for batch in survey.data.batches():
        for index in np.flatnonzero(survey.trained[batch.start : batch.start + len(batch.question)]):
            counts.update(_words(batch.question[int(index)]) & vocabulary)
    # Of a few rows, 5% would be less than one.
    limit = max(MAX_ROWS_OF_AN_ANSWER, UNCOMMON_SHARE * len(survey.train))
    uncommon = {word for word, count in counts.items() if count <= limit}
    matches: dict[int, list[int]] = {}
    for row, train_row in pairs:
        if _share_words(texts[row] & uncommon, texts[train_row] & uncommon):
            matches.setdefault(row, []).append(train_row)
    return matches


def _share_words(terms_a: set[str], terms_b: set[str]) -> bool:
    """Whether two questions share half of their uncommon words and pairs, or nearly all words in any order."""
    words = [{word for word in terms if " " not in word} for terms in (terms_a, terms_b)]
    shared, either = words[0] & words[1], words[0] | words[1]
    return bool(terms_a & terms_b) and (
        len(terms_a & terms_b) >= SHARED_WORDS_SHARE * len(terms_a | terms_b)
        or (len(shared) > 1 and len(shared) >= REORDERED_SHARE * len(either))
    )


def _pair_same_answers(survey: Survey) -> list[tuple[int, int]]:
    """Pair the rows of an evaluation with the training rows that have the same answer, if these are few."""
    trained = survey.train[survey.words[survey.train] > 0]
    values, starts, counts = np.unique(np.sort(survey.answered[trained]), return_index=True, return_counts=True)
    order = trained[np.argsort(survey.answered[trained], kind="stable")]
    eval_rows = np.flatnonzero(np.isin(survey.data.part, (RowPart.validation, RowPart.prompts)) & ~survey.data.plain)
    positions = np.searchsorted(values, survey.answered[eval_rows])
    pairs = []
    for row, position in zip(eval_rows.tolist(), positions.tolist(), strict=True):
        if (
            position < len(values)
            and values[position] == survey.answered[row]
            and counts[position] <= MAX_ROWS_OF_AN_ANSWER
        ):
            pairs += [
                (row, int(train_row)) for train_row in order[starts[position] : starts[position] + counts[position]]
            ]
    return pairs


def _words(text: str) -> set[str]:
    """Return the words of a text, and its pairs of neighbours: a name may be uncommon whose parts are not."""
    words = similarity.WORD.findall(similarity.as_read(text[:MAX_SAMPLE_CHARS]).casefold())
    return {*words, *(" ".join(pair) for pair in itertools.pairwise(words))}


def _leak_labels(
    survey: Survey, rows: Numbers, groups: Numbers, answered: dict[int, list[int]]
) -> tuple[tuple[int, str], ...]:
    """Label the first rows with the training row that answers each."""
    trained, labels = groups[survey.train], []
    for row in rows[:SHOWN_ROWS].tolist():
        alike = trained == groups[row]
        train_row, relation = (
            (int(survey.train[np.argmax(alike)]), "asks the same question as")
            if alike.any()
            else (answered[row][0], "paraphrases the question of")
        )
        labels.append((row, f"{relation} {survey.data.where(train_row)}"))
    return tuple(labels)


def _repeat_labels(survey: Survey, rows: Numbers, groups: Numbers, relation: str) -> tuple[tuple[int, str], ...]:
    """Label the first rows with the first training row of their group."""
    trained = groups[survey.train]
    pairs = [(int(row), int(survey.train[np.argmax(trained == groups[row])])) for row in rows[:SHOWN_ROWS]]
    return tuple((row, f"{relation} {survey.data.where(train_row)}") for row, train_row in pairs)
