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
from framework.api import AuditData, Finding, Learn, RowPart, Severity, Source, summarize_error
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


def problems(plan: Plan, config: StandardConfig) -> Iterator[str]:
    """Say why the rows cannot be written if the config says so."""
    if config.clean is None:
        return
    file = Path(config.clean).expanduser()
    if file.suffix != ".jsonl":
        yield f"{SETTING}={config.clean} must end with .jsonl: rows are written as JSON, one a line"
    if plan.data.config.cut is not None:
        yield f"{SETTING} writes whole rows, which data.cut={plan.data.config.cut} splits: leave one of the two out"
    if plan.data.config.learn is Learn.each:
        yield f"{SETTING} writes whole conversations, which data.learn=each splits: set data.learn=last"
    for name, value in vars(plan.data.config).items():
        if isinstance(value, str) and _reads(Path(value).expanduser(), file):
            yield f"{SETTING}={config.clean} would be read as part of data.{name}={value}: write it elsewhere"


def _reads(source: Path, file: Path) -> bool:
    whole = file.resolve()
    return source.exists() and (source.resolve() == whole or (source.is_dir() and source.resolve() in whole.parents))


def training_rows(data: AuditData) -> AuditData:
    """Return the rows with those in training that were split off for validation: they are in the same files."""
    whole = copy.copy(data)
    whole.part = data.part.copy()
    whole.part[data.own & (data.part == RowPart.validation)] = RowPart.train
    return whole


def write(data: AuditData, drafts: Iterable[FindingDraft], file: str) -> Finding:
    """Write the rows that are left of a run's own, and the list of the others.

    Args:
        data: the rows, as `training_rows` gives them.
        drafts: what the audit found in them.
        file: where the rows go.

    Raises:
        FrameworkError: the file cannot be written, or two rows of the source have one name.
    """
    reasons = _reasons(data, drafts)
    place = Path(file).expanduser()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        left, gone = _write(data.plan, _by_place(data, reasons), place)
    except OSError as error:
        raise FrameworkError(f"{SETTING}={file} cannot be written: {summarize_error(error)}") from error
    text = f"{left} of {left + gone} rows are left in {place}"
    text += f"; {removed_file(place)} lists the other {gone}, with place and reason" if gone else ""
    advice = f"train on them with data=local_file data.path={place}"
    if data.plan.data.config.text_encoding() != UTF8:
        advice += f" data.encoding={UTF8}"
    return Finding("cleaned", Severity.note, gone, text, advice, [])


def _reasons(data: AuditData, drafts: Iterable[FindingDraft]) -> Mapping[int, Sequence[str]]:
    """Gather why rows go. Of a leak the training row goes: what is held out is to stay as it is."""
    reasons = defaultdict[int, list[str]](list)
    for number in np.flatnonzero(data.own & (data.part == RowPart.left_out)).tolist():
        reasons[number].append(NOTHING_LEARNED)
    for draft in drafts:
        if draft.check in REMOVED:
            numbers = draft.numbers if draft.leaks is None else draft.leaks
            for number in numbers[data.own[numbers]].tolist():
                reasons[number].append(draft.check.value)
    return reasons


def _by_place(data: AuditData, reasons: Mapping[int, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Return why each row goes, by where it is; nothing for those that are left."""
    known: dict[str, Sequence[str]] = {}
    for texts in data.batches():
        for number, where in enumerate(texts.where, start=texts.start):
            if data.own[number]:
                if where in known:
                    raise FrameworkError(f"{SETTING}: two rows of the source are called {where}")
                known[where] = reasons.get(number, ())
    return known


def _write(plan: Plan, known: Mapping[str, Sequence[str]], file: Path) -> tuple[int, int]:
    """Read the source once more and write each row to one of two files; return how many went into each."""
    source: Source = plan.data.create()
    places = file, removed_file(file)
    # Both are renamed at the end: a list that does not belong to its rows would be worse than none.
    halves = [place.with_name(f"{place.name}.part") for place in places]
    counts = [0, 0]
    with halves[0].open("wb") as left, halves[1].open("wb") as gone:
        for row in itertools.islice(source.load().train, plan.data.config.max_rows):
            # The store has only rows that could be read.
            why = known.get(row.where, (BAD_ROW,))
            counts[bool(why)] += 1
            if why:
                gone.write(_line({"where": row.where, "why": list(why)}))
            else:
                left.write(_line(dict(row.fields)))
    for half, place in zip(halves, places, strict=True):
        half.replace(place)
    return counts[0], counts[1]


def _line(fields: Mapping[str, object]) -> bytes:
    try:
        return f"{json.dumps(fields, ensure_ascii=False)}\n".encode()
    except UnicodeEncodeError:  # half of a surrogate pair, in a field that nothing reads
        return f"{json.dumps(fields)}\n".encode()
