"""Registers the Unsloth backend."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from framework import Component, hookimpl
from framework_plugins.unsloth.config import EXTRA, ORDER, UnslothTrainerConfig

if TYPE_CHECKING:
    from framework import Plan
    from framework.api import Diagnostic, Gpu, Problem, Work
    from framework.api.training import MemorySettings, Shape


@hookimpl
def framework_components() -> Iterable[Component]:
    """The backend."""
    backend = "framework_plugins.unsloth.backend:UnslothBackend"
    yield Component("unsloth", UnslothTrainerConfig, backend, extra=EXTRA, import_order=ORDER)


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[Problem]:
    """Refuse settings and versions with which it cannot work."""
    if isinstance(plan.trainer.config, UnslothTrainerConfig):
        from framework_plugins.unsloth import checks  # noqa: PLC0415 - runs of other trainers need not pay for it

        yield from checks.settings(plan)


@hookimpl
def framework_memory(
    plan: Plan, shape: Shape, gpu: Gpu | None, longest: int, mean: int, shared: int
) -> Iterable[MemorySettings]:
    """How it uses memory."""
    from framework_plugins.hf.settings.config import FullConfig, LoraAdapterConfig  # noqa: PLC0415 - as above

    supported = isinstance(plan.adapter.config, LoraAdapterConfig | FullConfig)
    if supported and isinstance(plan.trainer.config, UnslothTrainerConfig):
        from framework_plugins.unsloth.footprint import footprint  # noqa: PLC0415 - as above

        yield footprint(plan, shape, gpu, longest, shared, mean)


@hookimpl
def framework_advice(plan: Plan, work: Work | None) -> Iterable[str]:
    """Say whose weights are taken, and which versions were not tested."""
    del work
    if isinstance(plan.trainer.config, UnslothTrainerConfig):
        from framework_plugins.unsloth import checkpoints, versions  # noqa: PLC0415 - as above

        if name := checkpoints.published_weights(plan):
            yield (
                f"quantization=nf4 with trainer=unsloth: the run loads {name}, which Unsloth has quantized; "
                "trainer.optimised_checkpoints=false quantizes the model's own weights"
            )
        if untested := versions.untested():
            yield f"trainer=unsloth: {untested}"


@hookimpl
def framework_diagnostics() -> Iterable[Diagnostic]:
    """Whether Unsloth is here, works with the other libraries, and what it can do."""
    from framework_plugins.unsloth.diagnostics import diagnostics  # noqa: PLC0415 - only `doctor` needs it

    yield from diagnostics()
