"""What the audits of a run are given, and what becomes of their findings."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from framework.api import records
from framework.api.audit import AuditData, RowPart, Texts
from framework.api.conversations import conversation
from framework.api.plan import Plan
from framework.api.protocols import Audit
from framework.api.records import Example, Finding, Message, Prompt
from framework.api.schema import Affects
from framework.api.selection import Selection
from framework.data import lengths, shared_prefix
from framework.data.conversations import ROW_TEXTS, answer_text, to_json
from framework.data.store import Store
from framework.hooks.session import current
from framework.util import minhash, text_features
from framework.util.errors import FrameworkError
from framework.util.files import write_atomically
from framework.util.guard import Guard
from framework.util.hashing import key_of
from framework.util.redact import redact

EXCERPT = 40
"""Characters of a question or an answer that an example shows."""
LOOKED_AT = 1000
"""Characters of a text that an excerpt is taken from."""
DAY = 24 * 3600


class StoredRows(AuditData):
    """The rows of a store, as `AuditData` describes them, then the evaluators' own prompts."""

    def __init__(self, plan: Plan, store: Store, part: NDArray[np.int8], prompts: Sequence[Prompt] = ()) -> None:
        self.plan = plan
        self.part = np.append(part, np.full(len(prompts), RowPart.prompts, part.dtype))
        columns, zeros = store.columns, np.zeros(len(prompts), np.int32)
        self.tokens, self.supervised = (np.append(column, zeros) for column in (columns.tokens, columns.supervised))
        self.system, self.plain, self.asks = (
            np.append(column, zeros > 0) for column in (columns.system, columns.plain, columns.asks)
        )
        self.own = np.append((columns.part == RowPart.train) & (columns.source == 0), zeros > 0)
        self._store = store
        self._prompts = [_make_example(prompt) for prompt in prompts]

    @property
    def folder(self) -> Path:
        """The folder of the rows."""
        return self._store.folder

    @property
    def key(self) -> str:
        """A hash over all properties of the rows that audits see, besides their texts."""
        prompts = [(prompt.where, to_json(prompt)) for prompt in self._prompts]
        return key_of(self.plan.affecting(Affects.audit), self.plan.batch, prompts, self.part.tobytes().hex())

    def __len__(self) -> int:
        return len(self.part)

    def batches(self) -> Iterator[Texts]:
        """Read all rows as text, in batches: place, question and answer of each."""
        yield from _iterate_texts(self._store, "audit")
        if self._prompts:
            where, empty = [prompt.where for prompt in self._prompts], [""] * len(self._prompts)
            question, answer, before, context = ([make(prompt) for prompt in self._prompts] for make in ROW_TEXTS[:4])
            yield Texts(len(self._store), where, empty, question, answer, before, context, empty, [{} for _ in empty])

    def example(self, number: int) -> Example:
        """Read the whole conversation of a row; consecutive rows are read fast."""
        return self._store.example(number) if number < len(self._store) else self._prompts[number - len(self._store)]

    def where(self, number: int) -> str:
        """Tell where a row is, `orders.jsonl:12`."""
        return self._store.where(number) if number < len(self._store) else self.example(number).where

    def supervised_after(self, number: int, limit: int) -> int:
        """Count the learned tokens of a row that are beyond its first `limit` tokens."""
        return self._store.supervised_after(number, limit) if number < len(self._store) else 0

    def suggested_length(self, tokens: NDArray[np.integer]) -> int:
        """As `DataResult.lengths` does."""
        return lengths.suggest(int(np.percentile(tokens, 99, method="higher")), int(tokens.max()))

    def padding(self, tokens: NDArray[np.integer], batch_size: int) -> float:
        """In the order of the seed of the data."""
        return lengths.padding(tokens.astype(np.int64), batch_size, self.plan.data.config.seed)

    @functools.cached_property
    def near_duplicates(self) -> NDArray[np.int64]:
        """The group of near-duplicates of each row, by question and answer: the index of its first row."""
        prompt_rows = np.arange(len(self._store), len(self))  # only questions of training are compared with prompts
        return np.append(groups(self._store, "near_duplicates"), prompt_rows)

    @functools.cached_property
    def near_duplicate_questions(self) -> NDArray[np.int64]:
        """The group of near-duplicate questions of each row, without the words that most questions share."""
        if not self._prompts:
            return groups(self._store, "near_duplicate_questions")
        alike = _group_questions(self.batches, len(self), _scratch_folder(self._store))
        return minhash.join(alike, *shared_prefix.pairs(self._store))

    def examples(self, numbers: Iterable[int], count: int = 5) -> list[str]:
        """Name the first of some rows: `geo.jsonl:12: Capital of Peru? → Lima`.

        Secrets in them are hidden: findings go into the report.
        """
        return [self._excerpt(int(index)) for index in itertools.islice(numbers, count)]

    def _excerpt(self, index: int) -> str:
        example = self.example(index)
        if example.is_prompt:
            return f"{example.where}: {_clip(example.messages[-1].content)}"
        question = "" if example.text is not None else example.messages[-2].content
        parts = [_clip(question), _clip(answer_text(example))] if question else [_clip(answer_text(example))]
        return f"{example.where}: {' → '.join(parts)}"


def _clip(text: str) -> str:
    """Return the beginning of a text on one line, without secrets and unprintable characters."""
    words = str(redact(" ".join(text[:LOOKED_AT].split())))
    shown = "".join(letter if letter.isprintable() else "�" for letter in words[:EXCERPT])
    return f"{shown}…" if len(words) > EXCERPT else shown


def groups(store: Store, kind: str) -> NDArray[np.int64]:
    """Return `near_duplicates` or `near_duplicate_questions`, the group of each row; computed once for a store."""
    file = store.folder / f"{kind}.npy"
    try:
        saved: NDArray[np.int64] = np.load(file)
    except (OSError, ValueError, EOFError):  # not there yet, or damaged
        saved = _group_near_duplicates(store) if kind == "near_duplicates" else _group_near_duplicate_questions(store)
        _save(file, saved)
    return saved


def _iterate_texts(store: Store, task: str) -> Iterator[Texts]:
    """Read the texts of all rows, and show the progress."""
    with current().progress.counting(len(store), "row", task) as counter:
        for texts in store.texts():
            yield texts
            counter.advance(len(texts.where))


def _group_near_duplicates(store: Store) -> NDArray[np.int64]:
    """Group rows whose questions and answers are nearly the same."""

    def questions_and_answers() -> Iterator[Sequence[str]]:
        pairs = (zip(texts.question, texts.answer, strict=True) for texts in _iterate_texts(store, "near-duplicates"))
        return ([f"{question} {answer}" for question, answer in batch] for batch in pairs)

    return _compare_by_answer(minhash.group(questions_and_answers, len(store), folder=_scratch_folder(store)), store)


def _compare_by_answer(alike: NDArray[np.int64], store: Store) -> NDArray[np.int64]:
    """Split the groups so that answers of one conversation match only the answers in the same turn of another one.

    Two rows of one conversation (`data.learn=each`) have most turns in common, and are not near-duplicates.
    """
    # Most rows are alone, and only the texts of the others are read again.
    several = np.bincount(alike, minlength=len(alike))[alike] > 1
    if not several.any():
        return alike
    split, first_rows, places = alike.copy(), dict[tuple[int, int], int](), Counter[tuple[int, str]]()
    for texts in store.texts():
        offsets = np.flatnonzero(several[texts.start : texts.start + len(texts.where)])
        for offset in offsets.tolist():
            row = texts.start + offset
            group, name = int(alike[row]), conversation(texts.where[offset])
            split[row] = first_rows.setdefault((group, places[group, name]), row)
            places[group, name] += 1
    return split


def _group_near_duplicate_questions(store: Store) -> NDArray[np.int64]:
    """Group rows whose questions are nearly the same, or of which one asks an earlier question of another."""

    def texts() -> Iterator[Texts]:
        return _iterate_texts(store, "near-duplicate questions")

    return minhash.join(_group_questions(texts, len(store), _scratch_folder(store)), *shared_prefix.pairs(store))


def _group_questions(batches: Callable[[], Iterator[Texts]], count: int, scratch: Path | None) -> NDArray[np.int64]:
    def questions() -> Iterator[Sequence[str]]:
        pairs = (zip(texts.question, texts.answer, strict=True) for texts in batches())
        return ([question or answer for question, answer in batch] for batch in pairs)

    common = text_features.common_features(questions, count)
    return minhash.group(questions, count, common=common, folder=scratch)


def _scratch_folder(store: Store) -> Path | None:
    """Return the folder for scratch files: the store, or None for the folder of temporary files if it is read-only."""
    for leftover in store.folder.glob(f"{minhash.SCRATCH}*"):  # by a run that was killed
        if time.time() - leftover.stat().st_mtime > DAY:
            shutil.rmtree(leftover, ignore_errors=True)
    return store.folder if os.access(store.folder, os.W_OK) else None


def _save(file: Path, numbers: NDArray[np.int64]) -> None:
    content = io.BytesIO()
    np.save(content, numbers)
    with contextlib.suppress(OSError):  # the cache of somebody else, or a full disk: worked out again next time
        write_atomically(file, content.getvalue())


def findings(chosen: Mapping[str, Selection], data: StoredRows) -> list[Finding]:
    """Return the findings of the chosen audits, cached with the rows for the same settings.

    Raises:
        FrameworkError: a finding is fatal.
    """
    audits: dict[str, Audit] = {name: choice.create() for name, choice in chosen.items()}
    key = key_of(data.key, [*audits], code=audits.values())
    file = data.folder / f"findings-{key[:16]}.json"
    try:
        results = records.load(list[Finding], file)
    except (OSError, ValueError):
        results = []
        for name, audit in audits.items():
            with Guard(f"audit={name}"):
                results += audit.audit(data)
        with suppress(OSError):
            records.save(results, file)
    # Before what is fatal: the rows that are left may be the remedy.
    for name, audit in audits.items():
        with Guard(f"audit={name}"):
            results += audit.clean(data)
    refuse_fatal(results)
    return results


def refuse_fatal(results: Sequence[Finding]) -> None:
    """End the run if findings do not let it continue.

    Raises:
        FrameworkError: one of them is fatal.
    """
    if fatal := [finding for finding in results if finding.fatal]:
        raise FrameworkError("\n".join(_refusal_text(finding) for finding in fatal))


def _make_example(prompt: Prompt) -> Example:
    """Return a prompt with its reference as the answer."""
    answer = Message("assistant", prompt.reference or "")
    return Example((*prompt.messages, answer), "prompt", prompt.where, prompt.tools, cluster=prompt.cluster)


def _refusal_text(finding: Finding) -> str:
    examples = f" ({'; '.join(finding.examples[:3])})" if finding.examples else ""
    advice = f"{finding.advice[:1].upper()}{finding.advice[1:]}"
    return f"{finding.name}: {finding.text}{examples}. {advice}"
