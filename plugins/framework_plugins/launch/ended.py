"""Why a group ended: which of its processes was the first to die, and of what."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

from framework.api.errors import FrameworkError
from framework.api.launching import ENDED, Ended
from framework.api.plan import Plan
from framework.api.text import signal_name
from framework_plugins.launch import place
from framework_plugins.launch.config import FAILED, GroupConfig

LOST = re.compile(
    r"(?:gloo/transport\S+ (?=Connection|Read error|Write error)|ncclRemoteError: |DistNetworkError: (?=Failed to ))"
    r"(.+?)(?:\. |\.?$)",
    re.MULTILINE,
)
"""How gloo, NCCL and torch's store say that the process at the other end is gone."""


def cause(plan: Plan, folder: Path, code: int) -> Exception:
    """Return the error that ended a group.

    A process that was killed says nothing itself: those that it left alone do, and are not the cause. Of several that
    say something the first is: the others miss it a moment later.

    Where all that is said here is that a connection was lost, the cause is on another machine, which alone knows it.

    Args:
        plan: the run.
        folder: of the group.
        code: of the agent.
    """
    launch = f"launch={plan.launch.component.name}"
    killed = _killed(folder / FAILED)
    if killed:
        rank, number = killed
        return FrameworkError(f"{launch}: process {rank} was killed by {signal_name(number)}{_hint(number, plan)}")
    told = sorted(
        (Ended(**json.loads(file.read_text(encoding="utf-8"))) for file in folder.glob(ENDED.format("*"))),
        key=lambda ended: ended.time,
    )
    if not told:
        return RuntimeError(f"{launch}: the group ended with exit code {code}; its output is above")
    first = told[0]
    if first.mistake:
        return FrameworkError(f"process {first.rank}: {first.text}")
    config: GroupConfig = plan.launch.config
    if config.machines > 1 and (lost := LOST.search(first.text)):
        others = [str(number) for number in range(config.machines) if number != place.rank(config)]
        gone = f"machine {others[0]} is" if len(others) == 1 else f"one of the machines {', '.join(others)} is"
        return FrameworkError(
            f"{launch}: {gone} gone, process {first.rank} here lost it ({lost[1]}). See its output for the cause"
        )
    return RuntimeError(f"{launch}: process {first.rank} failed\n{first.text}")


def _killed(file: Path) -> tuple[int, int] | None:
    """Return rank and signal of a process that was killed from outside; the agent itself ends others by SIGTERM."""
    if not file.exists():
        return None
    codes: dict[str, int] = json.loads(file.read_text(encoding="utf-8"))
    found = [(int(rank), -code) for rank, code in codes.items() if code < 0 and -code != signal.SIGTERM]
    return found[0] if found else None


def _hint(number: int, plan: Plan) -> str:
    if number != signal.SIGKILL:
        return ""
    training = plan.training
    return (
        ", most likely for lack of memory. Less is needed with a smaller trainer.per_device_train_batch_size (now "
        f"{training.per_device_train_batch_size}) or trainer.max_seq_length (now {training.max_seq_length})"
    )
