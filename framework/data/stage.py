"""The data stage, top to bottom: read and prove every row once, split, fit, audit, and look at a few."""

from __future__ import annotations

import itertools
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from shutil import rmtree

import numpy as np
from numpy.typing import NDArray

from framework.cache import cache_dir
from framework.data import Data, audit, key, lengths, mix, proof, split, store, writer
from framework.data.rows import read
from framework.data.store import PROMPTS, TRAIN, VALIDATION, Rows, Store
from framework.data.view import view
from framework.data.writer import Writer
from framework.errors import FrameworkError, one_line
from framework.plan import Choice, Plan
from framework.protocols import Formatter, Model
from framework.records import DataResult, Example, Prompt, RawData, Row
from framework.schema import OnBadRow, ProofMode


def prepare_data(plan: Plan, model: Model) -> Data:
    """Make the data of a run; see `framework.data.load_data`."""
    config, limit = plan.data.config, plan.training.max_seq_length
    reader = Reader(plan, model)
    plan.data.check_rows(reader.fingerprint)
    rows, cached = reader.store()
    columns = rows.columns
    if not (columns.part == TRAIN).any():
        bad = rows.told
        skipped = f": all {bad.bad_rows} are bad, the first {bad.bad_examples[0]}" if bad.bad_rows else ""
        message = f"data '{plan.data.component.name}' has no rows{skipped}"
        raise FrameworkError(message)
    proven = proof.prove(rows)
    if proven.failed and config.proof is ProofMode.fail:
        raise proof.refusal(proven)
    part = split_parts(plan, rows)
    train, validation = (np.flatnonzero(part == which) for which in (TRAIN, VALIDATION))
    if not len(train):
        message = "no row has a token that could be learned"
        raise FrameworkError(message)
    measured = lengths.measure(rows, train, limit, plan.training.per_device_train_batch_size, plan.seed)
    kept, supervised = lengths.fit(rows, train, limit, config.overflow)
    validated = lengths.fit(rows, validation, limit, config.overflow)[0] if len(validation) else validation
    found = audit.findings(plan, rows, part) if plan.audit else []
    train_rows = lengths.token_rows(rows, kept, limit)
    prompts = _prompts(rows, validation)
    result = DataResult(
        train_rows=len(kept),
        validation_rows=len(validated),
        prompts=len(prompts),
        formats=rows.told.formats,
        tokens=int(np.minimum(columns.tokens[kept], limit).sum()),
        supervised_tokens=supervised,
        longest=int(np.minimum(columns.tokens[kept], limit).max()),
        overflow_rows=int((columns.tokens[train] > limit).sum()),
        overflow_supervised_tokens=int(columns.supervised[train].sum()) - supervised,
        fingerprint=reader.fingerprint,
        format_runs=rows.told.runs,
        mixed_rows={
            entry.name: int((columns.source[kept] == number).sum())
            for number, entry in enumerate(reader.mixed, start=1)
        },
        bad_rows=rows.told.bad_rows,
        bad_examples=rows.told.bad_examples,
        proof=proven,
        lengths=measured,
        findings=found,
        view=view(train_rows, model),
        cached=cached,
    )
    return Data(train_rows, lengths.token_rows(rows, validated, limit), prompts, result)


def split_parts(plan: Plan, rows: Store) -> NDArray[np.int8]:
    """Return the part of each row: those of the source, with the validation split off where there is none."""
    part = rows.columns.part.copy()
    part[~proof.usable(rows) & (part != PROMPTS)] = audit.LEFT_OUT
    share = plan.data.config.validation_split
    if share > 0 and not (rows.columns.part == VALIDATION).any():
        trained = np.flatnonzero(part == TRAIN)
        alike = audit.groups(rows, "asked_alike")[trained]
        own = rows.columns.source[trained] == 0
        part[trained[split.held_out(alike, own, share, plan.seed)]] = VALIDATION
    return part


def _prompts(rows: Store, validation: NDArray[np.int64]) -> Rows[Prompt]:
    """Return what is asked before and after: the source's own prompts, else the validation rows."""
    given = np.flatnonzero(rows.columns.part == PROMPTS)
    numbers = given if len(given) else validation
    asking = numbers[~rows.columns.plain[numbers]]  # plain text asks nothing
    return Rows(asking, lambda number: to_prompt(rows.example(number)))


def to_prompt(example: Example) -> Prompt:
    """Ask what stands before the last answer, and keep that answer as the reference."""
    return Prompt(example.messages[:-1], example.messages[-1].content, example.tools)


class Reader:
    """Reads the sources of a run and writes their rows into a store, or finds the store of an earlier run."""

    def __init__(self, plan: Plan, model: Model) -> None:
        self.plan = plan
        self.model = model
        self.mixed = mix.parts(plan.data.config.mix)
        self.raw: RawData = plan.data.create().load()
        self.others: list[RawData] = [part.source.create().load() for part in self.mixed]
        marks = [key.fingerprint(raw) for raw in (self.raw, *self.others)]
        self.fingerprint = marks[0] if not self.others else key.of(*marks)

    def store(self) -> tuple[Store, bool]:
        """Return the store, and whether an earlier run had made it."""
        encoding = self.model.encoding
        if not encoding:
            return self._write(Path(tempfile.mkdtemp(), "rows"), remove=True), False
        folder = cache_dir() / "data" / self._key(encoding)
        if (found := store.opened(folder)) is not None:
            return found, True
        try:
            store.remove_old(folder.parent)
            return self._write(folder), False
        except OSError as error:
            if error.filename and not str(error.filename).startswith(str(cache_dir())):
                raise  # of the source
            reason = error.strerror or one_line(error)
            message = f"the cache folder {folder.parent} cannot be written: {reason}. Set FRAMEWORK_CACHE=FOLDER"
            raise FrameworkError(message) from error

    def _key(self, encoding: str) -> str:
        config, plan = self.plan.config, self.plan
        settings = {name: config["data"][name] for name in ("max_rows", "on_bad_row", "mix")}
        formats = [plan.format, *(part.format for part in self.mixed if part.format)]
        makers: list[Formatter] = [choice.create() for choice in formats]
        asked = [part for maker in makers for part in getattr(maker, "formats", {}).values()]  # of format=auto
        sources = [self.plan.data.create(), *(part.source.create() for part in self.mixed)]
        code = [key.code(maker) for maker in (*sources, *makers, *asked)]
        names = [choice.component.name for choice in formats]
        places = [row.where for raw in (self.raw, *self.others) if not raw.streamed for row in _first(raw)]
        seed = plan.seed if self.mixed else 0
        return key.of(self.fingerprint, settings, config["format"], names, code, places, encoding, seed)

    def _write(self, folder: Path, *, remove: bool = False) -> Store:
        made = writer.write(folder, self._fill)
        if remove:
            weakref.finalize(made, rmtree, folder.parent, ignore_errors=True)
        return made

    def _fill(self, into: Writer) -> None:
        data = self.plan.data.config
        own = itertools.islice(self.raw.train, data.max_rows)
        trained = self._add(into, own, self.plan.format, TRAIN, 0)
        self._add(into, self.raw.validation, self.plan.format, VALIDATION, 0)
        self._add(into, self.raw.prompts, self.plan.format, PROMPTS, 0)
        weights = sum(part.weight or 0 for part in self.mixed)
        for number, (part, raw) in enumerate(zip(self.mixed, self.others, strict=True), start=1):
            chosen = mix.choose(raw, part.wanted(trained, weights), self.plan.seed)
            self._add(into, chosen, part.format or self.plan.format, TRAIN, number)
        if into.told.bad_rows and data.on_bad_row is OnBadRow.fail:
            raise into.told.refusal()

    def _add(self, into: Writer, rows: Iterable[Row], choice: Choice, part: int, source: int) -> int:
        """Read, format and encode rows; once one is bad and that is fatal, the rest is only looked at."""
        formatter: Formatter = choice.create()
        examples = read(rows, formatter, choice.config, OnBadRow.skip, into.told)
        count = 0
        for batch in _batches(examples, store.BATCH):
            count += len(batch)
            if into.told.bad_rows and self.plan.data.config.on_bad_row is OnBadRow.fail:
                continue
            into.add(batch, self.model.encode(batch), part, source)
        return count


def _first(raw: RawData) -> list[Row]:
    """Return the first row of each part: a store tells where its rows stand, so the names of the files count."""
    return [row for part in (raw.train, raw.validation, raw.prompts) for row in itertools.islice(part, 1)]


def _batches(examples: Iterator[Example], size: int) -> Iterator[list[Example]]:
    while batch := list(itertools.islice(examples, size)):
        yield batch
