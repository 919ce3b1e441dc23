"""The optimizers: their settings, what the plan needs to know of each, and how each is made. Torch is imported last.

The names are those of transformers. Not offered, though transformers names them: GaLore and APOLLO, which project
gradients that LoRA has made small already; LOMO and every `layerwise` one, which update weights in the middle of a
backward pass, of which a step has several here; torchao's, whose states a checkpoint cannot hold; GrokAdamW,
AnyPrecision, XLA and NPU, which were not tried.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, SimpleNamespace
from typing import Annotated, Any, ClassVar

from annotated_types import Gt, Interval, Len

from framework import Component, Plan
from framework.api import Problem, installed
from framework.api.training import ModelPart, OptimizerConfig, OptimizerFactory, ParameterGroup, TrainedWeight
from framework_plugins.hf.settings.schedules import ConstantConfig

BITSANDBYTES, SCHEDULE_FREE, OPTIMI = "bitsandbytes>=0.49,<1", "schedulefree>=1.4", "torch-optimi"
"""What has to be installed for some of them; bitsandbytes with the range of pyproject.toml."""
Beta = Annotated[float, Interval(ge=0, lt=1)]
BITS_OF_STATES = 8
"""Of bitsandbytes' states, where they are not in 32 bits."""
MATRIX = 2
"""Dimensions of a matrix."""


@dataclass
class BuiltInConfig(OptimizerConfig):
    """What the plan knows of an optimizer, and how it is made.

    Attributes:
        made_by: its class, `module:name`.
        fixed: arguments of the class that no setting sets.
        states: bytes of its states for a parameter in fp32. bitsandbytes has 4 more for each 256 states of 8 bits.
        package: the distribution that it comes from, if it is another one than torch and transformers.
        paged: whether its states move to the memory of the CPU; on a CPU it is the one without pages.
        replaced: whether adamw_torch is the same optimizer in another precision, and replaces it where it does not run.
    """

    made_by: ClassVar[str]
    fixed: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    states: ClassVar[float] = 8.0
    package: ClassVar[str] = ""
    paged: ClassVar[bool] = False
    replaced: ClassVar[bool] = False

    @property
    def substitute(self) -> OptimizerFactory | None:
        """The AdamW of torch with the same settings, if that is the same optimizer."""
        if not (self.replaced and isinstance(self, AdamConfig)):
            return None
        return AdamWTorchConfig(groups=self.groups, betas=self.betas, eps=self.eps)

    def state_bytes(self, weights: Sequence[TrainedWeight], *, on_gpu: bool) -> float | None:
        """Return the bytes of the states; those of adamw_torch where that replaces this one."""
        if self.paged and on_gpu:
            return 0.0
        if self.substitute and not on_gpu and (self.paged or installed(self.package) is None):
            return self.substitute.state_bytes(weights, on_gpu=on_gpu)
        return sum(self.bytes_of(weight) for weight in weights)

    def bytes_of(self, weight: TrainedWeight) -> float:
        """Return the bytes of the states of one weight."""
        return self.states * math.prod(weight.shape)

    def arguments(self, warmup: int, *, on_gpu: bool) -> dict[str, Any]:  # noqa: ARG002 - for some
        """Return the arguments of the class: the settings, and those that are fixed."""
        values = {
            option.name: getattr(self, option.name) for option in dataclasses.fields(self) if option.name != "groups"
        }
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return {**values, **lists, **self.fixed}

    def create(self, groups: Sequence[ParameterGroup], rate: float, warmup: int) -> Any:
        """Make it."""
        module, _, name = self.made_by.partition(":")
        kind = getattr(importlib.import_module(module), name)
        on_gpu = any(weight.value.is_cuda for group in groups for weight in group.weights)
        return kind([group.for_torch() for group in groups], lr=rate, **self.arguments(warmup, on_gpu=on_gpu))


@dataclass
class AdamConfig(BuiltInConfig):
    """Adam and its kin."""

    betas: Annotated[list[Beta], Len(2, 2)] = field(default_factory=lambda: [0.9, 0.999])
    """Decays of the running means of the gradients and of the squared gradients."""
    eps: Annotated[float, Gt(0)] = 1e-8
    """What is added to the square root of the running mean of the squared gradients."""


@dataclass
class AdamWTorchConfig(AdamConfig):
    """AdamW of torch; one kernel updates all weights."""

    made_by = "torch.optim:AdamW"
    fixed = MappingProxyType({"fused": True})
    shards = True


@dataclass
class AdamWTorchFusedConfig(AdamWTorchConfig):
    """The same, by the name that transformers has for it."""


@dataclass
class BitsandbytesConfig(BuiltInConfig):
    """An optimizer of bitsandbytes, with states of 8 or 32 bits, of which some move to the memory of the CPU."""

    package = "bitsandbytes"
    bits: ClassVar[int] = BITS_OF_STATES

    def create(self, groups: Sequence[ParameterGroup], rate: float, warmup: int) -> Any:
        """Make it; states of embeddings have 32 bits, as transformers has it."""
        instance = super().create(groups, rate, warmup)
        if self.bits == BITS_OF_STATES:
            from bitsandbytes.optim import GlobalOptimManager  # noqa: PLC0415 - needed by these optimizers only

            for weight in (weight for group in groups for weight in group.weights):
                if weight.part is ModelPart.embedding:
                    holder = SimpleNamespace(weight=weight.value)
                    GlobalOptimManager.get_instance().register_module_override(holder, "weight", {"optim_bits": 32})
        return instance

    def arguments(self, warmup: int, *, on_gpu: bool) -> dict[str, Any]:
        """Return the arguments with bits and pages, of which a CPU has none; there an AdamW is to be refused."""
        paged = self.paged and (on_gpu or self.replaced)
        return {**super().arguments(warmup, on_gpu=on_gpu), "optim_bits": self.bits, "is_paged": paged}


@dataclass
class AdamW8bitConfig(BitsandbytesConfig, AdamConfig):
    """AdamW with states of 8 bits."""

    made_by, states, replaced = "bitsandbytes.optim:AdamW", 2.0, True


@dataclass
class AdamWBnb8bitConfig(AdamW8bitConfig):
    """The same, by the name that older tutorials use."""


@dataclass
class PagedAdamW8bitConfig(AdamW8bitConfig):
    """AdamW with states of 8 bits that move to the memory of the CPU."""

    paged = True


@dataclass
class PagedAdamW32bitConfig(AdamW8bitConfig):
    """AdamW with states of 32 bits that move to the memory of the CPU."""

    states, paged, bits = 8.0, True, 32


@dataclass
class AdEMAMix8bitConfig(BitsandbytesConfig):
    """AdEMAMix with states of 8 bits: AdamW with a second, slower running mean of the gradients."""

    made_by, states = "bitsandbytes.optim:AdEMAMix", 3.0

    betas: Annotated[list[Beta], Len(3, 3)] = field(default_factory=lambda: [0.9, 0.999, 0.9999])
    """Decays of the running means of the gradients and of the squared gradients, and of the slower mean."""
    eps: Annotated[float, Gt(0)] = 1e-8
    """What is added to the square root of the running mean of the squared gradients."""
    alpha: float = 5.0
    """How much the slower mean counts."""
    t_alpha: Annotated[int | None, Gt(0)] = None
    """Steps over which `alpha` rises to its value. null: it has it from the first step on."""
    t_beta3: Annotated[int | None, Gt(0)] = None
    """Steps over which the third of the betas rises to its value. null: it has it from the first step on."""


@dataclass
class AdEMAMixConfig(AdEMAMix8bitConfig):
    """AdEMAMix with states of 32 bits."""

    states, bits = 12.0, 32


@dataclass
class PagedAdEMAMix8bitConfig(AdEMAMix8bitConfig):
    """AdEMAMix with states of 8 bits that move to the memory of the CPU."""

    paged = True


@dataclass
class PagedAdEMAMix32bitConfig(AdEMAMixConfig):
    """AdEMAMix with states of 32 bits that move to the memory of the CPU."""

    paged = True


@dataclass
class Lion8bitConfig(BitsandbytesConfig):
    """Lion with states of 8 bits: the sign of a running mean of the gradients."""

    made_by, states = "bitsandbytes.optim:Lion", 1.0

    betas: Annotated[list[Beta], Len(2, 2)] = field(default_factory=lambda: [0.9, 0.999])
    """Decays of the running mean of the gradients: for the update, and for the mean itself."""


@dataclass
class Lion32bitConfig(Lion8bitConfig):
    """Lion with states of 32 bits."""

    states, bits = 4.0, 32


@dataclass
class PagedLion8bitConfig(Lion8bitConfig):
    """Lion with states of 8 bits that move to the memory of the CPU."""

    paged = True


@dataclass
class PagedLion32bitConfig(Lion32bitConfig):
    """Lion with states of 32 bits that move to the memory of the CPU."""

    paged = True


@dataclass
class RmspropBnb8bitConfig(BitsandbytesConfig):
    """RMSprop of bitsandbytes with states of 8 bits."""

    made_by, states = "bitsandbytes.optim:RMSprop", 1.0

    def arguments(self, warmup: int, *, on_gpu: bool) -> dict[str, Any]:
        """Return the arguments; it has no pages."""
        arguments = super().arguments(warmup, on_gpu=on_gpu)
        return {name: value for name, value in arguments.items() if name != "is_paged"}


@dataclass
class RmspropBnb32bitConfig(RmspropBnb8bitConfig):
    """RMSprop of bitsandbytes with states of 32 bits."""

    states, bits = 4.0, 32


@dataclass
class RmspropBnbConfig(RmspropBnb32bitConfig):
    """The same, by the shorter name that transformers has for it."""


@dataclass
class AdafactorConfig(BuiltInConfig):
    """Adafactor: a number for each row and each column of a matrix instead of one for each weight."""

    made_by = "transformers.optimization:Adafactor"
    fixed = MappingProxyType({"scale_parameter": False, "relative_step": False})

    def bytes_of(self, weight: TrainedWeight) -> float:
        """Return the bytes for the rows and the columns of a matrix."""
        return 4.0 * (sum(weight.shape) if len(weight.shape) >= MATRIX else math.prod(weight.shape))


@dataclass
class AdagradConfig(BuiltInConfig):
    """Adagrad of torch: rates fall with the sum of the squared gradients."""

    made_by, states = "torch.optim:Adagrad", 4.0

    lr_decay: Annotated[float, Interval(ge=0)] = 0.0
    """How fast the learning rate falls in addition."""
    eps: Annotated[float, Gt(0)] = 1e-10
    """What is added to the square root of the sum."""


@dataclass
class RmspropConfig(BuiltInConfig):
    """RMSprop of torch."""

    made_by, states = "torch.optim:RMSprop", 4.0

    momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Decay of a running mean of the updates; 0 has none."""
    alpha: Beta = 0.99
    """Decay of the running mean of the squared gradients."""
    eps: Annotated[float, Gt(0)] = 1e-8
    """What is added to its square root."""
    centered: bool = False
    """Divide by the variance of the gradients instead of their square."""

    def bytes_of(self, weight: TrainedWeight) -> float:
        """Return the bytes of the states, one more for momentum and for the mean of the gradients."""
        return super().bytes_of(weight) + 4.0 * math.prod(weight.shape) * (bool(self.momentum) + self.centered)


@dataclass
class SgdConfig(BuiltInConfig):
    """Stochastic gradient descent of torch."""

    made_by, states = "torch.optim:SGD", 0.0

    momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Decay of a running sum of the gradients; 0 has none."""
    dampening: float = 0.0
    """How much less a new gradient counts in that sum."""
    nesterov: bool = False
    """Nesterov's momentum."""

    def bytes_of(self, weight: TrainedWeight) -> float:
        """Return the bytes of the momentum."""
        return 4.0 * math.prod(weight.shape) * bool(self.momentum)


@dataclass
class ScheduleFreeConfig(BuiltInConfig):
    """Averages weights instead of lowering the learning rate, and answers with the average."""

    package = "schedulefree"
    own_schedule = True

    weight_lr_power: float = 2.0
    """How much more steps of a higher learning rate count in the average, as a power."""
    r: float = 0.0
    """How much more later steps count in the average, as a power."""


@dataclass
class ScheduleFreeRAdamConfig(ScheduleFreeConfig, AdamConfig):
    """Rectified Adam without a schedule, which warms up by itself."""

    made_by = "schedulefree:RAdamScheduleFree"


@dataclass
class ScheduleFreeAdamWConfig(ScheduleFreeConfig, AdamConfig):
    """AdamW without a schedule."""

    made_by = "schedulefree:AdamWScheduleFree"

    def arguments(self, warmup: int, *, on_gpu: bool) -> dict[str, Any]:
        """Return the arguments with the warm-up."""
        return {**super().arguments(warmup, on_gpu=on_gpu), "warmup_steps": warmup}


@dataclass
class ScheduleFreeSgdConfig(ScheduleFreeConfig):
    """SGD without a schedule."""

    made_by, states = "schedulefree:SGDScheduleFree", 4.0

    def arguments(self, warmup: int, *, on_gpu: bool) -> dict[str, Any]:
        """Return the arguments with the warm-up."""
        return {**super().arguments(warmup, on_gpu=on_gpu), "warmup_steps": warmup}


@dataclass
class StableAdamWConfig(AdamConfig):
    """AdamW of torch-optimi that limits each update, as Adafactor does."""

    made_by, package = "optimi:StableAdamW", OPTIMI
    fixed = MappingProxyType({"decouple_lr": False, "kahan_sum": None})

    max_lr: Annotated[float | None, Gt(0)] = None
    """The learning rate that counts as the highest. null: `trainer.learning_rate`."""


@dataclass
class MuonConfig(BuiltInConfig):
    """Muon of torch for the matrices between embedding and head, and AdamW for all other weights."""

    states = 4.0

    momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.95
    """Decay of the running mean of the gradients of matrices."""
    nesterov: bool = True
    """Nesterov's momentum."""
    ns_steps: Annotated[int, Interval(ge=1, lt=100)] = 5
    """Iterations that make an update orthogonal."""
    betas: Annotated[list[Beta], Len(2, 2)] = field(default_factory=lambda: [0.9, 0.999])
    """The betas of AdamW, which updates the other weights."""
    eps: Annotated[float, Gt(0)] = 1e-8
    """The eps of AdamW."""

    def bytes_of(self, weight: TrainedWeight) -> float:
        """Return the bytes of the momentum of a matrix, or of the states of AdamW."""
        return (self.states if by_muon(weight) else AdamWTorchConfig.states) * math.prod(weight.shape)

    def create(self, groups: Sequence[ParameterGroup], rate: float, warmup: int) -> Any:  # noqa: ARG002 - the schedule's
        """Make it of two groups for each: the matrices, and the rest."""
        from framework_plugins.hf.settings.muon import MuonAndAdamW  # noqa: PLC0415 - imports torch

        matrices, remaining = (
            [
                dataclasses.replace(group, weights=weights).for_torch()
                for group in groups
                if (weights := [weight for weight in group.weights if by_muon(weight) is is_muon])
            ]
            for is_muon in (True, False)
        )
        adamw = {"lr": rate, "betas": tuple(self.betas), "eps": self.eps}
        muon = {"lr": rate, "momentum": self.momentum, "nesterov": self.nesterov, "ns_steps": self.ns_steps}
        return MuonAndAdamW(matrices, muon, remaining, adamw)


def by_muon(weight: TrainedWeight) -> bool:
    """Whether Muon updates a weight."""
    return weight.part is ModelPart.hidden and len(weight.shape) == MATRIX


OPTIMIZERS: dict[str, type[BuiltInConfig]] = {
    "adamw_torch": AdamWTorchConfig,
    "adamw_torch_fused": AdamWTorchFusedConfig,
    "adamw_8bit": AdamW8bitConfig,
    "adamw_bnb_8bit": AdamWBnb8bitConfig,
    "paged_adamw_8bit": PagedAdamW8bitConfig,
    "paged_adamw_32bit": PagedAdamW32bitConfig,
    "adafactor": AdafactorConfig,
    "adagrad": AdagradConfig,
    "ademamix": AdEMAMixConfig,
    "ademamix_8bit": AdEMAMix8bitConfig,
    "paged_ademamix_8bit": PagedAdEMAMix8bitConfig,
    "paged_ademamix_32bit": PagedAdEMAMix32bitConfig,
    "lion_8bit": Lion8bitConfig,
    "lion_32bit": Lion32bitConfig,
    "paged_lion_8bit": PagedLion8bitConfig,
    "paged_lion_32bit": PagedLion32bitConfig,
    "muon": MuonConfig,
    "rmsprop": RmspropConfig,
    "rmsprop_bnb": RmspropBnbConfig,
    "rmsprop_bnb_8bit": RmspropBnb8bitConfig,
    "rmsprop_bnb_32bit": RmspropBnb32bitConfig,
    "schedule_free_adamw": ScheduleFreeAdamWConfig,
    "schedule_free_radam": ScheduleFreeRAdamConfig,
    "schedule_free_sgd": ScheduleFreeSgdConfig,
    "sgd": SgdConfig,
    "stable_adamw": StableAdamWConfig,
}
"""By the names of transformers, which people know."""
EXTRAS = {"bitsandbytes": BITSANDBYTES, "schedulefree": SCHEDULE_FREE, OPTIMI: OPTIMI}
"""How each package is installed."""


def optimizer(config: OptimizerFactory) -> OptimizerFactory:
    """Return what makes an optimizer: the settings do it themselves."""
    return config


def components() -> Iterator[Component]:
    """Give the options; one that adamw_torch replaces needs nothing installed."""
    for name, schema in OPTIMIZERS.items():
        extra = "" if schema.replaced else EXTRAS.get(schema.package, "")
        yield Component(name, schema, f"{__name__}:{optimizer.__name__}", extra=extra)


def problems(plan: Plan) -> Iterator[Problem]:
    """Say what of the optimizer contradicts itself or the rest of the plan, a sentence each."""
    config, training, setting = plan.optimizer.config, plan.training, f"optimizer={plan.optimizer.component.name}"
    for at, group in enumerate(config.groups):
        try:
            re.compile(group.match)
        except re.error as error:
            yield Problem(f"optimizer.groups[{at}].match={group.match} is not a regular expression: {error}")
    if isinstance(config, SgdConfig) and config.nesterov and not config.momentum:
        yield Problem("optimizer.nesterov=true needs a momentum: set optimizer.momentum=0.9", ("optimizer.nesterov",))
    if config.own_schedule:
        if not isinstance(plan.schedule.config, ConstantConfig):
            yield Problem(
                f"{setting} replaces the schedule: set schedule=constant; trainer.warmup_steps is the optimizer's own "
                "then",
                ("optimizer",),
            )
        if training.warmup_ratio is not None:
            yield Problem(
                f"trainer.warmup_ratio={training.warmup_ratio:g}: {setting} takes trainer.warmup_steps only",
                ("trainer.warmup_ratio",),
            )
    if training.warmup_steps and isinstance(config, ScheduleFreeRAdamConfig):
        yield Problem(
            f"trainer.warmup_steps={training.warmup_steps}: {setting} warms up by itself: set it to null",
            ("trainer.warmup_steps",),
        )


def advice(plan: Plan) -> Iterator[str]:
    """Say what the plan does not know."""
    factory: OptimizerFactory = plan.optimizer.create()
    if factory.state_bytes([TrainedWeight("weight", (1, 1))], on_gpu=False) is None:
        yield (
            f"optimizer={plan.optimizer.component.name} does not say how much memory its states need: the plan counts "
            f"{AdamWTorchConfig.states:g} bytes for each trained parameter, as for adamw_torch"
        )
