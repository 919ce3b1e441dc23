"""`metric=judge`: a grade by another model, asked through an OpenAI-compatible chat endpoint at temperature 0.

A judge that is down, refuses, or replies with something else than a grade leaves answers without a score, and says so.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence

from framework.api import Answered, AnswerMetric, MeasureKind, Scores
from framework_plugins.evals import grading
from framework_plugins.evals.chat_endpoint import ChatEndpoint, NoReplyError
from framework_plugins.evals.config import JudgeConfig

SHOWN = 60
"""Characters of an answer or a reply."""


class Judge(AnswerMetric):
    """The mean grade."""

    unit = "points"
    kind = MeasureKind.content

    def __init__(self, config: JudgeConfig) -> None:
        self.config = config
        self.needs_reference = grading.needs_reference(config)
        self.compares = config.compare
        self._known: dict[str, float] = {}

    def score_all(self, answers: Sequence[Answered]) -> Scores:
        """Ask about each answer once: what was graded before keeps its grade."""
        texts = [grading.written(self.config, answer) for answer in answers]
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        reasons: dict[str, str] = {}
        with judge_endpoint(self.config) as endpoint:
            replies = dict(zip(new, endpoint.ask_all(new, self.config.concurrency), strict=True))
        strange = {}
        for text, reply in replies.items():
            if isinstance(reply, NoReplyError):
                reasons[text] = str(reply)
            elif (grade := grading.grade(reply, self.config.lowest, self.config.highest)) is None:
                strange[text] = reply
            else:
                self._known[text] = grade
        notes = [*self._silent(endpoint.name, texts, reasons), *self._strange(endpoint.name, texts, strange, answers)]
        return Scores([self._known.get(text) for text in texts], notes=notes)

    def compare(self, before: Sequence[Answered], after: Sequence[Answered]) -> Scores:
        """Ask about each pair of different answers in both orders; a judge that goes by the place makes a tie.

        Returns:
            The mean of both orders: 1 where the trained model's answer is preferred in both, 0.75 where once with a
            tie, 0.5 where the two contradict each other; None where one of the two replies is missing or no letter.
        """
        orders = [
            (grading.written_pair(one, two), grading.written_pair(two, one))
            for one, two in zip(before, after, strict=True)
        ]
        differ = [one.answer.strip() != two.answer.strip() for one, two in zip(before, after, strict=True)]
        texts = list(dict.fromkeys(text for pair, ask in zip(orders, differ, strict=True) if ask for text in pair))
        with judge_endpoint(self.config) as endpoint:
            replies = dict(zip(texts, endpoint.ask_all(texts, self.config.concurrency), strict=True))
        found = {
            text: None if isinstance(reply, NoReplyError) else grading.preferred(reply)
            for text, reply in replies.items()
        }
        items: list[float | None] = []
        biased = 0
        for (there, back), ask in zip(orders, differ, strict=True):
            second, first = (found.get(there), found.get(back)) if ask else (0.5, 0.5)
            biased += ask and second is not None and second == first and second != 0.5  # noqa: PLR2004 - a tie
            items.append(None if second is None or first is None else (second + 1 - first) / 2)
        notes = []
        if missing := sum(item is None for item in items):
            notes.append(f"{self.config.model} compared no answers: {_missing(missing, len(items))}")
        if biased:
            notes.append(
                f"{biased} of {len(items)} pairs count as a tie: the judge prefers the same place in both orders"
            )
        return Scores(items, notes=notes)

    def _silent(self, name: str, texts: Sequence[str], reasons: dict[str, str]) -> Iterator[str]:
        """Say for which reasons how many answers have no reply."""
        for reason, count in Counter(reasons[text] for text in texts if text in reasons).items():
            yield f"{self.config.model} at {name} did not reply ({reason}): {_missing(count, len(texts))}"

    def _strange(
        self, name: str, texts: Sequence[str], strange: dict[str, str], answers: Sequence[Answered]
    ) -> Iterator[str]:
        """Show the first reply that is no grade, and say how many there are."""
        without = [number for number, text in enumerate(texts) if text in strange]
        if without:
            first = without[0]
            scale = f"from {self.config.lowest:g} to {self.config.highest:g}"
            reply, answer = strange[texts[first]][:SHOWN], answers[first].answer[:SHOWN]
            yield (
                f"{self.config.model} at {name} did not reply with one number {scale}, but {reply!r} to the answer "
                f"{answer!r}: {_missing(len(without), len(texts))}"
            )


def judge_endpoint(config: JudgeConfig) -> ChatEndpoint:
    """Return the endpoint of a judge, with the key that the environment holds."""
    key = os.environ.get(config.key_env, "").strip() if config.key_env else ""
    return ChatEndpoint(
        config.base_url, config.model, key=key, timeout=config.timeout, retries=config.retries, more=config.request
    )


def _missing(count: int, total: int) -> str:
    return f"{count} of {total} answers have no score"
