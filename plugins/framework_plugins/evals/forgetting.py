"""`evaluator=forgetting`: what a model knew before, measured with the general suite, and how far it is from its base.

The suite is our own, so no training set holds it. Questions, answers and texts are scored by likelihood, and the
divergence is taken at the answers to the instructions: nothing is generated, so it costs a pass over short rows.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from statistics import fmean

from framework.api.data import Data
from framework.api.errors import FrameworkError
from framework.api.protocols import Metric, Model
from framework.api.records import Aspect, EvalResult, Example, Measure, Message
from framework_plugins.evals.config import DIVERGENCE, ForgettingConfig
from framework_plugins.evals.general.suite import rows
from framework_plugins.evals.harness.catalog import Catalog
from framework_plugins.evals.harness.measures import result
from framework_plugins.evals.harness.model import HarnessModel
from framework_plugins.evals.harness.run import Tasks, Way


class Forgetting:
    """General knowledge before and after."""

    def __init__(self, config: ForgettingConfig) -> None:
        self.config = config

    @functools.cached_property
    def _parts(self) -> list[tuple[str, str, Tasks, Way]]:
        """The parts that are asked: the name of the measure, what lm-eval calls it, the tasks, and how they are run."""
        asked, catalog = self.config, Catalog()
        return [
            (name, figure, Tasks([figure.partition(".")[0]], catalog), Way(limit=limit, chat=chat))
            for name, figure, limit, chat in (
                ("general_accuracy", "general.acc", asked.questions, False),
                ("general_answers", "general_instructions.word_perplexity", asked.instructions, True),
                ("general_perplexity", "general_texts.word_perplexity", asked.texts, False),
            )
            if limit
        ]

    def evaluate(self, model: Model, data: Data, metrics: Mapping[str, Metric]) -> EvalResult:  # noqa: ARG002 - the protocol's signature
        measures: dict[str, Measure] = {}
        notes: list[str] = []
        answering = HarnessModel(model, batch_size=1)
        for name, figure, tasks, way in self._parts:
            found = result(tasks.run(answering, way), Aspect.general, answering, samples=0)
            measures[name] = found.measures[figure]
        if self.config.instructions:
            measures |= self._divergence(model, notes)
        return EvalResult(measures, [], notes)

    def _divergence(self, model: Model, notes: list[str]) -> Iterator[tuple[str, Measure]]:
        """Return the mean divergence at the answers to the instructions, or a note that it is not available."""
        examples = [
            Example(
                (Message("user", row["instruction"]), Message("assistant", row["answer"])),
                "chatml",
                f"general:{number}",
            )
            for number, row in enumerate(rows("instructions")[: self.config.instructions])
        ]
        learned = [row for row in model.encode(examples) if row.supervised]
        if not learned:
            notes.append(f"{DIVERGENCE}: the chat template leaves nothing of an answer")
            return
        try:
            items = model.divergence(learned)
        except FrameworkError as error:
            notes.append(f"{DIVERGENCE}: {error}")
            return
        yield DIVERGENCE, Measure(fmean(items), list(items), aspect=Aspect.general, unit="nats")
