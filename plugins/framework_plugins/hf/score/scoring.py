"""Rows without training: the validation loss, and scores token by token, in passes as large as memory allows."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import torch

from framework.api import Scored, counting
from framework.api.training import TokenGroup, TokenRow
from framework_plugins.hf.loss.loss import Losses, ProbeResult, to_device
from framework_plugins.hf.loss.passes import LENGTH_SETTING, Passes
from framework_plugins.hf.loss.probe import probe
from framework_plugins.hf.machine.hardware import Hardware
from framework_plugins.hf.machine.out_of_memory import OomRetry
from framework_plugins.hf.packing.parts import Packer, Part, all_tokens, part_tokens

Tensor = torch.Tensor
T = TypeVar("T")
R = TypeVar("R")
G = TypeVar("G", bound=TokenGroup)
ROWS_AT_ONCE = 256
"""Rows among which the validation loss looks for common beginnings."""
Known = tuple[ProbeResult, int]
"""The result of a probe, and the tokens of the largest pass that went through."""


class Evaluation:
    """Mean losses of rows.

    Args:
        passes: how rows go through the model.
        oom_retry: what is done if memory runs out.
        device: where the model is.
    """

    def __init__(self, passes: Passes, oom_retry: OomRetry, device: str) -> None:
        self.passes = passes
        self.oom_retry = oom_retry
        self.device = device
        self.largest_pass = 0
        """Tokens of the largest part that went through."""

    @property
    def known(self) -> Known:
        """What need not be found out again for a model like this one."""
        return self.passes.losses.probe_result, self.largest_pass

    def loss(self, rows: Sequence[TokenRow]) -> float:
        """Return the mean loss over the supervised tokens; rows of similar length or beginning share a pass."""
        total, count = 0.0, 0
        for start in range(0, len(rows), ROWS_AT_ONCE):
            batch = [rows[index] for index in range(start, min(start + ROWS_AT_ONCE, len(rows)))]
            loss, learned = self._attempt(batch, rehearsal=False)
            total, count = total + loss, count + learned
        return total / count

    def rehearse(self, rows: Sequence[TokenRow]) -> None:
        """Make the longest pass, so that what does not fit is found before a training and not after its first epoch.

        A baseline that went through all of these rows has shown it already.
        """
        if rows:
            self._attempt(longest_rows(rows, ROWS_AT_ONCE), rehearsal=True)

    def _attempt(self, rows: Sequence[TokenRow], *, rehearsal: bool) -> tuple[float, int]:
        call = partial(self._sum, rows, rehearsal=rehearsal)
        return self.oom_retry.attempt(
            call, partial(self.passes.reduce_memory, rows), "the validation loss", LENGTH_SETTING
        )

    def _sum(self, rows: Sequence[TokenRow], *, rehearsal: bool) -> tuple[float, int]:
        """Return the summed loss of rows and their learned tokens, in a rehearsal only of the longest pass."""
        parts = self.passes.packer(rows)
        if rehearsal:
            parts = [part for part in [max(parts, key=part_tokens)] if part_tokens(part) > self.largest_pass]
        total, learned = 0.0, 0
        with torch.inference_mode():
            for part in parts:
                total += self.passes.losses.sum(to_device(part, self.device)).item()
                learned = part["count"]
                self.largest_pass = max(self.largest_pass, part_tokens(part))
        return total, learned


def open_evaluation(
    losses: Losses, previous: Known | None, packer: Callable[[Losses], Packer], oom_retry: OomRetry, machine: Hardware
) -> Evaluation:
    """Return how losses of a model are computed, and say in the facts of the machine what is not as asked for.

    Args:
        losses: of the model, which is in evaluation mode.
        previous: of a model like this one, so that nothing has to be found out; None: the model is probed.
        packer: returns what cuts rows into passes.
        oom_retry: what is done if memory runs out.
        machine: where the model is.
    """
    result, largest_pass = previous or (None, 0)
    if result is None:
        probe(losses)
    else:
        losses.apply_probe(result)
    if losses.packing_fallback:
        machine.facts["packing"] = losses.packing_fallback
    if losses.auxiliary_fact:
        machine.facts["auxiliary loss"] = losses.auxiliary_fact
    evaluation = Evaluation(Passes(packer(losses), losses), oom_retry, machine.device)
    evaluation.largest_pass = largest_pass
    return evaluation


def validation_losses(
    evaluation: Evaluation, rows: Sequence[TokenRow], set_losses: Mapping[str, str]
) -> tuple[float, dict[str, float]]:
    """Return the mean loss over the supervised tokens, computed as the evaluation computes it, and of each set.

    Args:
        evaluation: how the model is run.
        rows: of all sets.
        set_losses: the sets by the names of their losses; empty if there are none.
    """
    scored = [row.log_probs for row in score(evaluation, rows, "validation")]
    parts: dict[str, list[float]] = {name: [] for name in set_losses.values()}
    if parts:
        for row, log_probs in zip(rows, scored, strict=True):
            parts[TokenRow.set_of(row.where)] += log_probs
    losses = {name: _mean_loss(parts[part]) for name, part in set_losses.items() if parts[part]}
    return _mean_loss([log_prob for row in scored for log_prob in row]), losses


def _mean_loss(log_probs: Sequence[float]) -> float:
    return -sum(log_probs) / len(log_probs)


def longest_rows(rows: Iterable[G], count: int) -> list[G]:
    """Return the longest rows, or groups; they are read once, and not kept."""
    return heapq.nlargest(count, rows, key=lambda group: all_tokens([group]))


def score(evaluation: Evaluation, rows: Sequence[TokenRow], task: str = "") -> list[Scored]:
    """Return for each row the log-probabilities of its learned tokens in nats, and what was likeliest there.

    Args:
        evaluation: how the model is run.
        rows: what is scored.
        task: what the count of the rows is shown as, where the run does not say it.
    """
    losses = evaluation.passes.losses

    def of_part(part: Part) -> tuple[Tensor, Tensor]:
        log_probs, likeliest = list[Tensor](), list[Tensor]()

        def look(positions: slice, logits: Tensor) -> None:
            log_probs.append(logits.log_softmax(-1).gather(1, part["target"][positions, None])[:, 0])
            likeliest.append(logits.argmax(-1))

        losses.show_logits(part, look)
        return cat_on_cpu(log_probs), cat_on_cpu(likeliest)

    return map_rows(
        evaluation, rows, of_part, lambda values, at: Scored(values[0][at].tolist(), values[1][at].tolist()), task
    )


def map_rows(
    evaluation: Evaluation,
    rows: Sequence[TokenRow],
    of_part: Callable[[Part], T],
    of_row: Callable[[T, list[int]], R],
    task: str = "",
) -> list[R]:
    """Take rows through the model, and return for each what `of_row` makes of its places in what `of_part` gives."""
    passes, results = evaluation.passes, list[R]()

    def run_passes(batch: Sequence[TokenRow]) -> dict[int, R]:
        by_row = {}
        # In a group the pieces of weights that are put together are needed for the next step too.
        with torch.no_grad() if passes.losses.in_group else torch.inference_mode():
            for part, located in passes.packer.parts_with_rows(batch):
                values = of_part(to_device(part, evaluation.device))
                evaluation.largest_pass = max(evaluation.largest_pass, part_tokens(part))
                by_row.update({id(row): of_row(values, places) for row, places in located})
                counter.move(len(results) + len(by_row))
        return by_row

    with counting(len(rows), "row", task) as counter:
        for start in range(0, len(rows), ROWS_AT_ONCE):
            batch = [rows[index] for index in range(start, min(start + ROWS_AT_ONCE, len(rows)))]
            reduce_memory = partial(passes.reduce_memory, batch)
            by_row = evaluation.oom_retry.attempt(
                partial(run_passes, batch), reduce_memory, "scoring rows", LENGTH_SETTING
            )
            results += [by_row[id(row)] for row in batch]
            counter.move(len(results))
    return results


def cat_on_cpu(parts: Sequence[Tensor]) -> Tensor:
    """Put the pieces of a part together, in the memory of the CPU."""
    return torch.cat(list(parts)).cpu() if parts else torch.empty(0)
