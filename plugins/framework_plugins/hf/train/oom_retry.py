"""Retry after an out-of-memory error, with one fallback after the other, until it succeeds or no fallback is left.

A fallback costs time and never changes what is computed. The caller knows its fallbacks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from framework.api.errors import FrameworkError
from framework.api.plan import Plan
from framework.api.text import summarize_error
from framework_plugins.hf.settings.config import FullConfig, HFTrainerConfig, NF4Config, OutOfMemory
from framework_plugins.hf.train.retry import forget, ran_out, release

T = TypeVar("T")
R = TypeVar("R")
FACT = "out of memory"
log = logging.getLogger(__name__)


class OomRetry:
    """Retries, and reports each fallback: in the log, in the facts of the run, and in `told`.

    Args:
        facts: what the run reports about its machine.
        advice: what a user could change once no fallback is left.
        retries: whether anything is retried.
    """

    def __init__(self, facts: dict[str, str], advice: str, *, retries: bool = True) -> None:
        self.facts = facts
        self.advice = advice
        self.retries = retries
        self.fallbacks: list[str] = []

    def attempt(self, call: Callable[[], T], make_smaller: Callable[[], str], where: str, lower: str) -> T:
        """Call, and call again after each fallback.

        Args:
            call: what may run out of memory; it starts from the beginning each time.
            make_smaller: reverts the failed attempt, makes something smaller and says what; empty where nothing is
                left.
            where: what was being done, `training step 3`.
            lower: the setting that makes the smallest try smaller.

        Raises:
            FrameworkError: no fallback is left.
        """
        while True:
            try:
                return call()
            except (RuntimeError, MemoryError) as error:
                if not self.retries or not ran_out(error):
                    raise
                forget(error)
                fallback = make_smaller()
                if not fallback:
                    raise FrameworkError(self._end(error, where, lower)) from error
                self._tell(where, fallback)
            release()  # only here, where the error is gone

    def _tell(self, where: str, fallback: str) -> None:
        self.fallbacks.append(f"{where}: {fallback}")
        self.facts[FACT] = "; ".join(self.fallbacks)
        log.warning("out of memory in %s: tried again with %s", where, fallback)

    def _end(self, error: BaseException, where: str, lower: str) -> str:
        attempts = (
            f"Tried before: {'; '.join(self.fallbacks)}" if self.fallbacks else "There was nothing to make smaller"
        )
        return f"out of memory in {where}: {summarize_error(error)}\n{attempts}.\nLower {lower}, {self.advice}"


def oom_retry(plan: Plan, config: HFTrainerConfig, facts: dict[str, str]) -> OomRetry:
    """Return what retries when this run is out of memory."""
    if isinstance(plan.adapter.config, FullConfig):
        advice = "set adapter=lora, or take a smaller model"
    elif isinstance(plan.quantization.config, NF4Config):
        advice = "lower adapter.r, or take a smaller model"
    else:
        advice = "lower adapter.r, set quantization=nf4, or take a smaller model"
    return OomRetry(facts, advice, retries=config.on_out_of_memory is OutOfMemory.retry)


class Batches:
    """Processes items in batches, with half the batch size after memory ran out.

    Args:
        oom_retry: retries, and reports.
        where: what is being done.
        lower: as in `attempt`.
    """

    def __init__(self, oom_retry: OomRetry, where: str, lower: str) -> None:
        self.oom_retry = oom_retry
        self.where = where
        self.lower = lower
        self.most: int | None = None
        """Items in a batch that memory was enough for, where it once was not."""

    def of(self, items: Sequence[T], size: int, call: Callable[[Sequence[T]], R]) -> Iterator[tuple[Sequence[T], R]]:
        """Give each batch of at most `size` items with what `call` makes of it."""
        place = 0
        while place < len(items):
            rest = items[place : place + size]
            batch, result = self.oom_retry.attempt(
                partial(self._first, rest, call), partial(self._halve, len(rest)), self.where, self.lower
            )
            yield batch, result
            place += len(batch)

    def _first(self, items: Sequence[T], call: Callable[[Sequence[T]], R]) -> tuple[Sequence[T], R]:
        batch = items[: self.most]
        return batch, call(batch)

    def _halve(self, size: int) -> str:
        current = min(size, self.most or size)
        if current == 1:
            return ""
        self.most = current // 2
        return f"{self.most} in a batch instead of {current}"
