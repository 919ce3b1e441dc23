"""The hooks: what this package adds. Every command imports this module, so nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Component, Plan, hookimpl
from framework.api import Problem
from framework_plugin_template.config import WordLimitConfig


@hookimpl
def framework_components() -> Iterable[Component]:
    """The option, its settings, and the code that a run imports when it is chosen."""
    yield Component("word_limit", WordLimitConfig, "framework_plugin_template.word_limit:WordLimit")


@hookimpl
def framework_config_paths() -> Iterable[str]:
    """The presets below conf/."""
    yield "pkg://framework_plugin_template.conf"


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[Problem]:
    """Settings that contradict each other. A range of one setting is in config.py."""
    for name, choice in plan.metric.items():
        config = choice.config
        if isinstance(config, WordLimitConfig) and config.least > config.limit:
            yield Problem(
                f"metric.{name}.least={config.least} is above metric.{name}.limit={config.limit}: no answer can score; "
                "lower the first or raise the second",
                (f"metric.{name}.least", f"metric.{name}.limit"),
            )
