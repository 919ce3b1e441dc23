"""Which run of a tracker belongs to a run folder, as `TRACKER.json` in it: what goes on there goes on in the same."""

from __future__ import annotations

import json
from typing import Any

from framework.folder import RunFolder, makes_anew
from framework.plan import Plan
from framework.records import TrainResult
from framework.schema import Stage


def known_run(plan: Plan, tracker: str) -> dict[str, Any]:
    """Return what was kept of the run that goes on; empty where this one makes its results anew, or nothing was."""
    file = plan.run_dir / f"{tracker}.json"
    if makes_anew(plan) or not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:  # it was edited; a new run is begun
        return {}
    return found if isinstance(found, dict) else {}


def trained_steps(plan: Plan) -> int:
    """Return how many steps the training had that a run goes on from; 0 where it makes its results anew."""
    trained = None if makes_anew(plan) else RunFolder(plan.run_dir).earlier(Stage.train, TrainResult)
    return trained.steps if trained else 0


def keep_run(plan: Plan, tracker: str, **values: Any) -> None:
    """Note it, whole or not at all."""
    file = plan.run_dir / f"{tracker}.json"
    half = file.with_name(f"{file.name}.part")
    half.write_text(json.dumps(values) + "\n", encoding="utf-8")
    half.replace(file)
