"""Reads the sources of a run, formats and encodes their rows, and writes a store; or finds that of an earlier run.

`data.cut`: a plain text that is longer than its limit becomes several rows, about equally long; for a method that fills
blocks with texts all but the last are as long as the limit. A cut falls between two tokens and never within a
character, and no part of the text is in two rows. What is not learned at the beginning of the text, the BOS token,
begins every row; only the last row ends with the stop token.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import operator
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framework.api.audit import RowPart
from framework.api.plan import Plan
from framework.api.protocols import Formatter, Method, Model, Reward
from framework.api.records import IGNORE, Example, GroupedRows, MixedIn, RawData, Row, TokenGroup, TokenRow
from framework.api.schema import Affects, Learn, OnBadRow, Role
from framework.api.selection import Selection
from framework.api.text import count as counted
from framework.data import mixture, sources, store, writer
from framework.data.prompts import formatter_for
from framework.data.rows import SHOWN_ERRORS, ReadSummary, characters, read
from framework.data.store import Store
from framework.data.writer import Writer
from framework.hooks.session import current
from framework.plan.method_check import conversation_problem
from framework.util.cache import cache_dir, of_the_cache
from framework.util.errors import FrameworkError
from framework.util.guard import Caught, Guard
from framework.util.hashing import key_of

BATCH_ROWS, BATCH_CHARACTERS = 1000, 4_000_000
"""Limits of a batch: rows, and characters, which the last row may exceed."""
MOST_CUT_BACK = 3
"""How many tokens a cut moves back at most: a character of four bytes may be four tokens."""
PART = ", part "
"""The text between the place of a plain text and the number of one of its rows."""
LEAST_REST = 16
"""Tokens that the last row of a text has at least, if that is not more than half a row."""
HALF_CHARACTER = "\ufffd"
"""How the rest of a character that was cut decodes."""


class Reader:
    """The rows of a run. `fingerprint` is a hash over the content of its sources."""

    def __init__(self, plan: Plan, model: Model) -> None:
        self.plan = plan
        self.model = model
        self.mixed = mixture.parts(plan.data.config.mix, plan.format)
        self.method: Method = plan.method.create()
        rewards = [choice.create() for choice in plan.reward.values()]
        reads_columns = any(isinstance(reward, Reward) for reward in rewards)
        self.keeps_columns = reads_columns or plan.method.config.has_own_reward()
        self.limit = plan.data.config.cut or (plan.training.max_seq_length if plan.method.config.texts else None)
        self.source = plan.data.create()
        self.raw: RawData = sources.load(plan.data.component.name, self.source)
        self.others: list[RawData] = [
            sources.load(part.source.component.name, part.source.create()) for part in self.mixed
        ]
        marks = [fingerprint(raw) for raw in (self.raw, *self.others)]
        self.fingerprint = key_of(*marks) if self.others else marks[0]
        self.notes = [note for raw in (self.raw, *self.others) for note in raw.notes]

    def store(self) -> tuple[Store, bool]:
        """Return the store, and whether an earlier run wrote it.

        Raises:
            FrameworkError: the cache cannot be written, or a source or a format raises an error.
        """
        encoding = self.model.encoding
        if not encoding:
            return self._write_temporary(), False
        folder = cache_dir() / "data" / self._key(encoding)
        if (cached := store.opened(folder)) is not None:
            return cached, True
        try:
            store.remove_old(folder.parent)
            return self._write(folder), False
        except OSError as error:
            error.filename = error.filename or str(folder)
            if refused := of_the_cache(error):
                raise refused from error
            raise

    def _write_temporary(self) -> Store:
        """Write a temporary store, removed with its last user."""
        folder = Path(tempfile.mkdtemp())
        try:
            written = self._write(folder / "rows")
        # Ctrl-C too: nobody else knows of the folder.
        except BaseException:
            rmtree(folder, ignore_errors=True)
            raise
        # With the object and not at exit: a sweep would leave one store for each trial.
        weakref.finalize(written, rmtree, folder, ignore_errors=True)
        return written

    def _key(self, encoding: str) -> str:
        settings = self.plan.affecting(Affects.mixed_rows if self.mixed else Affects.unmixed_rows)
        formats = [self.plan.format, *(part.format for part in self.mixed)]
        makers: list[Formatter] = [choice.create() for choice in formats]
        members = [part for maker in makers for part in maker.formats.values()]
        sources = [self.source, *(part.source.create() for part in self.mixed)]
        # The code is hashed, so nobody has to remember to raise a version number.
        chosen = [choice.component.name for choice in formats]
        places = [_row_places(raw) for raw in (self.raw, *self.others)]
        # A format that was edited must not find the rows that its earlier version made.
        code = (*sources, *makers, *members, self.method)
        options = ["columns"] if self.keeps_columns else []
        return key_of(self.fingerprint, settings, chosen, places, encoding, self.limit, *options, code=code)

    def _write(self, folder: Path) -> Store:
        return writer.write(folder, self._fill)

    def _fill(self, into: Writer) -> None:
        data, summary = self.plan.data.config, into.summary
        own_rows = self._add(into, self.raw.train, self.plan.format, RowPart.train, 0, max_rows=data.max_rows)
        validated = self._add(into, self.raw.validation, self.plan.format, RowPart.validation, 0)
        self._add(into, self.raw.prompts, self.plan.format, RowPart.prompts, 0)
        # Rows that the source holds out itself are not split off again.
        trained = own_rows if validated else round(own_rows * (1 - data.validation_split))
        for source, (part, raw) in enumerate(zip(self.mixed, self.others, strict=True), start=1):
            target = part.target_rows(trained, self.mixed)
            sampler, count = mixture.SeededSampler(raw, part.max_rows, self.plan.data.config.seed), 0
            several = 4 if data.learn is Learn.each else 1  # rows of a conversation, about
            # Again in place of bad rows, and of conversations with fewer answers.
            while count < target and (batch := sampler.draw(-(-(target - count) // several))) is not None:
                count += self._add(into, batch, part.format, RowPart.train, source, max_examples=target - count)
            if not count and not summary.counts.bad_rows:
                raise FrameworkError(f"data.mix[{source - 1}] ({part.name}) has no rows")
            summary.counts.mixed.append(MixedIn(part.name, target, count))
        if summary.counts.bad_rows and data.on_bad_row is OnBadRow.fail:
            raise summary.refusal()
        if Role.rejected in self.plan.method.config.roles:
            summary.counts = dataclasses.replace(summary.counts, rejected_answers=0)  # none is left out

    def _add(
        self,
        into: Writer,
        rows: Iterable[Row],
        choice: Selection,
        part: RowPart,
        source: int,
        *,
        max_rows: int | None = None,
        max_examples: int | None = None,
    ) -> int:
        """Read, format and encode rows; after a fatal bad row the rest is only checked.

        Args:
            into: takes the rows.
            rows: of one source.
            choice: their format.
            part: which part of the data they are.
            source: the number of the source.
            max_rows: how many rows are read; None for all.
            max_examples: how many rows are made of them, with `data.learn=each`; None for all.

        Returns:
            How many there are.
        """
        formatter = formatter_for(choice, self.plan.method)
        strict = part == RowPart.train and source == 0  # other rows may have other columns
        longest = self.plan.data.config.max_row_characters
        rows = _limit_rows(rows, max_rows)
        asked_only = part == RowPart.prompts and not self.plan.method.config.samples
        check = Example.check_answered if asked_only else self.method.check
        examples = read(
            rows, formatter, choice.config, OnBadRow.skip, into.summary, name=choice.component.name, strict=strict,
            longest=longest, check=check, keep_columns=self.keeps_columns,
        )  # fmt: skip
        if self.plan.data.config.learn is Learn.each and part != RowPart.prompts:
            examples = _split_by_answer(examples, into.summary, max_examples)
        count = 0
        for batch in batches(examples):
            if into.summary.counts.bad_rows and self.plan.data.config.on_bad_row is OnBadRow.fail:
                count += len(batch)
                continue
            pairs = list(self._encode_batch(batch, part, into.summary))
            into.add([example for example, _ in pairs], [group for _, group in pairs], part, source)
            count += len(pairs)
        return count

    def _encode_batch(
        self, batch: Sequence[Example], part: RowPart, summary: ReadSummary
    ) -> Iterator[tuple[Example, TokenGroup]]:
        """Encode examples, each as the rows of its group; a plain text may become several groups."""
        limit, stop_ids, full = self.limit, self.model.stop_ids, self.plan.method.config.texts
        # A prompt is an answer to compare with, whatever the method.
        conversation_lists = [
            ((Role.prompt if example.is_prompt else Role.answer, example),)
            if part == RowPart.prompts
            else self._conversations(example)
            for example in batch
        ]
        rows = iter(
            self.model.encode(
                [conversation for conversations in conversation_lists for _, conversation in conversations]
            )
        )
        for example, conversations in zip(batch, conversation_lists, strict=True):
            token_rows = list(itertools.islice(rows, len(conversations)))
            compared = part == RowPart.prompts and not example.is_prompt
            group: TokenGroup = token_rows[0] if compared else _group(conversations, token_rows)
            for name in (*group.facts, *group.arrays):
                summary.given[name] = summary.given.get(name, 0) + 1
            if any(row.normalized for row in token_rows):
                summary.normalized += 1
                summary.normalized_examples += [example.where] if summary.normalized <= SHOWN_ERRORS else []
            if not isinstance(group, TokenRow):
                yield example, group
                continue
            row = group
            if example.text is not None and not stop_ids.isdisjoint(row.labels[:-1]):
                summary.stopped += 1
                summary.stopped_examples += [example.where] if summary.stopped <= SHOWN_ERRORS else []
            pairs = [(example, row)] if limit is None else cut(example, row, limit, self.model, full=full)
            if len(pairs) > 1:
                counts, cut_rows = summary.counts, summary.counts.cut_rows + len(pairs)
                summary.counts = dataclasses.replace(counts, cut_texts=counts.cut_texts + 1, cut_rows=cut_rows)
            yield from pairs

    def _conversations(self, example: Example) -> Sequence[tuple[Role, Example]]:
        """Return the conversations that a method makes of an example.

        Raises:
            FrameworkError: it makes nothing, or a row of a role that it does not declare.
        """
        name = self.plan.method.component.name
        with Guard(lambda: f"{example.where}: method={name} cannot make rows of it"):
            conversations = [*self.method.conversations(example)]
        if problem := conversation_problem(self.plan.method.config, conversations):
            raise FrameworkError(f"{example.where}: method={name} {problem}")
        return conversations


def _group(conversations: Sequence[tuple[Role, Example]], rows: list[TokenRow]) -> TokenGroup:
    """Return the group of an example's rows, with the first facts and the arrays of each row.

    Raises:
        FrameworkError: an array has another length than the learned tokens.
    """
    examples = [example for _, example in conversations]
    names = dict.fromkeys(name for example in examples for name in example.arrays)
    facts = next((example.facts for example in examples if example.facts), {})
    if len(rows) == 1 and conversations[0][0] is Role.answer and not names and not facts:
        return rows[0]
    arrays = {
        name: tuple(_make_array(name, example, row) for example, row in zip(examples, rows, strict=True))
        for name in names
    }
    return GroupedRows(tuple(rows), tuple(role for role, _ in conversations), facts, arrays)


def _make_array(name: str, example: Example, row: TokenRow) -> NDArray[Any]:
    """Return an array of a row as numbers: ids stay whole, anything else is single precision."""
    learned_count, part = len(row.learned), f"{example.where}: format={example.format}: the array {name}"
    array: NDArray[Any] = np.empty(0)
    failed = Caught()  # numpy calls the code of what it is given
    with failed:
        array = np.asarray(example.arrays.get(name, ()))
        array = array.reshape(len(array), -1 if len(array) else 1)
        array = array.astype(np.int32 if array.dtype.kind in "iu" else np.float32)
    if failed.error:
        raise FrameworkError(
            f"{part} is not a table of numbers: each learned token has a row of them, all equally long"
        ) from failed.error
    if len(array) != learned_count:
        raise FrameworkError(
            f"{part} has {counted(len(array), 'row')} of numbers, and "
            f"{counted(learned_count, 'token')} are learned: give one for each learned token, the stop token included"
        )
    return array


def _limit_rows(rows: Iterable[Row], max_rows: int | None) -> Iterator[Row]:
    """Give the first `max_rows` rows, and show the progress, with a total if the source has a length hint."""
    hint = operator.length_hint(rows, -1)
    total = None if hint < 0 else hint if max_rows is None else min(hint, max_rows)
    with current().progress.counting(total, "row", "tokenizing") as counter:
        for row in itertools.islice(rows, max_rows):
            yield row
            counter.advance()


def _split_by_answer(examples: Iterable[Example], summary: ReadSummary, max_examples: int | None) -> Iterator[Example]:
    """Give `max_examples` rows, one for each answer; all examples are read, so that `read` comes to its end."""
    remaining = max_examples
    for example in examples:
        conversations = list(example.for_each_answer())[:remaining]
        if remaining is not None:
            remaining -= len(conversations)
        if len(conversations) > 1:
            counts, rows = summary.counts, summary.counts.conversation_rows + len(conversations)
            summary.counts = dataclasses.replace(counts, conversations=counts.conversations + 1, conversation_rows=rows)
        yield from conversations


def _row_places(raw: RawData) -> list[str]:
    """Return the places of rows for messages, as far as that is cheap: a store keeps the place of each row."""
    if raw.places or raw.streamed:
        return list(raw.places)
    return [row.where for part in (raw.train, raw.validation, raw.prompts) for row in itertools.islice(part, 1)]


def batches(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """Give examples in batches that stay small for rows of any length."""
    batch: list[Example] = []
    size = 0
    for example in examples:
        batch.append(example)
        size += characters(example)
        if len(batch) >= BATCH_ROWS or size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def cut(
    example: Example, row: TokenRow, limit: int, model: Model, *, full: bool = False
) -> list[tuple[Example, TokenRow]]:
    """Cut the row of a plain text into rows of at most `limit` tokens, `my.txt:1, part 1` and so on.

    A conversation, and a text of at most `limit` tokens, stay as they are. `full`: all but the last are as long as the
    limit, give or take a character.
    """
    if example.text is None or len(row.input_ids) <= limit:
        return [(example, row)]
    prefix_length = next((index for index, label in enumerate(row.labels) if label != IGNORE), 0)
    begin, ids = row.input_ids[:prefix_length], row.input_ids[prefix_length:]
    room = max(1, limit - prefix_length - (0 if full else MOST_CUT_BACK))
    count, least = math.ceil(len(ids) / room), min(LEAST_REST, room // 2) if full else 0
    pieces: list[tuple[Example, TokenRow]] = []
    start = 0
    while start < len(ids):
        part = len(pieces) + 1
        end = min(start + room, len(ids)) if full else len(ids) * part // count
        if 0 < len(ids) - end < least:  # else the last row may be the stop token only
            end = len(ids) - least
        end = _whole_characters(ids, start, end, model)
        inner, where = ids[start:end], f"{example.where}{PART}{part}"
        text = model.decode(inner[:-1] if end == len(ids) and inner[-1] in model.stop_ids else inner)
        labels = [IGNORE] * prefix_length + row.labels[prefix_length + start : prefix_length + end]
        tokens = TokenRow([*begin, *inner], labels, where, row.problem)
        pieces.append((dataclasses.replace(example, text=text, where=where), tokens))
        start = end
    return pieces


def _whole_characters(ids: list[int], start: int, end: int, model: Model) -> int:
    """Move a cut back to the end of a character if one ends nearby."""
    if end == len(ids):
        return end
    nearby = range(end, max(start, end - MOST_CUT_BACK - 1), -1)
    return next(
        (position for position in nearby if not model.decode(ids[start:position]).endswith(HALF_CHARACTER)), end
    )


def fingerprint(raw: RawData) -> str:
    """Return a hash over the content of the rows, in their order; their places do not count."""
    if raw.key:
        return hashlib.sha256(raw.key.encode()).hexdigest()
    digest = hashlib.sha256()
    for part in (raw.train, raw.validation, raw.prompts):
        digest.update(b"\x00")
        digest.update(_rows_digest(part))
    return digest.hexdigest()


def _rows_digest(rows: Iterable[Row]) -> bytes:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([dict(row.fields), row.problem], sort_keys=True, default=str).encode())
        digest.update(b"\n")
    return digest.digest()
