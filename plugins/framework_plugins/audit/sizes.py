"""Lengths: truncated rows, outliers, low supervision, padding, too few rows, and long answers compared as a whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from framework.api import Overflow, Severity
from framework_plugins.audit.config import Check
from framework_plugins.audit.finding_draft import FindingDraft, Numbers, are, of
from framework_plugins.audit.texts import Survey

MIN_ROWS = 20
"""Fewer rows than this have no percentile to speak of."""
SERIOUS_SHARE = 0.05
"""Share of the rows that are too long from which on it is serious."""
SHORT_ANSWER_TOKENS = 50
"""An answer of fewer tokens is never long."""
FREE_TEXT_TOKENS = 40
"""Tokens from which on an answer is hardly ever repeated to the letter."""
EXACT, BY_WORDS = "exact_match", "token_f1"
MORE_ROWS_MORE_EPOCHS = 10, 2
"""Ten times as many rows bear twice as many passes."""


def findings(survey: Survey) -> Iterator[FindingDraft]:
    """Give the findings, before their examples are read."""
    if len(survey.train):
        yield from _too_long_rows(survey)
        yield from _very_long_answers(survey)
        yield from _too_few_rows(survey)
        yield from _low_supervision(survey)
        yield from _padding(survey)
        yield from _exact_match(survey)


def _too_long_rows(survey: Survey) -> Iterator[FindingDraft]:
    data, limit = survey.data, survey.data.plan.training.max_seq_length
    tokens = data.tokens[survey.train]
    rows = survey.train[tokens > limit]
    if not len(rows):
        return
    cut = data.plan.data.config.overflow is Overflow.truncate and not data.asks[rows].any()
    lost = np.array([data.supervised_after(int(row), limit) for row in rows]) if cut else data.supervised[rows]
    losing = int((lost > 0).sum()) if cut else len(rows)
    yield FindingDraft(
        Check.too_long,
        (Severity.serious if losing > SERIOUS_SHARE * len(tokens) else Severity.warning) if losing else Severity.note,
        rows,
        f"{of(len(rows), len(tokens), 'training rows')} {are(len(rows))} longer than trainer.max_seq_length={limit} "
        + _truncation_text(len(rows), losing, int(lost.sum()), cut=cut),
        _limit_advice(survey, rows) if losing else "nothing to do",
    )


def _limit_advice(survey: Survey, rows: Numbers) -> str:
    """Advise the limit that fits the rows, or 99% of them if a few are far longer."""
    tokens, limit = survey.data.tokens[survey.train], survey.data.plan.training.max_seq_length
    suggested, longest = survey.data.suggested_length(tokens), int(tokens.max())
    if suggested <= limit:
        return f"{_shortening_advice(survey, rows)}: trainer.max_seq_length={suggested} fits 99% of the rows"
    fits = "" if suggested >= longest else ", which fits 99% of the rows"
    return f"set trainer.max_seq_length={suggested}{fits}, or {_shortening_advice(survey, rows)}"


def _shortening_advice(survey: Survey, rows: Numbers) -> str:
    limit = survey.data.plan.training.max_seq_length
    return f"cut plain text into rows, data.cut={limit}" if survey.data.plain[rows].any() else "shorten them"


def _truncation_text(rows: int, losing: int, lost: int, *, cut: bool) -> str:
    """Say whether too long rows are cut or left out: `losing` of them lose `lost` learned tokens."""
    if not losing:
        return f"and {are(rows)} cut, but no learned token is lost"
    subject = "" if losing == rows else f"{losing} of them "
    text = f"and {subject}{are(losing, 'loses', 'lose')} {lost} learned {are(lost, 'token', 'tokens')}"
    return text + (f", including the stop {are(losing, 'token', 'tokens')}" if cut else ": they are left out")


def _answered_rows(survey: Survey) -> Numbers:
    """Return the training rows with an answer."""
    return survey.train[~survey.data.asks[survey.train]]


def _very_long_answers(survey: Survey) -> Iterator[FindingDraft]:
    answered = _answered_rows(survey)
    learned = survey.data.supervised[answered]
    if len(learned) < MIN_ROWS:
        return
    # A length that a row has, so that the message names a real one.
    p95 = int(np.percentile(learned, 95, method="higher"))
    limit = max(survey.config.long_answer * p95, SHORT_ANSWER_TOKENS)
    rows = answered[learned > limit]
    if len(rows):
        yield FindingDraft(
            Check.very_long_answers,
            Severity.warning,
            rows,
            f"{of(len(rows), len(learned), 'training rows')} {are(len(rows), 'has', 'have')} more than {limit:.0f} "
            f"learned tokens, while 95% have at most {p95}",
            "check them: they are often several texts run together, or a document instead of an answer",
        )


def _too_few_rows(survey: Survey) -> Iterator[FindingDraft]:
    training, rows = survey.data.plan.training, len(survey.train)
    config = survey.config
    passes = training.num_train_epochs
    if training.max_steps is not None:
        passes = training.max_steps * survey.data.plan.batch / rows
    small_set = rows < config.few_rows and passes >= config.few_rows_epochs
    times, twice = MORE_ROWS_MORE_EPOCHS
    medium_set = rows < times * config.few_rows and passes > twice * config.few_rows_epochs
    if small_set or medium_set:
        setting = "num_train_epochs" if training.max_steps is None else "max_steps"
        yield FindingDraft(
            Check.too_few_rows,
            Severity.warning,
            survey.train,
            f"each of {rows} training rows is trained on {passes:.3g} times: the model may memorize them",
            f"collect more rows (a few hundred good ones, better a thousand), or lower trainer.{setting}",
            whole=True,
        )


def _low_supervision(survey: Survey) -> Iterator[FindingDraft]:
    data = survey.data
    tokens, learned = (int(column[_answered_rows(survey)].sum()) for column in (data.tokens, data.supervised))
    share = learned / max(tokens, 1)
    if tokens and share < survey.config.low_supervision:
        yield FindingDraft(
            Check.low_supervision,
            Severity.note,
            survey.train,
            f"only {share:.1%} of {tokens:,} tokens are learned; the rest is prompts and templates",
            "shorten what every prompt repeats, or expect slow progress per second of training",
            whole=True,
        )


def _padding(survey: Survey) -> Iterator[FindingDraft]:
    plan = survey.data.plan
    size = plan.training.per_device_train_batch_size
    if len(survey.train) < MIN_ROWS or size == 1:
        return
    tokens = np.minimum(survey.data.tokens[survey.train].astype(np.int64), plan.training.max_seq_length)
    share = survey.data.padding(tokens, size)
    if share > survey.config.padding:
        yield FindingDraft(
            Check.padding,
            Severity.note,
            survey.train,
            f"in padded batches of {size}, {share:.0%} of the tokens are padding: the rows differ greatly in length",
            "pack them if the trainer can (trainer.packing=tree), or use a smaller "
            "trainer.per_device_train_batch_size with more trainer.gradient_accumulation_steps",
            whole=True,
        )


def _exact_match(survey: Survey) -> Iterator[FindingDraft]:
    plan, learned = survey.data.plan, survey.data.supervised[_answered_rows(survey)]
    typical = int(np.median(learned)) if len(learned) else 0
    if list(plan.metric) == [EXACT] and plan.evaluator and typical >= FREE_TEXT_TOKENS:
        yield FindingDraft(
            Check.exact_match,
            Severity.note,
            survey.train,
            f"half of the answers have {typical} tokens or more, and metric=[{EXACT}] counts an answer only if it is "
            "the same to the letter",
            f"if the wording may differ, compare words too: metric=[{EXACT},{BY_WORDS}]",
            whole=True,
        )
