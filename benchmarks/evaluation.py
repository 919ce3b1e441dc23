"""What the evaluations of the quickstart cost beside its training: processor seconds of each, and their share.

    python -m benchmarks.evaluation
    python -m benchmarks.evaluation evaluator.prompts.first=60        with other settings

The training runs, and the first look of each evaluator is timed on the base and the trained model, as in a run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.common import OUT, command_line
from framework.api.protocols import TrainRun
from framework.config.compose import compose
from framework.data.stage import load_data
from framework.evaluate.deciding import with_deciding
from framework.plan.make import make_plan
from framework_plugins.evals.config import ExactMatchConfig, PromptsConfig
from framework_plugins.evals.metrics.exact_match import ExactMatch
from framework_plugins.evals.read_answers import read_answers

READ = "60 references read"
"""What a later look costs a model instead of generation."""


@contextmanager
def timed(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Add the time that passes inside to `seconds`."""
    start = time.process_time()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.process_time() - start


def main() -> None:
    """Print the table."""
    parser = command_line(__doc__)
    parser.add_argument("words", nargs="*", help="overrides of the quickstart")
    words = parser.parse_args().words
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(compose(["+experiment=quickstart", *words]), run_dir=Path(folder))
        metrics = {name: choice.create() for name, choice in plan.metric.items()}
        evaluators = {name: choice.create() for name, choice in plan.evaluator.items()}
        cost: dict[str, float] = {}
        with plan.trainer.create().open(plan) as model:
            data, deciding = with_deciding(load_data(plan, model), plan.judging, metrics, evaluators)
            model.score(data.validation[:1])  # the weights are loaded when first asked for

            def measure(state: str) -> None:
                with timed(f"{state}, validation loss", cost):
                    known = replace(data, scored=model.score(data.validation))
                for name, evaluator in evaluators.items():
                    with timed(f"{state}, {name}", cost):
                        evaluator.evaluate(model, known, deciding)

            with model.as_base():
                measure("base")
            run = TrainRun(plan.checkpoint, Path(folder, "scratch"), _quiet)
            with timed("training", cost):
                model.train(data.train, data.validation, run)
            training = cost.pop("training")
            measure("trained")
            with timed(READ, cost):
                read_answers(model, data.prompts, ExactMatch(ExactMatchConfig()), PromptsConfig.max_new_tokens)
    read = cost.pop(READ)
    OUT.print(f"{READ:32} {read:6.1f} s, which is not in the sum")
    for name, spent in cost.items():
        OUT.print(f"{name:32} {spent:6.1f} s  {spent / training:5.1%} of the training")
    whole = sum(cost.values())
    OUT.print(f"{'all':32} {whole:6.1f} s  {whole / training:5.1%} of {training:.1f} s")


def _quiet(_: object) -> None:
    """Tell nobody."""


if __name__ == "__main__":
    main()
