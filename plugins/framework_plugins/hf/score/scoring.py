"""Rows without training: the validation loss, and scores token by token, in passes as large as memory allows."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import TypeVar

import torch

from framework.api import Scored, counting
from framework.api.training import TokenGroup, TokenRow
from framework_plugins.hf.loss.loss import Losses, ProbeResult, to_device
from framework_plugins.hf.loss.passes import LENGTH_SETTING, Passes
from framework_plugins.hf.loss.probe import probe
from framework_plugins.hf.machine.hardware import Hardware
from framework_plugins.hf.machine.out_of_memory import OomRetry
from framework_plugins.hf.machine.world import ALONE, World
from framework_plugins.hf.packing.parts import Packer, Part, all_tokens, part_tokens, zero_weight_part

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

    def rehearse(self, rows: Sequence[TokenRow]) -> None:
        """Make the longest pass, so that what does not fit is found before a training and not after its first epoch.

        A baseline that went through all of these rows has shown it already.
        """
        if not rows:
            return
        longest = longest_rows(rows, ROWS_AT_ONCE)

        def longest_pass() -> None:
            part = max(self.passes.packer(longest), key=part_tokens)
            if part_tokens(part) > self.largest_pass:
                with torch.inference_mode():
                    self.passes.losses.sum(to_device(part, self.device))
                self.largest_pass = part_tokens(part)

        reduce_memory = partial(self.passes.reduce_memory, longest)
        self.oom_retry.attempt(longest_pass, reduce_memory, "the validation loss", LENGTH_SETTING)


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
    evaluation: Evaluation,
    rows: Sequence[TokenRow],
    set_losses: Mapping[str, str] = MappingProxyType({}),
    world: World = ALONE,
) -> tuple[float, dict[str, float]]:
    """Return the mean loss over the supervised tokens, computed as the evaluation computes it, and of each set.

    Args:
        evaluation: how the model is run.
        rows: of all sets.
        set_losses: the sets by the names of their losses; empty if there are none.
        world: processes that share the rows; each has the result.
    """
    scored = [row.log_probs for row in score(evaluation, rows, "validation", world)]
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


def score(
    evaluation: Evaluation,
    rows: Sequence[TokenRow],
    task: str = "",
    world: World = ALONE,
    around: Callable[[Part], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> list[Scored]:
    """Return for each row the log-probabilities of its learned tokens in nats, and what was likeliest there.

    Args:
        evaluation: how the model is run.
        rows: what is scored.
        task: what the count of the rows is shown as, where the run does not say it.
        world: processes that share the rows; each has the result.
        around: gives the context of the forward pass of a part.
    """
    losses = evaluation.passes.losses

    def of_part(part: Part) -> tuple[Tensor, Tensor]:
        log_probs, likeliest = list[Tensor](), list[Tensor]()

        def look(positions: slice, logits: Tensor) -> None:
            log_probs.append(logits.log_softmax(-1).gather(1, part["target"][positions, None])[:, 0])
            likeliest.append(logits.argmax(-1))

        with around(part):
            losses.show_logits(part, look)
        return cat_on_cpu(log_probs), cat_on_cpu(likeliest)

    def of_row(values: tuple[Tensor, Tensor], at: list[int]) -> Scored:
        return Scored(values[0][at].tolist(), values[1][at].tolist())

    return map_rows(evaluation, rows, of_part, of_row, task, world)


def map_rows(
    evaluation: Evaluation,
    rows: Sequence[TokenRow],
    of_part: Callable[[Part], T],
    of_row: Callable[[T, list[int]], R],
    task: str = "",
    world: World = ALONE,
) -> list[R]:
    """Take rows through the model, and return for each what `of_row` makes of its places in what `of_part` gives.

    Processes of a `world` share the rows, and make as many passes as the one with the most.
    """
    passes, results, at_once = evaluation.passes, list[R](), ROWS_AT_ONCE * world.size

    def run_passes(batch: Sequence[TokenRow]) -> dict[int, R]:
        by_row, own = {}, world.own(batch)
        # In a group the pieces of weights that are put together are needed for the next step too.
        with torch.no_grad() if passes.losses.in_group else torch.inference_mode():
            parts = [*passes.packer.parts_with_rows(own)] if own else []
            missing = world.all_max(len(parts)) - len(parts)
            parts += [(zero_weight_part(passes.packer, batch), [])] * missing
            for part, located in parts:
                values = of_part(to_device(part, evaluation.device))
                evaluation.largest_pass = max(evaluation.largest_pass, part_tokens(part))
                by_row.update({id(row): of_row(values, places) for row, places in located})
                counter.move(len(results) + len(by_row))
        return by_row

    with counting(len(rows), "row", task) as counter:
        for start in range(0, len(rows), at_once):
            batch = [rows[index] for index in range(start, min(start + at_once, len(rows)))]
            reduce_memory = partial(passes.reduce_memory, batch)
            by_row = evaluation.oom_retry.attempt(
                partial(run_passes, batch),
                reduce_memory,
                f"the {task} loss" if task else "scoring rows",
                LENGTH_SETTING,
            )
            shares = world.all_gather([by_row[id(row)] for row in world.own(batch)])
            results += chain.from_iterable(shares)
            counter.move(len(results))
    return results


def cat_on_cpu(parts: Sequence[Tensor]) -> Tensor:
    """Put the pieces of a part together, in the memory of the CPU."""
    return torch.cat(list(parts)).cpu() if parts else torch.empty(0)
