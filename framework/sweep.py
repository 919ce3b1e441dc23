"""After a multirun: one table of its points, and which was best."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict, read_write

from framework.folder import OVERRIDES
from framework.journal import FAILED, FINISHED, RUNNING, STATUS

REPORT = "report.json"
_started: list[tuple[Path, dict[str, int]]] = []


class SweepFolder(Callback):
    """Fixes the folder of a multirun, and notes it: Hydra calls nothing at the end where a point failed."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Note the folder; without the word that is added, each value of a `name` that is swept would give its own."""
        folder = str(config.hydra.sweep.dir)
        with read_write(config), open_dict(config):
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={QuotedString(folder, Quote.single).with_quotes()}")
        _started.append((Path(folder), times(Path(folder))))

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Drop what an earlier multirun into this folder tells of the point: refused now, it has no result."""
        first = os.environ.get("SLURM_NODEID", "0") == "0"  # of a point on several machines, the others write nothing
        if config.hydra.mode is RunMode.MULTIRUN and first:
            for name in (STATUS, REPORT):
                Path(config.hydra.runtime.output_dir, name).unlink(missing_ok=True)


def name_of(folder: Path) -> str:
    """Return the name of the multirun into a folder, `quickstart-sweep_2026-11-25_20-30-00`; its points share it."""
    return "-".join(part for part in folder.parts[-2:] if part != folder.anchor)


def summarize() -> None:
    """Print the table of the multirun that this process started, if it did."""
    while _started:
        folder, before = _started.pop()
        if folder.is_dir():  # Hydra makes it after the sweeper has looked at the words
            show(folder, before)


def show(folder: Path, before: Mapping[str, int] | None = None) -> None:
    """Print the points below `folder` and the best of them; those that `times` told `before` are not of this sweep."""
    from rich.console import Console  # noqa: PLC0415 - only a multirun needs it
    from rich.table import Table  # noqa: PLC0415

    points = read_points(folder, before)
    if not points:
        return
    objective = next((point["objective"] for point in points if point["objective"]), None)
    table = Table(title=f"sweep in {folder}", title_justify="left")
    for heading in ("point", "settings", objective["name"] if objective else "objective", "train s"):
        table.add_column(heading, overflow="fold")
    for point in points:
        value = point["objective"]["value"] if point["objective"] else None
        score = f"{value:.4g}" if value is not None else point["ended"] or "–"
        table.add_row(point["name"], "\n".join(point["overrides"]), score, point["seconds"])
    console = Console(markup=False, emoji=False, highlight=False)  # a setting may be [exact_match]
    console.print(table)
    for point in points:
        if point["reason"]:
            console.print(f"point {point['name']} {point['ended']}: {point['reason']}", soft_wrap=True)
    if best := best_point(points):
        console.print(f"best: point {best['name']} ({', '.join(best['overrides'])})", soft_wrap=True)


def times(folder: Path) -> dict[str, int]:
    """Return for each point below a folder when its words were written: that is done first when a point starts."""
    files = folder.glob(f"*/{OVERRIDES}")
    return {file.parent.name: file.stat().st_mtime_ns for file in files if file.parent.name.isdigit()}


def read_points(folder: Path, before: Mapping[str, int] | None = None) -> list[dict[str, Any]]:
    """Return the points of a multirun in their order, without those that stand in `before` with the same time.

    `objective` is None where a point has no report: it failed, or its stages make none.
    """
    points: list[dict[str, Any]] = []
    old = (before or {}).items() & times(folder).items()
    names = {path.name for path in folder.iterdir() if path.name.isdigit()} - {name for name, _ in old}
    for run in (folder / name for name in sorted(names, key=int)):
        report = _read(run / REPORT) or {}
        seconds = report.get("seconds", {}).get("train")
        points.append(
            {
                "name": run.name,
                "overrides": _read(run / OVERRIDES) or [],
                "objective": report.get("objective"),
                "seconds": "" if seconds is None else f"{seconds:.1f}",
                **_outcome(run),
            }
        )
    shared = set.intersection(*(set(point["overrides"]) for point in points)) if len(points) > 1 else set()
    for point in points:
        point["overrides"] = [word for word in point["overrides"] if word not in shared]
    return points


def _outcome(run: Path) -> dict[str, Any]:
    """Tell how a point ended, unless it is through, and why where that is known.

    A point whose config was refused has neither a status nor a plan. One that still is `running` when the sweep is over
    has been killed.
    """
    status = _read(run / STATUS)
    if status is None:
        return {"ended": "" if (run / "plan.json").exists() else FAILED, "reason": ""}
    if status["state"] != RUNNING:
        return {"ended": "" if status["state"] == FINISHED else status["state"], "reason": status["error"] or ""}
    return {"ended": FAILED, "reason": f"it was killed after the stage {status['stage'] or 'plan'}"}


def best_point(points: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the point with the best objective, None where none has one; a point that diverged is none."""
    scored = [point for point in points if point["objective"] and _finite(point["objective"]["value"])]
    sign = -1 if scored and scored[0]["objective"]["higher_is_better"] else 1
    return min(scored, key=lambda point: sign * point["objective"]["value"], default=None)


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
