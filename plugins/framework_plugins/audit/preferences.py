"""Checks of preference data: pairs of equal answers, labels that contradict each other, length, labels, ranks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from framework.api import Severity
from framework_plugins.audit.config import Check
from framework_plugins.audit.duplicates import hash_prompts
from framework_plugins.audit.finding_draft import FindingDraft, Numbers, are, of
from framework_plugins.audit.texts import MIX, Survey

MIN_PAIRS = 20
"""Fewer pairs, or labels, say nothing about all of them."""
STRONG_BIAS = 0.15
"""By how much a share is beyond `length_bias` from which on it is a warning."""
RARE_LABEL = 0.1
"""A label that fewer of the rows have than this is rare."""


def findings(survey: Survey) -> Iterator[FindingDraft]:
    """Give the findings, before their examples are read."""
    pairs = survey.train[survey.rejected[survey.train] != 0]
    labelled = survey.train[survey.label[survey.train] >= 0]
    if len(pairs):
        yield from _identical_pairs(survey, pairs)
        yield from _length_bias(survey, pairs)
    if len(labelled):
        yield from _one_sided_labels(survey, labelled)
    if len(pairs) or len(labelled):
        yield from _contradictions(survey)
    yield from _rank_finding(survey)


def _identical_pairs(survey: Survey, pairs: Numbers) -> Iterator[FindingDraft]:
    rows = pairs[survey.rejected[pairs] == survey.answered[pairs]]
    if len(rows):
        yield FindingDraft(
            Check.identical_pairs,
            Severity.warning,
            rows,
            f"{of(len(rows), len(pairs), 'preference pairs')} {are(len(rows), 'has', 'have')} a chosen and a rejected "
            "answer that are the same, except for case and white space",
            "remove them: nothing can be learned from them",
        )


def _length_bias(survey: Survey, pairs: Numbers) -> Iterator[FindingDraft]:
    chosen, rejected = survey.words[pairs], survey.rejected_words[pairs]
    longer, shorter = pairs[chosen > rejected], pairs[chosen < rejected]
    rows, kind, opposite = max(
        (longer, "longer", "shorter"), (shorter, "shorter", "longer"), key=lambda side: len(side[0])
    )
    different = len(longer) + len(shorter)
    if different < MIN_PAIRS or len(rows) <= survey.config.length_bias * different:
        return
    ratio = chosen.sum() / max(int(rejected.sum()), 1)
    strong = len(rows) > (survey.config.length_bias + STRONG_BIAS) * different
    yield FindingDraft(
        Check.length_bias,
        Severity.warning if strong else Severity.note,
        rows,
        f"the chosen answer is the {kind} one in {of(len(rows), len(pairs), 'preference pairs')}; all chosen answers "
        f"together have {ratio:.2g} times the words of the rejected ones",
        f"a model learns to write {kind} answers from such pairs, whatever else they teach: add pairs whose chosen "
        f"answer is {opposite}, and compare lengths with metric=[length]",
        whole=True,
    )


def _one_sided_labels(survey: Survey, labelled: Numbers) -> Iterator[FindingDraft]:
    is_wanted = survey.label[labelled] == 1
    common, rare = ("wanted", "unwanted") if 2 * is_wanted.sum() > len(labelled) else ("unwanted", "wanted")
    rows = labelled[is_wanted == (rare == "wanted")]
    if not len(rows):
        instead = ", or learn these answers with method=sft" if common == "wanted" else ""
        yield FindingDraft(
            Check.one_sided_labels,
            Severity.serious,
            labelled,
            f"the labels of all {len(labelled)} training rows call the answer {common}: no {rare} answer is there to "
            "compare with",
            f"add rows with {rare} answers{instead}",
            whole=True,
        )
    elif len(rows) < RARE_LABEL * len(labelled) and len(labelled) >= MIN_PAIRS:
        yield FindingDraft(
            Check.one_sided_labels,
            Severity.warning,
            rows,
            f"only {of(len(rows), len(labelled), 'labelled training rows')} {are(len(rows), 'has', 'have')} an answer "
            f"that is {rare}",
            f"add rows with {rare} answers, or give those that there are more weight",
        )


def _contradictions(survey: Survey) -> Iterator[FindingDraft]:
    """Find pairs that occur in both orders, and answers that are wanted in one row and unwanted in another."""
    train, prompts = survey.train, hash_prompts(survey)
    chosen, rejected, label = survey.answered[train], survey.rejected[train], survey.label[train]
    pairs = (rejected != 0) & (chosen != rejected)
    turned = pairs & np.isin(_hash_pairs(prompts, chosen, rejected), _hash_pairs(prompts, rejected, chosen)[pairs])
    answers = _hash_pairs(prompts, chosen, np.zeros_like(chosen))
    conflicting = (label >= 0) & np.isin(answers, np.intersect1d(answers[label == 1], answers[label == 0]))
    sentences = [
        f"{of(int(rows.sum()), int(among.sum()), noun)} {are(int(rows.sum()), singular, plural)}"
        for rows, among, noun, singular, plural in (
            (turned, rejected != 0, "preference pairs", "occurs in both orders", "occur in both orders"),
            (
                conflicting,
                label >= 0,
                "labelled rows",
                "has an answer that is wanted in one row and unwanted in another",
                "have an answer that is wanted in one row and unwanted in another",
            ),
        )
        if rows.any()
    ]
    if sentences:
        advice = "decide which row is right, and remove the other"
        yield FindingDraft(
            Check.contradictory_labels, Severity.warning, train[turned | conflicting], "; ".join(sentences), advice
        )


def _hash_pairs(prompts: Numbers, answers_a: Numbers, answers_b: Numbers) -> NDArray[np.int64]:
    return (prompts * MIX ^ answers_a) * MIX ^ answers_b


def _rank_finding(survey: Survey) -> Iterator[FindingDraft]:
    rows = survey.train[survey.ranked[survey.train] > 0]
    if not len(rows):
        return
    answers, tied = int(survey.ranked[rows].sum()), rows[survey.tied[rows] > 0]
    text = f"{len(rows)} rows rank {answers} answers, of which the best and the worst are taken: "
    text += f"{answers - 2 * len(rows)} are left out"
    if len(tied):
        text += f"; in {of(len(tied), len(rows))} answers tie with the best or the worst, and the first is taken"
    advice = "write the other pairs into the file as rows of chosen and rejected, if they are to be learned too"
    yield FindingDraft(Check.ranks, Severity.note, tied if len(tied) else rows, text, advice, rows=len(rows))
