"""Registers evaluators and metrics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from framework import Component, hookimpl
from framework_evals import config

if TYPE_CHECKING:
    from framework.fitting import Saving
    from framework.plan import Plan
    from framework.records import Work


@hookimpl
def framework_evaluators() -> Iterable[Component]:
    """Before and after."""
    yield Component("prompts", config.PromptsConfig, "framework_evals.prompts:Prompts")


@hookimpl
def framework_metrics() -> Iterable[Component]:
    """Scores of answers."""
    metrics = "framework_evals.metrics"
    yield Component("exact_match", config.ExactMatchConfig, f"{metrics}.exact_match:ExactMatch")
    yield Component("json_valid", config.JsonValidConfig, f"{metrics}.json_valid:JsonValid")
    yield Component("regex", config.RegexConfig, f"{metrics}.regex:Regex")
    yield Component("token_f1", config.TokenF1Config, f"{metrics}.token_f1:TokenF1")
    yield Component("rouge", config.RougeConfig, f"{metrics}.rouge:Rouge")
    yield Component("bleu", config.BleuConfig, f"{metrics}.bleu:Bleu")
    yield Component("chrf", config.ChrfConfig, f"{metrics}.chrf:Chrf")
    yield Component("perplexity", config.PerplexityConfig, f"{metrics}.perplexity:Perplexity")
    yield Component("length", config.LengthConfig, f"{metrics}.length:Length")
    yield Component("stopped", config.StoppedConfig, f"{metrics}.stopped:Stopped")
    yield Component("judge", config.JudgeConfig, f"{metrics}.judge:Judge")


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[str]:
    """Patterns, schemas, the judge, and prompts of the user's own."""
    if plan.metric or plan.evaluator:
        from framework_evals import checks  # noqa: PLC0415 - --help need not pay for it

        yield from checks.problems(plan)


@hookimpl
def framework_config_paths() -> Iterable[str]:
    """The presets below conf/."""
    yield "pkg://framework_evals.conf"


@hookimpl
def framework_savings(plan: Plan) -> Iterable[Saving]:
    """Fewer prompts at a time."""
    from framework.fitting import Saving  # noqa: PLC0415 - --help need not pay for it

    for name, choice in plan.evaluator.items():
        if isinstance(choice.config, config.PromptsConfig):
            size = choice.config.batch_size
            while size > 1:
                size //= 2
                yield Saving({f"evaluator.{name}.batch_size": size}, "nothing but slower answers", price=0)


@hookimpl
def framework_advice(plan: Plan, work: Work | None) -> Iterable[str]:
    """Metrics with nothing to compare with, and answers that are more tokens than the training."""
    from framework_evals import checks  # noqa: PLC0415 - as above

    yield from checks.advice(plan, work)
