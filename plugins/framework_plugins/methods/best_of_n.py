"""Best of n: of the answers that are drawn to a prompt, the one with the highest reward is learned.

Known as rejection sampling; the training itself is the one of `method=sft`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from framework import Plan
from framework.api import Answer, Aspect, Concern, Example, Measure, Model, Outcome, Prompt, Results, number
from framework.api.training import Generator, Method, Objective, Role, TokenGroup
from framework_plugins.methods.config import BestOfNConfig
from framework_plugins.methods.questions import check_question, question_of


class BestOfN(Method):
    """Learns the best of several answers to each prompt."""

    objective: Objective | None = None

    def __init__(self, config: BestOfNConfig) -> None:
        self.config, self.control = config, config.control

    def check(self, example: Example) -> None:
        """Refuse a row that asks nothing."""
        check_question(example, "best_of_n")

    def conversations(self, example: Example) -> Sequence[tuple[Role, Example]]:
        """Return the question; the answer of a row is what rewards compare with."""
        return ((Role.prompt, question_of(example)),)

    def measures(self, model: Model, groups: Sequence[TokenGroup]) -> Mapping[str, Measure]:
        """Measure nothing else: questions have no loss."""
        del model, groups
        return {}

    def draw(self, prompts: Sequence[Prompt], generate: Generator, seed: int) -> Sequence[Sequence[Answer]]:
        """Draw as many answers as its config says."""
        return generate(prompts, self.config.sampling(seed))

    def choose(self, rewards: Sequence[float]) -> int | None:
        """Choose the first with the highest reward."""
        return max(range(len(rewards)), key=rewards.__getitem__)


def choosing(plan: Plan, results: Results) -> Iterator[Concern]:
    """Say what choosing by the reward brought beyond a random choice of as many answers."""
    method = plan.method.config
    if not isinstance(method, BestOfNConfig):
        return
    for name, change in results.changes.items():
        interval = change.difference(name)
        if not name.endswith(Measure.VS_RANDOM) or not interval:
            continue
        metric, won = name.removesuffix(Measure.VS_RANDOM), change.outcome is Outcome.better
        lost = change.outcome is Outcome.worse
        brought = (
            f"brought {interval}" if won else f"did harm, {interval}" if lost else "brought no significant difference"
        )
        before, after = (number(value or 0.0, metric, change.unit) for value in (change.before, change.after))
        yield Concern(
            "choosing",
            Aspect.task,
            f"choosing by the reward {brought}: {metric} is {after} "
            f"after the best of {method.num_generations} answers, and {before} after a random choice of as many"
            f"{'' if won or lost else f' ({interval})'}",
            "audit the reward, draw more answers (method.num_generations), or learn references with method=sft",
            flagged=not won,
        )
