"""How often the rules for rewards, preferences and gradients report an ordinary training, and one that goes wrong.

    nice -n 19 python -m benchmarks.monitor_rewards
    nice -n 19 python -m benchmarks.monitor_rewards --runs 400

All kinds were written down after the rules, and no number of a rule was changed because of them. A share is of
trainings in which anything is reported, for 60 and for 200 log entries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import OUT, command_line, table_head, table_row
from framework.api.records import Step
from tests.support.curves import RATE, seen

Floats = NDArray[np.float64]
Random = np.random.Generator
GRPO = ("method=grpo", "reward=[exact_match]")
DPO, KTO = ("method=dpo", "format=preference"), ("method=kto", "format=unpaired")
SIMPO, ORPO = ("method=simpo", "format=preference"), ("method=orpo", "format=preference")
SIZES = (60, 200)


class Kind(NamedTuple):
    """The settings of a kind, and what makes its losses, gradient norms and logged numbers."""

    words: tuple[str, ...]
    make: Callable[[Random, Floats], Mapping[str, Floats]]


def ramp(t: Floats, start: float, end: float, begin: float = 0.0, until: float = 1.0) -> Floats:
    """Go from one value to another between two times."""
    return start + (end - start) * np.clip((t - begin) / (until - begin), 0, 1)


def drawn(
    reward: Callable[[Floats], Floats], *, noise: float = 0.08, silent: float = 0.4, prompts: int = 8, **more: Callable[
        [Floats], Floats
    ]
) -> Kind:  # fmt: skip
    """Return a kind of GRPO; `silent`: the share of prompts without a signal."""

    def make(random: Random, t: Floats) -> Mapping[str, Floats]:
        given = {
            "reward": reward(t) + random.normal(0, noise, len(t)),
            "frac_reward_zero_std": random.binomial(prompts, silent, len(t)) / prompts,
            "entropy": np.full(len(t), 0.8), "completions/clipped_ratio": random.binomial(64, 0.1, len(t)) / 64,
        }  # fmt: skip
        spread = np.exp(random.normal(0, 0.3, len(t)))
        given |= {name.replace("clipped", "completions/clipped_ratio"): f(t) * spread for name, f in more.items()}
        for share in ("frac_reward_zero_std", "completions/clipped_ratio"):
            given[share] = np.minimum(given[share], 1.0)
        return given

    return Kind(GRPO, make)


def preferred(words: tuple[str, ...], start: float, end: float, noise: float = 0.3) -> Kind:
    """Return a kind of preferences, by its margin."""
    return Kind(
        words, lambda random, t: {"rewards/margins": ramp(t, start, end) + random.normal(0, noise, len(t)) * (t + 0.1)}
    )


def supervised(loss: Callable[[Floats], Floats], norm: Callable[[Floats], Floats], noise: float = 0.1) -> Kind:
    """Return a kind of supervised training."""

    def make(random: Random, t: Floats) -> Mapping[str, Floats]:
        scatter = (np.exp(random.normal(0, part, len(t))) for part in (noise, 0.4))
        return {"loss": loss(t) * next(scatter), "norm": norm(t) * next(scatter)}

    return Kind((), make)


def at(value: float) -> Callable[[Floats], Floats]:
    """Stay at one value."""
    return lambda t: np.full(len(t), value)


ORDINARY = {
    "GRPO, the reward rises from 0.1 to 0.8": drawn(lambda t: ramp(t, 0.1, 0.8)),
    "GRPO, one prompt in a step, no signal in 70% of them": drawn(at(0.4), noise=0.3, silent=0.7, prompts=1),
    "GRPO, hard prompts: no signal in 80%": drawn(lambda t: ramp(t, 0.05, 0.2), silent=0.8),
    "GRPO, a penalty: the reward rises from -2 to -0.5": drawn(lambda t: ramp(t, -2, -0.5), noise=0.4),
    "GRPO, the reward stays at 0.3": drawn(at(0.3), noise=0.1),
    "GRPO, the reward dips from 0.5 to 0.42, then rises": drawn(
        lambda t: ramp(t, 0.5, 0.42, 0, 0.4) + ramp(t, 0, 0.3, 0.4)
    ),
    "GRPO, the KL grows to 0.8, with a noise of 30%": drawn(at(0.5), kl=lambda t: ramp(t, 0.0, 0.8)),
    "GRPO, half of the answers are cut off at first": drawn(at(0.5), clipped=lambda t: ramp(t, 0.6, 0.1)),
    "DPO, the margin rises to 0.3": preferred(DPO, 0, 0.3),
    "DPO, a low rate: the margin rises to 0.25": preferred(DPO, 0, 0.25, 0.1),
    "KTO, the margin rises to 1, much noise": preferred(KTO, 0, 1, 1.0),
    "SimPO, the margin rises from -3 to 2": preferred(SIMPO, -3, 2),
    "ORPO, the margin rises from -0.2 to 0.1": preferred(ORPO, -0.2, 0.1, 0.1),
    "ORPO, the margin stays at -0.2": preferred(ORPO, -0.2, -0.2, 0.1),
    "norms grow fourfold, while the loss stays": supervised(at(1.5), lambda t: ramp(t, 0.5, 2)),
    "norms grow tenfold, while the loss falls by half": supervised(
        lambda t: ramp(t, 2, 1), lambda t: 0.3 * 10**t
    ),
    "the loss drops to a fourth in one jump at 60%": supervised(lambda t: np.where(t < 0.6, 2.0, 0.5), at(1.0), 0.15),
    "a flat loss, noise 20%": supervised(at(1.4), at(1.0), 0.2),
}  # fmt: skip
SICK = {
    "GRPO, the reward falls from 0.6 to 0.3 in the second half": drawn(lambda t: ramp(t, 0.6, 0.3, 0.5)),
    "GRPO, the reward is 0 from 70% on": drawn(lambda t: np.where(t < 0.7, 0.5, 0.0)),
    "GRPO, a penalty grows: -0.5 to -2": drawn(lambda t: ramp(t, -0.5, -2), noise=0.3),
    "GRPO, no signal in 98% from 30% on": drawn(at(0.9), frac_reward_zero_std=lambda t: ramp(t, 0.5, 1.4, 0, 0.3)),
    "GRPO, all answers are cut off from the start": drawn(at(0.1), clipped=at(2.0)),
    "GRPO, the KL grows to 10": drawn(at(0.3), kl=lambda t: ramp(t, 0, 10)),
    "GRPO without a KL, the entropy grows from 1 to 7": drawn(at(0.3), entropy=lambda t: ramp(t, 1, 7, 0.2)),
    "DPO, the margin falls to -0.5": preferred(DPO, 0, -0.5),
    "DPO, the margin stays at 0": preferred(DPO, 0, 0, 0.15),
    "KTO, the margin stays at 0": preferred(KTO, 0, 0, 0.3),
    "SimPO, the margin falls from -3 to -5": preferred(SIMPO, -3, -5),
    "the loss falls, then rises by 0.4% a step": supervised(
        lambda t: ramp(t, 2, 1.2, 0, 0.3) * np.exp(0.004 * len(t) * np.clip(t - 0.5, 0, 1)), at(1.0), 0.08
    ),
    "norms grow twelvefold, while the loss stays": supervised(at(1.8), lambda t: 0.5 * 12**t),
}  # fmt: skip


def training(kind: Kind, random: Random, count: int) -> list[Step]:
    """Return the log entries of a training."""
    given = dict(kind.make(random, np.arange(count) / count))
    loss = given.pop("loss", random.normal(0.6, 0.02, count))
    norm = given.pop("norm", np.exp(random.normal(0, 0.4, count)))
    return [
        Step(
            n + 1, count, (n + 1) / count, float(loss[n]), RATE, float(norm[n]), 100 * n, 0.1 * n,
            loss_metrics={name: float(values[n]) for name, values in given.items()},
        )
        for n in range(count)
    ]  # fmt: skip


def main() -> None:
    """Print both tables."""
    parser = command_line(__doc__)
    parser.add_argument("--runs", type=int, default=100)
    runs = parser.parse_args().runs
    for title, kinds in (("ordinary training", ORDINARY), ("problem", SICK)):
        OUT.print()
        OUT.print(table_head(title, *(f"{count} entries" for count in SIZES), "by"))
        for name, kind in kinds.items():
            shares, rules = [], Counter[str]()
            for count in SIZES:
                made = (training(kind, np.random.default_rng([7, run, count]), count) for run in range(runs))
                found = [{issue.kind for issue in seen(steps, *kind.words)} for steps in made]
                shares.append(f"{sum(map(bool, found)) / runs:.0%}")
                rules.update(rule for each in found for rule in each)
            OUT.print(table_row(name, *shares, ", ".join(rules)))


if __name__ == "__main__":
    main()
