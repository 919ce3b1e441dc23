"""The plugin as a whole, the metric by the suite that every metric has to pass, and what is its own."""

from __future__ import annotations

from pathlib import Path

import pytest

import framework_plugin_template.plugin
from framework import FrameworkError, testing
from framework.testing import MetricSuite


class TestWordLimit(MetricSuite):
    option = "word_limit"
    overrides = ("metric.word_limit.limit=4",)
    answers = (("one two three four", None, 1.0), ("a b c d e f g h", None, 0.5), ("", None, 0.0))


class TestStrict(MetricSuite):
    option = "word_limit"
    overrides = ("metric.word_limit.limit=2", "metric.word_limit.strict=true", "metric.word_limit.least=0")
    answers = (("one two", None, 1.0), ("one two three", None, 0.0), ("", None, 1.0))


def test_the_plugin_has_no_problems() -> None:
    assert testing.check_plugin(framework_plugin_template.plugin) == []


def test_the_preset_is_the_metric_with_another_limit(tmp_path: Path) -> None:
    plan = testing.plan(["metric=[one_sentence]"], run_dir=tmp_path)
    assert (list(plan.metric), plan.metric["word_limit"].config.limit) == (["word_limit"], 20)


def test_limits_that_no_answer_can_keep_are_refused(tmp_path: Path) -> None:
    words = ["metric=[word_limit]", "metric.word_limit.least=9", "metric.word_limit.limit=3"]
    with pytest.raises(FrameworkError, match=r"metric\.word_limit\.least=9 is above metric\.word_limit\.limit=3"):
        testing.plan(words, run_dir=tmp_path)


def test_a_limit_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=r"metric\.word_limit\.limit"):
        testing.plan(["metric=[word_limit]", "metric.word_limit.limit=0"], run_dir=tmp_path)
