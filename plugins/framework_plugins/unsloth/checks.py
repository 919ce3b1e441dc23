"""Problems of `trainer=unsloth` in a plan: versions, settings, and what Unsloth fails to do in the test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from framework.api.errors import FrameworkError
from framework.api.plan import Plan
from framework.api.schema import Stage
from framework_plugins.hf.config import NF4Config
from framework_plugins.unsloth import versions
from framework_plugins.unsloth.capabilities import capabilities
from framework_plugins.unsloth.config import UnslothTrainerConfig
from framework_plugins.unsloth.instead import instead

HF = "or set trainer=hf"


def chosen(plan: Plan) -> bool:
    """Whether this backend trains."""
    return isinstance(plan.trainer.config, UnslothTrainerConfig)


def elsewhere(plan: Plan) -> bool:
    """Whether the plan alone is asked for: that may be for another machine, on which Unsloth is."""
    return plan.stages == (Stage.plan,) and (plan.planning.gpu is not None or not versions.installed())


def settings(plan: Plan) -> Iterator[str]:
    """Yield the problems of the settings and the installed versions."""
    quantization = plan.quantization.config
    if isinstance(quantization, NF4Config) and not quantization.double_quant:
        yield f"quantization.double_quant=false: trainer=unsloth always quantizes the constants too: set it true, {HF}"
    if not elsewhere(plan):
        yield from versions.problems()


def model(plan: Plan, config: Mapping[str, Any]) -> Iterator[str]:
    """Ask Unsloth about this plan with its model."""
    if elsewhere(plan) or not config or "auto_map" in config:
        return
    try:
        asked = capabilities(plan, config)
    except FrameworkError as error:
        yield f"{error}. {instead(plan, config)}"
        return
    if asked.problem:
        kind, told = config.get("model_type", "this kind"), f"{asked.problem}. {_versions(asked.problem)}"
        where = f"on this {asked.device.upper()}"
        yield f"trainer=unsloth does not work for {kind} with {_chosen(plan)} {where}: {told}{instead(plan, config)}"


def _chosen(plan: Plan) -> str:
    groups = ("adapter", "quantization", *(["launch"] if plan.launch.config.group() else []))
    return " ".join(f"{group}={getattr(plan, group).component.name}" for group in groups)


def _versions(problem: str) -> str:
    """Name versions that are right, where this one is wrong about accumulation."""
    right = [f"unsloth=={each}" for each in versions.TESTED if each != versions.installed()]
    return f"pip install {' or '.join(right)}. " if "accumulation" in problem and right else ""
