"""The optimizers and schedules of transformers that run here, and what the plan needs to know of each. Without torch.

transformers makes them; it reads the arguments that are here, and drops any other one without a word. Not offered,
though transformers names them: GaLore and APOLLO, which project gradients that LoRA has made small already; LOMO and
every `layerwise` one, which update weights in the middle of a backward pass, of which a step has several here;
torchao's, whose states a checkpoint cannot hold; GrokAdamW, AnyPrecision, XLA and NPU, which were not tried; and the
schedules reduce_lr_on_plateau and greedy, which only the validations of transformers' own loop move.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from framework import Plan, Stage
from framework.api import as_text, count, installed, nearest
from framework.api.training import Optimizer, Schedule
from framework_plugins.hf.settings.config import HFTrainerConfig

Arguments = Mapping[str, Any]
"""What an argument may be, by its name: a type, or the words to choose from."""
SCHEDULE_FREE = frozenset({Optimizer.schedule_free_adamw, Optimizer.schedule_free_radam, Optimizer.schedule_free_sgd})
"""They average weights instead of lowering the learning rate, and answer with the average."""
FACTORED_STATES = 0.0
"""Instead of bytes for each parameter: Adafactor has a number for each row and one for each column of a matrix."""


@dataclass(frozen=True)
class OptimizerFacts:
    """What the plan knows of an optimizer.

    Attributes:
        states: bytes of its states for a parameter in fp32. bitsandbytes has 4 more for each 256 states of 8 bits.
        betas: which of adam_beta1, adam_beta2 and adam_epsilon it reads.
        arguments: what `trainer.optim_args` may hold.
        package: the distribution that it comes from, if it is another one than torch and transformers.
        paged: whether its states move to the memory of the CPU; on a CPU it is the one without pages.
        adam: whether adamw_torch is the same optimizer in another precision, and can replace it.
    """

    states: float
    betas: tuple[str, ...] = ()
    arguments: Arguments = field(default_factory=dict)
    package: str = ""
    paged: bool = False
    adam: bool = False


# The names are those of transformers, which people know (decision 0088).
ADAM_FIELDS, LION_FIELDS = ("adam_beta1", "adam_beta2", "adam_epsilon"), ("adam_beta1", "adam_beta2")
ADEMAMIX_ARGUMENTS = {"alpha": float, "beta3": float, "t_alpha": int, "t_beta3": int}
RMSPROP_ARGUMENTS = {"momentum": float, "alpha": float, "eps": float, "centered": bool}
SCHEDULE_FREE_ARGUMENTS = {"weight_lr_power": float, "r": float}
BNB = "bitsandbytes"
OPTIMIZERS: Mapping[Optimizer, OptimizerFacts] = {
    Optimizer.adamw_torch: OptimizerFacts(8.0, ADAM_FIELDS, adam=True),
    Optimizer.adamw_torch_fused: OptimizerFacts(8.0, ADAM_FIELDS, adam=True),
    Optimizer.adamw_8bit: OptimizerFacts(2.0, ADAM_FIELDS, package=BNB, adam=True),
    Optimizer.adamw_bnb_8bit: OptimizerFacts(2.0, ADAM_FIELDS, package=BNB, adam=True),
    Optimizer.paged_adamw_8bit: OptimizerFacts(2.0, ADAM_FIELDS, package=BNB, paged=True, adam=True),
    Optimizer.paged_adamw_32bit: OptimizerFacts(8.0, ADAM_FIELDS, package=BNB, paged=True, adam=True),
    Optimizer.adafactor: OptimizerFacts(FACTORED_STATES),
    Optimizer.adagrad: OptimizerFacts(4.0, (), {"lr_decay": float, "eps": float}),
    Optimizer.ademamix: OptimizerFacts(12.0, ADAM_FIELDS, ADEMAMIX_ARGUMENTS, BNB),
    Optimizer.ademamix_8bit: OptimizerFacts(3.0, ADAM_FIELDS, ADEMAMIX_ARGUMENTS, BNB),
    Optimizer.paged_ademamix_8bit: OptimizerFacts(3.0, ADAM_FIELDS, ADEMAMIX_ARGUMENTS, BNB, paged=True),
    Optimizer.paged_ademamix_32bit: OptimizerFacts(12.0, ADAM_FIELDS, ADEMAMIX_ARGUMENTS, BNB, paged=True),
    Optimizer.lion_8bit: OptimizerFacts(1.0, LION_FIELDS, package=BNB),
    Optimizer.lion_32bit: OptimizerFacts(4.0, LION_FIELDS, package=BNB),
    Optimizer.paged_lion_8bit: OptimizerFacts(1.0, LION_FIELDS, package=BNB, paged=True),
    Optimizer.paged_lion_32bit: OptimizerFacts(4.0, LION_FIELDS, package=BNB, paged=True),
    Optimizer.rmsprop: OptimizerFacts(4.0, (), RMSPROP_ARGUMENTS),
    # transformers hands its arguments on as texts, with which bitsandbytes cannot compute.
    Optimizer.rmsprop_bnb: OptimizerFacts(4.0, package=BNB),
    Optimizer.rmsprop_bnb_8bit: OptimizerFacts(1.0, package=BNB),
    Optimizer.rmsprop_bnb_32bit: OptimizerFacts(4.0, package=BNB),
    Optimizer.schedule_free_adamw: OptimizerFacts(8.0, ADAM_FIELDS, SCHEDULE_FREE_ARGUMENTS, "schedulefree"),
    Optimizer.schedule_free_radam: OptimizerFacts(8.0, ADAM_FIELDS, SCHEDULE_FREE_ARGUMENTS, "schedulefree"),
    Optimizer.schedule_free_sgd: OptimizerFacts(4.0, (), SCHEDULE_FREE_ARGUMENTS, "schedulefree"),
    Optimizer.sgd: OptimizerFacts(0.0, (), {"momentum": float, "dampening": float, "nesterov": bool}),
    Optimizer.stable_adamw: OptimizerFacts(8.0, ADAM_FIELDS, {"max_lr": float}, "torch-optimi"),
}


@dataclass(frozen=True)
class ScheduleFacts:
    """What the plan knows of a schedule.

    Attributes:
        arguments: what `trainer.lr_scheduler_kwargs` may hold.
        needs: those without which there is no schedule, one of them.
        lowest: the name of the learning rate at the end; empty if the schedule has none.
        relative: whether that is a share of the peak.
        instead: the schedule that has such an end where this one has none.
        more: the arguments with which that one is this one but for the end.
    """

    arguments: Arguments = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    lowest: str = ""
    relative: bool = False
    instead: Schedule | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


CYCLES = {"num_cycles": float}
LOWEST = {"num_cycles": float, "min_lr": float, "min_lr_rate": float}
SHAPES = ("linear", "cosine", "1-sqrt")
DECAY = "num_decay_steps"
SCHEDULES: Mapping[Schedule, ScheduleFacts] = {
    Schedule.linear: ScheduleFacts(lowest="lr_end", instead=Schedule.polynomial, more={"power": 1.0}),
    Schedule.cosine: ScheduleFacts(CYCLES, lowest="min_lr", instead=Schedule.cosine_with_min_lr),
    Schedule.cosine_with_restarts: ScheduleFacts({"num_cycles": int}),
    Schedule.cosine_with_min_lr: ScheduleFacts(LOWEST, ("min_lr", "min_lr_rate"), "min_lr"),
    Schedule.cosine_warmup_with_min_lr: ScheduleFacts(
        {**LOWEST, "warmup_lr_rate": float}, ("min_lr", "min_lr_rate"), "min_lr"
    ),
    Schedule.polynomial: ScheduleFacts({"lr_end": float, "power": float}, lowest="lr_end"),
    Schedule.inverse_sqrt: ScheduleFacts({"timescale": int}),
    Schedule.warmup_stable_decay: ScheduleFacts(
        {
            DECAY: int, "num_stable_steps": int, "warmup_type": SHAPES, "decay_type": SHAPES,
            "min_lr_ratio": float, "num_cycles": float,
        },
        (DECAY,), "min_lr_ratio", relative=True,
    ),
    Schedule.constant: ScheduleFacts(),
    Schedule.constant_with_warmup: ScheduleFacts(),
}  # fmt: skip
UNPAGED = {
    Optimizer.paged_ademamix_8bit: Optimizer.ademamix_8bit, Optimizer.paged_ademamix_32bit: Optimizer.ademamix,
    Optimizer.paged_lion_8bit: Optimizer.lion_8bit, Optimizer.paged_lion_32bit: Optimizer.lion_32bit,
}  # fmt: skip
"""The same optimizer without pages, of which a CPU has none; AdamW's are replaced there by adamw_torch."""
END_RATE_ARGUMENTS = ("min_lr", "min_lr_rate", "lr_end", "min_lr_ratio")
"""Arguments that say what `trainer.min_learning_rate` says."""
OWN_SETTINGS = {
    "lr": "trainer.learning_rate", "weight_decay": "trainer.weight_decay", "beta1": "trainer.adam_beta1",
    "beta2": "trainer.adam_beta2", "betas": "trainer.adam_beta1 and trainer.adam_beta2", "eps": "trainer.adam_epsilon",
    "num_warmup_steps": "trainer.warmup_steps", "num_training_steps": "trainer.max_steps",
    "warmup_steps": "trainer.warmup_steps",
}  # fmt: skip
"""Arguments that settings of ours are."""


def state_bytes(optimizer: Optimizer, arguments: Mapping[str, Any], rank: int, hidden: int, *, on_gpu: bool) -> float:
    """Return the bytes of an optimizer's states for a trained parameter in fp32, where the training takes place.

    Adafactor keeps 4 bytes for each row and each column of a matrix: of the matrices of LoRA, r x hidden, that is
    4 / r + 4 / hidden for a parameter, of those of a model about 8 / hidden. Momentum is a state of 4 more, and so is
    the mean of the gradients that rmsprop has with `centered`.

    Args:
        optimizer: as it is asked for.
        arguments: `trainer.optim_args`.
        rank: of the adapter; 0 if all weights are trained.
        hidden: features of the model.
        on_gpu: else on a CPU, where no states are paged; adamw_torch replaces an AdamW that does not run there.
    """
    facts = OPTIMIZERS[optimizer]
    if optimizer is Optimizer.adafactor:
        return 4 / (rank or hidden) + 4 / hidden
    if facts.paged and on_gpu:
        return 0.0
    if facts.adam and not on_gpu and (facts.paged or (facts.package and installed(facts.package) is None)):
        return OPTIMIZERS[Optimizer.adamw_torch].states
    return facts.states + 4.0 * (bool(arguments.get("momentum")) + bool(arguments.get("centered")))


def schedule(config: HFTrainerConfig) -> tuple[str, dict[str, Any]]:
    """Return the schedule by transformers' name, and its arguments; those of `trainer.min_learning_rate` too."""
    facts, lowest = SCHEDULES[config.lr_scheduler_type], config.min_learning_rate
    arguments = dict(config.lr_scheduler_kwargs)
    if lowest is None:
        return config.lr_scheduler_type.value, arguments
    arguments |= {**facts.more, facts.lowest: lowest / config.learning_rate if facts.relative else lowest}
    return (facts.instead or config.lr_scheduler_type).value, arguments


def optimizer_arguments(config: HFTrainerConfig) -> str | None:
    """Return the arguments of the optimizer as transformers reads them: `momentum=0.9,nesterov=True`."""
    return ",".join(f"{name}={value}" for name, value in config.optim_args.items()) or None


def problems(plan: Plan, config: HFTrainerConfig) -> Iterator[str]:
    """Say what keeps the optimizer or the schedule from being the one that was asked for, a sentence each."""
    yield from _optimizer(plan, config)
    yield from _schedule(config)


def _optimizer(plan: Plan, config: HFTrainerConfig) -> Iterator[str]:
    name, facts = config.optim.value, OPTIMIZERS[config.optim]
    replaced = facts.adam and facts.package == BNB  # by adamw_torch, as the run says
    if facts.package and not replaced and plan.stages != (Stage.plan,) and installed(facts.package) is None:
        yield f"trainer.optim={name} needs {facts.package}: pip install {facts.package}"
    for key in ADAM_FIELDS:
        value, default = getattr(config, key), getattr(HFTrainerConfig, key)
        if value != default and key not in facts.betas:
            yield f"trainer.{key}={value:g} is not used by trainer.optim={name}: leave it out"
    yield from _arguments("optim_args", config.optim_args, facts.arguments, f"trainer.optim={name}")
    if config.optim_args.get("nesterov") is True and not config.optim_args.get("momentum"):
        yield "trainer.optim_args.nesterov=true needs a momentum: set trainer.optim_args.momentum=0.9"
    if config.optim in SCHEDULE_FREE:
        if config.lr_scheduler_type is not Schedule.constant:
            yield (
                f"trainer.optim={name} averages weights instead of lowering the learning rate: set "
                "trainer.lr_scheduler_type=constant; trainer.warmup_steps is the optimizer's own then"
            )
        if config.warmup_ratio is not None:
            yield f"trainer.warmup_ratio={config.warmup_ratio:g}: trainer.optim={name} takes trainer.warmup_steps only"
        if config.warmup_steps and config.optim is Optimizer.schedule_free_radam:
            yield f"trainer.warmup_steps={config.warmup_steps}: trainer.optim={name} warms up by itself: set it to null"


def _schedule(config: HFTrainerConfig) -> Iterator[str]:
    name, facts = config.lr_scheduler_type.value, SCHEDULES[config.lr_scheduler_type]
    place = f"trainer.lr_scheduler_type={name}"
    given = config.lr_scheduler_kwargs
    yield from _arguments("lr_scheduler_kwargs", given, facts.arguments, place)
    lowest, ends = config.min_learning_rate, [key for key in END_RATE_ARGUMENTS if key in given]
    if len(ends) > 1 or (ends and lowest is not None):
        two = [f"trainer.lr_scheduler_kwargs.{key}" for key in ends]
        two += ["trainer.min_learning_rate"] if lowest is not None else []
        yield f"{two[0]} and {two[1]} say the same: set one of them"
    if lowest is not None:
        if not facts.lowest:
            with_end = "|".join(kind.value for kind, known in SCHEDULES.items() if known.lowest)
            yield (
                f"trainer.min_learning_rate={lowest:g}: {place} does not use it: set "
                f"trainer.lr_scheduler_type={with_end}"
            )
        if lowest >= config.learning_rate:
            yield f"trainer.min_learning_rate={lowest:g} must be below trainer.learning_rate={config.learning_rate:g}"
    elif facts.needs and not any(key in given for key in facts.needs):
        example = {DECAY: f"trainer.lr_scheduler_kwargs.{DECAY}=STEPS"}
        yield f"{place} needs {example.get(facts.needs[0], 'trainer.min_learning_rate=RATE')}"
    if lowest is not None and "num_decay_steps" in facts.needs and "num_decay_steps" not in given:
        yield f"{place} needs trainer.lr_scheduler_kwargs.num_decay_steps=STEPS"
    warms_up = config.warmup_steps or config.warmup_ratio
    if config.lr_scheduler_type is Schedule.constant and warms_up and config.optim not in SCHEDULE_FREE:
        which = f"warmup_steps={config.warmup_steps}" if config.warmup_steps else f"warmup_ratio={warms_up:g}"
        yield f"trainer.{which}: {place} has no warm-up: set trainer.lr_scheduler_type=constant_with_warmup"


def _arguments(field_name: str, given: Mapping[str, Any], known: Arguments, owner: str) -> Iterator[str]:
    """Check arguments that transformers would drop, or hand on as they are."""
    for key, value in given.items():
        place = f"trainer.{field_name}.{key}"
        if key not in known and key in OWN_SETTINGS:
            yield f"{place}={as_text(value)}: set {OWN_SETTINGS[key]} instead"
        elif key not in known:
            close = nearest(key, known)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            yield f"{place}: {owner} has no such argument.{hint} Valid: {', '.join(sorted(known)) or 'none'}"
        elif not _is_a(value, known[key]):
            yield f"{place}={as_text(value)} must be {_valid(known[key])}"


def _is_a(value: Any, kind: Any) -> bool:
    if isinstance(kind, tuple):
        return value in kind
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)


def _valid(kind: Any) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false"}
    return f"one of {', '.join(kind)}" if isinstance(kind, tuple) else words[kind]


def advice(config: HFTrainerConfig, steps: int) -> Iterator[str]:
    """Give advice on a schedule whose parts are longer than a training with this many steps."""
    decay, warm = config.lr_scheduler_kwargs.get(DECAY, 0), config.warmup(steps)
    if isinstance(decay, int) and decay + warm > steps > warm:
        yield (
            f"trainer.lr_scheduler_kwargs.{DECAY}={decay} of {steps} steps, after {count(warm, 'step')} of warm-up: "
            "the rate falls before it reaches the learning rate that you set. Set "
            f"trainer.lr_scheduler_kwargs.{DECAY}={max(1, (steps - warm) // 5)}"
        )


def warmup(config: HFTrainerConfig) -> float:
    """Return the warm-up as transformers reads it: steps, or below 1 a share of them."""
    return config.warmup(0) if config.warmup_ratio is None else config.warmup_ratio
