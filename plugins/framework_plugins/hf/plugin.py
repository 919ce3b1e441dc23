"""Registers the HF backend and what belongs to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from framework import Component, Stage, hookimpl
from framework.api import Problem
from framework.api.training import Engine
from framework_plugins.hf.settings import checks, config, optimizers, rollouts, schedules
from framework_plugins.hf.settings.config import LoraAdapterConfig
from framework_plugins.lib.chat_templates import chat_template_problem

if TYPE_CHECKING:
    from framework import Plan
    from framework.api import Diagnostic, Gpu, Work
    from framework.api.training import MemoryReduction, MemorySettings, Shape

BITSANDBYTES = "bitsandbytes>=0.49,<1"
"""Installed if there are wheels of it; the range is that of pyproject.toml."""
USUAL_ALPHA_RATIO = (0.5, 4.0)
"""lora_alpha / r, where it is usual."""


@hookimpl
def framework_components() -> Iterable[Component]:
    """Any folder or Hub id as a model, what bitsandbytes offers, LoRA and its kin, and what trains."""
    yield Component("local", config.LocalModelConfig, "framework_plugins.hf.load.hub:LocalModel")
    yield Component("none", config.NoQuantizationConfig, "framework_plugins.hf.settings.quantizations:NoQuantization")
    yield Component(
        "int8", config.Int8Config, "framework_plugins.hf.settings.quantizations:Int8", extra=optimizers.BITSANDBYTES
    )
    yield Component(
        "nf4", config.NF4Config, "framework_plugins.hf.settings.quantizations:NF4", extra=optimizers.BITSANDBYTES
    )
    yield Component("lora", config.LoraAdapterConfig, "framework_plugins.hf.load.adapters:Lora")
    yield Component("dora", config.DoraAdapterConfig, "framework_plugins.hf.load.adapters:Dora")
    yield Component("rslora", config.RsLoraAdapterConfig, "framework_plugins.hf.load.adapters:RsLora")
    yield Component("full", config.FullConfig, "framework_plugins.hf.load.adapters:Full")
    yield Component("hf", config.HFTrainerConfig, "framework_plugins.hf.backend:HFBackend")
    generators = "framework_plugins.hf.generate"
    yield Component("model", rollouts.ModelRolloutConfig, f"{generators}.generators:OwnBatches")
    yield Component("continuous", rollouts.ContinuousRolloutConfig, f"{generators}.generators:Continuous")
    yield Component("vllm", rollouts.VllmRolloutConfig, f"{generators}.vllm:Vllm", extra="vllm")
    yield Component("shuffled", config.ShuffledConfig, "framework_plugins.hf.train.order:Shuffled")
    yield from optimizers.components()
    yield from schedules.components()


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[Problem]:
    """Refuse what cannot work together."""
    if (template := plan.model.config.chat_template) is not None and (problem := chat_template_problem(template)):
        yield Problem(problem, ("model.chat_template",))
    for name in sorted(config.RESERVED_TEMPLATE_ARGUMENTS & plan.model.config.chat_template_kwargs.keys()):
        yield Problem(
            f"model.chat_template_kwargs.{name}={plan.model.config.chat_template_kwargs[name]} is not a switch of a "
            f"chat template; the program sets {name} itself: leave it out",
            (f"model.chat_template_kwargs.{name}",),
        )
    if plan.model.config.new_tokens and {Stage.plan, Stage.train} & {*plan.stages}:
        yield from checks.token_problems(plan)
    adapter, quantization = plan.adapter.config, plan.quantization.config
    if isinstance(adapter, config.FullConfig) and not isinstance(quantization, config.NoQuantizationConfig):
        yield Problem(
            f"adapter=full trains all weights and quantization={plan.quantization.component.name} freezes them: "
            "set quantization=none, or adapter=lora",
            ("adapter", "quantization"),
        )
    if isinstance(adapter, config.LoraAdapterConfig):
        yield from checks.problems(plan, adapter)
        if (adapter.start or adapter.merge_first) and {Stage.plan, Stage.train} & {*plan.stages}:
            from framework_plugins.hf.load import start  # noqa: PLC0415 - the client of the Hub

            yield from start.problems(plan, adapter)
    group = plan.launch.config.group()
    sharded = group is not None and group.engine is not Engine.ddp
    if plan.cost.more_forwards and sharded and (begins := _start_beside_base(adapter)):
        yield Problem(
            f"launch={plan.launch.component.name} has the base, its adapter switched off, as the reference of "
            f"method={plan.method.component.name} with loss={plan.loss.component.name}, and {begins} starts the "
            "training from something else: set launch=ddp or launch=single",
            ("launch", "method", "loss", "adapter.start" if adapter.starts_from() else "adapter"),
        )
    yield from _sampling_problems(plan)
    yield from rollouts.problems(plan)
    trainer = plan.trainer.config
    if not isinstance(trainer, config.TransformersTrainerConfig):
        return
    yield from checks.environment_problems()
    if (trainer.device, trainer.dtype) == (config.Device.cpu, config.Dtype.fp16):
        yield Problem(
            "trainer.dtype=fp16 does not train with trainer.device=cpu: set trainer.dtype=auto|fp32|bf16",
            ("trainer.dtype", "trainer.device"),
        )
    yield from optimizers.problems(plan)
    yield from schedules.problems(plan)
    if isinstance(trainer, config.HFTrainerConfig):
        yield from checks.loader_problems(plan, trainer.args, trainer.dataloader_num_workers)


def _sampling_problems(plan: Plan) -> Iterable[Problem]:
    """Refuse what a method that samples answers in each step cannot have."""
    method, name = plan.method.config, plan.method.component.name
    if not (method.samples and method.own_objective) or Stage.train not in plan.intended_stages:
        return  # others choose among answers that are drawn before the training
    group = plan.launch.config.group()
    if group and group.sharded:
        yield Problem(
            f"method={name} draws answers in each process on its own, and launch={plan.launch.component.name} has all "
            "of them compute each token together: set launch=ddp or launch=single",
            ("method", "launch"),
        )


def _start_beside_base(adapter: Any) -> str:
    """Return the setting by which a training starts from something else than the base; empty if none does."""
    if isinstance(adapter, config.FullConfig):
        return "adapter=full"  # which keeps no base
    start = adapter.starts_from()
    return f"adapter.start={start}" if start else ""


@hookimpl
def framework_check_model(plan: Plan, config: Mapping[str, Any]) -> Iterable[Problem]:
    """Refuse tokens that the model does not have, and a family that transformers does not know."""
    yield from checks.model_problems(plan, config)
    size = (config.get("text_config") or config).get("vocab_size")
    adapter = plan.adapter.config
    tokens = adapter.args.trainable_token_indices if isinstance(adapter, LoraAdapterConfig) else []
    if isinstance(size, int) and tokens and max(tokens) >= size:
        yield Problem(
            f"adapter.args.trainable_token_indices: the model has no token {max(tokens)}; valid are 0 to {size - 1} "
            "(vocab_size in config.json)"
        )


@hookimpl
def framework_memory(
    plan: Plan, shape: Shape, gpu: Gpu | None, longest: int, mean: int, shared: int
) -> Iterable[MemorySettings]:
    """How `trainer=hf` uses memory, and one that is built on it unless it tells so itself."""
    is_built_in = isinstance(plan.adapter.config, config.LoraAdapterConfig | config.FullConfig)
    if is_built_in and isinstance(plan.trainer.config, config.HFTrainerConfig):
        from framework_plugins.hf.settings.memory_plan import footprint  # noqa: PLC0415 - --help need not pay for it

        yield footprint(plan, shape, gpu, longest, shared, mean)


@hookimpl
def framework_memory_reductions(plan: Plan) -> Iterable[MemoryReduction]:
    """What makes it use less."""
    if isinstance(plan.trainer.config, config.HFTrainerConfig):
        from framework_plugins.hf.settings.reductions import reductions  # noqa: PLC0415 - as above

        yield from reductions(plan)


@hookimpl
def framework_advice(plan: Plan, work: Work | None) -> Iterable[str]:
    """Learning rates, their schedule, and ranks."""
    if isinstance(plan.training, config.TransformersTrainerConfig):
        yield from optimizers.advice(plan)
        yield from schedules.advice(plan, work.steps) if work is not None else ()
    yield from rollouts.advice(plan)
    adapter, rate, method = plan.adapter.config, plan.training.learning_rate, plan.method.config
    full, lora = method.full_rates, method.adapter_rates
    if isinstance(adapter, config.FullConfig) and rate > full.most:
        yield (
            f"trainer.learning_rate={rate:g} with adapter=full: all weights move with it, and above {full.most:g} "
            f"models forget more than they learn. Set trainer.learning_rate={_short(full.usual)}"
        )
    if isinstance(adapter, config.LoraAdapterConfig):
        if rate > lora.most:
            yield (
                f"trainer.learning_rate={rate:g} with adapter={plan.adapter.component.name}: above {lora.most:g} "
                f"the loss often diverges. Set trainer.learning_rate={_short(lora.usual)}"
            )
        if rate < lora.least and not adapter.starts_from():
            yield (
                f"trainer.learning_rate={rate:g} with adapter={plan.adapter.component.name}: an adapter starts from "
                "nothing and needs about ten times the rate of full fine-tuning. Set "
                f"trainer.learning_rate={_short(lora.usual)}"
            )
        if not USUAL_ALPHA_RATIO[0] <= adapter.lora_alpha / adapter.r <= USUAL_ALPHA_RATIO[1]:
            yield (
                f"adapter.lora_alpha={adapter.lora_alpha} with adapter.r={adapter.r}: an update is scaled by their "
                f"ratio, commonly 1 or 2: take adapter.lora_alpha={2 * adapter.r}"
            )


def _short(rate: float) -> str:
    """Write a rate as people do, 2e-4."""
    return f"{rate:.0e}".replace("e-0", "e-")


@hookimpl
def framework_diagnostics() -> Iterable[Diagnostic]:
    """The hardware, and the libraries that train."""
    from framework_plugins.hf.machine.diagnostics import diagnostics  # noqa: PLC0415 - only `doctor` needs it

    yield from diagnostics()
