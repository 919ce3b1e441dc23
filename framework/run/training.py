"""The course of one training: who receives each step, and what the backend has to do after it.

The backend trains, takes the validation loss and obeys; when a training is stopped, slowed or at its best is decided
here, in the same way for all backends.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from framework.api.events import Event, IssueFound, TrainingStep
from framework.api.protocols import Evaluator, RemoteTrainer, TrainingMonitor, TrainRun
from framework.api.records import EvalResult, Measure, Step, StepControl, TokenGroup, TrainingIssue, TrainResult
from framework.api.rewarding import rewarder
from framework.api.schema import Action
from framework.evaluate.measure import Measuring
from framework.monitor.early_stopping import BestValidation
from framework.monitor.reward_curve import rises
from framework.monitor.truncated_answers import truncation_issues
from framework.run.callbacks import Callbacks
from framework.run.interruption import Interruption
from framework.run.lineage import lineage
from framework.util.errors import FrameworkError, PrunedError
from framework.util.guard import Caught
from framework.util.hashing import hashes

MONITORS_HOOK = "framework_training_monitors"


class SendsEvents(Protocol):
    """What follows a training, such as the `Events` of a run."""

    def send(self, event: Event) -> None:
        """Receive an event."""


class TrainingController:
    """Follows one training.

    Args:
        events: sends each step and issue.
        measuring: the model that is trained, the data, and what it is measured by.
        base: what the base model answered, if it was asked.
        interruption: what has asked the run to end.
        rows: makes the groups that are learned; None: those of the data.
    """

    def __init__(
        self,
        events: SendsEvents,
        measuring: Measuring,
        base: EvalResult | None,
        interruption: Interruption,
        rows: Callable[[], Sequence[TokenGroup]] | None = None,
    ) -> None:
        self.rows = rows
        self.interruption = interruption
        self.plan = plan = measuring.plan
        self.plugins = measuring.session.plugins
        self.events = events
        self.model = measuring.model
        self.data = measuring.data
        self.metrics = measuring.metrics
        self.base = base
        self.best = BestValidation(plan.training.early_stopping_metric, plan.training.early_stopping_patience)
        self.best.higher_is_better = self.best.name in plan.method.config.measures()
        evaluators = measuring.evaluators
        # Each validation has prompts answered, so only the evaluators that name the metric are asked. A metric of
        # `metric=` is named by none of them: then all are tried once.
        matching = [
            evaluator
            for name, evaluator in evaluators.items()
            if self.best.name in plan.evaluator[name].config.measures()
        ]
        self.asking: Sequence[Evaluator] = matching or list(evaluators.values())
        monitors = self.plugins.ask(MONITORS_HOOK, TrainingMonitor, plan=plan)  # type: ignore[type-abstract] # its protocol
        self.monitors = {f"{plugin}:{index}": monitor for index, (plugin, monitor) in enumerate(monitors)}
        self.callbacks = Callbacks(plan.callback)
        self.answers: EvalResult | None = None
        self.had = base is not None and self.best.name in base.measures
        """Whether the metric could be measured before."""
        self.issues: list[TrainingIssue] = []
        self.steps: list[Step] = []
        self.stopped = ""

    def train(self, checkpoint: Path, scratch: Path, remote_trainer: RemoteTrainer | None = None) -> TrainResult:
        """Train into `checkpoint`, here or by `remote_trainer`, and return its result with its issues."""
        run = TrainRun(
            checkpoint, scratch, self.step, self.measure, self.interruption.asked, self.callbacks.state,
            self.callbacks.restore, self.data.train_prompts, rewarder(self.plan.reward),
        )  # fmt: skip
        data = self.data
        if self.rows:  # the held-out rows are questions, which have no loss
            data = dataclasses.replace(data, train_groups=self.rows(), validation=(), validation_groups=())
        if remote_trainer:
            trained = remote_trainer(self.plan, self.model, data, run)
        else:
            trained = self.model.train(data.train_groups, data.validation_groups, run)
        best, training = self.best, self.plan.training
        chose = training.keep_best or training.early_stopping_patience is not None
        # The rows of the validation loss also give the prompts to choose by, if there are any.
        on_rows = best.name not in self.plan.set_losses and bool(self.data.selection)
        return dataclasses.replace(
            trained, issues=self.issues, stopped=self.stopped, best_step=best.step, best_value=best.value,
            candidates=best.seen if chose else 0, chosen_on=Measure.EVAL_LOSS if on_rows else best.name,
            lineage=lineage(start) if (start := self.plan.start(weights=True)) else [],
            rewards=rises(self.steps, self.plan.settings.verdict.confidence), files=hashes(checkpoint),
        )  # fmt: skip

    def measure(self) -> Mapping[str, float]:
        """Return what the prompts of the run give now; nothing if the validation loss is all that is asked for.

        A metric that was had before may be missing once, where a judge is down: that validation counts for nothing.

        Raises:
            FrameworkError: no evaluator gives the metric.
        """
        name, training = self.best.name, self.plan.training
        method_measures = self.plan.method.config.measures()  # which the model measures itself, as it does its loss
        by_loss = name in {Measure.EVAL_LOSS, *self.plan.set_losses, *method_measures}
        if by_loss or not (training.keep_best or training.early_stopping_patience):
            return {}
        notes = []
        for evaluator in self.asking:
            result = evaluator.evaluate(self.model, self.data.for_selection(), self.metrics)
            if name in result.measures:
                # From here on the others are not asked: their answers cost as much as those of this one.
                self.asking, self.answers, self.had = [evaluator], result, True
                self.best.higher_is_better = result.measures[name].higher_is_better
                return result.metrics
            notes += result.notes
        if self.had:
            return {}
        reasons = "; ".join(notes) or "choose one that answers prompts"
        raise FrameworkError(f"trainer.early_stopping_metric={name} is returned by no evaluator: {reasons}")

    def step(self, step: Step) -> StepControl:
        """Send a step, and return what is to be done.

        Raises:
            FrameworkError: the weights are not numbers any more, and none from before were set aside.
            PrunedError: a sweep prunes the run.
        """
        self.steps.append(step)
        self.events.send(TrainingStep(step))
        issues = self._check(step)
        if self.answers is not None:
            all_issues, action = [*self.issues, *issues], self.plan.settings.health.truncated_answers
            issues += truncation_issues(action, self.answers, self.base, step.step, all_issues, step.eval_loss)
            # Answers belong to one validation; the steps until the next one would report them again.
            self.answers = None
        for issue in issues:
            self.issues.append(issue)
            self.events.send(IssueFound(issue, step.repeated))
        if step.eval_loss is not None:
            self._prune(step)
        # Before `_stop`, which asks how many validations ago the best was.
        keep = self.best.improves(step) and self.plan.training.keep_best
        self._stop(issues)
        control = self.callbacks.on_step(step)
        self.stopped = self.stopped or control.stop
        lowers = any(issue.action is Action.lower for issue in issues)
        rate = (self.plan.settings.health.lower_to if lowers else 1.0) * control.rate
        return StepControl(rate, keep or control.keep, self.stopped)

    def _check(self, step: Step) -> list[TrainingIssue]:
        """Return what the monitors find; one that raises is named and left out, unless it raises a `FrameworkError`."""
        issues: list[TrainingIssue] = []
        # A copy: one that raises is taken out on the way.
        for plugin, monitor in list(self.monitors.items()):
            results: list[Any] = []
            failed = Caught(FrameworkError)  # it may refuse the run; only a fault of its code is passed over
            with failed:
                results = list(monitor.check(step))
            if failed.error:
                self.plugins.skip_plugin(plugin, MONITORS_HOOK, failed.error)
                del self.monitors[plugin]
                continue
            foreign = [result for result in results if not isinstance(result, TrainingIssue)]
            if foreign:
                self.plugins.skip_plugin(
                    plugin, MONITORS_HOOK, f"check gives {type(foreign[0]).__name__}, not a TrainingIssue"
                )
                del self.monitors[plugin]
            else:
                issues += results
        return issues

    def replay(self, trained: TrainResult, steps: Sequence[Step]) -> None:
        """Send the steps of an earlier training as they were sent then.

        Raises:
            PrunedError: the sweep would have pruned it.
        """
        issues = [*trained.issues]
        for step in steps:
            self.events.send(TrainingStep(step))
            # Loggers get an issue after the step at which it was seen, as in the training itself.
            while issues and issues[0].step <= step.step:
                self.events.send(IssueFound(issues.pop(0), step.repeated))
            if step.eval_loss is not None:
                self._prune(step)

    def _prune(self, step: Step) -> None:
        """Ask whether a training with this validation loss is pruned."""
        for _, reason in self.plugins.ask("framework_prune_reasons", str, plan=self.plan, step=step):
            raise PrunedError(f"step {step.step} of {step.total_steps}: {reason}")

    def _stop(self, issues: Sequence[TrainingIssue]) -> None:
        """Note why the training ends here, if it does."""
        ending = [issue for issue in issues if issue.action is Action.stop]
        if ending and not self.stopped:
            issue = ending[0]
            self.stopped = f"step {issue.step}, {issue.kind}: {issue.text}"
            # Weights that are not numbers are not saved; with `keep_best` those of an earlier validation are.
            if issue.kind == TrainingIssue.NAN and not (self.plan.training.keep_best and self.best.step is not None):
                message = f"{self.stopped}, and no earlier weights were set aside, so nothing is saved."
                raise FrameworkError(f"{message}\n{issue.recommendation}")
        self.stopped = self.stopped or self.best.stop_reason
