"""`evaluator=prompts`: answers the same prompts each time it is asked, and scores them by the metrics of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from framework import Selection
from framework.api import AnyMetric, Data, EvalResult, Model, Prompt, scoring
from framework_plugins.evals.config import PromptsConfig, StoppedConfig
from framework_plugins.evals.metrics.stopped import Stopped
from framework_plugins.evals.own_prompts import own_prompts

NOTHING = "no prompt was asked: the data have none, and no row with a question is held out"


class Prompts:
    """Before and after on a few prompts."""

    def __init__(self, config: PromptsConfig) -> None:
        self.config = config
        self._own: Sequence[Prompt] | None = None

    def evaluate(self, model: Model, data: Data, metrics: Mapping[str, AnyMetric]) -> EvalResult:
        """Answer and score; a metric that needs a reference leaves out prompts without one."""
        prompts = self._prompts(data)
        if not prompts:
            return EvalResult({}, [], [NOTHING])
        answers = model.generate(
            prompts,
            max_new_tokens=self.config.max_new_tokens,
            batch_size=self.config.batch_size,
        )
        answered = scoring.answered(model, prompts, answers, metrics)
        measures, notes = scoring.measure(_with_stopped(metrics), answered)
        return EvalResult(measures, scoring.samples(answered, measures), notes)

    def _prompts(self, data: Data) -> Sequence[Prompt]:
        """Return the user's own prompts, of which both evaluations ask the same; else the data's.

        Where something is chosen by the answers, they are those to validation rows: the own ones judge.
        """
        return (() if data.selecting else self.own_prompts(data.format)) or data.prompts[: self.config.count]

    def own_prompts(self, form: Selection | None) -> Sequence[Prompt]:
        """Read the user's prompts once."""
        if self._own is None:
            self._own = own_prompts(self.config, form)
        return self._own


def _with_stopped(metrics: Mapping[str, AnyMetric]) -> dict[str, AnyMetric]:
    """Add whether answers end by themselves: it costs nothing, and a model that never stops is of no use."""
    all_metrics = dict(metrics)
    all_metrics.setdefault("stopped", Stopped(StoppedConfig()))
    return all_metrics
