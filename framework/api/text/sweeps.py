"""What a sweep comes to, in sentences: the terminal, the page and the list of runs say the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from framework.api.records import Lead, Measure, Point, Ranking, Standing, Sweep, Trial, Verdict
from framework.api.run_folder import FINISHED
from framework.api.text.overrides import brief, override_key, short_keys
from framework.api.text.results import Fact, count, facts_of, is_share, number
from framework.util.host import GIB

__all__ = ["figures", "settings_text", "winner_text"]

SHOWN_TRIALS = 12
"""Trials that a sentence names."""
ONE_MORE_SEED = "add seed=1,2,3 to the sweep to measure it"


def figures(trial: Trial) -> tuple[str, str, str, str]:
    """Write the result of a trial: the objective or how it ended, its time, its memory and its score."""
    ended = "–" if trial.state == FINISHED else trial.state
    value = ended if trial.value is None else f"{trial.value:.4g}"
    seconds = "" if trial.seconds is None else f"{trial.seconds:.1f} s"
    memory = "" if trial.peak_memory_bytes is None else f"{trial.peak_memory_bytes / GIB:.2f} GiB"
    return value, seconds, memory, "" if trial.score is None else f"{trial.score:.2f}"


def settings_text(trials: Sequence[Trial]) -> list[str]:
    """Write the settings in which each trial differs from the others, with short keys."""
    keys = list(dict.fromkeys(override_key(word) for trial in trials for word in trial.overrides))
    shown = dict(zip(keys, short_keys(keys), strict=True))
    words = [[word.partition("=") for word in trial.overrides] for trial in trials]
    return [", ".join(f"{shown[override_key(key)]}={brief(value)}" for key, _, value in parts) for parts in words]


def winner_text(sweep: Sweep) -> str:
    """Say in a sentence which trial is the best, or that none is; empty if no trial has a value."""
    best = next((trial for trial in sweep.trials if trial.number == sweep.best), None)
    if best is None:
        return ""
    ranking, name = sweep.ranking, sweep.objective or "objective"
    if ranking is None or len(ranking.points) == 1:
        return f"trial {best.number}, {name} {number(best.value, name)}"
    point = next(point for point in ranking.points if best.number in point.trials)
    tied = sum(point.standing is not Standing.worse for point in ranking.points)
    standing = "better than each other trial" if tied == 1 else f"one of {tied} that may be the best"
    return f"{_trials(point.trials)}, {name} {number(point.value, name, ranking.unit)}, {standing}"


@facts_of.register
def _sweep(sweep: Sweep) -> Iterator[Fact]:
    """Say which trials differ, which one to continue with and why, and what is luck."""
    best = next((trial for trial in sweep.trials if trial.number == sweep.best), None)
    if best is None:
        return
    ranking = sweep.ranking
    if ranking is None and len(sweep.trials) > 1:
        yield Fact("winner", f"not tested: {sweep.objective} is one number for each trial, without items")
    elif ranking and len(ranking.points) > 1:
        yield _winner(ranking)
        yield from _worse(ranking)
    overrides = f" ({', '.join(best.overrides)})" if best.overrides else ""
    yield Fact("best", f"trial {best.number}{overrides}{f', {sweep.why}' if sweep.why else ''}")
    if ranking:
        yield from _value(ranking, best.number)
        yield _seeds(ranking)
        if ranking.confirmed:
            yield _confirmed(ranking.confirmed, ranking.item)
    if not sweep.judged_apart and len(sweep.trials) > 1:
        yield Fact(
            "not confirmed",
            "the best trial was chosen on the rows that its verdict is based on: measure it again on other prompts "
            "before you report its gain",
            amiss=True,
        )
    if by_chance := _by_chance(sweep):
        yield Fact("by chance", by_chance)
    if disagreement := _disagreement(sweep):
        yield Fact("other measures", disagreement)
    if ranking and ranking.notes:
        yield Fact("left out", "; ".join(ranking.notes), amiss=True)


def _trials(numbers: Sequence[int]) -> str:
    """Write `trial 3`, or `trials 3, 4 and 5`."""
    if len(numbers) == 1:
        return f"trial {numbers[0]}"
    shown = [str(trial) for trial in numbers[:SHOWN_TRIALS]]
    tail = f"{len(numbers) - SHOWN_TRIALS} more" if len(numbers) > SHOWN_TRIALS else shown.pop()
    return f"trials {', '.join(shown)} and {tail}"


def _basis(ranking: Ranking) -> str:
    """Name the measure and the items by which trials are compared: `exact_match of 32 prompts`."""
    clusters = f" in {count(ranking.clusters, 'cluster')}" if ranking.clusters else ""
    return f"{ranking.measure} of {count(ranking.items, ranking.item)}{clusters}"


def _leader(ranking: Ranking) -> Point:
    return next(point for point in ranking.points if ranking.leader in point.trials)


def _winner(ranking: Ranking) -> Fact:
    sure = f"at {ranking.confidence:.0%} confidence"
    leader = _leader(ranking)
    if ranking.clear:
        ahead = _interval(ranking.lead_low, ranking.lead_high, leader.value, ranking)
        return Fact(
            "winner", f"{_trials(leader.trials)}: {_basis(ranking)} is better than for any other trial, {ahead} {sure}"
        )
    if len({point.value for point in ranking.points}) == 1:
        value = number(leader.value, ranking.measure, ranking.unit)
        return Fact("winner", f"none: {_basis(ranking)} is {value} for all {len(ranking.points)}")
    tied = [point for point in ranking.points if point.standing is not Standing.worse]
    numbers = [trial for point in tied for trial in point.trials]
    return Fact("winner", f"none: no significant difference in {_basis(ranking)} between {_trials(numbers)}, {sure}")


def _worse(ranking: Ranking) -> Iterator[Fact]:
    """Name the trials that are worse than the best, corrected for all pairs of trials."""
    worse = [point for point in ranking.points if point.standing is Standing.worse]
    if ranking.clear or not worse:
        return
    numbers = [trial for point in worse for trial in point.trials]
    yield Fact(
        "worse", f"{_trials(numbers)}, than {_trials(_leader(ranking).trials)}; corrected for all pairs of trials"
    )


def _value(ranking: Ranking, best: int) -> Iterator[Fact]:
    point = next(point for point in ranking.points if best in point.trials)
    value = number(point.value, ranking.measure, ranking.unit)
    if point.low is None or point.high is None:
        yield Fact("value", f"{value}; {count(ranking.items, ranking.item)} cannot give an interval")
        return
    low, high = (number(bound, ranking.measure, ranking.unit) for bound in (point.low, point.high))
    several = f", corrected for the choice among {len(ranking.points)}" if len(ranking.points) > 1 else ""
    mean = f" in the mean of {len(point.trials)} seeds" if len(point.trials) > 1 else ""
    yield Fact("value", f"{_basis(ranking)} is {value}{mean}, between {low} and {high}{several}")


def _seeds(ranking: Ranking) -> Fact:
    if ranking.spread is None:
        return Fact("seeds", f"one for each trial: no interval contains the difference between seeds; {ONE_MORE_SEED}")
    spread = amount_text(ranking.spread, ranking)
    seeds = max(len(point.trials) for point in ranking.points)
    return Fact(
        "seeds", f"up to {seeds} of one setting: their standard deviation is {spread}, and is in every interval"
    )


def _confirmed(lead: Lead, item: str) -> Fact:
    leader_value, other_value = (number(value, lead.measure) for value in lead.values)
    ahead = _interval(lead.low, lead.high, lead.values[0], lead)
    text = (
        f"on {count(lead.items, item)} by which no trial was chosen, {lead.measure} is {leader_value} for "
        f"{_trials(lead.ahead)} and {other_value} for {_trials(lead.other)}, a difference of {ahead}"
    )
    return Fact("confirmed", text) if lead.clear else Fact("not confirmed", text)


def _interval(low: float | None, high: float | None, value: float, measured: Ranking | Lead) -> str:
    """Write an interval of a difference, `+6 to +31 points`."""
    if low is None or high is None:
        return "by an unknown amount"
    unit = measured.unit if isinstance(measured, Ranking) else ""
    if is_share(value, measured.measure, unit):
        return f"{100 * low:+.0f} to {100 * high:+.0f} points"
    return f"{low:+.3g} to {high:+.3g}"


def amount_text(amount: float, ranking: Ranking) -> str:
    """Write a difference of two values, `2.1 points`."""
    share = is_share(_leader(ranking).value, ranking.measure, ranking.unit)
    return f"{100 * amount:.1f} points" if share else f"{amount:.3g}"


def _by_chance(sweep: Sweep) -> str:
    """Say how many trials would be called better than the base by chance; empty if none was tested."""
    tested = [trial for trial in sweep.trials if trial.better is not None]
    if len(tested) < 2:  # noqa: PLR2004 - one is not a choice
        return ""
    better = sum(bool(trial.better) for trial in tested)
    half = (1 - sweep.confidence) / 2
    still = f", {sweep.still_better} after a correction for {len(tested)} trials" if better else ""
    return (
        f"the verdicts call {better} of {len(tested)} trials better than the base{still}; if training had no effect, "
        f"up to {half * len(tested):.2g} would be, and up to {1 - (1 - half) ** len(tested):.0%} of such sweeps would "
        "have at least one"
    )


def _disagreement(sweep: Sweep) -> str:
    """Say that the verdict's score or the validation loss prefers another trial; empty if they do not."""
    best = next((trial for trial in sweep.trials if trial.number == sweep.best), None)
    if best is None:
        return ""
    parts = []
    for name, label, sign in (("score", Verdict.SCORE, 1), ("eval_loss", Measure.EVAL_LOSS, -1)):
        best_value = getattr(best, name)
        candidates = [(sign * value, trial) for trial in sweep.trials if (value := getattr(trial, name)) is not None]
        if best_value is None or sweep.objective == label or not candidates:
            continue
        value, rival = max(candidates, key=lambda pair: pair[0])
        if value > sign * best_value:
            parts.append(
                f"{label} is best in trial {rival.number}, {sign * value:.3g}; trial {best.number}: {best_value:.3g}"
            )
    return f"{'; '.join(parts)}. To choose by another measure, set objective=NAME" if parts else ""
