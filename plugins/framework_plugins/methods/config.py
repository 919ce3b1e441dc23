"""The options of `method=` and `loss=`."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Interval

from framework.api import Affects, NamesCode, Problem
from framework.api.training import LossConfig, MethodConfig, PassCost, Rates, Role, SamplingParams
from framework_plugins.methods.trl_fields import INSTEAD, REASONS

LABEL = "desirable"
"""The fact of a row of `method=kto`: 1 for a good answer, 0 for a bad one."""
ACCURACY, MARGIN = "preference_accuracy", "preference_margin"
"""What is measured of held-out pairs."""
BY_LABEL = "label_margin"
"""What is measured of held-out answers with a label."""
BAD_LOSS = "bad_loss"
"""The loss of held-out bad answers."""
ADVANTAGE, TOKENS, ANSWERS = "advantage", "tokens of the step", "answers of the step"
"""Facts of an answer of `method=grpo`; the last two count what is left out of the step too."""
OWN_LOSS = frozenset({"nan", "exploding_gradient", "falling_reward"})
"""The rules of `health` that suit a loss whose level says nothing: of preferences or of rewards."""
WITH_REFERENCE = OWN_LOSS | {"falling_likelihood"}
"""Those that suit a loss which compares with a reference."""
OF_LOSS = ~(Affects.rows | Affects.data | Affects.audit | Affects.baseline)
"""Marks a setting that changes only the loss, so that the trials of a sweep share rows and baseline."""
Beta = Annotated[float, Interval(gt=0, le=1000), OF_LOSS]
Smoothing = Annotated[float, Interval(ge=0, lt=0.5), OF_LOSS]


@dataclass
class SftConfig(MethodConfig):
    """Supervised fine-tuning: each row teaches its learned answers."""


@dataclass
class SamplingConfig(MethodConfig):
    """What methods have in common that learn from answers of the model itself."""

    instead: ClassVar[Mapping[str, str]] = INSTEAD
    unused: ClassVar[Collection[str]] = REASONS.keys()
    roles: ClassVar[tuple[Role, ...]] = (Role.prompt, Role.answer)
    samples: ClassVar[bool] = True
    num_generations: Annotated[int, Interval(ge=2, le=1024), OF_LOSS] = 8
    """Answers that are drawn to each prompt."""
    max_completion_length: Annotated[int, Gt(0), OF_LOSS] = 256
    """Most tokens of an answer; a longer one is cut off."""
    temperature: Annotated[float, Interval(gt=0, le=10), OF_LOSS] = 1.0
    """1 draws answers as the model's distribution has them; lower values take likely tokens more often."""
    top_p: Annotated[float, Interval(gt=0, le=1), OF_LOSS] = 1.0
    """Draw from the likeliest tokens with this total probability."""
    max_draw_seconds: Annotated[float, Gt(0), Affects.nothing] = 3600.0
    """Most seconds for drawing the answers of a step. Then the run ends, and can be resumed."""

    def sampling(self, seed: int) -> SamplingParams:
        """Return how answers are drawn."""
        return SamplingParams(self.num_generations, self.max_completion_length, self.temperature, self.top_p, seed)

    def draw_seconds(self) -> float:
        """Return the limit of a draw."""
        return self.max_draw_seconds

    def cost(self) -> PassCost:
        """Return what a prompt takes: its answers are drawn, and learned."""
        return PassCost(rows=self.num_generations, rollout_tokens=self.num_generations * self.max_completion_length)


@dataclass
class BestOfNConfig(SamplingConfig):
    """Best of n (rejection sampling): draws answers to each prompt, and learns the one with the highest reward."""

    control: bool = True
    """Train a second time, on a random choice of as many answers, and compare. It doubles the time of the training."""

    def cost(self) -> PassCost:
        """Return what a prompt takes: one of its answers is learned, and drawing each takes a forward pass."""
        return PassCost(more_forwards=self.num_generations - 1, rollout_tokens=self.max_completion_length)


@dataclass
class PreferenceConfig(MethodConfig):
    """What methods of preferences have in common."""

    instead: ClassVar[Mapping[str, str]] = INSTEAD
    unused: ClassVar[Collection[str]] = REASONS.keys()
    own_objective: ClassVar[bool] = True
    epochs: ClassVar[float | None] = 1.0
    described: ClassVar[tuple[str, ...]] = ("beta", "loss_type")
    adapter_rates: ClassVar[Rates] = Rates(1e-6, 2e-4, 2e-5)
    full_rates: ClassVar[Rates] = Rates(0.0, 1e-5, 1e-6)
    health_rules: ClassVar[frozenset[str] | None] = OWN_LOSS

    def problems(self) -> Iterator[Problem]:
        """Say which settings do not go together, a sentence each."""
        return iter(())


class HasBeta:
    """Settings with a `beta`."""

    beta: float

    def divergence_weight(self) -> float:
        return self.beta


@dataclass
class PairConfig(PreferenceConfig):
    """What methods of pairs have in common."""

    roles: ClassVar[tuple[Role, ...]] = (Role.answer, Role.rejected)

    def measures(self) -> tuple[str, ...]:
        """Return the names of what is measured of held-out pairs."""
        return ACCURACY, MARGIN


class DpoLoss(Enum):
    """A loss of `method=dpo`; see TRL's DPOConfig for the paper of each."""

    sigmoid = "sigmoid"
    hinge = "hinge"
    ipo = "ipo"
    sigmoid_norm = "sigmoid_norm"
    exo_pair = "exo_pair"
    nca_pair = "nca_pair"
    robust = "robust"
    bco_pair = "bco_pair"
    sppo_hard = "sppo_hard"
    aot = "aot"
    aot_unpaired = "aot_unpaired"
    apo_zero = "apo_zero"
    apo_down = "apo_down"
    discopop = "discopop"
    sft = "sft"


ACROSS_PAIRS = frozenset({DpoLoss.aot, DpoLoss.aot_unpaired})
"""Losses that sort the pairs of a step."""
SMOOTHED = (DpoLoss.exo_pair, DpoLoss.robust, *sorted(ACROSS_PAIRS, key=lambda kind: kind.value))
"""Losses that read `label_smoothing`."""


OF_DIVERGENCE = (
    DpoLoss.sigmoid, DpoLoss.sigmoid_norm, DpoLoss.hinge, DpoLoss.ipo, DpoLoss.exo_pair, DpoLoss.robust,
    DpoLoss.discopop, DpoLoss.sft,
)  # fmt: skip
"""Losses that `f_divergence_type` may be combined with: those that read it, and the one beside them."""


class Divergence(Enum):
    """What keeps the model near its reference."""

    reverse_kl = "reverse_kl"
    forward_kl = "forward_kl"
    js_divergence = "js_divergence"
    alpha_divergence = "alpha_divergence"


@dataclass
class DpoConfig(HasBeta, PairConfig):
    """Direct preference optimization of pairs; the settings have TRL's names and meanings."""

    health_rules: ClassVar[frozenset[str] | None] = WITH_REFERENCE
    learns_chosen: ClassVar[str] = "method.loss_type=[sigmoid,sft]"

    beta: Beta = 0.1
    """How strongly the model is kept near the one that the training starts from."""
    loss_type: Annotated[list[DpoLoss], OF_LOSS] = field(default_factory=lambda: [DpoLoss.sigmoid])
    """The loss, or several that are added up: `[sigmoid,sft]` also learns the chosen answer."""
    loss_weights: Annotated[list[float] | None, OF_LOSS] = None
    """The weight of each loss. null: 1 each."""
    label_smoothing: Smoothing = 0.0
    """The share of pairs that are the wrong way round; only exo_pair, robust, aot and aot_unpaired read it."""
    f_divergence_type: Annotated[Divergence, OF_LOSS] = Divergence.reverse_kl
    """What is measured between the model and its reference."""
    f_alpha_divergence_coef: Annotated[float, Interval(ge=0, le=10), OF_LOSS] = 0.5
    """The alpha of `f_divergence_type=alpha_divergence`."""
    discopop_tau: Annotated[float, Interval(gt=0, le=100), OF_LOSS] = 0.05
    """The temperature of `loss_type=[discopop]`."""
    ld_alpha: Annotated[float | None, Interval(ge=0, le=1), OF_LOSS] = None
    """The weight of tokens past the end of the shorter answer, against long answers (LD-DPO). null: 1."""

    def cost(self) -> PassCost:
        """Return what a pair takes: the reference reads both answers once."""
        return PassCost(rows=2, more_forwards=1)

    def problems(self) -> Iterator[Problem]:
        """Say which settings do not go together, a sentence each."""
        kinds, weights = self.loss_type, self.loss_weights
        option = f"method.loss_type=[{','.join(kind.value for kind in kinds)}]"
        if not kinds or len({*kinds}) < len(kinds):
            yield Problem(f"{option}: name each loss once, and at least one", ("method.loss_type",))
        fit = weights is None or (
            len(weights) == len(kinds) and any(weights) and all(0 <= w < math.inf for w in weights)
        )
        if not fit:
            yield Problem(
                f"method.loss_weights={weights}: give a weight of 0 or more for each loss of {option}, not 0 for all",
                ("method.loss_weights",),
            )
        if self.f_divergence_type is not Divergence.reverse_kl and (blind := [*{*kinds} - {*OF_DIVERGENCE}]):
            yield Problem(
                f"method.f_divergence_type={self.f_divergence_type.value} has no effect with method.loss_type="
                f"[{blind[0].value}]: leave it out, or choose {', '.join(kind.value for kind in OF_DIVERGENCE)}",
                ("method.f_divergence_type", "method.loss_type"),
            )
        if DpoLoss.exo_pair in kinds and not self.label_smoothing:
            yield Problem(
                f"{option}: exo_pair takes the logarithm of method.label_smoothing: set it above 0, such as 0.001",
                ("method.loss_type",),
            )
        if self.label_smoothing and not {*SMOOTHED} & {*kinds}:
            yield Problem(
                f"method.label_smoothing={self.label_smoothing:g} has no effect with {option}: leave it out, or choose "
                f"{', '.join(kind.value for kind in SMOOTHED)}",
                ("method.label_smoothing", "method.loss_type"),
            )


class KtoLoss(Enum):
    """A loss of `method=kto`."""

    kto = "kto"
    apo_zero_unpaired = "apo_zero_unpaired"


@dataclass
class KtoConfig(HasBeta, PreferenceConfig):
    """Kahneman-Tversky optimization of answers with a label; the settings have TRL's names and meanings."""

    health_rules: ClassVar[frozenset[str] | None] = WITH_REFERENCE

    beta: Beta = 0.1
    """How strongly the model is kept near the one that the training starts from."""
    loss_type: Annotated[KtoLoss, OF_LOSS] = KtoLoss.kto
    """The loss; apo_zero_unpaired compares with nothing, which saves the passes of the comparison."""
    desirable_weight: Annotated[float, Interval(ge=0, le=1000), OF_LOSS] = 1.0
    """The weight of good answers. It times their number should be 1 to 4/3 of the same product of the bad ones."""
    undesirable_weight: Annotated[float, Interval(ge=0, le=1000), OF_LOSS] = 1.0
    """The weight of bad answers."""

    def cost(self) -> PassCost:
        """Return what a row takes: the reference reads it, and both read an answer to another question."""
        return PassCost(rows=1, more_forwards=1 if self.loss_type is KtoLoss.apo_zero_unpaired else 3)

    def measures(self) -> tuple[str, ...]:
        """Return the name of what is measured of held-out answers."""
        return (BY_LABEL,)

    def problems(self) -> Iterator[Problem]:
        """Say which settings do not go together, a sentence each."""
        if not self.desirable_weight and not self.undesirable_weight:
            yield Problem(
                "method.desirable_weight=0 and method.undesirable_weight=0: nothing would be learned: set one above 0",
                ("method.desirable_weight", "method.undesirable_weight"),
            )


@dataclass
class OrpoConfig(HasBeta, PairConfig):
    """Odds ratio preference optimization: learns the chosen answers and a margin at once, without a reference."""

    adapter_rates: ClassVar[Rates] = Rates(5e-6, 1e-3, 1e-4)
    full_rates: ClassVar[Rates] = Rates(0.0, 1e-4, 8e-6)
    beta: Beta = 0.1
    """The weight of the odds ratio, lambda in the paper."""


class CpoLoss(Enum):
    """A loss of `method=cpo`."""

    sigmoid = "sigmoid"
    hinge = "hinge"
    ipo = "ipo"


@dataclass
class CpoConfig(HasBeta, PairConfig):
    """Contrastive preference optimization: a margin and the chosen answers, without a reference."""

    beta: Beta = 0.1
    """What the margin is multiplied by."""
    loss_type: Annotated[CpoLoss, OF_LOSS] = CpoLoss.sigmoid
    """The loss of the margin."""
    label_smoothing: Smoothing = 0.0
    """The share of pairs that are the wrong way round; only sigmoid reads it."""
    cpo_alpha: Annotated[float, Interval(ge=0, le=1000), OF_LOSS] = 1.0
    """The weight of the chosen answers' own loss."""
    alpha: Annotated[float, Interval(ge=0, le=10), OF_LOSS] = 0.0
    """The shape of the reward, AlphaPO; 0: the log-probability."""

    def problems(self) -> Iterator[Problem]:
        """Say which settings do not go together, a sentence each."""
        if self.label_smoothing and self.loss_type is not CpoLoss.sigmoid:
            kind = self.loss_type.value
            yield Problem(
                f"method.label_smoothing={self.label_smoothing:g} has no effect with method.loss_type={kind}",
                ("method.label_smoothing", "method.loss_type"),
            )


@dataclass
class SimpoConfig(HasBeta, PairConfig):
    """Simple preference optimization: a margin between mean log-probabilities, without a reference."""

    beta: Beta = 2.0
    """What the margin is multiplied by."""
    simpo_gamma: Annotated[float, Ge(0), OF_LOSS] = 1.0
    """The margin that is asked for, after the multiplication; half of `beta` in the paper."""
    label_smoothing: Smoothing = 0.0
    """The share of pairs that are the wrong way round."""
    alpha: Annotated[float, Interval(ge=0, le=10), OF_LOSS] = 0.0
    """The shape of the reward, AlphaPO; 0: the log-probability."""


class GrpoLoss(Enum):
    """How the losses of the tokens of a step become one number; see `grpo.py`."""

    dapo = "dapo"
    bnpo = "bnpo"
    dr_grpo = "dr_grpo"
    grpo = "grpo"


class ImportanceLevel(Enum):
    """What the ratio of new and old probability is of."""

    token = "token"  # noqa: S105 - no password
    sequence = "sequence"


class ScaleRewards(Enum):
    """What an advantage is divided by."""

    group = "group"
    batch = "batch"
    none = "none"


@dataclass
class GrpoConfig(SamplingConfig):
    """Group relative policy optimization: learns from answers of its own that rewards score.

    The settings have TRL's names and meanings.
    """

    own_objective: ClassVar[bool] = True
    epochs: ClassVar[float | None] = 1.0
    described: ClassVar[tuple[str, ...]] = ("beta", "loss_type", "num_generations")
    adapter_rates: ClassVar[Rates] = Rates(1e-7, 1e-3, 1e-5)
    full_rates: ClassVar[Rates] = Rates(0.0, 1e-5, 1e-6)
    health_rules: ClassVar[frozenset[str] | None] = OWN_LOSS | {"drawn_answers"}

    loss_type: Annotated[GrpoLoss, OF_LOSS] = GrpoLoss.dapo
    """The mean: over all tokens of the step (dapo, bnpo), over all tokens that could be (dr_grpo), or over the answers
    (grpo)."""
    importance_sampling_level: Annotated[ImportanceLevel, OF_LOSS] = ImportanceLevel.token
    """Whether each token has its ratio, or each answer one (`sequence`, GSPO)."""
    steps_per_generation: Annotated[int, Interval(ge=1, le=100), OF_LOSS] = 1
    """Optimizer steps whose answers are drawn at once; TRL counts passes. If this and `num_iterations` are 1, no ratio
    is clipped."""
    num_iterations: Annotated[int, Interval(ge=1, le=100), OF_LOSS] = 1
    """Optimizer steps on the same answers: an epoch has this many times as many steps."""
    epsilon: Annotated[float, Interval(ge=0, le=1), OF_LOSS] = 0.2
    """How far a ratio may be below 1, and above it, before it teaches nothing more."""
    epsilon_high: Annotated[float | None, Interval(ge=0, le=100), OF_LOSS] = None
    """How far it may be above 1. null: `epsilon`."""
    beta: Annotated[float, Interval(ge=0, le=1000), OF_LOSS] = 0.0
    """The weight of the divergence from the model that the training starts from; 0 saves the passes of it."""
    scale_rewards: Annotated[ScaleRewards, OF_LOSS] = ScaleRewards.group
    """The standard deviation that an advantage is divided by: of its group, of all answers of the step, or none."""
    mask_truncated_completions: Annotated[bool, OF_LOSS] = False
    """Learn nothing from an answer that was cut; its reward still counts for its group."""
    environment: Annotated[str | None, NamesCode(), OF_LOSS] = None
    """A class whose methods are tools, as TRL's `environment_factory`: `./file.py:Class` or `package.module:Class`."""
    max_tool_calling_iterations: Annotated[int | None, Ge(1), OF_LOSS] = None
    """Turns with calls of tools in an answer. null: as many as `max_completion_length` leaves room for."""

    def divergence_weight(self) -> float:
        return self.beta

    def steps_per_draw(self) -> int:
        return self.steps_per_generation

    def tool_environment(self) -> tuple[str, int | None] | None:
        return None if self.environment is None else (self.environment, self.max_tool_calling_iterations)

    def has_own_reward(self) -> bool:
        """Whether the environment may have a reward of its own."""
        return self.environment is not None

    def cost(self) -> PassCost:
        """Return what a prompt takes: answers are drawn and learned, and read before where old scores are needed."""
        steps, reference = self.num_iterations, self.beta > 0
        forwards = reference * steps + (not self.on_policy)
        return replace(super().cost(), more_forwards=forwards, asks_base=reference, iterations=steps, apart=True)

    @property
    def on_policy(self) -> bool:
        """Whether each step learns from answers that its own weights drew."""
        return self.steps_per_generation == self.num_iterations == 1

    def without_effect(self) -> list[str]:
        """Return the settings of the ratio that differ from their defaults, if every ratio is 1."""
        usual = GrpoConfig()
        names = ("epsilon", "epsilon_high", "importance_sampling_level") if self.on_policy else ()
        return [f"method.{name}" for name in names if getattr(self, name) != getattr(usual, name)]


@dataclass
class PretrainConfig(MethodConfig):
    """Continued pretraining on plain text: documents fill blocks of trainer.max_seq_length, and all tokens are learned.

    Attention and positions end where a document ends.
    """

    texts: ClassVar[bool] = True


@dataclass
class CrossEntropyConfig(LossConfig):
    """The mean negative log-probability of the learned tokens."""

    plain: ClassVar[bool] = True
    linear: ClassVar[bool] = True
