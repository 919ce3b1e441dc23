"""One process of a group that an outer torchrun starts: `torchrun --nnodes 2 --nproc-per-node 2 -m framework …`.

The first process runs the stages as any run does, and trains in a child that takes its place in the group. The others
read the rows, each machine once, and train with it; they write nothing.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from framework import FrameworkError, Plan, Selection, Stage
from framework.api.program import Interrupted, handle_signals, read_run
from framework.api.training import Backend, TokenGroup, TrainRun
from framework_plugins.launch.checks import GROUP_VARIABLE, is_continued
from framework_plugins.launch.meeting import Meeting
from framework_plugins.launch.worker import nobody, noticing_loss
from framework_plugins.lib.group_member import WORKER, Member, NumberedRows

if TYPE_CHECKING:
    from framework.api import Data, Model

SAME_ROWS = "give all machines the same data"
ROWS_OF_A_PROCESS = ("per_device_train_batch_size", "gradient_accumulation_steps")
"""Settings whose product is the rows of a step that a process takes."""
KEPT = "TORCHELASTIC_RUN_ID"
"""Stays: it says that torchrun sends the signals."""
log = logging.getLogger(__name__)


def take_variables() -> dict[str, str]:
    """Take the variables of the group out of the environment, by which libraries would form one, and return them."""
    return {name: os.environ.pop(name) for name in list(os.environ) if GROUP_VARIABLE.fullmatch(name) and name != KEPT}


def in_group(plan: Plan, me: Member) -> Plan:
    """Return the plan with the size of its group, and with the rows of a step that the run has had before.

    Raises:
        FrameworkError: they cannot be divided among the processes.
    """
    plan = _with(plan, "launch", processes=me.world, nodes=1)
    if not is_continued(plan):
        return plan
    before = read_run(plan.run_dir).config
    earlier, batch_size = before["launch"].get("processes") or me.world, plan.training.per_device_train_batch_size
    rows = earlier * math.prod(before["trainer"][name] for name in ROWS_OF_A_PROCESS)
    if rows == plan.batch:
        return plan
    name = plan.launch.component.name
    if rows % (batch_size * me.world):
        raise FrameworkError(
            f"launch={name}: {me.world} processes cannot continue what {earlier} began, with {rows} rows a step: "
            f"{me.world} x trainer.per_device_train_batch_size={batch_size} does not divide them. Start "
            f"{_divisors(rows // batch_size)} processes, or begin again with another run_dir"
        )
    passes = rows // (batch_size * me.world)
    if me.rank == 0:
        log.warning(
            "launch=%s: %s processes continue what %s began: trainer.gradient_accumulation_steps=%s keeps the %s rows "
            "of a step", name, me.world, earlier, passes, rows,
        )  # fmt: skip
    return _with(plan, "trainer", gradient_accumulation_steps=passes)


def _with(plan: Plan, section: str, **values: Any) -> Plan:
    chosen: Selection = getattr(plan, section)
    config = {**plan.config, section: {**plan.config[section], **values}}
    changed: Any = {section: replace(chosen, config=replace(chosen.config, **values))}
    return replace(plan, config=config, **changed)


def _divisors(total: int) -> str:
    *smaller, largest = [str(divisor) for divisor in range(1, total + 1) if total % divisor == 0]
    return f"{', '.join(smaller)} or {largest}" if smaller else largest


def rows_of(model: Model, data: Data) -> dict[str, Any]:
    """Return what has to be the same of the rows of each process."""
    parts = [_digest(rows) for rows in (data.train_groups, data.validation_groups)]
    return {"rows": data.result.fingerprint, "encoding": model.encoding, "split": parts}


def _digest(rows: Sequence[TokenGroup]) -> str:
    """Return a hash over the numbers of rows in the store, or over their tokens if they are not stored as they are."""
    hasher = hashlib.sha256()
    if isinstance(rows, NumberedRows):
        hasher.update(rows.numbers.tobytes())
    else:
        for row in (row for group in rows for row in group.rows):
            hasher.update(repr((row.input_ids, row.labels)).encode())
    return hasher.hexdigest()


def follow(plan: Plan, joined: Meeting, variables: Mapping[str, str]) -> None:
    """Train with the first process; do nothing else."""
    if Stage.train not in plan.stages:
        return
    from framework.api.program import load_data  # noqa: PLC0415 - numpy and Arrow

    os.environ |= {**variables, WORKER: "1"}
    backend: Backend = plan.trainer.create()
    signals = _Signals()  # a training ends after its step, together with the others
    with handle_signals(signals.handle), backend.open(plan) as model:
        data = load_data(replace(plan, audit={}), model)  # the first process looks for faults of the rows
        joined.compare("its rows", rows_of(model, data), SAME_ROWS)
        signals.waiting = True
        task = joined.task()
        signals.waiting = False
        if task is None:
            return
        os.environ |= task["variables"]
        run = TrainRun(
            Path(task["checkpoint"]), Path(task["scratch"]), nobody, interruption=signals.error, state=nobody,
            restore=nobody,
        )  # fmt: skip
        with noticing_loss():
            model.train(data.train_groups, data.validation_groups, run)


class _Signals:
    """Whether a signal has asked this process to end. While it waits, it ends at once."""

    waiting = True
    number = 0

    def handle(self, signum: int, _: FrameType | None) -> None:
        self.number = self.number or signum
        if self.waiting:
            raise Interrupted(signum)

    def error(self) -> Interrupted | None:
        return Interrupted(self.number) if self.number else None
