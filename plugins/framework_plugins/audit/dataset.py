"""Checks of the data as a whole: one template, an order by topic, mixed system prompts, several languages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from framework.api import Learn, Severity, similarity
from framework_plugins.audit.config import Check
from framework_plugins.audit.finding_draft import FindingDraft, Numbers, are, of
from framework_plugins.audit.texts import Survey
from framework_plugins.lib.language import languages

MIN_ROWS = 50
"""Fewer rows than this say nothing about the whole."""
TEMPLATE_SIMILARITY = 0.5
"""Share of their features that rows of one template have in common."""
SORTED_FACTOR, SORTED_DIFFERENCE = 2.0, 0.02
"""Rows are sorted if neighbours are more similar than distant rows by this factor and this difference."""


def findings(survey: Survey) -> Iterator[FindingDraft]:
    """Give the findings, before their examples are read."""
    if len(survey.train) >= MIN_ROWS:
        yield from _similar_rows(survey)
        if survey.data.plan.data.config.learn is not Learn.each:  # neighbours are of one conversation
            yield from _sorted_by_topic(survey)
        yield from _languages(survey)
    yield from _missing_system(survey)


def _similar_rows(survey: Survey) -> Iterator[FindingDraft]:
    sample = survey.sample
    texts = [f"{question} {answer}" for question, answer in zip(sample.questions, sample.answers, strict=True)]
    # Of the sample: a template is seen in a thousand rows.
    template = _largest_group(similarity.group(lambda: [texts], len(texts), similarity=TEMPLATE_SIMILARITY))
    close = _largest_group(survey.data.near_duplicates[survey.train])
    distinct_words, distinct_pairs = (_distinct_share(sample.answers, length) for length in (1, 2))
    limit = survey.config.homogeneous
    spread = (
        f"{distinct_words:.0%} of the words in the answers are distinct, {distinct_pairs:.0%} of the pairs of words"
    )
    if len(close) > limit * len(survey.train):
        share, rows = len(close) / len(survey.train), survey.train[close]
        text, severity = f"{share:.0%} of the rows differ from each other in only a few words", Severity.warning
    elif len(template) > limit * len(texts):
        share, rows = len(template) / len(texts), sample.numbers[template]
        text, severity = f"{share:.0%} of the rows follow one template filled with different words", Severity.note
    elif distinct_pairs < survey.config.distinct:
        share, rows = 1.0, survey.train
        text, severity = "the answers repeat the same phrases", Severity.note
    else:
        return
    yield FindingDraft(
        Check.homogeneous,
        severity,
        rows,
        f"{text}; {spread}",
        "fine if you want a single task with a fixed form; for anything broader, vary the questions and the answers",
        rows=round(share * len(survey.train)),
    )


def _largest_group(groups: NDArray[np.int64]) -> Numbers:
    """Return the indices of the largest group."""
    return np.flatnonzero(groups == np.bincount(groups).argmax())


def _distinct_share(texts: Sequence[str], length: int) -> float:
    """Return distinct-n: the share of different ones among all runs of `length` words."""
    words = [similarity.WORD.findall(text.lower()) for text in texts]
    runs = [run for text in words for run in zip(*(text[start:] for start in range(length)), strict=False)]
    return len(set(runs)) / len(runs) if runs else 1.0


def _sorted_by_topic(survey: Survey) -> Iterator[FindingDraft]:
    sample = survey.sample
    texts = [f"{question} {answer}" for question, answer in zip(sample.questions, sample.answers, strict=True)]
    common = similarity.common_features(lambda: [texts], len(texts))
    vectors = similarity.features(texts, common)
    # The same rows in another order, so that only their distance differs.
    far = np.random.default_rng(0).permutation(sample.second)
    near = similarity.similarities(vectors, sample.first, sample.second)
    distant = similarity.similarities(vectors, sample.first, far)
    error = np.sqrt((near.var() + distant.var()) / len(near))
    difference = near.mean() - distant.mean()
    # By four standard errors, since many small differences in a large file would be certain, and mean nothing.
    if near.mean() < SORTED_FACTOR * distant.mean() or difference < max(SORTED_DIFFERENCE, 4 * error):
        return
    first_only = survey.data.plan.data.config.max_rows
    yield FindingDraft(
        Check.unshuffled,
        Severity.note if first_only is None else Severity.warning,
        survey.train,
        f"the rows are sorted by topic: neighbours have {near.mean():.0%} of their words in common, rows far apart "
        f"{distant.mean():.0%}",
        "nothing to do: training shuffles them"
        if first_only is None
        else f"shuffle the file: data.max_rows={first_only} takes the first rows, which cover only a few topics",
        whole=True,
    )


def _missing_system(survey: Survey) -> Iterator[FindingDraft]:
    asking = survey.train[~survey.data.plain[survey.train]]
    without = asking[~survey.data.system[asking]]
    if not len(without):
        return
    if len(without) == len(asking) < MIN_ROWS:
        return
    if len(without) == len(asking):
        text, severity = f"none of {len(asking)} training rows has a system prompt of its own", Severity.note
    else:
        share = of(len(without), len(asking), "training rows")
        text = f"{share} {are(len(without), 'has', 'have')} no system prompt; the others have one"
        severity = Severity.warning if 2 * len(without) <= len(asking) else Severity.note
    advice = "use the model without one too, or give every row one: format.system_prompt='…'"
    yield FindingDraft(Check.missing_system, severity, without, text, advice, whole=len(without) == len(asking))


def _languages(survey: Survey) -> Iterator[FindingDraft]:
    sample = survey.sample
    pairs = zip(sample.questions, sample.answers, strict=True)
    detected = np.array([languages(f"{question}\n{answer}") for question, answer in pairs])
    labels = detected[detected != ""]
    names, counts = np.unique(labels, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    indexes = [index for index in order if counts[index] > survey.config.languages * len(labels)]
    if len(indexes) < 2:  # noqa: PLR2004 - one language is not a mix
        return
    main, minor_languages = names[order[0]], names[indexes[1:]]
    rows = sample.numbers[np.isin(detected, minor_languages)]
    shares = ", ".join(f"{names[index]} {counts[index] / len(labels):.0%}" for index in indexes)
    yield FindingDraft(
        Check.languages,
        Severity.note,
        rows,
        f"more than one language: {shares}",
        f"fine if that is intended; otherwise remove what is not {main}",
        rows=round(len(rows) / len(detected) * len(survey.train)),
    )
