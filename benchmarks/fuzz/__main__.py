"""Bounded fuzz of third-party input: `python -m benchmarks.fuzz [--cases N] [--seed S] [--jobs J] [KIND…]`.

Hypothesis draws cases of each kind from a seed, mostly sound inputs with something changed. Each declares beforehand
what is right: it must be refused, or it has the same result as the unmutated input. A fork of this process runs it
through the command line. A case has a fault if it

- prints a traceback, dies of a signal, or ends with another exit code than 0 or 2;
- takes more than ten seconds of processor time, waits for what never comes, or takes more than 2 GB beyond what this
  process has;
- is accepted though it must be refused, or is refused or has another result though it must have the same (`silent`);
- is refused with a message that names neither the file, the key nor the value (`vague`);
- leaves or changes files outside its run folder and the cache, or any file although it is refused, unless the message
  names one of them.

Each different fault is made small by Hypothesis and printed; a table of all of them follows. With a fault, the exit
code is 1.
"""

from __future__ import annotations

import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import OUT, command_line
from benchmarks.fuzz.case import KEPT, SOUND, Case, Expect
from benchmarks.fuzz.draw import draw, shrink
from benchmarks.fuzz.judge import Counts, faults, table
from benchmarks.fuzz.kinds import KINDS
from benchmarks.fuzz.process import Outcome, Slot, outcomes, prepared
from tests.support.forks import keep_temporary_folders


def main(kinds: list[str], cases: int, seed: int, jobs: int, smallest: int, *, each: bool = False) -> Iterator[str]:
    """Give the faults and the table, line by line; with `each`, every case and its end before them."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        good = prepared(Path(folder, "good"))
        keep_temporary_folders()
        slots = [Slot(Path(folder, str(number)), good) for number in range(jobs)]
        numbers = {kind: zlib.crc32(f"{seed} {kind}".encode()) for kind in kinds}
        share = -(-cases // len(kinds))
        drawn = {kind: draw(KINDS[kind], numbers[kind], share) for kind in kinds}
        needed = {case.sound for held in drawn.values() for case in held}
        edits = {edit for held in drawn.values() for case in held for edit in case.edits if edit.do == "copy"}
        if any(KEPT in str(edit) for edit in edits):
            for slot in slots:
                slot.keep_runs()
        sound = _sound(needed, slots)
        counts = {kind: Counts() for kind in kinds}
        known, first, often = dict[str, str](), dict[str, tuple[Case, str]](), Counter[str]()
        began = time.monotonic()
        for case, outcome in outcomes((case for kind in kinds for case in drawn[kind]), slots):
            found = faults(case, outcome, sound[case.sound])
            counts[case.kind].add(case, outcome, found)
            known[repr(case)] = what = _fault(case, outcome, sound)
            if each:
                yield f"{case}\n    ended with {outcome.code}, {outcome.seconds:.1f} s: {_last(outcome)}\n"
            if what:
                often[what] += 1
                if what not in first:
                    first[what] = case, "; ".join(f"{one.column}: {one.seen}" for one in found)
        minutes = (time.monotonic() - began) / 60

        def run(case: Case) -> str:
            return _fault(case, next(iter(outcomes([case], slots[:1])))[1], sound)

        for number, (what, (case, seen)) in enumerate(sorted(first.items(), key=lambda item: item[0])):
            small = None
            if number < smallest:
                small = shrink(KINDS[case.kind], numbers[case.kind], share, known, what, run)
            yield f"{often[what]} × {what}\n    {seen}\n    {small or case}\n"
        yield from table(counts)
        total = sum(one.cases for one in counts.values())
        yield f"\n{total:,} cases in {minutes:.1f} minutes, {total / minutes:.0f} a minute, with --jobs {jobs}"


def _sound(names: set[str], slots: list[Slot]) -> dict[str, str]:
    """Return the results of the unmutated cases."""
    made = [
        Case("", name, SOUND[name].words, Expect.ANY, name, edits=SOUND[name].edits, process=SOUND[name].process)
        for name in sorted(names)
    ]
    results = {}
    for case, outcome in outcomes(made, slots):
        if outcome.code:
            raise SystemExit(f"the sound case '{case.what}' ended with {outcome.code}\n{outcome.out}{outcome.err}")
        results[case.what] = outcome.result
    return results


def _last(outcome: Outcome) -> str:
    return " / ".join((outcome.err or outcome.out).strip().splitlines()[-3:])[:500]


def _fault(case: Case, outcome: Outcome, sound: dict[str, str]) -> str:
    """Name the faults of a case; those of one mutation that look the same have one name."""
    columns = [fault.column for fault in faults(case, outcome, sound[case.sound])]
    return f"{case.kind}, {case.what}: {', '.join(dict.fromkeys(columns))}" if columns else ""


if __name__ == "__main__":
    parser = command_line(__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"some of {', '.join(KINDS)}; default: all")
    parser.add_argument("--cases", type=int, default=300, help="cases of all kinds together")
    parser.add_argument("--seed", type=int, default=0, help="the same seed draws the same cases")
    parser.add_argument("--jobs", type=int, default=1, help="cases that run at the same time")
    parser.add_argument("--shrink", type=int, default=20, help="faults that are made small")
    parser.add_argument("--each", action="store_true", help="print every case, and how it ended")
    given = parser.parse_args()
    if unknown := set(given.kinds) - set(KINDS):
        parser.error(f"unknown kinds: {', '.join(unknown)}")
    failed = False
    lines = main(given.kinds or list(KINDS), given.cases, given.seed, given.jobs, given.shrink, each=given.each)
    for line in lines:
        failed |= " × " in line.partition(",")[0]
        OUT.print(line)
    sys.exit(int(failed))
