"""The data stage, top to bottom: read and prove every row once, split, fit, audit, and look at a few."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from framework.api.audit import RowPart
from framework.api.data import Data
from framework.api.plan import ExpectedRows, Plan
from framework.api.protocols import Evaluator, Model
from framework.api.records import (
    IGNORE,
    DataResult,
    Finding,
    MixedIn,
    Piece,
    Prompt,
    Proof,
    Severity,
    TokenGroup,
    TokenRow,
    ViewedRow,
)
from framework.api.schema import Affects, ProofMode, Role, Stage
from framework.api.scoring import with_reference
from framework.api.selection import Selection
from framework.api.text import count
from framework.data import audit, lengths, mask_verification, reward_audit
from framework.data.audit import StoredRows
from framework.data.blocks import NOTHING, fill_blocks
from framework.data.conversations import answer_text, question_text
from framework.data.lengths import Fitted
from framework.data.reader import PART, Reader
from framework.data.store import Rows, Store
from framework.data.trial import no_rows
from framework.hooks.session import current
from framework.util import minhash, prompt_clusters
from framework.util.errors import FrameworkError
from framework.util.hashing import key_of
from framework.util.power import least_difference
from framework.util.redact import redact

SAMPLED_QUESTIONS, LONGEST_QUESTION = 1000, 4000
"""Training rows whose questions are read for passages that they share, and how many characters of each."""
MEASURED_REFERENCES = 200
"""References that are checked before the training: their length, and whether they are empty."""
LEAST_JUDGED = 20
"""Held-out rows that are enough to judge by; with twice as many, half of them choose and half judge."""
ENOUGH_PROMPTS = 60
"""Prompts with which a run gives no warning: they show a difference of 21 points in four of five runs."""
SYSTEM_PROMPT_ROWS = 500
"""Rows in which the system prompt is searched for: each takes the reading of a conversation."""
WHOLE_TEXTS = 10
"""From this number of plain texts on, those that are cut into rows are held out whole; with fewer, row by row."""
SHOWN_RATINGS = 5
"""Values of a rating that a warning shows."""
SHOWN_ROWS, SHOWN_CHARACTERS = 3, 1200
"""Rows of the preview, and characters of a piece of one: the middle of a longer piece is left out."""
GOLDEN = (math.sqrt(5) - 1) / 2
"""The part of a circle by which points that are added one by one lie apart as evenly as can be."""
ASKED_TOGETHER = 20
"""A file of up to this many prompts is asked in its order: by default the first look asks all of them."""


def load_data(plan: Plan, model: Model) -> Data:
    """Read, format, tokenize, prove, split and audit.

    Raises:
        FrameworkError: no rows, rows that cannot be read or do not fit the format, a proof that fails, a finding that
            is fatal, or nothing left to learn; names the rows.
    """
    limit, overflow = plan.training.max_seq_length, plan.data.config.overflow
    reader = Reader(plan, model)
    if plan.expected_rows:
        _check_fingerprint(plan.expected_rows, reader.fingerprint)
    # A run that neither trains nor asks has no use for them.
    own_prompts = [] if set(plan.stages) <= {Stage.export, Stage.report} else _own_prompts(plan.evaluator, plan.format)
    rows, cached = reader.store()
    _check_given(plan.loss, rows)
    sizes = limit, overflow, plan.training.per_device_train_batch_size
    # An empty key shares nothing: a model without `encoding` cannot say what its rows depend on.
    key = key_of(str(rows.folder), plan.affecting(Affects.data), sizes, bool(own_prompts)) if model.encoding else ""
    data, part = current().shared.get_or_make(
        "data", key, lambda: _from_store(reader, rows, judged=not own_prompts, cached=cached)
    )
    # An audit may look at any setting of the training, so each run is audited by its own.
    findings = [*data.result.findings]
    if plan.audit:
        findings += audit.findings(plan.audit, StoredRows(plan, rows, part, own_prompts))
    if plan.reward and (Stage.train in plan.stages or set(plan.stages) <= {Stage.plan, Stage.data}):
        answers = round(plan.batch * plan.cost.rows)
        findings += reward_audit.findings(plan.reward, model.tokenize, data.train_prompts, answers)
    compared = {Stage.baseline, Stage.evaluate} <= set(plan.stages)
    if compared or set(plan.stages) <= {Stage.plan, Stage.data}:  # before a run that compares, most likely
        prompt_counts = (choice.config.asks(len(data.prompts)) for choice in plan.evaluator.values())
        findings += _few_prompts(len(own_prompts) or max(prompt_counts, default=0), plan.settings.verdict.confidence)
        findings += _cut_references(plan.evaluator, model, own_prompts or data.prompts)
    order = [*reversed(Severity)]
    findings.sort(key=lambda finding: order.index(finding.severity))
    return dataclasses.replace(
        data,
        result=dataclasses.replace(data.result, cached=cached, findings=findings, notes=reader.notes),
        format=plan.format,
        trial=bool(plan.sweep),
    )


def _check_given(loss: Selection, rows: Store) -> None:
    """Make sure that the rows have the facts and arrays that the loss reads.

    Raises:
        FrameworkError: a row has none.
    """
    count = int((rows.columns.part != RowPart.prompts).sum())
    for name in (*loss.config.facts, *loss.config.arrays):
        if (have := rows.summary.given.get(name, 0)) < count:
            raise FrameworkError(
                f"loss={loss.component.name} reads '{name}' of each row, and {count - have} of {count} rows have "
                f"none: choose a format that gives `Example.facts` or `Example.arrays` with it, or another loss"
            )


def _own_prompts(chosen: Mapping[str, Selection], form: Selection) -> list[Prompt]:
    """Return the prompts of the chosen evaluators, which replace those of the data."""
    evaluators: list[Evaluator] = [choice.create() for choice in chosen.values()]
    return [prompt for evaluator in evaluators for prompt in evaluator.own_prompts(form) or ()]


def _check_fingerprint(expected: ExpectedRows, fingerprint: str) -> None:
    if fingerprint == expected.fingerprint:
        return
    change = f"fingerprint {expected.fingerprint[:12]} then, {fingerprint[:12]} now"
    message = f"the data differ from those of {expected.run}: {change}"
    if expected.required:
        hint = ". Put the old rows back, choose other data with data.…=, or continue with --anyway"
        raise FrameworkError(message + hint)
    print(message, file=sys.stderr)


def _from_store(reader: Reader, rows: Store, *, judged: bool, cached: bool) -> tuple[Data, NDArray[np.int8]]:
    """Prove, split and fit rows that the reader has put into a store; return them with the part of each row.

    `judged`: whether the verdict goes by the prompts of the data.
    """
    plan, model, config = reader.plan, reader.model, reader.plan.data.config
    limit, overflow = plan.training.max_seq_length, config.overflow
    proven = _prove(plan.data, rows)
    part = split_parts(rows, config.validation_split, limit, config.seed)
    train, validation = (np.flatnonzero(part == which) for which in (RowPart.train, RowPart.validation))
    if not len(train):
        raise FrameworkError("no row has a token to learn")
    fitted = lengths.fit(rows, train, limit, overflow, "training")
    empty = Fitted(validation, 0, 0, 0, 0)
    held_out = lengths.fit(rows, validation, limit, overflow, "validation") if len(validation) else empty
    sizes = plan.training.per_device_train_batch_size, config.seed
    measured = lengths.measure(rows, train, fitted.numbers, limit, *sizes)
    # Plain texts ask nothing, so none is held back to be asked.
    plain = bool(len(validation) and rows.columns.plain[validation].all())
    judged_elsewhere = not judged or plain or bool((rows.columns.part == RowPart.prompts).any())
    chosen_by, judged_by = (validation, validation) if judged_elsewhere else _halve(rows, validation, config.seed)
    prompts, selection = (
        _prompts(rows, judged_by, config.seed),
        lengths.prompts_of(rows, spread_order(chosen_by, config.seed)),
    )
    answer_tokens = math.ceil(plan.cost.rollout_tokens / plan.cost.rows)
    _check_answer_room(rows, fitted.numbers, limit, answer_tokens)
    _check_positions(model, rows, np.concatenate([fitted.numbers, held_out.numbers]), limit, answer_tokens)
    if len(judged_by) != len(validation):
        held_out = lengths.fit(rows, chosen_by, limit, overflow, "validation")
    train_groups = lengths.token_groups(rows, fitted.numbers, limit)
    view = preview(train_groups, rows.columns.source[fitted.numbers], model)
    tokens = rows.total_tokens(limit)[fitted.numbers]
    blocks = 0
    if plan.method.config.texts:
        table = fill_blocks(tokens, limit)
        train_groups = lengths.token_groups(rows, np.where(table == NOTHING, NOTHING, fitted.numbers[table]), limit)
        blocks = len(table)
    result = DataResult(
        train_rows=len(train_groups),
        validation_rows=len(held_out.numbers),
        prompts=len(prompts),
        tokens=int(tokens.sum()),
        supervised_tokens=fitted.supervised,
        longest=min(int(rows.columns.tokens[fitted.numbers].max()), limit),
        overflow_rows=fitted.long,
        overflow_rows_left_out=fitted.left_out,
        overflow_supervised_tokens=fitted.lost,
        overflow_validation_rows=held_out.long,
        fingerprint=reader.fingerprint,
        proof=proven,
        lengths=measured,
        findings=[
            *(_no_validation_findings(rows) if config.validation_split and not len(held_out.numbers) else ()),
            *_stop_in_text_findings(rows),
            *_normalized_findings(rows),
            *_unread_ratings(rows),
            *_empty_references(rows, prompts.numbers),
        ],
        view=view,
        cached=cached,
        system_prompt=_system_prompt(rows, fitted.numbers),
        judged_apart=judged_elsewhere or len(judged_by) != len(validation),
        block_tokens=limit if blocks else 0,
        block_rows=len(fitted.numbers) if blocks else 0,
        **{**vars(rows.summary.counts), "mixed": _count_mixed(rows, fitted.numbers)},
    )
    trained, judging = (indices[~rows.columns.asks[indices]] for indices in (fitted.numbers, held_out.numbers))
    similar = _clusters(rows) if len(judging) else np.empty(0, np.int64)
    clusters, train_clusters = (similar[part].tolist() if len(judging) else [] for part in (judging, trained))
    answers = lengths.token_rows(rows, trained, limit), lengths.token_rows(rows, judging, limit)
    validation_groups = lengths.token_groups(rows, held_out.numbers, limit)
    data = Data(
        answers[0], answers[1], prompts, result, plan.format, rows.folder, selection, clusters,
        train_groups=train_groups, validation_groups=validation_groups,
        train_prompts=() if blocks else lengths.prompts_of(rows, fitted.numbers),
        passages=_common_passages(rows, fitted.numbers),
        train_clusters=train_clusters,
    )  # fmt: skip
    return data, part


def _common_passages(rows: Store, trained: NDArray[np.int64]) -> frozenset[int]:
    """Return the passages that several training questions share, by an even sample of them."""
    sample = trained[:: max(1, len(trained) // SAMPLED_QUESTIONS)]
    texts = (question_text(rows.example(int(index))) for index in sample if not rows.columns.plain[index])
    return prompt_clusters.passages(text[:LONGEST_QUESTION] for text in texts)


def _check_answer_room(rows: Store, numbers: NDArray[np.int64], limit: int, answer_tokens: int) -> None:
    """Refuse prompts that leave no place for the answers that are drawn to them."""
    long = rows.columns.tokens[numbers] + answer_tokens > limit
    if not answer_tokens or not long.any():
        return
    index = int(numbers[long][0])
    raise FrameworkError(
        f"{int(long.sum())} of {len(numbers)} prompts and an answer of method.max_completion_length={answer_tokens} "
        f"tokens are longer than trainer.max_seq_length={limit}; {rows.where(index)} has "
        f"{rows.columns.tokens[index]} tokens: set "
        f"trainer.max_seq_length={int(rows.columns.tokens[numbers].max()) + answer_tokens}, or shorter answers"
    )


def _check_positions(model: Model, rows: Store, numbers: NDArray[np.int64], limit: int, answer_tokens: int) -> None:
    """Refuse rows that are longer than the model's context."""
    positions = model.positions
    lengths_left = np.minimum(rows.columns.tokens[numbers] + answer_tokens, limit)
    if positions is None or not (long := lengths_left > positions).any():
        return
    index = int(numbers[long][0])
    raise FrameworkError(
        f"{int(long.sum())} of {len(numbers)} rows are longer than the {positions} tokens that the model reads "
        f"(max_position_embeddings in its config.json); {rows.where(index)} has {rows.columns.tokens[index]} tokens: "
        f"set trainer.max_seq_length={positions} and data.overflow=drop|truncate, or take a model that reads more"
    )


def _prove(data: Selection, rows: Store) -> Proof:
    """Sum up the proof; end the run if there are no rows, or rows that are not proven."""
    if not (rows.columns.part == RowPart.train).any():
        raise no_rows(data, rows.summary)
    proven = mask_verification.prove(rows, data.config.learn)
    if proven.failed and data.config.proof is ProofMode.fail:
        raise mask_verification.refusal(proven)
    return proven


def _no_validation_findings(rows: Store) -> list[Finding]:
    """Return the finding that no row could be held out for validation."""
    own_rows = int(((rows.columns.part == RowPart.train) & (rows.columns.source == 0)).sum())
    alike = "they all ask nearly the same, so the training rows would answer the held-out ones"
    why = alike if own_rows > 1 else "a single row cannot be split"
    text = f"No row of {own_rows} is held out: {why}."
    advice = "Give separate validation rows, or train without any: data.validation_split=0 objective=train_loss"
    return [Finding("nothing_held_out", Severity.warning, own_rows, text, advice, [])]


def _stop_in_text_findings(rows: Store) -> list[Finding]:
    """Warn of plain texts that a chat template has rendered, by the stop tokens in them."""
    count = rows.summary.stopped
    if not count:
        return []
    hold = "1 plain text contains" if count == 1 else f"{count} plain texts contain"
    text = f"{hold} a token that stops generation before the end, as chat templates write them: all of it is learned"
    advice = (
        "give the turns as messages (role, content) to learn only the answers; for documents joined into one text, "
    )
    advice += "there is nothing to do"
    return [Finding("stop_in_text", Severity.warning, count, text, advice, rows.summary.stopped_examples[:5])]


def _normalized_findings(rows: Store) -> list[Finding]:
    """Warn of answers that are learned with other characters than the data have."""
    changed = rows.summary.normalized
    if not changed:
        return []
    text = (
        f"The tokenizer normalizes Unicode (NFKC): {changed} of the rows {'has' if changed == 1 else 'have'} answers "
        "that are learned with other characters of the same meaning, such as 2 for a superscript 2"
    )
    advice = "write the answers with the plain characters if the difference matters, or take another model"
    return [
        Finding("normalized_answers", Severity.warning, changed, text, advice, rows.summary.normalized_examples[:5])
    ]


def _unread_ratings(rows: Store) -> list[Finding]:
    """Warn of unread fields that rate the answers and differ from row to row."""
    findings = []
    for name, counts in rows.summary.ratings.items():
        if len(counts) > 1:
            shown = ", ".join(f"{value} ({count})" for value, count in sorted(counts.items())[:SHOWN_RATINGS])
            text = f"'{name}' differs and is not read: {shown}{', …' * (len(counts) > SHOWN_RATINGS)}"
            advice = (
                "every answer is learned, however it was rated: leave the bad ones out, or learn from them with "
                f'method=kto format=unpaired "format.columns={{label: {name}}}", "format.wanted=[…]" and '
                '"format.unwanted=[…]"'
            )
            findings.append(Finding("unread_rating", Severity.warning, sum(counts.values()), text, advice, []))
    return findings


def _empty_references(rows: Store, numbers: NDArray[np.int64]) -> list[Finding]:
    """Warn of prompts whose answer in the data is empty: no metric compares with it."""
    checked = numbers[~rows.columns.asks[numbers]][:MEASURED_REFERENCES]
    empty = [rows.where(int(index)) for index in checked if not answer_text(rows.example(int(index))).strip()]
    if not empty:
        return []
    text = (
        f"{len(empty)} of {count(len(checked), 'prompt')} {'has' if len(empty) == 1 else 'have'} an empty answer in "
        "the data: metrics that compare with a reference leave them out"
    )
    advice = "write the right answers, or leave these rows out"
    return [Finding("empty_references", Severity.warning, len(empty), text, advice, empty[:5])]


def _count_mixed(rows: Store, numbers: NDArray[np.int64]) -> list[MixedIn]:
    """Count the training rows of each source that is mixed in."""
    sources = rows.columns.source[numbers]
    sources_mixed_in = enumerate(rows.summary.counts.mixed, start=1)
    return [MixedIn(entry.name, entry.requested, int((sources == source).sum())) for source, entry in sources_mixed_in]


def _system_prompt(rows: Store, trained: NDArray[np.int64]) -> str:
    """Return the system prompt of most rows, by an even sample; empty if most have none.

    It is saved, so secrets in it are hidden.
    """
    if 2 * rows.columns.system[trained].sum() <= len(trained):
        return ""
    sample = trained[np.linspace(0, len(trained) - 1, min(len(trained), SYSTEM_PROMPT_ROWS)).astype(np.int64)]
    first_turns = (rows.example(int(index)).messages[:1] for index in sample)
    prompts = Counter(turn.content for turns in first_turns for turn in turns if turn.role == "system")
    return str(redact(next((prompt for prompt, count in prompts.most_common(1) if 2 * count > len(sample)), "")))


def split_parts(rows: Store, share: float, longest: int, seed: int) -> NDArray[np.int8]:
    """Return the part of each row: those of the source, with the validation split off if there is none.

    Args:
        rows: all of them.
        share: of the rows that are held out.
        longest: tokens of the longest row that is held out: a loss over rows that are left out would be none.
        seed: of the split.
    """
    part = rows.columns.part.copy()
    part[~mask_verification.usable(rows) & (part != RowPart.prompts)] = RowPart.left_out
    if share > 0 and not (rows.columns.part == RowPart.validation).any():
        trained = np.flatnonzero(part == RowPart.train)
        alike = _clusters(rows)[trained]
        fits = rows.columns.tokens[trained] <= longest
        eligible = (rows.columns.source[trained] == 0) & fits
        part[trained[held_out_rows(alike, eligible, share, seed)]] = RowPart.validation
    return part


def held_out_rows(groups: NDArray[np.int64], eligible: NDArray[np.bool_], share: float, seed: int) -> NDArray[np.bool_]:
    """Choose the validation rows by whole groups, so that no validation question is in the training.

    Args:
        groups: the number of each row's group of near-duplicate prompts.
        eligible: whether a row may be held out; a group with one that may not (mixed in, too long) stays in training.
        share: how many of the rows that may be held out are wanted.
        seed: decides which groups.

    Returns:
        Which rows are held out: close to `share` of them, at least one group if that leaves something to train on,
        never more than `share` if there are smaller groups.
    """
    chosen = np.zeros(len(groups), dtype=bool)
    total = int(eligible.sum())
    if share <= 0 or total < 2:  # noqa: PLR2004 - a single row is not split
        return chosen
    numbers, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    # A group stays in training as a whole if one of its rows has to.
    free = np.bincount(inverse, weights=eligible, minlength=len(numbers)) == sizes
    target = min(max(1, round(share * total)), total - 1)
    order = [int(group) for group in np.flatnonzero(free)]
    random.Random(seed).shuffle(order)  # noqa: S311 - a split, not a secret
    held_out = np.zeros(len(numbers), dtype=bool)
    count = 0
    # Greedily, so the share is met within the size of the smallest group; never exceeded if one fits.
    for group in order:
        if count + sizes[group] <= target:
            held_out[group] = True
            count += int(sizes[group])
    smallest = min(order, key=lambda group: sizes[group], default=-1)
    if not count and order and sizes[smallest] < total:  # something has to be left to train on
        held_out[smallest] = True
    return held_out[inverse]


def _clusters(rows: Store) -> NDArray[np.int64]:
    """Return the cluster of each row: rows with nearly the same question, of one text, or of one `format.cluster`."""
    # By questions only: a validation row whose question is trained on measures memory.
    groups = audit.groups(rows, "near_duplicate_questions")
    named = np.flatnonzero(rows.columns.cluster)
    _, first_indices, inverse = np.unique(rows.columns.cluster[named], return_index=True, return_inverse=True)
    groups = minhash.join(groups, named[first_indices][inverse], named)
    texts = len(rows) - rows.summary.counts.cut_rows + rows.summary.counts.cut_texts
    if not rows.summary.counts.cut_texts or texts < WHOLE_TEXTS:
        return groups
    begins: dict[str, int] = {}
    plain = np.flatnonzero(rows.columns.plain)
    heads = [begins.setdefault(rows.where(int(row)).rpartition(PART)[0] or f"row {row}", int(row)) for row in plain]
    return minhash.join(groups, np.array(heads, np.int64), plain)


def _halve(rows: Store, validation: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows for choosing weights and settings, and those for the verdict.

    The held-out rows are halved, like ones on one side. Of a few rows both are all: half of them could show nothing,
    and the verdict counts the validations before it.
    """
    # Rows that chose the best of ten validations would find a gain in 16% of trainings without one.
    if len(validation) < 2 * LEAST_JUDGED:
        return validation, validation
    alike = _clusters(rows)[validation]
    judged = held_out_rows(alike, np.ones(len(validation), dtype=bool), 0.5, seed)
    return (validation[~judged], validation[judged]) if judged.sum() >= LEAST_JUDGED // 2 else (validation, validation)


def _prompts(rows: Store, judged_by: NDArray[np.int64], seed: int) -> Rows[Prompt]:
    """Return the prompts of the evaluation: the source's own, else the rows that are held out for the verdict.

    The first of them may decide, so of a longer file they come from all clusters and references, in their proportions.
    """
    prompt_rows = np.flatnonzero(rows.columns.part == RowPart.prompts)
    if not len(prompt_rows):
        return lengths.prompts_of(rows, spread_order(judged_by, seed))
    prompts = lengths.prompts_of(rows, prompt_rows)
    if len(prompts) <= ASKED_TOGETHER:
        return prompts
    references = [prompt.reference or "" for prompt in prompts]
    times = Counter(references)
    labels = [text if times[text] > 1 else "" for text in references]
    groups = list(zip(rows.columns.cluster[prompts.numbers].tolist(), labels, strict=True))
    order = np.array(sorted(range(len(groups)), key=groups.__getitem__))
    return lengths.prompts_of(rows, spread_order(prompts.numbers[order], seed))


def spread_order(numbers: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Order rows so that every beginning is an even sample: files are often sorted by topic.

    Steps of the golden ratio around a circle, from a place that `seed` chooses.
    """
    start = random.Random(seed).random()  # noqa: S311 - a choice, not a secret
    places = (start + GOLDEN * np.arange(len(numbers))) % 1
    # The rank of each place: the inverse of the order that sorts them.
    return numbers[np.argsort(np.argsort(places))]


def _few_prompts(prompt_count: int, confidence: float) -> list[Finding]:
    """Warn if an evaluation asks too few prompts to show anything but a large difference."""
    if not prompt_count or prompt_count >= ENOUGH_PROMPTS:
        return []
    least = least_difference(prompt_count, confidence)
    detects = f"only a difference of about {100 * (least or 0):.0f} points or more is likely to be noticed"
    if least is None:
        detects = "the verdict can be 'cannot tell' even if all of them improve"
    verb = "is" if prompt_count == 1 else "are"
    text = f"{count(prompt_count, 'prompt')} {verb} asked before and after: with so few, {detects}"
    enough = 100 * (least_difference(ENOUGH_PROMPTS, confidence) or 1.0)
    advice = (
        f"ask {ENOUGH_PROMPTS} or more, which detect {enough:.0f} points: hold out more rows (data.validation_split)"
    )
    advice += ", or give prompts (evaluator.prompts.file)"
    return [Finding("few_prompts", Severity.warning, prompt_count, text, advice, [])]


def _cut_references(evaluators: Mapping[str, Selection], model: Model, prompts: Sequence[Prompt]) -> list[Finding]:
    """Warn if references have more tokens than an evaluator lets an answer have: none of these can be right."""
    limits = {name: choice.config.answer_tokens() for name, choice in evaluators.items()}
    findings = []
    for name, limit in limits.items():
        if limit is None:
            continue
        referenced = [prompt for prompt in prompts if prompt.reference is not None][:MEASURED_REFERENCES]
        rows = (
            model.encode([with_reference(prompt, index) for index, prompt in enumerate(referenced)])
            if referenced
            else []
        )
        # The stop token is none of the answer.
        long = [(row.supervised - 1, prompt) for row, prompt in zip(rows, referenced, strict=True)]
        long = [(tokens, prompt) for tokens, prompt in long if tokens > limit]
        if not long:
            continue
        setting, longest = f"evaluator.{name}.max_new_tokens", max(tokens for tokens, _ in long)
        text = (
            f"{len(long)} of {len(referenced)} references are longer than {setting}={limit}, up to {longest} tokens: "
            "an answer is cut off before it can be right"
        )
        examples = [f"{prompt.where or 'prompt'}: {tokens} tokens" for tokens, prompt in long]
        advice = f"set {setting}={longest + 1}, or leave these prompts out"
        findings.append(Finding("cut_references", Severity.warning, len(long), text, advice, examples[:5]))
    return findings


def preview(groups: Sequence[TokenGroup], sources: NDArray[np.int16], model: Model) -> list[ViewedRow]:
    """Show the rows of the first groups, and of the first of each source that was mixed in."""
    firsts = np.sort(np.unique(sources, return_index=True)[1][1:])
    numbers = dict.fromkeys([*range(min(SHOWN_ROWS, len(groups))), *firsts.tolist()])
    return [
        ViewedRow(row.where if role is Role.answer else f"{row.where}, {role.name}", _pieces(row, model))
        for group in (groups[index] for index in numbers)
        for row, role in zip(group.rows, group.roles, strict=True)
    ]


def _pieces(row: TokenRow, model: Model) -> list[Piece]:
    pairs = zip(row.input_ids, row.labels, strict=True)
    runs = itertools.groupby(pairs, key=lambda pair: pair[1] != IGNORE)
    return [Piece(_shorten(redact(model.decode([token for token, _ in run]))), learned) for learned, run in runs]


def _shorten(text: str) -> str:
    half = SHOWN_CHARACTERS // 2
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:half]} … {text[-half:]}"
