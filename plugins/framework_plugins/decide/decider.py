"""The model of a run that decides, from Python in three lines.

    from framework_plugins.decide.decider import open_decider
    with open_decider("outputs/decide/2026-12-03_08-00-00") as decider:
        print(decider.decide(["Where is my parcel?"])[0])

The command `decide` does the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from framework import FrameworkError, Plan
from framework.api import EvalResult, Message, Model, Prompt, SavedRun, scoring
from framework.api.program import read_run, restored
from framework_plugins.decide import calibration
from framework_plugins.decide.config import PREFIX, DecideFormatConfig
from framework_plugins.decide.rows import Decide, renamed
from framework_plugins.decide.scoring import score_options

MEASURED = "evaluate.json"
"""The file of a run with what its trained model measured."""
AT_ONCE = 256
"""Texts that are scored together."""


@dataclass(frozen=True)
class Decision:
    """What was decided.

    Attributes:
        option: the likeliest one.
        probability: how likely it is, after the temperature that was fitted to held-out rows.
        sure: whether it is above the threshold of the promise; None if the run has none.
        probabilities: of all options.
        asked: what the model was asked.
    """

    option: str
    probability: float
    sure: bool | None
    probabilities: Mapping[str, float]
    asked: str = ""


class Decider:
    """Decides texts and rows by the model of a run.

    Args:
        plan: of the run.
        model: with its trained weights.
        measured: what the run measured of them; None if it did not.
    """

    def __init__(self, plan: Plan, model: Model, measured: EvalResult | None) -> None:
        self._settings = plan.format.config
        self._form: Decide = plan.format.create()
        self._model = model
        self.measured = measured
        values = measured.metrics if measured else {}
        self.temperature = values.get(f"{PREFIX}temperature", 1.0)
        self.threshold = values.get(f"{PREFIX}threshold")

    def decide(self, rows: Sequence[str | Mapping[str, Any]]) -> list[Decision]:
        """Decide each text, or each row with the fields that the training had.

        Raises:
            FrameworkError: a row has no text or no options, or is longer than what the model reads.
        """
        decisions: list[Decision] = []
        for start in range(0, len(rows), AT_ONCE):
            prompts = [
                self._prompt(row, f"row {number}")
                for number, row in enumerate(rows[start : start + AT_ONCE], start=start + 1)
            ]
            scores = score_options(self._model, prompts)
            calibrated = calibration.probabilities(scores.log_probs, self.temperature)
            raw = calibration.probabilities(scores.log_probs).max(1)
            for prompt, options, shares, sure in zip(prompts, scores.options, calibrated, raw, strict=True):
                named = dict(zip(options, shares.tolist(), strict=False))
                option = max(named, key=named.__getitem__)
                is_sure = None if self.threshold is None else bool(sure >= self.threshold)
                decisions.append(Decision(option, named[option], is_sure, named, scoring.question(prompt)))
        return decisions

    def _prompt(self, row: str | Mapping[str, Any], where: str) -> Prompt:
        try:
            fields = {"text": row} if isinstance(row, str) else renamed(row, self._settings.columns)
            question, options = self._form.question(fields)
        except FrameworkError as error:
            raise FrameworkError(f"{where}: {error}") from error
        system = self._settings.system_prompt
        before = (Message("system", system),) if system else ()
        return Prompt((*before, question), where=where, options=options)


@contextmanager
def open_decider(run: str | os.PathLike[str] | SavedRun, overrides: Sequence[str] = ()) -> Iterator[Decider]:
    """Open the model of a run, and free it at the end.

    Args:
        run: the folder of the run.
        overrides: settings to change from those of the run, `["trainer.device=cpu"]`.

    Raises:
        FrameworkError: the run has no trained weights, its model is not available, or it was not trained to decide.
    """
    saved = run if isinstance(run, SavedRun) else read_run(os.fspath(run))
    measured = saved.record(EvalResult, MEASURED)
    with restored(saved, overrides) as (plan, model):
        if not isinstance(plan.format.config, DecideFormatConfig):
            raise FrameworkError(
                f"{saved.folder} was trained with format={plan.format.component.name}, and decisions need the options "
                "of format=decide"
            )
        yield Decider(plan, model, measured)
