"""Checks of single rows: empty, broken, secret, refusing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from framework.api import Severity
from framework_plugins.audit.config import Check
from framework_plugins.audit.finding_draft import FindingDraft, Numbers, are, of
from framework_plugins.audit.texts import Survey

TASK_SHARE = 0.5
"""Share of the answers from which on something is the task rather than a fault."""
LONG_FORM_WORDS = 20
"""Words of the median answer from which on one of a single word is odd."""
MIN_ROWS = 10
"""Fewer rows than this are too few to say what most of them are like."""


def findings(survey: Survey) -> Iterator[FindingDraft]:
    """Give the findings, before their examples are read."""
    yield from _empty_texts(survey)
    yield from _one_word_answers(survey)
    yield from _broken_json(survey)
    yield from _pattern_findings(survey)


def _empty_texts(survey: Survey) -> Iterator[FindingDraft]:
    for check, fault, advice in (
        (Check.empty_answers, "an empty answer", "fill or remove them: they teach the model to answer nothing"),
        (Check.empty_questions, "an empty question", "fill or remove them: they teach answers to nothing"),
    ):
        rows = survey.found(check)
        if len(rows):
            text = f"{of(len(rows), len(survey.train), 'training rows')} {are(len(rows), 'has', 'have')} {fault}"
            yield FindingDraft(check, Severity.warning, rows, text, advice, labels=_labels(survey, check))


def _one_word_answers(survey: Survey) -> Iterator[FindingDraft]:
    words = survey.words[survey.train]
    rows = survey.found(Check.one_word_answers)
    share = len(rows) / max(len(words), 1)
    if not len(rows) or len(words) < MIN_ROWS:
        return
    if share > TASK_SHARE:
        severity, advice = Severity.note, "fine if the task is to give a label; metric=[exact_match] measures that"
    else:
        odd = float(np.median(words)) >= LONG_FORM_WORDS
        severity = Severity.warning if odd else Severity.note
        advice = "write full answers if the other rows do: a model learns when to be terse"
    text = f"{of(len(rows), len(words), 'training rows')} {are(len(rows), 'has', 'have')} an answer of one word"
    labels = _labels(survey, Check.one_word_answers)
    yield FindingDraft(Check.one_word_answers, severity, rows, text, advice, labels=labels)


def _broken_json(survey: Survey) -> Iterator[FindingDraft]:
    rows = survey.found(Check.broken_json)
    valid, total = (int(counts[survey.train].sum()) for counts in (survey.json_answers, survey.answers))
    if len(rows) and valid > TASK_SHARE * total:
        yield FindingDraft(
            Check.broken_json,
            Severity.warning,
            rows,
            f"{of(len(rows), len(survey.train), 'training rows')} {are(len(rows), 'has', 'have')} an answer that is "
            f"not valid JSON, while {valid / total:.0%} of the answers are",
            "repair or remove them: the model learns to write invalid JSON too",
            labels=_labels(survey, Check.broken_json),
        )


def _pattern_findings(survey: Survey) -> Iterator[FindingDraft]:
    total = int(survey.used.sum())
    for check, (severity, fault, advice) in _TEXTS.items():
        rows = survey.found(check)
        if len(rows):
            text = f"{of(len(rows), total)} {are(len(rows), 'holds', 'hold')} {fault}"
            yield FindingDraft(
                check, _severity(check, rows, total, severity), rows, text, advice, labels=_labels(survey, check)
            )


def _labels(survey: Survey, check: Check) -> tuple[tuple[int, str], ...]:
    """Return labels for the first rows whose excerpt does not show the problem, or must not be shown."""
    kinds = survey.kinds.get(check, {}).items()
    return tuple((row, f"{kind}{location}") for row, (kind, location) in kinds if location or check in _NOT_QUOTED)


def _severity(check: Check, rows: Numbers, total: int, severity: Severity) -> Severity:
    """Return the severity; a pattern that most rows have is the task, as refusals in data about refusing."""
    task = check in (Check.refusals, Check.markup) and len(rows) > TASK_SHARE * total
    return Severity.note if task else severity


_NOT_QUOTED = (Check.secrets, Check.emails)
"""Of these the examples say what was found, not the text."""
_TEXTS = {
    Check.secrets: (
        Severity.serious,
        "what looks like a credential",
        "remove them and revoke those that are real: a model repeats what it was trained on",
    ),
    Check.broken_encoding: (
        Severity.warning,
        "text that was decoded wrongly (such as Ã© for é)",
        "read the source again as UTF-8, or repair the text (the library ftfy does)",
    ),
    Check.control_characters: (
        Severity.warning,
        "control characters",
        "strip them: they cost tokens, and a model learns to write them",
    ),
    Check.markup: (
        Severity.warning,
        r"line breaks that are written as \n, HTML entities or tags",
        "write line breaks and plain characters (html.unescape) unless this is the task: a model learns to write them",
    ),
    Check.refusals: (
        Severity.warning,
        "an answer that refuses in a language model's stock phrases",
        "remove them unless refusing is the task: a model soon refuses more than it should",
    ),
    Check.emails: (
        Severity.warning,
        "an e-mail address",
        "replace them with placeholders if they belong to people",
    ),
}
