"""Problems of `trainer=unsloth` that the plan shows: versions, and settings that Unsloth ignores or cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields

from framework import FrameworkError, Plan, Stage
from framework.api import Gpu, Problem
from framework.api.training import Adapter, Engine
from framework_plugins.hf.settings.config import (
    Device,
    Experts,
    Int8Config,
    LoraAdapterConfig,
    NF4Config,
    Switch,
)
from framework_plugins.hf.settings.layer_targets import target_pattern
from framework_plugins.hf.settings.library_fields import LoraArgs, non_default
from framework_plugins.lib.model_settings import read_adapter_config
from framework_plugins.unsloth import versions
from framework_plugins.unsloth.config import UnslothTrainerConfig

HF = "or set trainer=hf"


def trains_with_unsloth(plan: Plan) -> bool:
    """Whether this backend trains."""
    return isinstance(plan.trainer.config, UnslothTrainerConfig)


def plans_for_another_machine(plan: Plan) -> bool:
    """Whether only the plan is asked for: that may be for another machine, on which Unsloth is."""
    return plan.stages == (Stage.plan,) and (plan.settings.plan.gpu is not None or not versions.installed())


def settings(plan: Plan) -> Iterator[Problem]:
    """Yield the problems of the settings and the installed versions."""
    quantization, group = plan.quantization.config, plan.launch.config.group()
    if isinstance(quantization, NF4Config) and not quantization.double_quant:
        yield Problem(
            f"quantization.double_quant=false: trainer=unsloth always quantizes the constants too: set it true, {HF}",
            ("quantization.double_quant",),
        )
    if isinstance(quantization, NF4Config) and quantization.experts is not Switch.auto:
        yield Problem(
            f"quantization.experts={quantization.experts.value}: trainer=unsloth chooses by itself which experts it "
            f"quantizes: leave it at auto, {HF}",
            ("quantization.experts",),
        )
    if group and group.engine is not Engine.ddp:
        yield Problem(
            f"launch={plan.launch.component.name}: with several processes trainer=unsloth trains with launch=ddp only: "
            f"set launch=ddp, {HF} on GPUs",
            ("launch",),
        )
    yield from _adapter(plan)
    elsewhere = plans_for_another_machine(plan)
    on_cpu = plan.trainer.config.device is Device.cpu or not (plan.settings.plan.gpu if elsewhere else Gpu.count())
    if not on_cpu and (plan.method.config.own_objective or not plan.loss.config.plain):
        yield Problem(
            f"method={plan.method.component.name} with loss={plan.loss.component.name}: on a GPU Unsloth computes the "
            f"mean loss of all learned tokens only: leave both out, {HF}",
            ("method", "loss"),
        )
    if elsewhere:
        return
    if isinstance(quantization, Int8Config) and on_cpu:
        yield Problem(
            f"quantization=int8: Unsloth does not quantize to 8 bits on a CPU: set quantization=none, {HF}",
            ("quantization",),
        )
    yield from versions.problems()
    if not on_cpu and (problem := versions.other()):
        yield Problem(problem, ("trainer",))


def _of_start(plan: Plan) -> list[str]:
    """Return what an adapter that the training starts from has and Unsloth does not make."""
    adapter: Adapter = plan.adapter.create()
    with suppress(FrameworkError):  # that it cannot be read, `hf` reports
        if plan.adapter.config.starts_from():
            start = adapter.start(weights=False)
            content = read_adapter_config(start.folder, f"adapter.start={start.place}")
            names = [
                field.name
                for field in fields(LoraArgs)
                if field.name != "init_lora_weights" and content.get(field.name)
            ]
            return [f"{name} of the adapter of adapter.start={start.place}" for name in names]
    return []


TRAINED_MODULES = frozenset({"embed_tokens", "lm_head"})
"""What Unsloth trains whole; it refuses other modules when it makes the adapter."""


def _adapter(plan: Plan) -> Iterator[Problem]:
    """Give the settings of an adapter that are not handed on to Unsloth; `lora.py` has those that are."""
    config = plan.adapter.config
    if not isinstance(config, LoraAdapterConfig):
        return
    names = ["layers_to_transform", "rank_pattern", "alpha_pattern", "merge_first"]
    unsupported = [f"adapter.{name}" for name in names if getattr(config, name)]
    unsupported += ["model.new_tokens"] if plan.model.config.new_tokens else []
    unsupported += ["adapter.target_modules with a regular expression"] if target_pattern(config.target_modules) else []
    unsupported += [f"adapter.args.{name}" for name in non_default(config.args)]
    by_keys: list[tuple[str, tuple[str, ...]]] = [(text, ("trainer",)) for text in unsupported]
    by_keys += [("adapter.experts=all", ("adapter.experts", "trainer"))] if config.experts is Experts.all else []
    by_keys += [(text, ("adapter.start", "trainer")) for text in _of_start(plan)]
    for text, keys in by_keys:
        yield Problem(f"{text} is not supported by trainer=unsloth: leave it out, {HF}", keys)
    if other_modules := [name for name in config.modules_to_save if name not in TRAINED_MODULES]:
        yield Problem(
            f"adapter.modules_to_save=[{','.join(other_modules)}]: Unsloth trains only "
            f"{' and '.join(sorted(TRAINED_MODULES))}: set trainer=hf",
            ("adapter.modules_to_save",),
        )
