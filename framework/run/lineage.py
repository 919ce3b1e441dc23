"""The adapters that a training goes back to: the one that it starts from, the one that this started from, and so on."""

from __future__ import annotations

from framework.api.protocols import Start
from framework.api.records import Ancestor, TrainResult
from framework.api.run_folder import RunFolder
from framework.api.schema import Stage
from framework.util.errors import FrameworkError
from framework.util.redact import redact


def lineage(start: Start) -> list[Ancestor]:
    """Return the adapter that a training starts from and those before it, as far as run folders tell."""
    folder = start.folder.parent
    try:
        trained = RunFolder(folder).load_result(Stage.train, TrainResult)
    except FrameworkError:  # of another version, or damaged: the adapter itself is whole
        trained = None
    run = str(folder) if trained else ""
    ancestor = Ancestor(redact(start.place), redact(run), start.sha256, redact(start.base), start.merged)
    return [ancestor, *(trained.lineage if trained else [])]
