"""`python -m framework decide RUN_DIR "text"`: decisions of a run's model, from arguments, a CSV file or a pipe."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from framework import FrameworkError
from framework.api import EvalResult, display_run, write_atomically
from framework.api.program import CommandParser, read_run
from framework_plugins.decide.config import DecideCommandConfig
from framework_plugins.decide.decider import Decision, open_decider
from framework_plugins.decide.drift import Rows, drift

COLUMNS = ("option", "probability", "sure")
"""What is added to the columns of a CSV file."""


class DecideCommand:
    """Decides texts by the model of a run."""

    def __init__(self, config: DecideCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Open the model, decide all texts, and print or write the decisions."""
        parser = _parser()
        given = parser.read(arguments)
        if given.file and given.texts:
            parser.error("give texts or --file, not both")
        if given.out and not given.file:
            parser.error("--out is the file for the rows of --file")
        if given.drift and not given.file:
            parser.error("--drift compares the rows of --file with the held-out rows of the run")
        table = _read_rows(Path(given.file)) if given.file else []
        run = read_run(given.run_dir)  # before standard input is waited for
        rows: Sequence[str | Mapping[str, Any]] = table or given.texts or ([] if given.file else _piped())
        if not rows:
            parser.error("there is nothing to decide: give a text, --file, or lines on standard input")
        print(f"{display_run(run.folder)}: loading the model …", file=sys.stderr)  # noqa: T201
        with open_decider(run) as decider:
            if decider.threshold is None:
                print("the run promises no error, so it never says 'not sure'", file=sys.stderr)  # noqa: T201
            decisions = decider.decide(rows)
            if given.drift:
                _print_drift(decider.measured, decisions)
        if given.file:
            decided = _write_table(table, decisions)
            if given.out:
                write_atomically(Path(given.out), decided)
            else:
                print(decided, end="")  # noqa: T201
            return 0
        for decision in decisions:
            print(json.dumps(asdict(decision), ensure_ascii=False) if given.json else _line(decision))  # noqa: T201
        return 0


def _print_drift(measured: EvalResult | None, decisions: Sequence[Decision]) -> None:
    new = Rows(
        [decision.asked for decision in decisions],
        [decision.option for decision in decisions],
        [decision.probability for decision in decisions],
    )
    for line in drift(Rows.held_out(measured), new):
        print(line, file=sys.stderr)  # noqa: T201


def _parser() -> CommandParser:
    parser = CommandParser("decide", DecideCommandConfig.__doc__)
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the folder of the run")
    parser.add_argument("texts", metavar="TEXT", nargs="*", help="what is decided; default: lines of standard input")
    parser.add_argument("--file", metavar="CSV", help="a CSV file with a header and the columns of the training")
    parser.add_argument("--out", metavar="CSV", help="where its rows are written with the decisions; default: printed")
    parser.add_argument("--drift", action="store_true", help="say whether these rows differ from the held-out rows")
    parser.add_argument("--json", action="store_true", help="a JSON object for each text, with all probabilities")
    return parser


def _piped() -> list[str]:
    if sys.stdin is None or sys.stdin.isatty():  # a process may have none
        return []
    return [text for line in sys.stdin if (text := line.strip())]


def _read_rows(file: Path) -> list[Mapping[str, Any]]:
    """Read a CSV file.

    Raises:
        FrameworkError: it is missing, or not text in UTF-8.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FrameworkError(f"--file={file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FrameworkError(f"--file={file} is not UTF-8: save it as CSV UTF-8") from error
    return list(csv.DictReader(io.StringIO(text, newline="")))


def _write_table(rows: Sequence[Mapping[str, Any]], decisions: Sequence[Decision]) -> str:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, [*dict.fromkeys([*rows[0], *COLUMNS])], lineterminator="\n")
    writer.writeheader()
    writer.writerows(_with_decisions(rows, decisions))
    return out.getvalue()


def _with_decisions(rows: Sequence[Mapping[str, Any]], decisions: Sequence[Decision]) -> Iterator[dict[str, Any]]:
    for row, decision in zip(rows, decisions, strict=True):
        yield {**row, **dict(zip(COLUMNS, _cells(decision), strict=True))}


def _cells(decision: Decision) -> tuple[str, str, str]:
    sure = {None: "", True: "yes", False: "no"}[decision.sure]
    return decision.option, f"{decision.probability:.4f}", sure


def _line(decision: Decision) -> str:
    doubt = "\tnot sure" if decision.sure is False else ""
    return f"{decision.option}\t{decision.probability:.3f}{doubt}"
