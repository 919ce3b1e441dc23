"""A plan with its known facts: the model's shape, the device, the rows."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from framework.api.plan import Plan
from framework.api.records import FitStatus
from framework.hooks.session import Session
from framework.memory import Estimate, MemorySettings, Shape, estimate, least
from framework.plan.history import KnownRows
from framework.util.gpus import Gpu

CPU = "CPU"


@dataclass(frozen=True)
class PlanContext:
    """A plan with its known facts.

    Attributes:
        plan: the run.
        shape: its model.
        gpu: the GPU that is here or that is planned for; the trainer may take the CPU all the same.
        known: the rows, where a data stage has found them.
        session: whose plugins tell how the plan trains.
    """

    plan: Plan
    shape: Shape
    gpu: Gpu | None
    known: KnownRows | None
    session: Session

    @property
    def longest(self) -> int:
        """Tokens of the longest row that may come."""
        limit = self.plan.training.max_seq_length
        return min(limit, self.known.longest) if self.known else limit

    @functools.cached_property
    def settings(self) -> MemorySettings | None:
        """How the plan trains, as its trainer tells; None where it does not."""
        sizes = {"longest": self.longest, "shared": self.known.shared if self.known else 0}
        answers = self.session.plugins.ask(
            "framework_memory", MemorySettings, plan=self.plan, shape=self.shape, gpu=self.gpu, **sizes
        )
        return next((settings for _, settings in answers), None)

    @property
    def used(self) -> Gpu | None:
        """The GPU that the training takes; None where it is a process on the CPU."""
        return None if self.settings and self.settings.process else self.gpu

    @property
    def device(self) -> str:
        """The device in words."""
        return self.used.name if self.used else CPU

    @functools.cached_property
    def available(self) -> int:
        """Bytes that the device has for a run: on a CPU with those that this process has already."""
        if self.used:
            # What is kept for the next trial of a sweep is used by it, or freed.
            return self.used.usable + (0 if self.plan.planning.gpu else self.session.shared.gpu_bytes)
        from framework.util import host  # noqa: PLC0415 - psutil takes 10 ms, for those without a GPU

        return host.memory().available + host.own()

    def estimate(self, settings: MemorySettings) -> Estimate:
        """Return what a training takes."""
        return estimate(self.shape, settings)

    def least(self, settings: MemorySettings) -> int:
        """Return what it takes at the least, in bytes.

        On a GPU a run that runs out of memory makes its passes smaller; on a CPU Linux ends it.
        """
        return (least if self.used else estimate)(self.shape, settings).low

    def fit_status(self, estimate: Estimate) -> FitStatus:
        """Say whether an estimate fits."""
        if estimate.high <= self.available:
            return FitStatus.fits
        return FitStatus.tight if estimate.low <= self.available else FitStatus.too_large
