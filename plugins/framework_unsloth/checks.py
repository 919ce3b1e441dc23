"""What speaks against `trainer=unsloth` in a plan: versions, settings, and what Unsloth itself turns out not to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from framework.plan import Plan
from framework.schema import Stage
from framework_hf.config import NF4Config
from framework_unsloth import versions
from framework_unsloth.capabilities import capabilities
from framework_unsloth.config import UnslothTrainerConfig

HF = "or set trainer=hf"


def chosen(plan: Plan) -> bool:
    """Whether this backend trains."""
    return isinstance(plan.trainer.config, UnslothTrainerConfig)


def elsewhere(plan: Plan) -> bool:
    """Whether the plan alone is asked for: that may be for another machine, on which Unsloth is."""
    return plan.stages == (Stage.plan,) and (plan.plan.gpu is not None or not versions.installed())


def settings(plan: Plan) -> Iterator[str]:
    """Say what can be told from the settings and the installed versions."""
    quantization = plan.quantization.config
    if isinstance(quantization, NF4Config) and not quantization.double_quant:
        yield f"quantization.double_quant=false: trainer=unsloth always quantizes the constants too: set it true, {HF}"
    if plan.launch.config.group():
        yield (
            f"launch={plan.launch.component.name} trains with several processes, and trainer=unsloth in one: set "
            "trainer=hf"
        )
    if not elsewhere(plan):
        yield from versions.problems()


def model(plan: Plan, config: Mapping[str, Any]) -> Iterator[str]:
    """Ask Unsloth about this plan with its model."""
    if elsewhere(plan) or not config or "auto_map" in config:
        return
    asked = capabilities(plan, config)
    if asked.problem:
        kind = config.get("model_type", "this kind")
        chosen_with = f"adapter={plan.adapter.component.name} quantization={plan.quantization.component.name}"
        where = f"on this {asked.device.upper()}"
        yield f"trainer=unsloth does not work for {kind} with {chosen_with} {where}: {_end(asked.problem)}"


def _end(problem: str) -> str:
    if "accumulation" in problem:
        right = " or ".join(f"unsloth=={each}" for each in versions.TESTED)
        return f"{problem}. pip install {right}, {HF}"
    return f"{problem}: {HF.removeprefix('or ')}"
