"""`metric=judge`: a grade by another model, asked through an OpenAI-compatible chat endpoint at temperature 0.

A judge that is down, refuses, or replies with something else than a grade leaves answers without a score, and says so.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence

from framework.api import Answered, AnswerMetric, MeasureKind, Scores
from framework_plugins.evals import grading
from framework_plugins.evals.config import JudgeConfig
from framework_plugins.lib.chat_endpoint import ChatEndpoint, NoReplyError

MAX_SHOWN_CHARS = 60
"""Characters of an answer or a reply."""


class Judge(AnswerMetric):
    """The mean grade."""

    unit = "points"
    kind = MeasureKind.content

    def __init__(self, config: JudgeConfig) -> None:
        self.config = config
        self.needs_reference = grading.needs_reference(config)
        self.compares = config.compare
        self._grades: dict[str, float] = {}

    def score_all(self, answers: Sequence[Answered]) -> Scores:
        """Ask about each answer once; an answer that has a grade keeps it."""
        texts = [grading.grading_prompt(self.config, answer) for answer in answers]
        new_texts = [text for text in dict.fromkeys(texts) if text not in self._grades]
        reasons: dict[str, str] = {}
        with judge_endpoint(self.config) as endpoint:
            replies = dict(zip(new_texts, endpoint.ask_all(new_texts, self.config.concurrency), strict=True))
        bad = {}
        for text, reply in replies.items():
            if isinstance(reply, NoReplyError):
                reasons[text] = str(reply)
            elif (grade := grading.parse_grade(reply, self.config.lowest, self.config.highest)) is None:
                bad[text] = reply
            else:
                self._grades[text] = grade
        notes = [*self._no_reply(endpoint.name, texts, reasons), *self._bad_reply(endpoint.name, texts, bad, answers)]
        return Scores([self._grades.get(text) for text in texts], notes=notes)

    def compare(self, before: Sequence[Answered], after: Sequence[Answered]) -> Scores:
        """Ask about each pair of different answers in both orders; a judge that goes by the place makes a tie.

        Returns:
            The mean of both orders: 1 if the trained model's answer is preferred in both, 0.75 if once with a
            tie, 0.5 if the two contradict each other; None if one of the two replies is missing or not a letter.
        """
        orders = [
            (grading.comparison_prompt(base, tuned), grading.comparison_prompt(tuned, base))
            for base, tuned in zip(before, after, strict=True)
        ]
        differ = [base.answer.strip() != tuned.answer.strip() for base, tuned in zip(before, after, strict=True)]
        texts = list(dict.fromkeys(text for pair, ask in zip(orders, differ, strict=True) if ask for text in pair))
        with judge_endpoint(self.config) as endpoint:
            replies = dict(zip(texts, endpoint.ask_all(texts, self.config.concurrency), strict=True))
        preferences = {
            text: None if isinstance(reply, NoReplyError) else grading.parse_preference(reply)
            for text, reply in replies.items()
        }
        items: list[float | None] = []
        biased = 0
        for (forward, reverse), ask in zip(orders, differ, strict=True):
            forward_score, reverse_score = (preferences.get(forward), preferences.get(reverse)) if ask else (0.5, 0.5)
            biased += ask and forward_score is not None and forward_score == reverse_score and forward_score != 0.5  # noqa: PLR2004 - a tie
            items.append(
                None if forward_score is None or reverse_score is None else (forward_score + 1 - reverse_score) / 2
            )
        notes = []
        if failures := sum(item is None for item in items):
            notes.append(f"{self.config.model} compared no answers: {_unscored_text(failures, len(items))}")
        if biased:
            notes.append(
                f"{biased} of {len(items)} pairs count as a tie: the judge prefers the same place in both orders"
            )
        return Scores(items, notes=notes)

    def _no_reply(self, name: str, texts: Sequence[str], reasons: dict[str, str]) -> Iterator[str]:
        """Say how many answers have no reply, for each reason."""
        for reason, count in Counter(reasons[text] for text in texts if text in reasons).items():
            yield f"{self.config.model} at {name} did not reply ({reason}): {_unscored_text(count, len(texts))}"

    def _bad_reply(
        self, name: str, texts: Sequence[str], bad: dict[str, str], answers: Sequence[Answered]
    ) -> Iterator[str]:
        """Show the first reply that is not a grade, and say how many there are."""
        without = [index for index, text in enumerate(texts) if text in bad]
        if without:
            example = without[0]
            scale = f"from {self.config.lowest:g} to {self.config.highest:g}"
            reply, answer = bad[texts[example]][:MAX_SHOWN_CHARS], answers[example].answer[:MAX_SHOWN_CHARS]
            yield (
                f"{self.config.model} at {name} did not reply with one number {scale}, but {reply!r} to the answer "
                f"{answer!r}: {_unscored_text(len(without), len(texts))}"
            )


def judge_endpoint(config: JudgeConfig) -> ChatEndpoint:
    """Return the endpoint of a judge, with the key that the environment holds."""
    key = os.environ.get(config.key_env, "").strip() if config.key_env else ""
    return ChatEndpoint(
        config.base_url,
        config.model,
        key=key,
        timeout=config.timeout,
        retries=config.retries,
        request_fields=config.request,
    )


def _unscored_text(count: int, total: int) -> str:
    return f"{count} of {total} answers have no score"
