"""The check of `python -m framework doctor` for evaluations: whether the judge of the run replies."""

from __future__ import annotations

from dataclasses import replace

from framework import Plan
from framework.api import DiagnosticResult, State
from framework_plugins.evals.config import JudgeConfig

SECONDS = 20.0
"""Seconds for a short reply here; the run uses its own timeout."""


def judges(plan: Plan) -> list[JudgeConfig]:
    """Return the settings of the judges of a plan."""
    return [choice.config for choice in plan.metric.values() if isinstance(choice.config, JudgeConfig)]


def judge(plan: Plan | None) -> DiagnosticResult | None:
    """Ask each judge for a grade, once and with nothing of the run in it: the address, the key and the model count."""
    if plan is None or not judges(plan):
        return None
    # httpx is an extra, and without a judge nobody misses it.
    from framework_plugins.evals.grading import parse_grade  # noqa: PLC0415
    from framework_plugins.evals.metrics.judge import judge_endpoint  # noqa: PLC0415
    from framework_plugins.lib.chat_endpoint import NoReplyError  # noqa: PLC0415

    for config in judges(plan):
        with judge_endpoint(replace(config, timeout=min(config.timeout, SECONDS), retries=0)) as endpoint:
            (reply,) = endpoint.ask_all([f"Reply with the number {config.highest:g} and nothing else."], 1)
        judge_name = f"{config.model} at {endpoint.name}"
        if isinstance(reply, NoReplyError):
            key = f"the key in {config.key_env}" if config.key_env else "whether it requires a key (key_env=NAME)"
            fix = f"check base_url and model of the judge, and {key}"
            return DiagnosticResult(State.missing, f"{judge_name} does not reply: {reply}", fix=fix)
        if parse_grade(reply, config.lowest, config.highest) is None:
            detail = f"{judge_name} was asked for a number and replied {reply[:40]!r}"
            return DiagnosticResult(State.broken, detail, fix="take another model")
    return DiagnosticResult(State.ok, f"{judge_name} replies")
