"""Scores of rows, token by token: log-probabilities, the likeliest token, the divergence from the base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import torch

from framework.api.records import Scored, TokenRow
from framework.api.registry import counting
from framework_plugins.hf.loss.loss import moved
from framework_plugins.hf.packing.parts import Part
from framework_plugins.hf.score.evaluation import CHUNK, LOWER, Evaluation, tokens

Tensor = torch.Tensor
T = TypeVar("T")
R = TypeVar("R")


def score(evaluation: Evaluation, rows: Sequence[TokenRow], task: str = "") -> list[Scored]:
    """Return for each row the log-probabilities of its learned tokens in nats, and what was likeliest there.

    Args:
        evaluation: how the model is run.
        rows: what is scored.
        task: what the count of the rows is shown as, where the run does not say it.
    """
    losses = evaluation.passes.losses

    def of_part(part: Part) -> tuple[Tensor, Tensor]:
        log_probs, likeliest = [], []
        for some, logits in losses.blocks(losses.seen(part)):
            log_probs.append(logits.log_softmax(-1).gather(1, part["target"][some, None])[:, 0])
            likeliest.append(logits.argmax(-1))
        return joined(log_probs), joined(likeliest)

    return each_row(
        evaluation, rows, of_part, lambda values, at: Scored(values[0][at].tolist(), values[1][at].tolist()), task
    )


def each_row(
    evaluation: Evaluation,
    rows: Sequence[TokenRow],
    of_part: Callable[[Part], T],
    of_row: Callable[[T, list[int]], R],
    task: str = "",
) -> list[R]:
    """Take rows through the model, and return for each what `of_row` makes of its places in what `of_part` gives."""
    passes, results = evaluation.passes, list[R]()

    def take(some: Sequence[TokenRow]) -> dict[int, R]:
        by_row = {}
        with torch.inference_mode():
            for part, located in passes.packer.located(some):
                values = of_part(moved(part, evaluation.device))
                evaluation.largest = max(evaluation.largest, tokens(part))
                by_row.update({id(row): of_row(values, places) for row, places in located})
                counter.move(len(results) + len(by_row))
        return by_row

    with counting(len(rows), "row", task) as counter:
        for start in range(0, len(rows), CHUNK):
            some = [rows[number] for number in range(start, min(start + CHUNK, len(rows)))]
            climb = partial(passes.climb, some)
            by_row = evaluation.oom_retry.attempt(partial(take, some), climb, "scoring rows", LOWER)
            results += [by_row[id(row)] for row in some]
            counter.move(len(results))
    return results


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Put the pieces of a part together, in the memory of the CPU."""
    return torch.cat(list(parts)).cpu() if parts else torch.empty(0)
