"""What is a fault of a case, and the table of them."""

from __future__ import annotations

import resource
import signal
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from benchmarks.common import table_head, table_row
from benchmarks.fuzz.case import SOUND, Case, Expect
from benchmarks.fuzz.process import MEMORY, SECONDS, Outcome

COLUMNS = ("traceback", "leak", "crash", "hang", "memory", "exit code", "silent", "vague", "files")
PLANTED = "QwErTyUiOpAsDfGhJkLzXcVbNm"
"""A part of the token that cases plant."""
CACHES = ("cache/", "home/.cache/")
USER_MISTAKE = 2


@dataclass(frozen=True)
class Fault:
    """What may not happen: one of COLUMNS, and what was seen."""

    column: str
    seen: str


def faults(case: Case, outcome: Outcome, sound: str) -> list[Fault]:
    """Return the faults of a case; `sound` is the result of the unmutated one."""
    text, code = outcome.out + outcome.err, outcome.code
    last = next(iter(outcome.err.strip().splitlines()[-1:]), "")
    if outcome.idle:
        return [Fault("hang", "it waits for what never comes")]
    found = list(_files(case, outcome))
    if PLANTED in text or "\x1b[31m" in text:
        found.append(
            Fault("leak", next(line for line in text.splitlines() if PLANTED in line or "\x1b[31m" in line)[:300])
        )
    if outcome.memory > MEMORY:
        found.append(Fault("memory", f"{outcome.memory >> 20:,} MiB"))
    if outcome.seconds > SECONDS or code in {-signal.SIGXCPU, -signal.SIGKILL, 128 + signal.SIGXCPU}:
        return [*found, Fault("hang", f"{outcome.seconds:.1f} s of processor time")]
    if code < 0:
        return [*found, Fault("crash", signal.Signals(-code).name)]
    if "Traceback (most recent call last)" in text:
        return [*found, Fault("traceback", last)]
    if code not in {0, USER_MISTAKE, *case.codes}:
        return [*found, Fault("exit code", f"{code}: {last}")]
    if code == USER_MISTAKE:
        unwritable = case.process.stderr or (resource.RLIMIT_FSIZE, 0) in case.process.limits
        if not outcome.err.strip() and not unwritable:
            found.append(Fault("vague", "no message"))
        elif case.names and not any(name in outcome.err for name in case.names):
            found.append(Fault("vague", f"none of {', '.join(case.names)} in: {outcome.err.strip()[:300]}"))
        if case.expect is Expect.SAME:
            found.append(Fault("silent", f"refused though sound: {outcome.err.strip()[:300]}"))
    elif code == 0:
        if case.expect is Expect.REFUSED:
            found.append(Fault("silent", "accepted"))
        elif case.expect in {Expect.SAME, Expect.EITHER} and outcome.result != sound:
            found.append(Fault("silent", f"another result: {outcome.result[:300]}\n    instead of {sound[:300]}"))
    return found


def _files(case: Case, outcome: Outcome) -> Iterable[Fault]:
    sound = SOUND[case.sound]
    # What continues in a run folder notes there that it was refused; a disk without space is known in the middle.
    noted = (
        sound.run in {edit.path for edit in sound.edits} or case.sound == "runs" or case.process.limits or case.trains
    )
    allowed = (*CACHES, *sound.writes) if outcome.code != USER_MISTAKE or noted else CACHES
    left = [name for name in outcome.left if not f"{name}/".startswith(allowed) and f"{name}/" != "home/.cache/"]
    changed = [name for name in outcome.changed if not f"{name}/".startswith(allowed)]
    if case.expect is Expect.ANY and not outcome.code:  # it ran, and wrote where runs are
        return
    if any(name in outcome.err for name in left):  # a training ended early, and names the file that says why
        return
    if left:
        yield Fault("files", f"left: {', '.join(left[:5])}")
    if changed:
        yield Fault("files", f"changed: {', '.join(changed[:5])}")


@dataclass
class Counts:
    """Of one kind."""

    cases: int = 0
    refused: int = 0
    same: int = 0
    longest: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, case: Case, outcome: Outcome, found: list[Fault]) -> None:
        """Count a case."""
        self.cases += 1
        self.refused += outcome.code == USER_MISTAKE
        self.same += outcome.code == 0 and case.expect is not Expect.ANY and not found
        self.longest = max(self.longest, outcome.seconds)
        self.faults.update({fault.column for fault in found})


def table(counts: Mapping[str, Counts]) -> Iterable[str]:
    """Give the lines of a table in Markdown."""
    names = ("kind", "cases", *COLUMNS, "refused", "same result", "longest s")
    yield table_head(*names)
    rows = {
        name: (each.cases, *(each.faults[column] for column in COLUMNS), each.refused, each.same)
        for name, each in counts.items()
    }
    for name, cells in rows.items():
        yield table_row(name, *(f"{count:,}" for count in cells), f"{counts[name].longest:.1f}")
    sums = [sum(column) for column in zip(*rows.values(), strict=True)]
    longest = max(each.longest for each in counts.values())
    yield table_row("all", *(f"{total:,}" for total in sums), f"{longest:.1f}")
