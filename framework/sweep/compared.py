"""The trials of a multirun compared by the items that each of them stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from framework.api.records import EvalResult, Lead, Measure, Point, Ranking, Standing, Trial, Verdict
from framework.api.run_folder import PLAN, RunFolder, part, read_plain
from framework.api.schema import Stage, VerdictConfig
from framework.api.text.overrides import override_key
from framework.api.text.sweeps import amount_text
from framework.evaluate.ranking import align, difference, rank
from framework.util.errors import FrameworkError
from framework.util.host import GIB

SEED = "seed"
SAME_MEMORY = 1.05
"""Peaks of memory that differ by less than this ratio are the same."""


def ranking(folder: Path, trials: Sequence[Trial], objective: str) -> Ranking | None:
    """Compare the trials that have a value by the items of the objective; None if it has none.

    Trials that differ in the seed alone are one point.
    """
    if objective == Verdict.SCORE:
        return None
    evaluations, reasons = _evaluations(folder, trials)
    # Of the validation rows, if the verdict has other prompts.
    chosen_by = {
        trial_id: measure
        for trial_id, result in evaluations.items()
        if (measure := result.selection.get(objective) or result.measures.get(objective))
    }
    measures, left_out, notes = align(chosen_by)
    reasons |= left_out
    points = _points([trial for trial in trials if trial.number in measures])
    if not points:
        return None
    config = _verdict_config(folder / str(points[0][0]))
    result = rank([[measures[trial_id] for trial_id in trial_ids] for trial_ids in points], config)
    order = [trial_id for trial_ids in points for trial_id in trial_ids]
    places = [replace(point, trials=[order[index] for index in point.trials]) for point in result.points]
    notes += [f"trial {trial_id} is not compared: {reason}" for trial_id, reason in sorted(reasons.items())]
    return replace(result, measure=objective, points=places, leader=order[result.leader], notes=notes)


def choice(ranking: Ranking, trials: Mapping[int, Trial]) -> tuple[int, str]:
    """Return the trial to continue with, and why it is that one if it is not significantly better than all others.

    It is the one with the highest value. A cheaper one, by its steps, then its memory, then what it trains, is taken
    only if its interval rules out a loss of more than `ranking.margin` (non-inferiority): that a loss is not
    significant does not rule it out. Of the seeds of a point it is the one with the best value.
    """
    sign = 1 if ranking.higher_is_better else -1
    leader = next(point for point in ranking.points if ranking.leader in point.trials)
    safe = [
        point
        for point in ranking.points
        if point is leader or (point.behind_high is not None and point.behind_high <= ranking.margin)
    ]
    point, reasons = _cheapest(safe, trials, sign)
    best = max(point.trials, key=lambda trial_id: sign * (trials[trial_id].value or 0.0))
    if reasons:
        lost = amount_text(max(point.behind_high or 0.0, 0.0), ranking)
        return best, f"cheaper than trial {ranking.leader} ({', '.join(reasons)}) and at most {lost} worse"
    tied = [point for point in ranking.points if point.standing is not Standing.worse]
    cheaper, saved = _cheapest(tied, trials, sign)
    if cheaper is point or not saved:
        return best, "the best value" if len(tied) > 1 else ""
    cost = "an unknown amount" if cheaper.behind_high is None else f"up to {amount_text(cheaper.behind_high, ranking)}"
    return best, f"the best value; trial {cheaper.trials[0]} is cheaper ({', '.join(saved)}) and may cost {cost}"


def _cheapest(points: Sequence[Point], trials: Mapping[int, Trial], sign: int) -> tuple[Point, list[str]]:
    """Return the cheapest of some points, by the best value among equals, and in which costs it is below others."""
    candidates, reasons = list(points), list[str]()
    for kind, costs in _costs(points, trials):
        lowest = min(costs[point.trials[0]] for point in candidates)
        limit = lowest * (SAME_MEMORY if kind == "memory" else 1)
        cheap_points = [point for point in candidates if costs[point.trials[0]] <= limit]
        if len(cheap_points) < len(candidates):
            highest = max(costs[point.trials[0]] for point in candidates)
            reasons.append(f"{_cost(kind, lowest)}, not up to {_cost(kind, highest)}")
            candidates = cheap_points
    return max(candidates, key=lambda point: sign * point.value), reasons


def chosen_apart(folder: Path, trial: Trial, objective: str) -> bool:
    """Whether a trial was chosen by other rows than the prompts that its verdict is based on."""
    results, _ = _evaluations(folder, [trial])
    by_loss = objective.endswith("loss") or objective.startswith(Measure.EVAL_LOSS)
    return by_loss or any(result.selection for result in results.values()) or not results


def confirmed(folder: Path, ranking: Ranking, best: int, measure: str, trials: Sequence[Trial]) -> Lead | None:
    """Compare the best trial with the best of the others on the prompts of the verdict, by which none was chosen."""
    rivals = [point for point in ranking.points if best not in point.trials]
    if not rivals:
        return None
    sign = 1 if ranking.higher_is_better else -1
    rival_group = max(rivals, key=lambda point: sign * point.value).trials
    best_group = next(point.trials for point in ranking.points if best in point.trials)
    evaluations, _ = _evaluations(folder, [trial for trial in trials if trial.number in {*best_group, *rival_group}])
    measurements = {
        trial_id: measurement
        for trial_id, result in evaluations.items()
        if (measurement := result.measures.get(measure))
    }
    measures, _, _ = align(measurements)
    if measures.keys() != {*best_group, *rival_group}:
        return None
    config = _verdict_config(folder / str(best))
    # Of trials that were asked in stages, the one with the fewest prompts says which look this is.
    level = 1 - min(measurements.values(), key=lambda measurement: len(measurement.items)).this_look(config.confidence)
    result = difference(
        [measures[trial_id] for trial_id in best_group],
        [measures[trial_id] for trial_id in rival_group],
        config,
        level=level,
    )
    return replace(result, ahead=best_group, other=rival_group, measure=measure)


def _evaluations(folder: Path, trials: Iterable[Trial]) -> tuple[dict[int, EvalResult], dict[int, str]]:
    """Return what the trials that have a value measured, and why that of others cannot be read."""
    results: dict[int, EvalResult] = {}
    reasons: dict[int, str] = {}
    for trial in trials:
        if trial.value is None:
            continue
        try:
            result = RunFolder(folder / str(trial.number)).load_result(Stage.evaluate, EvalResult)
        except FrameworkError as error:
            reasons[trial.number] = str(error).splitlines()[0]
            continue
        if result is None:
            reasons[trial.number] = "it has no evaluate.json"
        else:
            results[trial.number] = result
    return results, reasons


def _points(trials: Sequence[Trial]) -> list[list[int]]:
    """Group the trials that differ in the seed alone; of several with the same seed, only the first counts."""
    groups: dict[tuple[str, ...], dict[str, int]] = {}
    for trial in trials:
        seeds = [word for word in trial.overrides if override_key(word) == SEED]
        settings = tuple(sorted(word for word in trial.overrides if word not in seeds))
        groups.setdefault(settings, {}).setdefault("".join(seeds), trial.number)
    return [[*numbers.values()] for numbers in groups.values()]


def _verdict_config(run: Path) -> VerdictConfig:
    """Return the verdict's settings of a run; the defaults if it does not tell."""
    saved = part(read_plain(run / PLAN), dict, "verdict") or {}
    names = ("confidence", "resamples", "margin")
    return VerdictConfig(**{name: saved[name] for name in names if isinstance(saved.get(name), int | float)})


def _costs(points: Sequence[Point], trials: Mapping[int, Trial]) -> list[tuple[str, dict[int, float]]]:
    """Return what each point costs, by its first trial; a cost that some point lacks is left out."""
    kinds: dict[str, Any] = {
        "steps": lambda trial: trial.steps,
        "memory": lambda trial: trial.planned_memory,
        "parameters": lambda trial: trial.parameters,
    }
    comparable = []
    for kind, cost in kinds.items():
        costs = {point.trials[0]: [cost(trials[trial_id]) for trial_id in point.trials] for point in points}
        if not any(None in amounts for amounts in costs.values()):
            comparable.append((kind, {trial_id: float(max(amounts)) for trial_id, amounts in costs.items()}))
    return comparable


def _cost(kind: str, value: float) -> str:
    return f"{value / GIB:.2f} GiB" if kind == "memory" else f"{value:,.0f} {kind}"
