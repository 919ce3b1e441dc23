"""How often the verdict decides, and how often its bounds hold, for what was gained, forgotten and copied.

    nice -n 19 python -m benchmarks.decisions            prints the tables that docs/explanation/verdict.md sums up
    nice -n 19 python -m benchmarks.decisions --runs 100 fewer simulations
    nice -n 19 python -m benchmarks.decisions --only forgotten   one of forgotten, copied and gained

Each run draws what base and trained model give, and asks the code of the verdict itself. The distributions are those of
SmolLM2-135M before and after trainings of the quickstart with learning rates from 5e-4 to 5e-3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import OUT, command_line, table_head, table_row
from framework import testing
from framework.api.plan import Plan
from framework.api.records import Aspect, EvalResult, Measure, MeasureKind, Outcome, Results
from framework.api.schema import VerdictConfig
from framework.evaluate.verdict import compare
from framework_plugins.evals.config import ForgettingConfig, MemorizationConfig, PromptsConfig
from framework_plugins.evals.forgetting_concern import concerns
from framework_plugins.evals.memorization.concern import excess_of, memorization_concern
from framework_plugins.evals.memorization.evaluator import LOOKS, Memorization
from framework_plugins.evals.prompts import look_sizes, shares

Floats = NDArray[np.float64]
Random = np.random.Generator
RUNS = 1000
VERDICT = VerdictConfig(resamples=999)
MARGIN = math.log(ForgettingConfig.max_perplexity_ratio)


@dataclass
class Tally:
    """The results of the runs of one cell."""

    flagged: int = 0
    ruled_out: int = 0
    unknown: int = 0
    covered: list[bool] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def add(self, *, flagged: bool, unknown: bool) -> None:
        """Count a run."""
        self.flagged += flagged
        self.unknown += unknown
        self.ruled_out += not (flagged or unknown)

    def shares(self) -> str:
        """Return the first three as shares, and the coverage with the median width of the intervals."""
        runs = self.flagged + self.ruled_out + self.unknown
        counts = " | ".join(f"{count / runs:.2f}" for count in (self.flagged, self.ruled_out, self.unknown))
        return f"{counts} | {fmean(self.covered):.3f} ({float(np.median(self.widths)):.2f})"


# --- forgotten -------------------------------------------------------------------------------------------------------

SUITES = ("short_forgetting", "forgetting")
SUBJECTS = 8
"""Each with the number of questions that a suite names."""
LOSSES = {
    "nothing": (0.0, 0.0, 0.0),
    "probability of the right choice, 20 points": (0.2, 0.0, 0.0),
    "perplexity of answers, 2.25 times": (0.0, 2 * MARGIN, 0.0),
    "perplexity of texts, 2.25 times": (0.0, 0.0, 2 * MARGIN),
}
"""What is lost of each: nothing, or twice the margin of one of them."""


@dataclass(frozen=True)
class Texts:
    """How many tokens a text has, how its loss by the token scatters, and the shape of the gamma of what is lost."""

    tokens: float
    scatter: float
    shape: float


ANSWERS, TEXTS = Texts(14, 0.35, 0.6), Texts(80, 0.08, 2.5)


def perplexities(random: Random, runs: int, size: int, lost: float, kind: Texts) -> tuple[Floats, Floats]:
    """Return the growth of the loss by the token of each text, and its tokens."""
    drawn = np.exp(random.normal(math.log(kind.tokens), 0.45, (runs, size)))
    weights = np.asarray(np.round(drawn) + 2, dtype=np.float64)
    noise = random.normal(0, kind.scatter, (runs, size)) * np.sqrt(kind.tokens / weights)
    return noise + (random.gamma(kind.shape, lost / kind.shape, (runs, size)) if lost else 0.0), weights


def probabilities(random: Random, runs: int, size: int, lost: float) -> tuple[Floats, Floats]:
    """Return the probability of the right choice before and after: some of what is known is not any more."""
    base = random.beta(1.2, 0.38, (runs, size))
    moved = np.clip(base + random.normal(0, 0.12, (runs, size)) * 2 * np.sqrt(base * (1 - base)), 0, 1)
    gone = random.random((runs, size)) < lost / (0.76 - 0.25)
    return base, np.where(gone, random.beta(1, 3, (runs, size)), moved)


def general(items: Sequence[Floats], weights: Sequence[Floats], run: int) -> EvalResult:
    """Return what one of the runs measured."""
    sure, answers, texts = (part[run].tolist() for part in items)
    content: dict[str, Any] = {"higher_is_better": True, "aspect": Aspect.general, "kind": MeasureKind.content}
    loss: dict[str, Any] = {"exponential": True, "aspect": Aspect.general, "kind": MeasureKind.loss}
    measures = {"general_probability": Measure(fmean(sure), [*sure], **content)}
    for name, values, counts in zip(("general_answers", "general_perplexity"), (answers, texts), weights, strict=True):
        value = math.exp(np.average(values, weights=counts[run]))
        measures[name] = Measure(value, [*values], counts[run].tolist(), **loss)
    return EvalResult(measures)


def forgotten(plan: Plan, runs: int, lost: Sequence[float], seed: int = 1) -> Tally:
    """Return the results of trainings that lose this much, by the suite of the plan."""
    suite = plan.evaluator["forgetting"].config
    count, answers, texts = SUBJECTS * suite.questions, suite.instructions, suite.texts
    random = np.random.default_rng([seed, count, *(round(100 * one) for one in lost)])
    before, after = probabilities(random, runs, count, lost[0])
    truth = float(np.diff([part.mean() for part in probabilities(random, 1, 400_000, lost[0])])[0])
    said, tokens = perplexities(random, runs, answers, lost[1], ANSWERS)
    read, words = perplexities(random, runs, texts, lost[2], TEXTS)
    tally = Tally()
    for run in range(runs):
        first = general([before, np.zeros_like(said), np.zeros_like(read)], [tokens, words], run)
        last = general([after, said, read], [tokens, words], run)
        changes = compare(first, last, VERDICT)
        (found,) = (one for one in concerns(plan, Results(first, last, None, changes)) if one.aspect is Aspect.general)
        tally.add(flagged=found.flagged, unknown=found.unknown)
        for name, true in zip(("general_probability", "general_answers", "general_perplexity"), lost, strict=True):
            change = changes[name]
            if (any(lost) and not true) or change.low is None or change.high is None:
                continue  # the bounds of what is lost are the ones in question
            value = truth if name == "general_probability" else math.expm1(true)
            tally.covered.append(change.low - 1e-9 <= value <= change.high + 1e-9)
            tally.widths.append(change.high - change.low)
    return tally


# --- copied ----------------------------------------------------------------------------------------------------------

COPIED = {
    "nothing is known": (0.0, 0.0),
    "a task learned to 50%": (0.5, 0.0),
    "a task learned to 95%": (0.95, 0.0),
    "20% recited": (0.0, 0.2),
    "50% learned, 20% recited": (0.5, 0.2),
    "30% recited": (0.0, 0.3),
}
"""The mean probability of an answer that was not seen, and how much more that of training rows is."""


def recitals(random: Random, count: int, known: float, recited: float) -> tuple[Floats, Floats]:
    """Return the probability of each answer, and its longest stretch."""
    probable = random.beta(3 * known, 3 * (1 - known), count) if known else np.full(count, 1e-9)
    stretch = np.clip(random.normal(0.37 + 0.6 * min(1, 2 * known), 0.1, count), 0, 1)
    by_heart = random.random(count) < recited / (1 - known)
    return np.where(by_heart, 1.0, probable), np.where(by_heart, 1.0, stretch)


def copied(runs: int, available: int, known: float, recited: float, seed: int = 1) -> Tally:
    """Return the results of trainings that recite this much, with this number of held-out rows."""
    config, tally = MemorizationConfig(), Tally()
    random = np.random.default_rng([seed, available, round(100 * known), round(100 * recited)])
    sizes = (*LOOKS, config.rows)
    for _ in range(runs):
        parts = {
            "train": recitals(random, config.rows, known, recited),
            "heldout": recitals(random, min(config.rows, available), known, 0.0),
        }
        for size in sizes:
            measures = {}
            for part, figures in parts.items():
                for name, values in zip(("verbatim", "common_run"), figures, strict=True):
                    items = values[:size].tolist()
                    where, share = [f"{part}:{number}" for number in range(len(items))], 1 / len(sizes)
                    weights = [20.0] * len(items)
                    measures[f"{name}_{part}"] = Measure(fmean(items), items, weights, where=where, look_share=share)
            base = {
                name: Measure(0, [0.37 if "run" in name else 0.0] * len(one.items), where=one.where)
                for name, one in measures.items()
            }
            results = Results(EvalResult(base), EvalResult(measures))
            if Memorization(config).decided(results, 0.95):
                break
        found = memorization_concern(config, results, 0.95)
        assert found is not None
        tally.add(flagged=found.flagged, unknown=found.unknown)
        tally.rows.append(size)
        excess = excess_of("verbatim", base, measures, 0.95)
        tally.covered.append(excess.low <= recited <= excess.high)
        tally.widths.append(excess.high - excess.low)
    return tally


# --- gained ----------------------------------------------------------------------------------------------------------

GAINS = ((0.9, 0.0), (0.2, 0.05), (0.1, 0.05), (0.05, 0.05), (0.07, 0.0), (0.05, 0.0), (0.0, 0.02), (0.0, 0.05),
         (-0.1, 0.05))  # fmt: skip
"""How many more prompts are right, and the share that changes in the other direction."""


def gained(runs: int, available: int, gain: float, against: float, seed: int = 1) -> Tally:
    """Return the results of trainings with such a gain of exact_match: `flagged` is better or worse."""
    sizes = look_sizes(available, PromptsConfig.count, PromptsConfig.first)
    levels = shares(sizes)
    random, tally = np.random.default_rng([seed, available, round(100 * abs(gain)), round(100 * against)]), Tally()
    up, down = max(gain, 0) + against, max(-gain, 0) + against
    for _ in range(runs):
        drawn = random.choice((1, -1, 0), available, p=(up, down, 1 - up - down))
        before = np.where(drawn == 1, 0.0, np.where(drawn == -1, 1.0, random.random(available) < 0.5))
        for size in sizes:
            items = [before[:size].tolist(), (before + drawn)[:size].tolist()]
            content = partial(Measure, higher_is_better=True, kind=MeasureKind.content, look_share=levels[size])
            first, last = (EvalResult({"match": content(fmean(one), one)}) for one in items)
            change = compare(first, last, VERDICT)["match"]
            if told := change.outcome in {Outcome.better, Outcome.worse}:
                break
        tally.add(flagged=told, unknown=change.outcome is Outcome.undecided)
        tally.rows.append(size)
        assert change.low is not None
        assert change.high is not None
        tally.covered.append(change.low <= gain + 1e-9 and gain - 1e-9 <= change.high)
        tally.widths.append(change.high - change.low)
    return tally


# --- tables ----------------------------------------------------------------------------------------------------------


SAID = "ruled out", "cannot tell", "coverage (width)"


def forgotten_table(runs: int) -> Iterator[str]:
    """Give what is decided if nothing is forgotten, and if twice the margin is."""
    yield table_head("suite", "what is lost", "flagged", *SAID)
    for suite in SUITES:
        plan = testing.plan([f"evaluator=[{suite}]"], run_dir=Path("unused"))
        for name, lost in LOSSES.items():
            yield table_row(f"`{suite}`", name, forgotten(plan, runs, lost).shares())


def copied_table(runs: int) -> Iterator[str]:
    """Give what is decided of copying, with many and with few held-out rows."""
    yield table_head("held-out rows", "what is copied", "flagged", *SAID, "rows of each kind, mean")
    for available in (192, 32):
        for name, (known, recited) in COPIED.items():
            tally = copied(runs, available, known, recited)
            yield table_row(available, name, tally.shares(), f"{fmean(tally.rows):.0f}")


def gained_table(runs: int) -> Iterator[str]:
    """Give what is decided of a gain, by the number of prompts that there are."""
    yield table_head("prompts", "gain", "in the other direction", "better or worse", *SAID, "prompts, mean")
    for available in (60, 240, 600):
        for gain, against in GAINS:
            tally = gained(runs, available, gain, against)
            shares = f"{100 * gain:+.0f} points", f"{against:.0%}", tally.shares()
            yield table_row(available, *shares, f"{fmean(tally.rows):.0f}")


TABLES = {"forgotten": forgotten_table, "copied": copied_table, "gained": gained_table}


def main() -> None:
    """Print the tables."""
    parser = command_line(__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=[*TABLES])
    arguments = parser.parse_args()
    for name in arguments.only:
        for line in (*TABLES[name](arguments.runs), ""):
            OUT.print(line)


if __name__ == "__main__":
    main()
