"""Sentences on the data and the training of a run, and the beginning that prompts share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from framework.api import DataResult, Severity, TrainResult, count, number
from framework.api.program import Fact
from framework.api.training import TrainerConfig

USER, ASSISTANT = "user: ", "\nassistant: "
"""How turns begin in the text of a prompt with several, as `scoring.question` writes it."""


def readiness(data: DataResult) -> str:
    """Say in a sentence whether to train on the data as they are, or what to fix first."""
    serious, warnings = (
        [finding.name for finding in data.findings if finding.severity is severity]
        for severity in (Severity.serious, Severity.warning)
    )
    serious += ["rows whose loss mask is not proven"] if data.proof.failed else []
    look = f" {count(len(warnings), 'warning')} to look at: {', '.join(warnings)}." if warnings else ""
    return f"Fix first: {', '.join(serious)}.{look}" if serious else f"Ready to train.{look}"


def health_facts(train: TrainResult, training: TrainerConfig) -> Iterator[Fact]:
    """Say which run trained, why it ended early, which weights are kept, and what was wrong.

    What did not occur is left out.
    """
    if train.taken_from:
        yield Fact("trained in", f"{train.taken_from}, whose training has the same settings")
    if train.stopped:
        yield Fact("ended early", train.stopped, amiss=True)
    if train.best_step is not None:
        name = training.early_stopping_metric
        outcome = "its weights are kept" if training.keep_best else "the weights are those of the last step"
        yield Fact("best", f"step {train.best_step}: {name} {number(train.best_value, name)}; {outcome}")
    if train.issues:
        kinds = ", ".join(f"{issue.kind} at step {issue.step}" for issue in train.issues)
        yield Fact("issues", kinds, tuple(issue.line for issue in train.issues), amiss=True)


def shared_start(prompts: Sequence[str]) -> int:
    """Return the length of the first lines that all prompts have in common, so that they can be shown once.

    After a system prompt, the name of the user's only turn is part of it.
    """
    if len(prompts) < 2:  # noqa: PLR2004 - one prompt shares nothing
        return 0
    first, last = min(prompts), max(prompts)
    length = next((n for n, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    start = first.rfind("\n", 0, length) + 1
    one_turn = start and first.startswith(USER, start, length) and not any(ASSISTANT in text for text in prompts)
    return start + len(USER) if one_turn else start
