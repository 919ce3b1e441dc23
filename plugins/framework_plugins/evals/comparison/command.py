"""`python -m framework compare A B [C …]`: evaluations of the same items, by whichever tool, with paired tests."""

from __future__ import annotations

import json
import math
from argparse import ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from framework import FrameworkError
from framework.api import EvalResult, count, display_path, visible, write_atomically
from framework.api.program import CommandParser
from framework_plugins.evals.comparison import inspect_log, items_file, lm_eval_log, run
from framework_plugins.evals.comparison.evaluations import Evaluation, json_lines, refusing_other_shapes
from framework_plugins.evals.comparison.pairing import NO_CLUSTERS, Choices, compared, failing
from framework_plugins.evals.comparison.shown import as_json, bounds, show
from framework_plugins.evals.config import CompareCommandConfig

BAD_VERDICT = 3
"""The exit code of `verdict.fail_on`."""
RUN_FILE = "overrides.json"
ACCEPTED = (
    "a run folder, logs of lm-eval (--log_samples) or inspect (.eval, .json), or a JSONL file of items with scores"
)


class CompareCommand:
    """Compares evaluations."""

    def __init__(self, config: CompareCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Print the comparison; return 3 if it has an outcome of `--fail-on`."""
        parser = CommandParser("compare", CompareCommandConfig.__doc__)
        parser.add_argument("evaluations", nargs="+", type=Path, metavar="EVALUATION", help=f"{ACCEPTED}; two or more")
        parser.add_argument(
            "--metric", action="append", default=[], metavar="NAME", help="compare only this measure; may be repeated"
        )
        parser.add_argument(
            "--higher-is-better", action="append", default=[], metavar="NAME", help="a higher value of it is better"
        )
        parser.add_argument(
            "--lower-is-better", action="append", default=[], metavar="NAME", help="a lower value of it is better"
        )
        parser.add_argument(
            "--cluster", default="", metavar="FIELD",
            help=f"items with one value of this field are not independent; {NO_CLUSTERS}: all are",
        )  # fmt: skip
        absent = parser.add_mutually_exclusive_group()
        absent.add_argument("--common", action="store_true", help="compare only the items that all have")
        absent.add_argument(
            "--missing-as-wrong", action="store_true",
            help="an item that is missing in one, or has no score there, has the score 0",
        )  # fmt: skip
        parser.add_argument(
            "--ask", action="store_true",
            help="ask runs the prompts that only others of them were asked, with their weights",
        )  # fmt: skip
        parser.add_argument(
            "--all-pairs", action="store_true", help="compare each with each, and not only with the first"
        )
        parser.add_argument(
            "--confidence", type=_confidence, default=0.95, metavar="C", help="of all intervals together; default: 0.95"
        )
        parser.add_argument(
            "--margin", type=_share, metavar="M",
            help="a loss that is allowed: 0.02 is 2 points of a share, else 2%% of the first one's value",
        )  # fmt: skip
        parser.add_argument(
            "--fail-on", choices=("worse", "undecided"), default="", metavar="worse|undecided",
            help="exit code 3 if one is significantly worse; undecided: unless more than --margin is ruled out",
        )  # fmt: skip
        parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page")
        parser.add_argument("--json", action="store_true", help="print JSON")
        options = parser.read(arguments)
        _check(options.evaluations, options.html)
        texts = options.cluster != NO_CLUSTERS
        field = "" if options.cluster == NO_CLUSTERS else options.cluster
        updates, notes = dict[Path, EvalResult](), list[str]()
        if options.ask:
            from framework_plugins.evals.comparison.ask import ask_the_rest  # noqa: PLC0415 - it opens models

            updates, notes = ask_the_rest([path for path in options.evaluations if (path / RUN_FILE).exists()])
        evaluations = [
            run.read(path, updates[path]) if path in updates else read(path, field, texts=texts)
            for path in options.evaluations
        ]
        evaluations[0].notes += notes
        choices = Choices(
            options.metric, options.higher_is_better, options.lower_is_better, options.cluster, options.common,
            options.missing_as_wrong, options.all_pairs, options.confidence, options.margin,
        )  # fmt: skip
        result = compared(evaluations, choices)
        failures = failing(result, options.fail_on)
        if options.html:
            from framework_plugins.evals.comparison.page import render  # noqa: PLC0415 - Jinja, for a page only

            try:
                write_atomically(options.html, render(result, failures))
            except OSError as error:
                raise FrameworkError(f"--html {options.html} cannot be written: {error.strerror or error}") from error
        if options.json:
            print(json.dumps(as_json(result, failures), indent=1, ensure_ascii=False))  # noqa: T201
        else:
            show(result, Console(highlight=False, emoji=False, markup=False))
            for comparison in failures:
                name = visible(comparison.measure, " ")
                difference = f"{bounds(comparison.change)} from {comparison.one}"
                print(f"--fail-on {options.fail_on}: {comparison.other} in {name}, {difference}")  # noqa: T201
            if options.html:
                print(f"page: {display_path(options.html)}")  # noqa: T201
        return BAD_VERDICT if failures else 0


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise ArgumentTypeError(f"'{text}' is not a number from 0 to below 1, such as 0.05")
    return value


def _confidence(text: str) -> float:
    if (value := _share(text)) < 0.5:  # noqa: PLR2004 - as `verdict.confidence`
        raise ArgumentTypeError(f"'{text}' is not a number from 0.5 to below 1, such as 0.95")
    return value


def _check(paths: Sequence[Path], page: Path | None) -> None:
    """Refuse invalid arguments before anything is read."""
    if len(paths) < 2:  # noqa: PLR2004 - a comparison
        raise FrameworkError(f"{count(len(paths), 'evaluation')}: two or more are compared, each {ACCEPTED}")
    for index, path in enumerate(paths):
        if not path.exists():
            raise FrameworkError(f"{path}: there is no such file or folder")
        if path.resolve() in [earlier_path.resolve() for earlier_path in paths[:index]]:
            raise FrameworkError(f"{path} is named twice: an evaluation does not differ from itself")
    if page:
        if page.resolve() in (path.resolve() for path in paths):
            raise FrameworkError(f"--html {page} would replace the evaluation {page}: name another file")
        if page.is_dir():
            raise FrameworkError(f"--html {page} is a folder: name a file")
        if not page.absolute().parent.is_dir():
            raise FrameworkError(f"--html {page}: there is no folder {page.parent}")


def read(path: Path, cluster: str, *, texts: bool) -> Evaluation:
    """Read an evaluation, whichever tool wrote it.

    Args:
        path: a file or a folder.
        cluster: the field of items that names their cluster; empty if there is none.
        texts: whether the texts of the items are kept.

    Raises:
        FrameworkError: none wrote it, or it is damaged.
    """
    if path.is_dir():
        if (path / RUN_FILE).exists():
            return run.read(path)
        if logs := lm_eval_log.logs_in(path):
            with refusing_other_shapes(path, "logs of lm-eval"):
                return lm_eval_log.read(path, logs, cluster, texts=texts)
        if logs := inspect_log.logs_in(path):
            with refusing_other_shapes(path, "logs of inspect"):
                return inspect_log.read(path, logs, cluster, texts=texts)
        without = lm_eval_log.has_results(path)
        hint = ". lm-eval's results are there without samples: evaluate with --log_samples" if without else ""
        raise FrameworkError(f"{display_path(path)} is not {ACCEPTED}{hint}")
    if path.suffix == ".eval" or (path.suffix == ".json" and inspect_log.is_log(path)):
        with refusing_other_shapes(path, "a log of inspect"):
            return inspect_log.read(path, [path], cluster, texts=texts)
    if path.suffix != ".jsonl":
        without = path.suffix == ".json" and path.name.startswith("results_")
        hint = (
            ". lm-eval's results have no items: name the folder of an evaluation with --log_samples" if without else ""
        )
        raise FrameworkError(f"{display_path(path)} is not {ACCEPTED}{hint}")
    _, row = next(json_lines(path), (0, None))
    if row is None:
        raise FrameworkError(f"{display_path(path)} is empty")
    if "doc_id" in row and "scores" not in row:
        with refusing_other_shapes(path, "a log of lm-eval"):
            return lm_eval_log.read(path, [path], cluster, texts=texts)
    with refusing_other_shapes(path, "items with scores"):
        return items_file.read(path, cluster, texts=texts)
