"""What an endpoint serves, judged answer by answer, and what is wrong with it.

Wald's sequential test (1945, Annals of Mathematical Statistics 16, 117-186): the logarithms of likelihood ratios are
added up until their sum leaves a band, whose width is the share of wrong decisions. One answer counts as one
observation, although it has many tokens, since these depend on each other. Two tests run side by side: whether the
trained model or the base is nearer, and whether the nearer one is near enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from framework_plugins.exports.endpoint.evidence import Observation

ERROR = 0.01
"""The share of wrong decisions of each test, if its assumption about single answers holds."""
LARGEST_STEP = 1.6
"""An answer counts at most as much as a coin that shows one side five times as often: three of them decide."""
NEAR, NEAR_IF_OTHER = 0.9, 0.3
"""The share of the answers that is near if the model is served, at least, and if another is, at most."""
LEAST_NOISE, DEFAULT_NOISE, MOST_NOISE = 0.02, 0.15, 0.2
"""Nats between an export and the trained model: of 16 bits, if the quantization is unknown, and at most."""
TOKEN_NOISE, MOST_TOKENS = 0.05, 0.2
"""The same without log-probabilities, as shares of tokens; and up to which share an answer is near."""
BOUND = 3.0
"""An answer is near within this multiple of the noise."""
FILE_BOUND = 0.03
"""Nats between llama.cpp's server and the same file in llama.cpp, at most: other batches round otherwise, by 0.011 in a
Q4_K_M file of SmolLM2."""
ENOUGH = 3
"""Answers that have to show a fault for it to be named."""
UNCERTAIN = 5.0
"""Tokens that sampling at temperature 1 would have changed, on average: fewer than two of them have a chance of 4%."""


class Served(Enum):
    """What an endpoint serves."""

    trained = "the trained model"
    base = "the base"
    other = "something else"
    unknown = "cannot tell"


class Fault(Enum):
    """What is wrong besides the weights."""

    template = "template"
    stop = "stop"
    sampling = "sampling"


@dataclass
class SequentialTest:
    """A sum of log-likelihood ratios; `decision` is 1, -1, or 0 as long as it is open."""

    total: float = 0.0
    decision: int = 0

    def add(self, ratio: float) -> None:
        """Count an answer, unless the decision is made."""
        if self.decision:
            return
        self.total += ratio
        if abs(self.total) >= math.log((1 - ERROR) / ERROR):
            self.decision = 1 if self.total > 0 else -1

    def add_vote(self, *, near: bool) -> None:
        """Count an answer that is near, or that is not."""
        self.add(math.log(NEAR / NEAR_IF_OTHER) if near else math.log((1 - NEAR) / (1 - NEAR_IF_OTHER)))


@dataclass
class Judgement:
    """What is known after some answers.

    Attributes:
        noise: nats that separate an honest endpoint from the trained model.
        has_base: whether answers are compared with the base.
        has_file: whether they are compared with an exported file.
    """

    noise: float
    has_base: bool = True
    has_file: bool = False
    observations: list[Observation] = field(default_factory=list)
    repeats: list[bool] = field(default_factory=list)
    _nearer: SequentialTest = field(default_factory=SequentialTest)
    _near: SequentialTest = field(default_factory=SequentialTest)
    _file: SequentialTest = field(default_factory=SequentialTest)

    def add(self, observation: Observation) -> None:
        """Count an answer."""
        self.observations.append(observation)
        nats = observation.with_log_probs
        noise, bound = (self.noise, BOUND * self.noise) if nats else (TOKEN_NOISE, MOST_TOKENS)
        distances = [observation.trained]
        if observation.base is not None:
            distances.append(observation.base)
            step = (observation.base - observation.trained) / noise
            self._nearer.add(max(-LARGEST_STEP, min(LARGEST_STEP, step)))
        self._near.add_vote(near=min(distances) <= bound)
        if observation.file is not None:
            self._file.add_vote(near=observation.file <= (FILE_BOUND if nats else TOKEN_NOISE))

    @property
    def served(self) -> Served:
        """What is served, as far as it is known."""
        if self._near.decision < 0:
            return Served.other
        nearer = self._nearer.decision if self.has_base else 1
        if self._near.decision == 0 or nearer == 0:
            return Served.unknown
        if nearer < 0:
            return Served.base
        if not self.has_file:
            return Served.trained
        return {1: Served.trained, -1: Served.other, 0: Served.unknown}[self._file.decision]

    @property
    def shows_sampling(self) -> bool:
        """Whether sampling would have been seen by now: answers that are all but certain do not show it."""
        seen = [observation.uncertain for observation in self.observations if observation.with_log_probs]
        return not seen or sum(seen) >= UNCERTAIN

    @property
    def is_file_missed(self) -> bool:
        """Whether the trained model is near, but not the exported file."""
        return self.has_file and self._file.decision < 0 < self._near.decision

    def faults(self) -> Iterator[tuple[Fault, str]]:
        """Yield what is wrong besides the weights, each with what shows it."""
        seen = self.observations
        extra = [observation.extra_prompt_tokens for observation in seen if observation.extra_prompt_tokens]
        if len(extra) >= min(ENOUGH, len(seen)) and extra:
            causes = {observation.prompt_cause for observation in seen if observation.extra_prompt_tokens}
            cause = causes.pop() if len(causes) == 1 else ""
            span = f"{min(extra):+d}" if min(extra) == max(extra) else f"{min(extra):+d} to {max(extra):+d}"
            yield Fault.template, f"prompts have {span} tokens: {cause or 'another chat template writes them'}"
        ran_on = sum(observation.ran_on for observation in seen)
        if ran_on >= ENOUGH and ran_on > sum(observation.stopped for observation in seen):
            yield (
                Fault.stop,
                f"{ran_on} of {len(seen)} answers continue where the trained model ends: a stop is lost",
            )
        sampled = sum(observation.sampled > 0 for observation in seen)
        if sampled >= ENOUGH - 1:
            yield Fault.sampling, f"{sampled} answers have tokens that are not the likeliest: temperature=0 is ignored"
        elif sum(self.repeats) >= ENOUGH - 1:
            yield (
                Fault.sampling,
                f"{sum(self.repeats)} questions got two answers: temperature=0 is ignored",
            )

    def means(self) -> dict[str, float]:
        """Return the mean distance from each model."""
        pairs = {
            "trained": [observation.trained for observation in self.observations],
            "base": [observation.base for observation in self.observations if observation.base is not None],
            "file": [observation.file for observation in self.observations if observation.file is not None],
        }
        return {name: _mean(values) for name, values in pairs.items() if values}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def export_noise(divergences: Sequence[float]) -> float:
    """Return the noise of an endpoint that serves one of some exports.

    Args:
        divergences: mean KL of each from the trained model in nats, as `parity.json` has it; for small differences it
            is half of their variance.
    """
    if not divergences:
        return DEFAULT_NOISE
    return min(MOST_NOISE, max(LEAST_NOISE, math.sqrt(2 * max(divergences))))
