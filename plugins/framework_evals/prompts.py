"""`evaluator=prompts`: answers the same prompts each time it is asked, and scores them by the metrics of the run."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from framework.data import Data
from framework.errors import FrameworkError, one_line, place
from framework.protocols import Metric, Model
from framework.records import EvalResult, Measure, Prompt, Sample
from framework_evals.config import PromptsConfig


class Prompts:
    """Before and after on a few prompts."""

    def __init__(self, config: PromptsConfig) -> None:
        self.config = config

    def evaluate(self, model: Model, data: Data, metrics: Mapping[str, Metric]) -> EvalResult:
        """Answer and score; a metric that needs a reference skips prompts without one."""
        prompts = data.prompts[: self.config.count]
        if not prompts:  # plain text asks nothing, and where nothing is held out nothing is known to ask
            return EvalResult({})
        answers = model.generate(
            prompts,
            max_new_tokens=self.config.max_new_tokens,
            batch_size=self.config.batch_size,
        )
        samples = [
            Sample(
                _question(prompt),
                answer.text,
                prompt.reference,
                answer.stopped,
                _scores(prompt, answer.text, metrics),
                answer.tokens,
            )
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        measures = {}
        for name, metric in metrics.items():
            items = [sample.scores.get(name) for sample in samples]
            scores = [score for score in items if score is not None]
            if scores:
                measures[name] = Measure(fmean(scores), items, higher_is_better=metric.higher_is_better)
        return EvalResult(measures, samples)


def _question(prompt: Prompt) -> str:
    """Return the turns as one text; a single user's turn stands for itself."""
    if len(prompt.messages) == 1:
        return prompt.messages[0].content
    return "\n".join(f"{message.role}: {message.content}" for message in prompt.messages)


def _scores(prompt: Prompt, answer: str, metrics: Mapping[str, Metric]) -> dict[str, float]:
    return {
        name: _score(name, metric, answer, prompt.reference)
        for name, metric in metrics.items()
        if prompt.reference is not None or not metric.needs_reference
    }


def _score(name: str, metric: Metric, answer: str, reference: str | None) -> float:
    try:
        return metric.score(answer, reference)
    except FrameworkError:
        raise
    except Exception as error:
        message = f"metric '{name}' cannot score the answer {answer[:40]!r}: {one_line(error)}{place(error)}"
        raise FrameworkError(message) from error
