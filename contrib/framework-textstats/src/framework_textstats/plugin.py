"""Registers the metric and its experiment."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Component, Plan, hookimpl
from framework.api import Problem
from framework_textstats.config import Language, Measure, ReadabilityConfig


@hookimpl
def framework_components() -> Iterable[Component]:
    """Scores of an answer."""
    factory = "framework_textstats.readability:Readability"
    yield Component("readability", ReadabilityConfig, factory, extra="textstat>=0.7.9")


@hookimpl
def framework_config_paths() -> Iterable[str]:
    """The experiment below conf/."""
    yield "pkg://framework_textstats.conf"


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[Problem]:
    """Refuse what textstat would download a dictionary for in the middle of a run."""
    for name, choice in plan.metric.items():
        config = choice.config
        if not isinstance(config, ReadabilityConfig):
            continue
        if config.measure is Measure.flesch_reading_ease and config.language is Language.en:
            from framework_textstats.readability import has_dictionary  # noqa: PLC0415 - imports textstat and nltk

            if not has_dictionary():
                yield Problem(
                    f"metric.{name}.measure=flesch_reading_ease counts the syllables of English words in a dictionary "
                    "that is not here: run `python -m nltk.downloader cmudict`, or take metric."
                    f"{name}.measure=lix",
                    (f"metric.{name}.measure",),
                )
