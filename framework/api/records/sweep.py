"""A sweep, as `sweep.json` in its folder."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """One trial of a sweep: a run with its own settings.

    `overrides` are the overrides in which it differs from the other trials. `state` is the one in its `status.json`,
    `failed` if it was killed, and `reason` says why it did not finish. `value` is the value of the objective, None if
    there is none; `score` is the verdict's, `verdict` its first line. `seconds` covers all stages, `training_seconds`
    only the training.
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


@dataclass(frozen=True)
class Sweep:
    """All trials of a sweep, in the order of their numbers.

    `objective` is the name of the value by which they are compared, None if no trial has a report or their objectives
    differ; `best` is the number of the best trial. `judged_apart`: the verdicts use other prompts than those by which
    `best` was chosen.
    """

    folder: str
    objective: str | None
    higher_is_better: bool
    best: int | None
    trials: list[Trial]
    judged_apart: bool = True
