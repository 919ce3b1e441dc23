"""Checks of the settings of `health` and of early stopping, and of the data that early stopping needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from framework.api.component import hookimpl
from framework.api.data import Data
from framework.api.plan import Plan
from framework.api.problem import Problem
from framework.api.records import Measure
from framework.api.schema import Action, TrainerConfig
from framework.hooks.session import current
from framework.util.errors import FrameworkError, unknown


@hookimpl
def framework_check_plan(plan: Plan) -> Iterator[Problem]:
    """Check the actions and what the early stopping goes by."""
    if plan.settings.health.nan is Action.lower:
        yield Problem(
            "health.nan=lower: weights that are NaN stay so at any learning rate. Set warn or stop", ("health.nan",)
        )
    if plan.settings.health.truncated_answers is Action.lower:
        yield Problem(
            "health.truncated_answers=lower: a lower learning rate does not teach the stop token. Set warn or stop",
            ("health.truncated_answers",),
        )
    name, training = plan.training.early_stopping_metric, plan.training
    if name in {Measure.EVAL_LOSS, *plan.set_losses}:
        return
    setting = f"trainer.early_stopping_metric={name}"
    if name in plan.metric or name in plan.measured:
        if not plan.evaluator:
            yield Problem(
                f"{setting} needs an evaluator, but none is chosen: set evaluator=[prompts]",
                ("trainer.early_stopping_metric",),
            )
        elif not training.keep_best and training.early_stopping_patience is None:
            yield Problem(
                f"{setting} has no effect: set trainer.keep_best=true or trainer.early_stopping_patience=2",
                ("trainer.early_stopping_metric",),
            )
    elif name in current().plugins.components("metric"):
        yield Problem(
            f"{setting} is not one of the run's metrics: set metric=[{','.join([*plan.metric, name])}]",
            ("trainer.early_stopping_metric",),
        )
    else:
        names = {Measure.EVAL_LOSS, *plan.set_losses, *plan.metric, *plan.measured}
        yield Problem(f"{setting}: {unknown('metric', name, names)}", ("trainer.early_stopping_metric",))


def check_answers(method: str, trainer: str, data: Data) -> None:
    """Look whether there is something to learn of all rows.

    Args:
        method: the option of `method=`.
        trainer: the option of `trainer=`.
        data: of the run.

    Raises:
        FrameworkError: some are prompts.
    """
    if (asking := len(data.train_groups) - len(data.train)) > 0:
        raise FrameworkError(
            f"method={method} makes prompts without answers of {asking} of {len(data.train_groups)} training rows, and "
            f"trainer={trainer} learns from the answers of the data only: leave such rows out, or choose another method"
        )


def check_data(training: TrainerConfig, set_losses: Iterable[str], data: Data) -> None:
    """Look whether the data have what the early stopping of a training goes by.

    Raises:
        FrameworkError: they have not.
    """
    name, patience = training.early_stopping_metric, training.early_stopping_patience
    if name not in {Measure.EVAL_LOSS, *set_losses} and not data.prompts:
        raise FrameworkError(
            f"trainer.early_stopping_metric={name} needs prompts, but there are none: set data.validation_split=0.1"
        )
    if name == Measure.EVAL_LOSS and patience is not None and not data.validation:
        raise FrameworkError(
            f"trainer.early_stopping_patience={patience} needs validation rows, but there are none: set "
            "data.validation_split=0.1, or trainer.early_stopping_metric to a metric of the run"
        )


def check_validation(data: Data, share: float, metrics: Iterable[str]) -> None:
    """Look whether there are validation rows for `objective=eval_loss`.

    Args:
        data: of the run.
        share: `data.validation_split`.
        metrics: those of the run, one of which could be its objective instead.

    Raises:
        FrameworkError: there are none.
    """
    if data.validation:
        return
    advice = "set data.validation_split=0.1"
    if share and data.result.train_rows > 1:
        advice = "all rows ask nearly the same, so training would answer any that are held out; give others"
    elif share:
        advice = "a single row cannot be split; give more rows"
    alternative = f"objective={'|'.join([*metrics, 'train_loss'])}"
    raise FrameworkError(f"objective=eval_loss needs validation rows, but there are none: {advice}, or {alternative}")
