"""Answers that a judge on loopback grades."""

from __future__ import annotations

from typing import Any

from framework.api.records import Answered, Scores
from framework_plugins.evals.config import JudgeConfig
from framework_plugins.evals.metrics.judge import Judge
from tests.support.judge import Grade, JudgeStandIn


def answers(*texts: str) -> list[Answered]:
    """Return answers to one question."""
    return [Answered("Capital of Peru?", text, None, 1, stopped=True) for text in texts]


def judged(grade: Grade, *texts: str, **settings: Any) -> tuple[Scores, JudgeStandIn]:
    """Let a judge of these settings grade answers; a request is sent once unless they say otherwise."""
    with JudgeStandIn(grade) as server:
        metric = Judge(JudgeConfig(server.url, "tiny", **{"retries": 0, **settings}))
        return metric.score_all(answers(*texts)), server
