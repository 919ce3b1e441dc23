"""`python -m framework diff RUN_A RUN_B [--json]`: the settings and the results of two runs or sweeps."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from framework.api.records import Change, DataResult, EvalResult, Outcome, Report, Sweep, TrainResult
from framework.api.run_folder import ENVIRONMENT, FAILED, FINISHED, STATUS, RunFolder, SavedRun, Status
from framework.api.schema import VerdictConfig
from framework.api.text import as_text, visible
from framework.cli.commands import DiffCommandConfig
from framework.evaluate.ranking import compare_recipes
from framework.rundir.environment import Environment
from framework.rundir.read import ABSENT, differences, flat, read_run
from framework.sweep.folder import SWEEP
from framework.util.command import CommandParser
from framework.util.errors import FrameworkError
from framework.util.host import GIB
from framework.util.redact import hide

SIDES = ("A", "B")
FOLDED = 3
"""From this many settings of an option that only one run has, the table has one row for all of them."""
SHA_256 = re.compile(r"[0-9a-f]{64}")
Pair = tuple[Any, Any]


@dataclass(frozen=True)
class Result:
    """One number of both runs. `higher_is_better` is None if neither direction is better.

    `change` is from A to B over the items that both have, tested; None if there are none. `items` is how many
    each has of `measure`, if it is one after the training.
    """

    values: Pair
    higher_is_better: bool | None
    unit: str = ""
    change: Change | None = None
    items: tuple[int, int] = (0, 0)
    measure: str = ""

    @property
    def better(self) -> str:
        """The side whose number is better; empty if that is not significant, unknown, or not visible as printed."""
        value_a, value_b = self.values
        if self.change is not None and self.change.outcome is not None:
            return {Outcome.better: SIDES[1], Outcome.worse: SIDES[0]}.get(self.change.outcome, "")
        # Of other items, such as other validation rows, neither number is the better one.
        if self.higher_is_better is None or None in self.values or self.shown[0] == self.shown[1] or all(self.items):
            return ""
        return SIDES[(value_a > value_b) != self.higher_is_better]

    @property
    def shown(self) -> tuple[str, str]:
        """Both numbers as they are printed."""
        return _number(self.values[0], self.unit), _number(self.values[1], self.unit)


class DiffCommand:
    """Compares two run folders."""

    def __init__(self, config: DiffCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Print what differs."""
        parser = CommandParser("diff", DiffCommandConfig.__doc__)
        parser.add_argument("run_a", metavar="RUN_A", help="the folder of a run, or of a sweep: its best trial")
        parser.add_argument("run_b", metavar="RUN_B", help="the folder of the run to compare it with")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parsed = parser.read(arguments)
        words = (parsed.run_a, parsed.run_b)
        sides = tuple(_seeds(word) for word in words)
        runs = (sides[0][0], sides[1][0])
        parts = {
            "overrides": _overrides(runs),
            "config": _config(runs),
            "versions": _differing(runs, Environment, ENVIRONMENT, _versions),
            "commits": _differing(runs, Environment, ENVIRONMENT, _commits),
            "data": _data(runs),
            "hardware": _differing(runs, Report, "report.json", lambda report: report.hardware),
        }
        if parsed.json:
            _print_json(runs, parts, _results(runs, sides))
        else:
            _print_tables(runs, words, parts, _results(runs, sides))
        return 0


def _seeds(folder: str) -> list[SavedRun]:
    """Return a run; of a sweep its best trial, with the trials that differ from it in the seed alone."""
    home = Path(folder).expanduser()
    sweep = RunFolder(home).read(Sweep, SWEEP)
    if sweep is None:
        return [read_run(folder)]
    if sweep.best is None:
        raise FrameworkError(f"{folder}: no trial of the sweep has a value; give one of its trials")
    points = sweep.ranking.points if sweep.ranking else []
    trials = next((point.trials for point in points if sweep.best in point.trials), [sweep.best])
    return [read_run(home / str(trial)) for trial in sorted(trials, key=lambda trial: trial != sweep.best)]


def _both(runs: Iterable[SavedRun], kind: type[Any], name: str) -> Any:
    return tuple(run.record(kind, name) for run in runs)


def _config(runs: tuple[SavedRun, SavedRun]) -> dict[str, Pair]:
    """Compare keys and, if both runs tell them, the options chosen; `run_dir` is a place, no setting."""
    environments = _both(runs, Environment, ENVIRONMENT)
    flats = [flat(run.config) | _start(run) for run in runs]
    if all(environments):
        # `plan.json` has the settings of an option, not its name.
        flats = [
            settings | environment.options | run.options
            for settings, environment, run in zip(flats, environments, runs, strict=True)
        ]
    differing = differences(flats[0], flats[1])
    differing.pop("run_dir", None)
    return differing


def _start(run: SavedRun) -> dict[str, str]:
    """Return the hash of the adapter that a training started from: with the same one, all before it is the same too."""
    trained = run.record(TrainResult, "train.json")
    return {"adapter.start.sha256": trained.lineage[0].sha256} if trained and trained.lineage else {}


def _overrides(runs: tuple[SavedRun, SavedRun]) -> dict[str, Pair]:
    words = [
        {key: value for key, _, value in (hide(word).partition("=") for word in run.overrides) if key != "run_dir"}
        for run in runs
    ]
    return differences(words[0], words[1])


def _differing(
    runs: tuple[SavedRun, SavedRun], kind: type[Any], name: str, values: Callable[[Any], Mapping[str, Any]]
) -> dict[str, Pair]:
    """Compare what a record has in both runs; where one has none, as of an earlier version, it is unknown."""
    pair = _both(runs, kind, name)
    return differences(values(pair[0]), values(pair[1])) if all(pair) else {}


def _versions(environment: Environment) -> dict[str, str]:
    plugins = {f"plugin {name}": origin for name, origin in environment.plugins.items()}
    return {"python": environment.python, "platform": environment.platform, **environment.packages, **plugins}


def _commits(environment: Environment) -> dict[str, str | None]:
    commits = {"working folder": environment.commit, "framework": environment.framework_commit}
    return {
        name: None if commit is None else commit.commit + (" with changes" if commit.dirty else "")
        for name, commit in commits.items()
    }


def _data(runs: tuple[SavedRun, SavedRun]) -> dict[str, Pair]:
    data_a, data_b = _both(runs, DataResult, "data.json")
    names = ("fingerprint", "train_rows", "validation_rows", "prompts", "tokens", "supervised_tokens")
    values = [{name: getattr(data, name) for name in names} if data else {} for data in (data_a, data_b)]
    return differences(values[0], values[1])


def _changes(sides: Sequence[Sequence[SavedRun]]) -> dict[str, Change]:
    """Compare what both sides measured after the training, over the items that both have."""
    measured = [
        [result.measures for run in side if (result := run.record(EvalResult, "evaluate.json"))] for side in sides
    ]
    saved = sides[0][0].config.get("verdict")
    settings = {name: saved[name] for name in ("confidence", "resamples") if name in saved} if saved else {}
    return compare_recipes(measured[0], measured[1], VerdictConfig(**settings)) if all(measured) else {}


def _results(runs: tuple[SavedRun, SavedRun], sides: Sequence[Sequence[SavedRun]]) -> dict[str, Result]:
    """Return every number of either run; a part that a run does not have is None."""
    before, after = _both(runs, EvalResult, "baseline.json"), _both(runs, EvalResult, "evaluate.json")
    reports: tuple[Report | None, Report | None] = _both(runs, Report, "report.json")
    trained: tuple[TrainResult | None, TrainResult | None] = _both(runs, TrainResult, "train.json")
    ups = {name: change.higher_is_better for report in reports if report for name, change in report.metrics.items()}
    names = dict.fromkeys(name for part in (*after, *before) if part for name in part.metrics)
    changes = _changes(sides)
    results: dict[str, Result] = {}
    for name in names:
        up = ups.get(name, False if name == "eval_loss" else None)
        results[f"{name} before"] = Result(_values(before, name), None)
        count_a, count_b = (len(part.measures[name].items) if part and name in part.measures else 0 for part in after)
        results[f"{name} after"] = Result(
            _values(after, name), up, change=changes.get(name), items=(count_a, count_b), measure=name
        )
    results["train loss"] = Result(_fields(trained, "train_loss"), higher_is_better=False)
    results["steps"] = Result(_fields(trained, "steps"), None)
    steps = _fields(trained, "steps")  # of trainings of another length neither is the quicker one
    results["seconds of training"] = Result(_fields(trained, "seconds"), False if steps[0] == steps[1] else None)
    rates = [result.tokens / result.seconds if result and result.seconds else None for result in trained]
    results["tokens/s"] = Result((rates[0], rates[1]), higher_is_better=True)
    results["peak memory"] = Result(_fields(trained, "peak_memory_bytes"), higher_is_better=False, unit="bytes")
    return {name: result for name, result in results.items() if result.values != (None, None)}


def _values(parts: Sequence[EvalResult | None], name: str) -> Pair:
    value_a, value_b = (part.metrics.get(name) if part else None for part in parts)
    return value_a, value_b


def _fields(parts: Sequence[TrainResult | None], name: str) -> Pair:
    value_a, value_b = (getattr(part, name) if part else None for part in parts)
    return value_a, value_b


def _print_json(
    runs: Sequence[SavedRun], parts: Mapping[str, Mapping[str, Pair]], results: Mapping[str, Result]
) -> None:
    document: dict[str, Any] = {
        "runs": {
            side: {"folder": str(run.folder), "state": _state(run)[0], "stage": _state(run)[1]}
            for side, run in zip(SIDES, runs, strict=True)
        }
    }
    for name, part in parts.items():
        document[name] = {key: _sides(pair) for key, pair in part.items()}
    document["results"] = {
        name: {**_sides(result.values), "better": result.better or None} | _tested(result)
        for name, result in results.items()
    }
    print(json.dumps(document, indent=1, ensure_ascii=False))


def _tested(result: Result) -> dict[str, Any]:
    """Return the interval and the test of the difference from A to B, if there is one."""
    change = result.change
    return {"low": change.low, "high": change.high, "p_value": change.p_value, "items": change.pairs} if change else {}


def _sides(pair: Pair) -> dict[str, Any]:
    """Return both values by their side; a key that one run does not have is left out there."""
    return {side: value for side, value in zip(SIDES, pair, strict=True) if value is not ABSENT}


def _state(run: SavedRun) -> tuple[str | None, str | None]:
    status = run.record(Status, STATUS)
    return (status.state, status.stage) if status else (None, None)


def _print_tables(
    runs: Sequence[SavedRun],
    words: Sequence[str],
    parts: Mapping[str, Mapping[str, Pair]],
    results: Mapping[str, Result],
) -> None:
    console = Console()
    for side, run, word in zip(SIDES, runs, words, strict=True):
        console.print(f"[bold]{side}[/]  {escape(word)}  {_progress(run)}", soft_wrap=True, highlight=False)
    unknown = [side for side, run in zip(SIDES, runs, strict=True) if not (run.folder / ENVIRONMENT).exists()]
    for name, part in parts.items():
        console.print()
        if unknown and name in {"versions", "commits"}:
            console.print(
                f"{name}: unknown, {' and '.join(unknown)} {'have' if len(unknown) > 1 else 'has'} no {ENVIRONMENT}",
                highlight=False,
            )
        elif not part:
            console.print(f"no difference in {name}{_caveat(name, runs)}", highlight=False)
        else:
            console.print(_table(name, _rows(part)))
    console.print()
    if results:
        rows = {key: (*result.shown, _interval(result), result.better) for key, result in results.items()}
        console.print(_table("results", rows, "B - A", "better"))
        if any(result.change for result in results.values()):
            console.print(
                "B - A: intervals over the items that both have, which hold together; neither is better if its "
                "interval contains 0",
                highlight=False,
            )
    else:
        console.print("no results in either run", highlight=False)


def _interval(result: Result) -> str:
    """Write the interval of the difference, with the number of items if a side has more; or that there are none."""
    change = result.change
    if change is None:
        return "items cannot be paired" if all(result.items) else ""
    bounds = change.difference(result.measure)
    return f"{bounds}, {change.pairs} items" if bounds and {*result.items} != {change.pairs} else bounds


def _rows(part: Mapping[str, Pair]) -> dict[str, Sequence[str]]:
    """Write both values of each key; the settings of an option that only one run has are one row."""
    # An option's settings, exporter.gguf.threads for example, with the side on which they are absent.
    one_sided = {
        key: (_option(key), pair.index(ABSENT)) for key, pair in part.items() if ABSENT in pair and _option(key)
    }
    numbers = Counter(one_sided.values())
    rows: dict[str, Sequence[str]] = {}
    for key, pair in part.items():
        count = numbers[one_sided[key]] if key in one_sided else 0
        if count < FOLDED:
            rows[key] = tuple(map(_text, pair))
        else:
            rows[f"{_option(key)}.*"] = tuple("–" if value is ABSENT else f"{count} settings" for value in pair)
    return rows


def _option(key: str) -> str:
    """Return the group and the option of a key that is a setting of one among several: `exporter.gguf`."""
    return ".".join(key.split(".")[:2]) if key.count(".") > 1 else ""


def _caveat(name: str, runs: Iterable[SavedRun]) -> str:
    if name != "commits":
        return ""
    environments = [environment for environment in _both(runs, Environment, ENVIRONMENT) if environment]
    commits = [commit for environment in environments for commit in (environment.commit, environment.framework_commit)]
    dirty = any(commit and commit.dirty for commit in commits)
    return ", but there were uncommitted changes" if dirty else ""


def _progress(run: SavedRun) -> str:
    """Say whether the run is over, and if it is not, how far it got."""
    status = run.record(Status, STATUS)
    if status is None:
        return f"[dim](no {STATUS})[/]"
    where = "in" if status.state == FAILED else "after"
    far = f", {where} the stage {status.stage}" if status.stage and status.state != FINISHED else ""
    error = f": {escape(visible(status.error, ' '))}" if status.error else ""
    return f"[dim]({status.state}{far}{error})[/]"


def _table(title: str, rows: Mapping[str, Sequence[str]], *headings: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", *SIDES, *headings):
        table.add_column(heading, overflow="fold")
    for key, cells in rows.items():
        table.add_row(escape(visible(key, "⏎")), *map(escape, cells))
    return table


def _text(value: Any) -> str:
    if value is ABSENT:
        return "–"
    text = visible(as_text(value), "⏎")  # the files of a run that came from elsewhere may hold anything
    return f"{text[:12]}…" if SHA_256.fullmatch(text) else text


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "bytes":
        return f"{value / GIB:.2f} GiB"
    return str(value) if isinstance(value, int) else f"{value:.4g}"
