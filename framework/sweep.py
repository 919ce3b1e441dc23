"""After a multirun: one table of its points, and which was best."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from framework.journal import FAILED, RUNNING, STATUS

_started: list[Path] = []


class SweepFolder(Callback):
    """Notes the folder of a multirun. Hydra calls nothing at its end where a point failed, so `summarize` asks here."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Note the folder."""
        _started.append(Path(config.hydra.sweep.dir))


def summarize() -> None:
    """Print the table of the multirun that this process started, if it did."""
    while _started:
        folder = _started.pop()
        if folder.is_dir():  # Hydra makes it after the sweeper has looked at the words
            show(folder)


def show(folder: Path) -> None:
    """Print the points below `folder` and the best of them."""
    from rich.console import Console  # noqa: PLC0415 - only a multirun needs it
    from rich.table import Table  # noqa: PLC0415

    points = read_points(folder)
    if not points:
        return
    objective = next((point["objective"] for point in points if point["objective"]), None)
    table = Table(title=f"sweep in {folder}", title_justify="left")
    for heading in ("point", "settings", objective["name"] if objective else "objective", "train s"):
        table.add_column(heading, overflow="fold")
    for point in points:
        value = point["objective"]["value"] if point["objective"] else None
        score = f"{value:.4g}" if value is not None else "failed" if point["failed"] else "–"
        table.add_row(point["name"], "\n".join(point["overrides"]), score, point["seconds"])
    console = Console()
    console.print(table)
    for point in points:
        if point["reason"]:
            text = f"point {point['name']} failed: {point['reason']}"
            console.print(text, soft_wrap=True, markup=False, highlight=False)
    if best := best_point(points):
        console.print(f"best: point {best['name']} ({', '.join(best['overrides'])})", soft_wrap=True)


def read_points(folder: Path) -> list[dict[str, Any]]:
    """Return the points of a multirun in their order.

    `objective` is None where a point has no report: it failed, or its stages make none.
    """
    points: list[dict[str, Any]] = []
    for run in sorted((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name)):
        report = _read(run / "report.json") or {}
        seconds = report.get("seconds", {}).get("train")
        points.append(
            {
                "name": run.name,
                "overrides": _read(run / "overrides.json") or [],
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
    """Tell whether a point failed, and why where that is known.

    A point whose config was refused has neither a status nor a plan. One that still is `running` when the sweep is over
    has been killed.
    """
    status = _read(run / STATUS)
    if status is None:
        return {"failed": not (run / "plan.json").exists(), "reason": ""}
    if status["state"] != RUNNING:
        return {"failed": status["state"] == FAILED, "reason": status["error"] or ""}
    return {"failed": True, "reason": f"it was killed after the stage {status['stage'] or 'plan'}"}


def best_point(points: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the point with the best objective, None where none has one; a point that diverged is none."""
    scored = [point for point in points if point["objective"] and _finite(point["objective"]["value"])]
    sign = -1 if scored and scored[0]["objective"]["higher_is_better"] else 1
    return min(scored, key=lambda point: sign * point["objective"]["value"], default=None)


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
