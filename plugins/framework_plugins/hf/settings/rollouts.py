"""The options of `rollout=`: what draws the answers of a method that samples them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Interval

from framework import Plan
from framework.api import Gpu, Problem, host_memory
from framework.api.training import ImportanceSampling, RolloutConfig
from framework_plugins.hf.settings.config import (
    Dtype,
    HFTrainerConfig,
    LoraAdapterConfig,
    NoQuantizationConfig,
    Switch,
    TransformersTrainerConfig,
)

ROOM = 4
"""A model is merged if the machine's memory is this many times the merged weights."""


@dataclass
class ModelRolloutConfig(RolloutConfig):
    """The model that is trained, in batches; a prompt is read once for all of its answers."""

    merge: Switch = Switch.auto
    """Merge LoRA into the weights while answers are drawn; it takes their memory a second time. auto: in 16 bits on a
    CPU with four times their memory, where it draws a quarter faster; never measured on a GPU."""

    def merges(self, size: float, *, half_on_cpu: bool) -> bool:
        """Whether weights with `size` bytes are merged."""
        if self.merge is not Switch.auto:
            return self.merge is Switch.enabled
        # In fp32 it brought at most 3%, and in bf16 a quarter. What is free differs from one start to the next, and a
        # training that continues has to draw the same answers again.
        return half_on_cpu and host_memory().total >= ROOM * size


@dataclass
class ContinuousRolloutConfig(RolloutConfig):
    """The model that is trained, with the continuous batching of transformers: an answer that ends makes place."""

    tried: ClassVar[bool] = False
    importance_sampling_mode: ImportanceSampling = ImportanceSampling.sequence_mask
    max_memory_percent: Annotated[float, Interval(gt=0, le=0.95)] = 0.5
    """The share of the free memory that its cache takes on a GPU, and at most takes on a CPU, where it holds
    trainer.answers_at_once answers."""


@dataclass
class VllmRolloutConfig(RolloutConfig):
    """vLLM in the same process, with the base a second time in memory, and the adapter of each step."""

    tried: ClassVar[bool] = False
    importance_sampling_mode: ImportanceSampling = ImportanceSampling.sequence_mask
    dtype: Dtype = Dtype.auto
    """The number format in which it computes. auto: that of the training."""
    gpu_memory_utilization: Annotated[float, Interval(gt=0, le=0.95)] = 0.3
    """The share of the GPU's memory that vLLM takes: for the base, and for the cache of answers."""


def problems(plan: Plan) -> Iterator[Problem]:
    """Say what of a generator does not go with the rest of a plan, a sentence each."""
    rollout, method, name = plan.rollout.config, plan.method, f"rollout={plan.rollout.component.name}"
    yield from rollout.problems()
    if isinstance(rollout, ModelRolloutConfig):
        return
    if not method.config.samples:
        yield Problem(
            f"{name} has no effect with method={method.component.name}, which draws no answers: leave rollout out",
            ("rollout", "method"),
        )
    elif not isinstance(plan.trainer.config, HFTrainerConfig):
        yield Problem(
            f"{name} has no effect with trainer={plan.trainer.component.name}: leave rollout out, or set trainer=hf",
            ("rollout", "trainer"),
        )
    if not isinstance(rollout, ContinuousRolloutConfig | VllmRolloutConfig):
        return
    if (top_p := method.config.sampling(plan.seed).top_p) < 1:
        yield Problem(
            f"{name} gives the log-probabilities of the tokens that method.top_p={top_p:g} leaves, and "
            "the training computes those of all tokens: set method.top_p=1, or rollout=model",
            ("rollout", "method.top_p"),
        )
    if not isinstance(rollout, VllmRolloutConfig):
        return
    if type(plan.adapter.config) is not LoraAdapterConfig or not isinstance(
        plan.quantization.config, NoQuantizationConfig
    ):
        yield Problem(
            f"{name} loads the base as it is and the adapter of each step beside it: set adapter=lora and "
            "quantization=none, or rollout=model",
            ("rollout",),
        )
    if plan.launch.config.group():
        yield Problem(f"{name} draws in one process: set launch=single, or rollout=model", ("rollout",))


def reserved(plan: Plan, gpu: Gpu | None) -> float:
    """Return the bytes of a GPU that a generator takes for itself while the model trains."""
    rollout = plan.rollout.config
    return rollout.gpu_memory_utilization * gpu.total if gpu and isinstance(rollout, VllmRolloutConfig) else 0.0


def advice(plan: Plan) -> Iterator[str]:
    """Name a generator that nobody has tried, and one that computes in another number format."""
    rollout, name = plan.rollout.config, f"rollout={plan.rollout.component.name}"
    if not rollout.tried and plan.method.config.samples:
        yield (
            f"{name} was not tried on a GPU by its authors. Look at sampling_logp_difference of the first steps, and "
            "compare with rollout=model"
        )
    computed = plan.training.dtype if isinstance(plan.training, TransformersTrainerConfig) else Dtype.auto
    if isinstance(rollout, VllmRolloutConfig) and rollout.dtype not in {Dtype.auto, computed}:
        yield (
            f"rollout.dtype={rollout.dtype.value} with trainer.dtype={computed.value}: the log-probabilities of the "
            "draw are rounded differently from those of the training. Set rollout.dtype=auto"
        )
