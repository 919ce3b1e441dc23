"""The order in which a training sees its rows, as its sampler gives it."""

from __future__ import annotations

import itertools
import logging
import math
import operator
from collections.abc import Iterable, Iterator, Sequence, Sized
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from framework import FrameworkError, Plan
from framework.api import Caught, count, short_repr, try_out
from framework.api.training import TokenGroup
from framework_plugins.hf.packing.row_sampler import RowSampler
from framework_plugins.hf.settings.config import ShuffledConfig

log = logging.getLogger(__name__)


class Shuffled:
    """A new random order for each epoch."""

    def __init__(self, config: ShuffledConfig) -> None:
        self.config = config

    def order(self, lengths: NDArray[np.int64], batch: int, steps: int, seed: int) -> Iterable[Sequence[int]]:
        """Yield the steps of rows of which only the lengths are known, so that none can be grouped."""
        rows = RowSampler(range(len(lengths)), batch, seed, group=False, by_length=False)  # type: ignore[arg-type] # unread
        return steps_of(rows, steps)

    def of_rows(self, rows: Sequence[TokenGroup], batch: int, seed: int, *, by_length: bool) -> RowSampler:
        """Return the order of rows that can be read, and so be grouped; they are read while the training runs."""
        return RowSampler(rows, batch, seed, group=self.config.group_by_prefix, by_length=by_length)


class SampledOrder(torch.utils.data.Sampler[int]):
    """The order that a sampler gives, checked before the first step.

    Args:
        rows: of the training.
        batch: how many make one optimizer step.
        plan: of the run, with the sampler.

    Raises:
        FrameworkError: the sampler raises, or gives no steps of this size for these rows.
    """

    by_length = False

    def __init__(self, rows: Sequence[TokenGroup], batch: int, plan: Plan) -> None:
        self.rows = rows
        self.batch = batch
        self.epoch = 0
        self.epoch_steps = math.ceil(len(rows) / batch)
        self.place = f"sampler={plan.sampler.component.name}"
        steps = ordered_steps(plan, len(rows), batch)
        lengths = np.fromiter((sum(len(row.input_ids) for row in group.rows) for group in rows), np.int64, len(rows))

        def ordered(steps: int) -> list[list[int]]:
            order = plan.sampler.create().order(lengths.copy(), batch, steps, plan.seed)
            return [self._step(index, step) for index, step in enumerate(itertools.islice(order, steps))]

        self.steps = try_out(f"{self.place} fails", partial(ordered, steps))
        if len(self.steps) < steps:
            raise FrameworkError(f"{self.place} gives {count(len(self.steps), 'step')}, and the training has {steps}")
        if try_out(f"{self.place} fails", partial(ordered, steps)) != self.steps:
            raise FrameworkError(
                f"{self.place} gives another order when it is asked again, so an interrupted training would not "
                "resume: draw from a generator of its own, numpy.random.default_rng(seed)"
            )
        if imbalance := self._imbalance():
            log.warning("%s", imbalance)

    def _step(self, index: int, step: Any) -> list[int]:
        """Check the rows of a step."""
        context = f"{self.place}, step {index + 1}"
        rows: list[int] = []
        failed = Caught()
        with failed:
            rows = [_row(row) for row in itertools.islice(step, self.batch + 1)]
        if failed.error:
            raise FrameworkError(f"{context}: it gives {short_repr(step)}, not numbers of rows") from failed.error
        ends_epoch = index % self.epoch_steps == self.epoch_steps - 1
        size = len(self.rows) - self.batch * (self.epoch_steps - 1) if ends_epoch else self.batch
        if len(rows) != size:
            end = ", the last of an epoch," if ends_epoch else ""
            bound = "more than " if len(rows) > self.batch and not isinstance(step, Sized) else ""
            length = len(step) if isinstance(step, Sized) else min(len(rows), self.batch)
            raise FrameworkError(f"{context}: it gives {bound}{count(length, 'row')}, and this step{end} has {size}")
        if wrong := [row for row in rows if not 0 <= row < len(self.rows)]:
            raise FrameworkError(f"{context}: there is no row {wrong[0]}; valid are 0 to {len(self.rows) - 1}")
        return rows

    def _imbalance(self) -> str:
        """Say how many rows are dropped or repeated; empty if all are seen as often as the others."""
        counts = np.bincount(list(itertools.chain(*self.steps)), minlength=len(self.rows))
        equal = counts.sum() / len(self.rows)
        below, above = int((counts < math.floor(equal)).sum()), int((counts > math.ceil(equal)).sum())
        never = int((counts == 0).sum()) if equal >= 1 else 0
        if not below and not above:
            return ""
        return (
            f"{self.place}: of {count(len(self.rows), 'row')}, {never} are never seen, {below - never} less often than "
            f"the others, and {above} more often"
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[int]:
        start = self.epoch * self.epoch_steps
        yield from itertools.chain(*self.steps[start : start + self.epoch_steps])


def _row(index: Any) -> int:
    if isinstance(index, bool | np.bool_):
        raise TypeError("a truth value is not the number of a row")
    return operator.index(index)


Order = RowSampler | SampledOrder


def total_steps(plan: Plan, rows: int, batch: int) -> int:
    """Return the optimizer steps of a training."""
    training = plan.training
    an_epoch = math.ceil(rows / batch)
    return training.max_steps or math.ceil(training.num_train_epochs * plan.cost.iterations * an_epoch)


def ordered_steps(plan: Plan, rows: int, batch: int) -> int:
    """Return for how many steps rows are read; each of these may become several optimizer steps."""
    total, iterations, per_draw = total_steps(plan, rows, batch), plan.cost.iterations, drawn_together(plan)
    return total if iterations == 1 else math.ceil(total / iterations / per_draw) * per_draw


def drawn_together(plan: Plan) -> int:
    """Return the steps whose answers are drawn at once."""
    return int(plan.method.config.steps_per_draw())


def row_order(plan: Plan, rows: Sequence[TokenGroup], batch: int, *, by_length: bool) -> Order:
    """Return the order of the rows, by the sampler of a plan; `by_length`: rows of a pass are padded to the longest."""
    sampler = plan.sampler.create()
    if isinstance(sampler, Shuffled):
        return sampler.of_rows(rows, batch, plan.seed, by_length=by_length)
    return SampledOrder(rows, batch, plan)


def steps_of(order: Order, total: int) -> Iterator[list[int]]:
    """Yield the numbers of the groups of each step of a training with `total` steps."""

    def all_steps() -> Iterator[list[int]]:
        for epoch in itertools.count():
            order.set_epoch(epoch)
            numbers = [*order]
            yield from (numbers[start : start + order.batch] for start in range(0, len(numbers), order.batch))

    try:
        yield from itertools.islice(all_steps(), total)
    finally:
        order.set_epoch(0)
