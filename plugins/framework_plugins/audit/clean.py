"""`audit.standard.clean=FILE`: the rows that are left after what the audit found, and beside it which went and why.

The rows are written as the source gave them, an object a line, so that `data=local_file` reads them to the same
conversations with the same settings of the format.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from framework import FrameworkError, Plan
from framework.api import AuditData, Finding, Learn, Problem, RowPart, Severity, Source, summarize_error
from framework_plugins.audit.config import Check, StandardConfig
from framework_plugins.audit.finding_draft import FindingDraft

SETTING = "audit.standard.clean"
UTF8 = "utf-8"
"""How the rows are written, whatever the encoding of the source."""
REMOVED = (
    Check.duplicates, Check.leaked, Check.broken_encoding, Check.broken_json, Check.empty_answers,
    Check.empty_questions,
)  # fmt: skip
"""What takes a row out. Other findings, such as a near-duplicate, are for a person to decide."""
BAD_ROW, NOTHING_LEARNED = "bad_row", "nothing_learned"
"""Why a row goes that the audit did not see."""


def removed_file(file: Path) -> Path:
    """Return the list beside the rows: `clean.removed.jsonl` beside `clean.jsonl`."""
    return file.with_suffix(f".removed{file.suffix}")


def problems(plan: Plan, config: StandardConfig) -> Iterator[Problem]:
    """Return the reasons why the rows cannot be written as the config asks."""
    if config.clean is None:
        return
    file = Path(config.clean).expanduser()
    if file.suffix != ".jsonl":
        yield Problem(
            f"{SETTING}={config.clean} must end with .jsonl: rows are written as JSON, one a line",
            ("audit.standard.clean",),
        )
    if plan.data.config.cut is not None:
        yield Problem(
            f"{SETTING} writes whole rows, which data.cut={plan.data.config.cut} splits: leave one of the two out",
            ("data.cut",),
        )
    if plan.data.config.learn is Learn.each:
        yield Problem(
            f"{SETTING} writes whole conversations, which data.learn=each splits: set data.learn=last", ("data.learn",)
        )
    for name, value in vars(plan.data.config).items():
        if isinstance(value, str) and _is_read_by(Path(value).expanduser(), file):
            yield Problem(
                f"{SETTING}={config.clean} would be read as part of data.{name}={value}: write it elsewhere",
                ("audit.standard.clean", f"data.{name}"),
            )


def _is_read_by(source: Path, file: Path) -> bool:
    target = file.resolve()
    return source.exists() and (source.resolve() == target or (source.is_dir() and source.resolve() in target.parents))


def training_rows(data: AuditData) -> AuditData:
    """Return the rows with those in training that were split off for validation: they are in the same files."""
    result = copy.copy(data)
    result.part = data.part.copy()
    result.part[data.own & (data.part == RowPart.validation)] = RowPart.train
    return result


def write(data: AuditData, drafts: Iterable[FindingDraft], file: str) -> Finding:
    """Write the remaining rows of the run's own data, and the list of the removed ones.

    Args:
        data: the rows, as `training_rows` gives them.
        drafts: the findings of the audit.
        file: where the rows go.

    Raises:
        FrameworkError: the file cannot be written, or two rows of the source have one name.
    """
    reasons = _reasons(data, drafts)
    path = Path(file).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clean_count, removed_count = _split_rows(data.plan, _reasons_by_place(data, reasons), path)
    except OSError as error:
        raise FrameworkError(f"{SETTING}={file} cannot be written: {summarize_error(error)}") from error
    text = f"{clean_count} of {clean_count + removed_count} rows are left in {path}"
    text += f"; {removed_file(path)} lists the other {removed_count}, with place and reason" if removed_count else ""
    advice = f"train on them with data=local_file data.path={path}"
    if data.plan.data.config.text_encoding() != UTF8:
        advice += f" data.encoding={UTF8}"
    return Finding("cleaned", Severity.note, removed_count, text, advice, [])


def _reasons(data: AuditData, drafts: Iterable[FindingDraft]) -> Mapping[int, Sequence[str]]:
    """Return the reasons to remove rows. Of a leak the training row is removed: held-out rows stay."""
    reasons = defaultdict[int, list[str]](list)
    for row in np.flatnonzero(data.own & (data.part == RowPart.left_out)).tolist():
        reasons[row].append(NOTHING_LEARNED)
    for draft in drafts:
        if draft.check in REMOVED:
            numbers = draft.numbers if draft.leaks is None else draft.leaks
            for row in numbers[data.own[numbers]].tolist():
                reasons[row].append(draft.check.value)
    return reasons


def _reasons_by_place(data: AuditData, reasons: Mapping[int, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Return the reasons to remove each row, by its place; empty for rows that stay."""
    by_place: dict[str, Sequence[str]] = {}
    for texts in data.batches():
        for row, where in enumerate(texts.where, start=texts.start):
            if data.own[row]:
                if where in by_place:
                    raise FrameworkError(f"{SETTING}: two rows of the source are called {where}")
                by_place[where] = reasons.get(row, ())
    return by_place


def _split_rows(plan: Plan, reasons: Mapping[str, Sequence[str]], file: Path) -> tuple[int, int]:
    """Read the source once more and write each row to one of two files; return how many went into each."""
    source: Source = plan.data.create()
    paths = file, removed_file(file)
    # Both are renamed at the end: a list that does not belong to its rows would be worse than none.
    part_files = [path.with_name(f"{path.name}.part") for path in paths]
    counts = [0, 0]
    with part_files[0].open("wb") as clean_stream, part_files[1].open("wb") as removed_stream:
        for row in itertools.islice(source.load().train, plan.data.config.max_rows):
            # The store has only rows that could be read.
            why = reasons.get(row.where, (BAD_ROW,))
            counts[bool(why)] += 1
            if why:
                removed_stream.write(_json_line({"where": row.where, "why": list(why)}))
            else:
                clean_stream.write(_json_line(dict(row.fields)))
    for part_file, path in zip(part_files, paths, strict=True):
        part_file.replace(path)
    return counts[0], counts[1]


def _json_line(fields: Mapping[str, object]) -> bytes:
    try:
        return f"{json.dumps(fields, ensure_ascii=False)}\n".encode()
    except UnicodeEncodeError:  # half of a surrogate pair, in a field that nothing reads
        return f"{json.dumps(fields)}\n".encode()
