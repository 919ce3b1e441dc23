"""Why a group ended: which of its processes was the first to die, and of what."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from framework import FrameworkError, Plan
from framework.api.program import load_record, signal_name
from framework_plugins.launch.config import FAILED_FILE
from framework_plugins.launch.worker import ENDED, Ended, LostError


def group_error(plan: Plan, folder: Path, code: int, *, of_agent: bool = True) -> Exception:
    """Return the error that ended a group.

    A process that was killed says nothing itself: those that it left alone do, and are not the cause. Of several that
    say something the first is: the others miss it a moment later.

    Args:
        plan: the run.
        folder: of the group's job.
        code: the exit code.
        of_agent: whether it is that of the agent; else of the first process, as with an outer torchrun.
    """
    launch = f"launch={plan.launch.component.name}"
    if code < 0 and of_agent:
        return LostError(
            f"{launch}: the process that watches the group was killed by {signal_name(-code)}, and the "
            "group ended with it. Start the run again with the same command: it continues from its newest checkpoint"
        )
    killed = (0, -code) if code < 0 else _killed_rank(folder / FAILED_FILE)
    if killed:
        rank, signum = killed
        return LostError(f"{launch}: process {rank} was killed by {signal_name(signum)}{_hint(signum, plan)}")
    endings = [load_record(Ended, file) for file in folder.glob(ENDED.format("*"))]
    if not endings:
        return RuntimeError(f"{launch}: the group ended with exit code {code}; its output is above")
    # The others fail too, when a collective operation waits for the first.
    cause = min(endings, key=lambda ended: ended.time)
    if cause.mistake:
        return FrameworkError(f"process {cause.rank}: {cause.text}")
    return RuntimeError(f"{launch}: process {cause.rank} failed\n{cause.text}")


def _killed_rank(file: Path) -> tuple[int, int] | None:
    """Return rank and signal of a process that was killed from outside; the agent itself ends others by SIGTERM."""
    if not file.exists():
        return None
    codes: dict[str, int] = json.loads(file.read_text(encoding="utf-8"))
    killed = [(int(rank), -code) for rank, code in codes.items() if code < 0 and -code != signal.SIGTERM]
    return killed[0] if killed else None


def _hint(signum: int, plan: Plan) -> str:
    if signum != signal.SIGKILL:
        return ""
    training = plan.training
    return (
        ", most likely for lack of memory. Less is needed with a smaller trainer.per_device_train_batch_size (now "
        f"{training.per_device_train_batch_size}) or trainer.max_seq_length (now {training.max_seq_length})"
    )
