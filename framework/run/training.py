"""The course of one training: who is told of each step, and what the backend has to do after it.

The backend trains, takes the validation loss and obeys; when a training is stopped, slowed or at its best is decided
here, alike for all backends.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from framework.api.events import IssueFound, TrainingStep
from framework.api.plan import EVAL_LOSS, Plan
from framework.api.protocols import Elsewhere, Evaluator, TrainingMonitor, TrainRun
from framework.api.records import NAN, EvalResult, Order, Step, TrainResult, Trouble
from framework.api.schema import Action
from framework.evaluate.measure import Measuring
from framework.hooks.session import current
from framework.monitor.early_stopping import Best
from framework.monitor.truncated_answers import unended
from framework.run.events import Events
from framework.util.errors import FrameworkError, PrunedError

HOOK = "framework_training_monitors"
HOW = "set one that answers prompts"


class Course:
    """Follows one training.

    Args:
        events: sends each step and trouble.
        measuring: the model that is trained, the data, and what it is measured by.
        base: what the base model answered, where it was asked.
    """

    def __init__(self, events: Events, measuring: Measuring, base: EvalResult | None) -> None:
        self.plan = plan = measuring.plan
        self.events = events
        self.model = measuring.model
        self.data = measuring.data
        self.metrics = measuring.metrics
        self.base = base
        self.best = Best(plan.training.early_stopping_metric, plan.training.early_stopping_patience)
        evaluators = measuring.evaluators
        told = [each for name, each in evaluators.items() if self.best.name in plan.evaluator[name].config.measures()]
        self.asking: Sequence[Evaluator] = told or list(evaluators.values())
        self.monitors = dict(_monitors(plan))
        self.answers: EvalResult | None = None
        self.had = base is not None and self.best.name in base.measures
        """Whether the metric could be measured before."""
        self.troubles: list[Trouble] = []
        self.told: list[Step] = []
        self.stopped = ""

    def train(self, checkpoint: Path, scratch: Path, elsewhere: Elsewhere | None = None) -> TrainResult:
        """Train into `checkpoint`, here or `elsewhere`, and return what came of it with what was seen of it."""
        run = TrainRun(checkpoint, scratch, self.step, self.measure)
        if elsewhere:
            trained = elsewhere(self.plan, self.model, self.data, run)
        else:
            trained = self.model.train(self.data.train, self.data.validation, run)
        best = self.best
        return dataclasses.replace(
            trained, troubles=self.troubles, stopped=self.stopped, best_step=best.step, best_value=best.value
        )

    def measure(self) -> Mapping[str, float]:
        """Return what the prompts of the run give now; nothing where the validation loss is all that is asked for.

        A metric that was had before may be missing once, where a judge is down: that validation counts for nothing.

        Raises:
            FrameworkError: no evaluator gives the metric.
        """
        name, training = self.best.name, self.plan.training
        if name == EVAL_LOSS or not (training.keep_best or training.early_stopping_patience):
            return {}
        notes = []
        for evaluator in self.asking:
            result = evaluator.evaluate(self.model, self.data, self.metrics)
            if name in result.measures:
                self.asking, self.answers, self.had = [evaluator], result, True
                self.best.higher_is_better = result.measures[name].higher_is_better
                return result.metrics
            notes += result.notes
        if self.had:
            return {}
        message = f"trainer.early_stopping_metric={name} is given by no evaluator of the run: {'; '.join(notes) or HOW}"
        raise FrameworkError(message)

    def step(self, step: Step) -> Order:
        """Tell of a step, and return what is to be done.

        Raises:
            FrameworkError: the weights are no numbers any more, and none from before were set aside.
            PrunedError: a sweep gives the run up.
        """
        self.told.append(step)
        self.events.send(TrainingStep(step))
        found = self._check(step)
        if self.answers is not None:
            found += unended(self.plan, self.answers, self.base, step.step)
            self.answers = None
        for trouble in found:
            self.troubles.append(trouble)
            self.events.send(IssueFound(trouble))
        if step.eval_loss is not None:
            self._prune(step)
        keep = self.best.look(step) and self.plan.training.keep_best
        self._stop(found)
        lowers = any(trouble.action is Action.lower for trouble in found)
        return Order(self.plan.health.lower_to if lowers else 1.0, keep, self.stopped)

    def _check(self, step: Step) -> list[Trouble]:
        """Return what the monitors find; one that raises is named and left out, unless it raises a `FrameworkError`."""
        found: list[Trouble] = []
        for plugin, monitor in list(self.monitors.items()):
            try:
                seen = list(monitor.check(step))
            except FrameworkError:
                raise
            except Exception as error:  # noqa: BLE001 - a stranger's code; the training goes on
                current().plugins.leave_out(plugin, HOOK, error)
                del self.monitors[plugin]
                continue
            strange = [each for each in seen if not isinstance(each, Trouble)]
            if strange:
                current().plugins.leave_out(plugin, HOOK, f"check gives a {type(strange[0]).__name__}, no Trouble")
                del self.monitors[plugin]
            else:
                found += seen
        return found

    def retell(self, trained: TrainResult, steps: Sequence[Step]) -> None:
        """Tell of a training that was made before as it was told of then.

        Raises:
            PrunedError: the sweep would have given it up.
        """
        troubles = [*trained.troubles]
        for step in steps:
            self.events.send(TrainingStep(step))
            while troubles and troubles[0].step <= step.step:
                self.events.send(IssueFound(troubles.pop(0)))
            if step.eval_loss is not None:
                self._prune(step)

    def _prune(self, step: Step) -> None:
        """Ask whether a training with this validation loss is worth going on with."""
        for plugin, reason in current().plugins.ask("framework_validated", plan=self.plan, step=step):
            if isinstance(reason, str):
                message = f"step {step.step} of {step.total_steps}: {reason}"
                raise PrunedError(message)
            current().plugins.leave_out(
                plugin, "framework_validated", f"it gives a {type(reason).__name__}, no sentence"
            )

    def _stop(self, found: Sequence[Trouble]) -> None:
        """Note why the training ends here, if it does."""
        ending = [trouble for trouble in found if trouble.action is Action.stop]
        if ending and not self.stopped:
            first = ending[0]
            self.stopped = f"step {first.step}, {first.kind}: {first.text}"
            if first.kind == NAN and not (self.plan.training.keep_best and self.best.step is not None):
                message = (
                    f"{self.stopped}, and no weights from before were set aside, so nothing is saved.\n{first.cure}"
                )
                raise FrameworkError(message)
        self.stopped = self.stopped or self.best.over


def _monitors(plan: Plan) -> Iterator[tuple[str, TrainingMonitor]]:
    """Give what every plugin follows a training with."""
    for number, (plugin, monitor) in enumerate(current().plugins.ask(HOOK, plan=plan)):
        if isinstance(monitor, TrainingMonitor):
            yield f"{plugin}:{number}", monitor
        else:
            current().plugins.leave_out(plugin, HOOK, f"it gives a {type(monitor).__name__}, no TrainingMonitor")
