"""Out of memory: which errors mean it, how a failed attempt is reverted, and trying again with less.

After an out-of-memory error an attempt is repeated, with one fallback after the other, until it succeeds or no fallback
is left. A fallback costs time and changes what is computed by rounding only. The caller knows its fallbacks.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import platform
import random
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeVar

import numpy as np
import torch

from framework import FrameworkError, Plan
from framework.api import is_out_of_memory, summarize_error
from framework_plugins.hf.settings.config import FullConfig, HFTrainerConfig, NF4Config, OutOfMemory

T = TypeVar("T")
R = TypeVar("R")
OUT_OF_MEMORY_FACT = "out of memory"
log = logging.getLogger(__name__)


def clear_frames(error: BaseException) -> None:
    """Let go of what the frames of an error hold: its traceback would keep all tensors of the failed try alive."""
    part: BaseException | None = error
    while part is not None:
        traceback.clear_frames(part.__traceback__)
        part = part.__context__


def free_memory() -> None:
    """Give back what nobody holds any more.

    In glibc's heap freed blocks stay with the process while another above them is in use.
    """
    gc.collect()
    if uses_gpu():
        torch.cuda.empty_cache()
    elif platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def uses_gpu() -> bool:
    """Whether this process uses a GPU; asking does not make it use one."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class RandomState:
    """The state of the random generators at one moment: of torch, from which dropout draws, of numpy and of Python."""

    cpu: torch.Tensor
    cuda: torch.Tensor | None
    numpy: Any
    python: Any

    @classmethod
    def now(cls) -> Self:
        cuda = torch.cuda.get_rng_state() if uses_gpu() else None
        numpy = np.random.get_state(legacy=False)  # noqa: NPY002 - the global one, from which other people's code draws
        return cls(torch.get_rng_state(), cuda, numpy, random.getstate())

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda)
        np.random.set_state(self.numpy)  # noqa: NPY002 - as above
        random.setstate(self.python)

    def plain(self) -> tuple[Any, ...]:
        """Return its fields as plain values and tensors, as a checkpoint has them."""
        return self.cpu, self.cuda, _plain(self.numpy), self.python


def _plain(value: Any) -> Any:
    """Return a state of numpy without its arrays and numbers."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


class OomRetry:
    """Retries, and reports each fallback: in the log, in the facts of the run, and in `fallbacks`.

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

    def attempt(self, call: Callable[[], T], reduce_memory: Callable[[], str], where: str, setting: str) -> T:
        """Call, and call again after each fallback.

        Args:
            call: what may run out of memory; it starts from the beginning each time.
            reduce_memory: reverts the failed attempt, makes something smaller and says what; empty if nothing is
                left.
            where: what was being done, `training step 3`.
            setting: the setting that makes the smallest try smaller.

        Raises:
            FrameworkError: no fallback is left.
        """
        # Only the pass is repeated: accelerate would begin the training again with another batch.
        while True:
            try:
                return call()
            except (RuntimeError, MemoryError) as error:
                if not self.retries or not is_out_of_memory(error):
                    raise
                clear_frames(error)
                fallback = reduce_memory()
                if not fallback:
                    raise FrameworkError(self._exhausted(error, where, setting)) from error
                self._report(where, fallback)
            free_memory()  # only here, where the error is gone

    def _report(self, where: str, fallback: str) -> None:
        self.fallbacks.append(f"{where}: {fallback}")
        self.facts[OUT_OF_MEMORY_FACT] = "; ".join(self.fallbacks)
        log.warning("out of memory in %s: tried again with %s", where, fallback)

    def _exhausted(self, error: BaseException, where: str, setting: str) -> str:
        attempts = (
            f"Tried before: {'; '.join(self.fallbacks)}" if self.fallbacks else "There was nothing to make smaller"
        )
        return f"out of memory in {where}: {summarize_error(error)}\n{attempts}.\nLower {setting}, {self.advice}"


def make_oom_retry(plan: Plan, config: HFTrainerConfig, facts: dict[str, str]) -> OomRetry:
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
        setting: as in `attempt`.
        effect: what a smaller batch changes, to be said with it.
    """

    def __init__(self, oom_retry: OomRetry, where: str, setting: str, effect: str = "") -> None:
        self.oom_retry = oom_retry
        self.where = where
        self.setting = setting
        self.effect = effect
        self.max_size: int | None = None
        """Items in a batch that memory was enough for, where it once was not."""

    def map(self, items: Sequence[T], size: int, call: Callable[[Sequence[T]], R]) -> Iterator[tuple[Sequence[T], R]]:
        """Give each batch of at most `size` items with what `call` makes of it."""
        start = 0
        while start < len(items):
            chunk = items[start : start + size]
            batch, result = self.oom_retry.attempt(
                partial(self._batch, chunk, call), partial(self._halve, len(chunk)), self.where, self.setting
            )
            yield batch, result
            start += len(batch)

    def _batch(self, items: Sequence[T], call: Callable[[Sequence[T]], R]) -> tuple[Sequence[T], R]:
        batch = items[: self.max_size]
        return batch, call(batch)

    def _halve(self, size: int) -> str:
        current = min(size, self.max_size or size)
        if current == 1:
            return ""
        self.max_size = current // 2
        return f"{self.max_size} in a batch instead of {current}{self.effect}"
