"""A plan with what is known of it: the model's shape, the device, the rows."""

from __future__ import annotations

import json
from dataclasses import dataclass

from framework.calibrate import Correction, correction
from framework.errors import FrameworkError, one_line
from framework.gpus import Gpu
from framework.memory import Estimate, Settings, Shape, estimate
from framework.plan import Plan
from framework.plugins import ask, leave_out
from framework.protocols import ModelSource
from framework.records import Verdict
from framework.remembered import KnownRows

CPU = "CPU"


@dataclass(frozen=True)
class Outlook:
    """A plan with what is known of it."""

    plan: Plan
    shape: Shape
    gpu: Gpu | None
    known: KnownRows | None

    @property
    def longest(self) -> int:
        """Tokens of the longest row that may come."""
        limit = self.plan.training.max_seq_length
        return min(limit, self.known.longest) if self.known else limit

    @property
    def settings(self) -> Settings | None:
        """How the plan trains, as its trainer tells; None where it does not."""
        sizes = {"longest": self.longest, "shared": self.known.shared if self.known else 0}
        given = ask("framework_memory", plan=self.plan, shape=self.shape, gpu=self.gpu, **sizes)
        for plugin, settings in given:
            if isinstance(settings, Settings):
                return settings
            leave_out(plugin, "framework_memory", f"it gives a {type(settings).__name__}, no Settings")
        return None

    @property
    def device(self) -> str:
        """The device in words."""
        return self.gpu.name if self.gpu else CPU

    @property
    def available(self) -> int:
        """Bytes that the device has for a run."""
        if self.gpu:
            return self.gpu.usable
        from framework import host  # noqa: PLC0415 - psutil takes 10 ms, for those without a GPU

        return host.memory().available

    @property
    def correction(self) -> Correction | None:
        """What probes found on this device for such a training; a plan for another GPU has none."""
        settings = self.settings
        return correction(self.device, settings) if settings and not self.plan.plan.gpu else None

    def estimate(self, settings: Settings) -> Estimate:
        """Return what a training takes, corrected where this device has been calibrated."""
        made, known = estimate(self.shape, settings), self.correction
        return known.apply(made) if known else made

    def verdict(self, made: Estimate) -> Verdict:
        """Say whether an estimate fits."""
        if made.high <= self.available:
            return Verdict.fits
        return Verdict.tight if made.low <= self.available else Verdict.too_large


def read_shape(source: ModelSource) -> Shape:
    """Read config.json of a model.

    Raises:
        FrameworkError: it is not there, or describes no decoder of equal dense layers.
    """
    file = source.fetch(weights=False).folder / "config.json"
    try:
        return Shape.from_config(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        message = f"{file.parent} has no config.json"
        raise FrameworkError(message) from error
    except (OSError, ValueError) as error:
        message = f"{file} cannot be read: {one_line(error)}"
        raise FrameworkError(message) from error
