"""Registers evaluators and metrics, and the command `compare`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from framework import Component, hookimpl
from framework.api import Concern, Diagnostic, Problem, Results, Work, missing
from framework_plugins.evals import config

if TYPE_CHECKING:
    from framework import Plan


@hookimpl
def framework_components() -> Iterable[Component]:
    """What a model is measured by before and after, the scores of its answers, and the command `compare`."""
    yield Component("prompts", config.PromptsConfig, "framework_plugins.evals.prompts:Prompts")
    yield Component(
        "memorization", config.MemorizationConfig, "framework_plugins.evals.memorization.evaluator:Memorization"
    )
    yield Component(
        "lm_eval", config.LmEvalConfig, "framework_plugins.evals.harness.evaluator:LmEval", extra=config.EXTRA
    )
    yield Component("forgetting", config.ForgettingConfig, "framework_plugins.evals.forgetting:Forgetting")
    metrics = "framework_plugins.evals.metrics"
    yield Component("exact_match", config.ExactMatchConfig, f"{metrics}.exact_match:ExactMatch")
    yield Component("json_fields", config.JsonFieldsConfig, f"{metrics}.json_fields:JsonFields")
    yield Component("json_valid", config.JsonValidConfig, f"{metrics}.json_valid:JsonValid")
    yield Component("regex", config.RegexConfig, f"{metrics}.regex:Regex")
    yield Component("token_f1", config.TokenF1Config, f"{metrics}.token_f1:TokenF1")
    yield Component("tool_calls", config.ToolCallsConfig, f"{metrics}.tool_calls:ToolCalls")
    yield Component("rouge", config.RougeConfig, f"{metrics}.rouge:Rouge", extra=config.EXTRA)
    yield Component("bleu", config.BleuConfig, f"{metrics}.bleu:Bleu", extra=config.EXTRA)
    yield Component("chrf", config.ChrfConfig, f"{metrics}.chrf:Chrf", extra=config.EXTRA)
    yield Component("perplexity", config.PerplexityConfig, f"{metrics}.perplexity:Perplexity")
    yield Component("length", config.LengthConfig, f"{metrics}.length:Length")
    yield Component("stopped", config.StoppedConfig, f"{metrics}.stopped:Stopped")
    yield Component("judge", config.JudgeConfig, f"{metrics}.judge:Judge", extra=config.EXTRA)
    yield Component("compare", config.CompareCommandConfig, "framework_plugins.evals.comparison.command:CompareCommand")


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[Problem]:
    """Patterns, schemas, the judge, prompts of the user's own, tasks that nobody knows, settings that ask nothing."""
    if plan.metric or plan.evaluator:
        from framework_plugins.evals import checks  # noqa: PLC0415 - --help need not pay for it

        yield from checks.problems(plan)
    for name, choice in plan.evaluator.items():
        settings = choice.config
        if isinstance(settings, config.MemorizationConfig) and settings.min_tokens > settings.max_new_tokens:
            yield Problem(
                f"evaluator.{name}.min_tokens={settings.min_tokens} is more than max_new_tokens="
                f"{settings.max_new_tokens}: no row would be left to ask about. Set {settings.max_new_tokens} or less",
                (f"evaluator.{name}.min_tokens",),
            )
        if isinstance(settings, config.LmEvalConfig):
            from framework_plugins.evals.harness.names import problems  # noqa: PLC0415 - as above

            if not missing(["lm-eval"]):
                yield from problems(name, settings.tasks, settings.include_path)


@hookimpl
def framework_config_paths() -> Iterable[str]:
    """The presets below conf/."""
    yield "pkg://framework_plugins.evals.conf"


@hookimpl
def framework_concerns(plan: Plan, results: Results) -> Iterable[Concern]:
    """What a model forgot, rows that are recited, a judge that likes length, and experts that are not used any more."""
    from framework_plugins.evals.expert_concern import expert_concerns  # noqa: PLC0415 - --help need not pay for it
    from framework_plugins.evals.forgetting_concern import concerns  # noqa: PLC0415 - as above
    from framework_plugins.evals.length_concern import length_concerns  # noqa: PLC0415 - as above
    from framework_plugins.evals.memorization.concern import memorization_concern  # noqa: PLC0415 - as above

    yield from concerns(plan, results)
    yield from length_concerns(plan, results)
    yield from expert_concerns(plan, results)
    for choice in plan.evaluator.values():
        if isinstance(choice.config, config.MemorizationConfig):
            concern = memorization_concern(choice.config, results, plan.settings.verdict.confidence)
            yield from [concern] if concern else []


@hookimpl
def framework_diagnostics() -> Iterable[Diagnostic]:
    """The judge."""
    yield Diagnostic(
        "judge", "evaluation", "framework_plugins.evals.diagnostics:judge", _has_a_judge, "quick", seconds=30
    )


def _has_a_judge(plan: Plan) -> bool:
    return any(isinstance(choice.config, config.JudgeConfig) for choice in plan.metric.values())


@hookimpl
def framework_advice(plan: Plan, work: Work | None) -> Iterable[str]:
    """Metrics with nothing to compare with, and answers that are more tokens than the training."""
    from framework_plugins.evals import checks  # noqa: PLC0415 - as above

    yield from checks.advice(plan, work)
