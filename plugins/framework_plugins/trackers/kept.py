"""Which tracker run a run folder belongs to, kept in the folder as `TRACKER.json`: a resumed run continues it.

Later stages resume a run, and so does a start with the same settings in the folder of a run that failed or was killed.
The training may send its steps again from the first one: those that the tracker has are not logged twice.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from framework import Plan, Stage
from framework.api import Affects, RunFolder, TrainResult, key_of, write_atomically


@dataclass
class TrackerRun:
    """A run of a tracker.

    Attributes:
        id: by which the tracker knows it.
        place: the project or the server that it is in.
        settings: a hash over the settings that identify the training.
        step: the last logged step; -1 if there is none.
        over: whether it has come to its end without an error.
    """

    id: str
    place: str
    settings: str
    step: int = -1
    over: bool = False


def load_tracker_run(plan: Plan, tracker: str, address: str) -> TrackerRun | None:
    """Return the tracker run that this run continues; None if a new one begins."""
    file = plan.run_dir / f"{tracker}.json"
    try:
        earlier = TrackerRun(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # there is none, or somebody has edited it
        return None
    # A later stage continues whatever the settings: it adds to the training that the folder has.
    continues = earlier.place == address and not (
        plan.is_new_run and (earlier.over or earlier.settings != settings_hash(plan))
    )
    return earlier if continues else None


def save_tracker_run(plan: Plan, tracker: str, run: TrackerRun) -> None:
    """Save the tracker run atomically."""
    write_atomically(plan.run_dir / f"{tracker}.json", json.dumps(asdict(run)) + "\n")


def settings_hash(plan: Plan) -> str:
    """Return a hash over the settings and the data that identify a training."""
    settings = plan.affecting(Affects.resume | Affects.data)
    return key_of(settings)[:16]


def trained_steps(plan: Plan) -> int:
    """Return the number of steps of the training that this run resumes; 0 if the run is a new one."""
    trained = None if plan.is_new_run else RunFolder(plan.run_dir).load_result(Stage.train, TrainResult)
    return trained.steps if trained else 0
