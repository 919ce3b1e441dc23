"""A sweep, as `sweep.json` in its folder."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["Lead", "Point", "Ranking", "Standing", "Sweep", "Trial"]


class Standing(Enum):
    """How a point compares with the best one.

    `tied`: it may be the best too. `worse`: it is significantly worse, corrected for all pairs of points.
    """

    best = "best"
    tied = "tied"
    worse = "worse"


@dataclass(frozen=True)
class Point:
    """Trials that differ in the seed alone; most points are one trial.

    Attributes:
        trials: their numbers.
        value: the mean over them.
        low: the lower bound of the value, corrected for the choice among all points; None if there is none.
        high: the upper bound.
        standing: how it compares with the point of the best value.
        behind_low: by how much it is behind that point at least, corrected for all pairs; None for that point itself.
        behind_high: by how much at most.
        spread: the standard deviation between its seeds; None with one seed.
    """

    trials: list[int]
    value: float
    low: float | None
    high: float | None
    standing: Standing
    behind_low: float | None = None
    behind_high: float | None = None
    spread: float | None = None


@dataclass(frozen=True)
class Lead:
    """By how much the trials of one point are ahead of those of another on some items, with an interval.

    `clear`: the difference is significant. `values` are what the two points scored.
    """

    ahead: list[int]
    other: list[int]
    measure: str
    items: int
    values: list[float]
    low: float | None
    high: float | None
    clear: bool


@dataclass(frozen=True)
class Ranking:
    """The points, compared by the items that all of its trials have.

    Attributes:
        measure: the name of the measure.
        unit: of its values; empty for a share and a loss.
        higher_is_better: whether a higher value is better.
        item: the word for an item.
        items: how many are compared.
        clusters: groups of similar items that count as one; 0 if all are different.
        confidence: of the intervals, and of the claim that one point is the best.
        points: in the order of their first trials.
        leader: the first trial of the point with the best value.
        clear: whether it is significantly better than each other point.
        lead_low: by how much it is ahead of the best other point at least; None with one point.
        lead_high: at most, corrected for all pairs.
        spread: the standard deviation between seeds, pooled over the points; None if no point has two.
        freedom: its degrees of freedom.
        confirmed: the best trial against the best other point, on prompts that no trial was chosen by.
        notes: what was left out.
        margin: how much worse than the leader a cheaper point may be, in the unit of the values: `verdict.margin`.
    """

    measure: str
    unit: str
    higher_is_better: bool
    item: str
    items: int
    clusters: int
    confidence: float
    points: list[Point]
    leader: int
    clear: bool
    lead_low: float | None = None
    lead_high: float | None = None
    spread: float | None = None
    freedom: int = 0
    confirmed: Lead | None = None
    notes: list[str] = field(default_factory=list)
    margin: float = 0.0


@dataclass(frozen=True)
class Trial:
    """One trial of a sweep: a run with its own settings.

    `overrides` are the overrides in which it differs from the other trials. `state` is the one in its `status.json`,
    `failed` if it was killed, and `reason` says why it did not finish. `value` is the value of the objective, None if
    there is none; `score` is the verdict's, `verdict` its first line. `seconds` covers all stages, `training_seconds`
    only the training. `steps` and `parameters` are those of the training, `eval_loss` the validation loss after it, and
    `planned_memory` the bytes that the plan expects.
    `better`: the verdict calls it better than the base, with `p_value`; None if nothing was tested.
    """

    number: int
    overrides: list[str]
    state: str
    reason: str
    value: float | None
    seconds: float | None
    training_seconds: float | None
    peak_memory_bytes: int | None
    score: float | None
    verdict: str
    steps: int | None = None
    parameters: int | None = None
    planned_memory: int | None = None
    eval_loss: float | None = None
    better: bool | None = None
    p_value: float | None = None


@dataclass(frozen=True)
class Sweep:
    """All trials of a sweep, in the order of their numbers.

    `objective` is the name of the value by which they are compared, None if no trial has a report or their objectives
    differ; `best` is the number of the best trial, and `why` says why it is that one: it is significantly better than
    all others, or the cheapest of those that are not worse. `judged_apart`: the verdicts use other prompts than those
    by which `best` was chosen. `ranking` has the comparison of the trials; None if the objective has no items.
    `still_better`: how many trials are better than the base after a correction for the number of trials (Holm).
    """

    folder: str
    objective: str | None
    higher_is_better: bool
    best: int | None
    trials: list[Trial]
    judged_apart: bool = True
    why: str = ""
    ranking: Ranking | None = None
    still_better: int = 0
    confidence: float = 0.95

    @property
    def points(self) -> list[Point]:
        """The points in the order of their trials; a trial that has a value but is not compared is one more."""
        ranked = self.ranking.points if self.ranking else []
        ranked_trials = {trial for point in ranked for trial in point.trials}
        unranked = [
            Point([trial.number], trial.value, None, None, Standing.tied)
            for trial in self.trials
            if trial.number not in ranked_trials and trial.value is not None and math.isfinite(trial.value)
        ]
        return sorted([*ranked, *unranked], key=lambda point: point.trials[0])
