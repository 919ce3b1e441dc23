"""Problems of the evaluators and metrics of a plan that show before a model is loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from framework import FrameworkError, Plan, Stage
from framework.api import Problem, Prompt, Work
from framework_plugins.evals import config, grading
from framework_plugins.evals.json_schema import make_validator, read_schema
from framework_plugins.evals.metrics.regex import compile_pattern
from framework_plugins.evals.own_prompts import own_prompts

REFERENCE_METRICS = (
    config.ExactMatchConfig, config.TokenF1Config, config.RougeConfig, config.BleuConfig, config.ChrfConfig,
    config.PerplexityConfig,
)  # fmt: skip
"""Metrics that compare with a reference."""
MIN_PROMPTS = 10
"""Prompts that tell the least."""
VARIABLE_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")


def problems(plan: Plan) -> Iterator[Problem]:
    """Give what is wrong, a sentence each."""
    for name, choice in plan.metric.items():
        yield from _metric_problems(f"metric.{name}", choice.config)
    for name, choice in plan.evaluator.items():
        if isinstance(choice.config, config.PromptsConfig):
            yield from _prompt_problems(plan, f"evaluator.{name}", choice.config)


def _metric_problems(option: str, settings: object) -> Iterator[Problem]:
    """Say what is wrong with the values of a metric's settings."""
    if isinstance(settings, config.RegexConfig) and (text := _error_text(lambda: compile_pattern(settings))):
        yield Problem(f"{option}.pattern={settings.pattern}: {text}", (f"{option}.pattern",))
    elif isinstance(settings, config.JsonValidConfig) and settings.schema is not None:
        if text := _error_text(lambda: make_validator(read_schema(settings.schema))):
            value = settings.schema if isinstance(settings.schema, str) else "…"
            yield Problem(f"{option}.schema={value}: {text}", (f"{option}.schema",))
    elif isinstance(settings, config.JudgeConfig):
        yield from _judge_problems(option, settings)


def _error_text(make: Callable[[], object]) -> str:
    """Return why something cannot be made; empty if it can."""
    try:
        make()
    except FrameworkError as error:
        return str(error)
    return ""


def _judge_problems(option: str, settings: config.JudgeConfig) -> Iterator[Problem]:
    """Check the judge. If a value may be secret, it is not repeated, and no key is given: its place would repeat it."""
    parts, address = urlsplit(settings.base_url), f"{option}.base_url"
    if parts.username or parts.password:
        yield Problem(f"{address}: a name or password in an address ends up in logs; give a key with key_env")
    elif parts.scheme not in {"http", "https"} or not parts.hostname:
        text = "this is not an address such as http://localhost:11434/v1"
        yield Problem(f"{address}={settings.base_url}: {text}", (address,))
    if settings.lowest >= settings.highest:
        text = f"{option}.lowest={settings.lowest:g} must be below highest={settings.highest:g}"
        yield Problem(text, (f"{option}.lowest",))
    for text in grading.problems(settings.prompt) if settings.prompt is not None else ():
        yield Problem(f"{option}.prompt=…: {text}", (f"{option}.prompt",))
    if settings.key_env is not None:
        yield from _key_problems(f"{option}.key_env", settings.key_env)


def _key_problems(key: str, name: str) -> Iterator[Problem]:
    """Look at the name of the variable; what does not look like one may be the secret itself."""
    if not VARIABLE_NAME.fullmatch(name):
        example = "such as OPENAI_API_KEY, and not the key itself"
        yield Problem(f"{key} must be the name of an environment variable, {example}")
    elif not (secret := os.environ.get(name, "").strip()):
        yield Problem(f"{key}={name}: there is no such environment variable, or it is empty", (key,))
    elif not (secret.isascii() and secret.isprintable()):
        yield Problem(f"{key}={name}: the key has a character that a request cannot contain", (key,))


def _prompt_problems(plan: Plan, key: str, settings: config.PromptsConfig) -> Iterator[Problem]:
    if settings.file is not None and settings.prompts:
        yield Problem(
            f"{key}.file={settings.file}: prompts are given in {key}.prompts too; give one of the two", (f"{key}.file",)
        )
        return
    if settings.format is not None and settings.file is None and not settings.prompts:
        yield Problem(
            f"{key}.format={settings.format} is for prompts of your own, and none are given: set {key}.file",
            (f"{key}.format",),
        )
        return
    source, value = (f"{key}.prompts", "[…]") if settings.file is None else (f"{key}.file", settings.file)
    try:
        prompts = own_prompts(settings, plan.format)
    except FrameworkError as error:
        yield Problem(f"{source}={value}: {error}", (source,))
        return
    objective = plan.settings.objective
    if prompts and objective in _metrics_without_references(plan, prompts):
        yield Problem(
            f"objective={objective} needs references, and none of the prompts in {source}={value} has one",
            ("objective", source),
        )


def _metrics_without_references(plan: Plan, prompts: list[Prompt]) -> list[str]:
    """Return the metrics that can score none of the user's prompts."""
    if any(prompt.reference is not None for prompt in prompts):
        return []
    return [name for name, choice in plan.metric.items() if _needs_reference(choice.config)]


def _needs_reference(settings: object) -> bool:
    if isinstance(settings, config.JudgeConfig):
        return grading.needs_reference(settings)
    return isinstance(settings, REFERENCE_METRICS)


def advice(plan: Plan, work: Work | None) -> Iterator[str]:
    """Say which metrics will have nothing to compare with, and where answering takes more than training."""
    for name, choice in plan.evaluator.items():
        if not isinstance(choice.config, config.PromptsConfig):
            continue
        prompts = own_prompts(choice.config, plan.format)
        if prompts and (idle := _metrics_without_references(plan, prompts)):
            yield (
                f"evaluator.{name}: none of the {len(prompts)} prompts has a reference, so {', '.join(idle)} will "
                "score nothing. Add references to the prompts, or choose among json_valid, regex, length, stopped and "
                "judge"
            )
        if work is not None and Stage.train in plan.stages:
            yield from _answering_advice(plan, f"evaluator.{name}", choice.config, len(prompts), work)


def _answering_advice(
    plan: Plan, key: str, settings: config.PromptsConfig, prompt_count: int, work: Work
) -> Iterator[str]:
    """Say that answers are more tokens than the training."""
    times = len({Stage.baseline, Stage.evaluate} & set(plan.stages))
    count = prompt_count or settings.count
    answer_tokens = times * count * settings.max_new_tokens
    if answer_tokens <= work.tokens * work.epochs or count <= MIN_PROMPTS:
        return
    if not prompt_count and count > work.rows:  # prompts are held-out rows as a rule, and of few rows few are held out
        return
    subject = f"{key} asks {prompt_count} prompts" if prompt_count else f"{key}.count={count}"
    recommendation = f"Give {MIN_PROMPTS} of them" if prompt_count else f"Set {key}.count={MIN_PROMPTS}"
    trained = f"{work.tokens * work.epochs:,.0f} are trained on"
    yield f"{subject}: up to {answer_tokens:,} tokens are generated, and {trained}. {recommendation}"
