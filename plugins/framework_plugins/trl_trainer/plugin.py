"""Registers the trainers of TRL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from framework import Component, FrameworkError, hookimpl
from framework_plugins.trl_trainer.config import TrlTrainerConfig

if TYPE_CHECKING:
    from framework import Plan
    from framework.api import Gpu, Problem
    from framework.api.training import MemorySettings, Shape


@hookimpl
def framework_components() -> Iterable[Component]:
    """The backend."""
    yield Component("trl", TrlTrainerConfig, "framework_plugins.trl_trainer.backend:TrlBackend")


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[Problem]:
    """Refuse what TRL does not have."""
    if isinstance(plan.trainer.config, TrlTrainerConfig):
        from framework_plugins.trl_trainer import checks  # noqa: PLC0415 - runs of other trainers need not pay for it

        yield from checks.problems(plan)


@hookimpl
def framework_memory(
    plan: Plan, shape: Shape, gpu: Gpu | None, longest: int, mean: int, shared: int
) -> Iterable[MemorySettings]:
    """How it uses memory: as `trainer=hf` with rows side by side; of most classes that are named nothing is known."""
    from framework_plugins.hf.extend import FullConfig, LoraAdapterConfig, footprint  # noqa: PLC0415 - as above

    config = plan.trainer.config
    if not isinstance(config, TrlTrainerConfig) or not isinstance(plan.adapter.config, LoraAdapterConfig | FullConfig):
        return
    scores = config.trl_class == "RewardTrainer"
    packed = next((name for name in ("packing", "padding_free") if config.args.get(name)), "")
    if unknown := packed if scores else config.trl_class or packed:
        raise FrameworkError(f"trainer=trl with {unknown} uses memory in a way that this estimate does not cover")
    settings = footprint(plan, shape, gpu, longest, shared, mean)
    yield replace(settings, chunk=0.0) if scores else settings  # a score for each row, and no logits
