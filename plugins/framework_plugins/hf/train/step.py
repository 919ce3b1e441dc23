"""One optimizer step for any objective, from groups of rows to gradients.

    groups -> passes -> linear objective           weights of the tokens -> backward
                     -> groups are whole in passes log-probabilities -> objective -> backward, pass by pass, or of all
                                                   passes at once if the objective needs the whole step
                     -> else, or out of memory     log-probabilities of all passes, without gradients -> objective
                                                   -> weights of the tokens -> backward

A loss that is a function of log-probabilities has the gradient of the sum of its tokens' log-probabilities, each times
the derivative of the loss by it. So the last way needs no more memory than the first, and costs a forward pass.

Rows from which nothing is learned, `ReadsBeside`, are scored first, in parts of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch

from framework import FrameworkError
from framework.api import Caught, Guard, short_repr
from framework.api.training import GroupedRows, LossValue, Objective, ReadsBeside, TokenGroup, TokenRow, TokenScores
from framework_plugins.hf.loss.loss import Losses, to_device
from framework_plugins.hf.machine.out_of_memory import RandomState, is_out_of_memory
from framework_plugins.hf.packing.parts import Packer, Part, all_tokens, learned_count, learned_tokens
from framework_plugins.hf.train.reference import StartScores

Tensor = torch.Tensor
Compute = Callable[[Part], Tensor]
ELSEWHERE = -1.7
"""Scores at which a linear objective has to have the weights that it has at 0."""


@dataclass(frozen=True)
class CheckedObjective:
    """An objective whose results are checked.

    Attributes:
        objective: of the run.
        name: what chose it: `loss=focal`.
        vocabulary: ids that it may read.
        plain: whether it is the mean over all learned tokens, for which no weights are computed.
        longest: tokens at which rows that it makes are cut, as those of the data are; None: nowhere.
    """

    objective: Objective
    name: str
    vocabulary: int
    plain: bool
    longest: int | None = None

    @property
    def linear(self) -> bool:
        """See `Objective`."""
        return self.objective.linear

    def __call__(self, scores: TokenScores) -> LossValue:
        """Return the loss.

        Raises:
            FrameworkError: the objective raises, or returns something that is not a loss.
        """
        with self._guard(), torch.enable_grad():  # a reward may have switched gradients off, for good
            result = self.objective(scores)
        value = getattr(result, "value", None)
        if not isinstance(result, LossValue) or not isinstance(value, Tensor):
            given = type(value if isinstance(result, LossValue) else result).__name__
            raise FrameworkError(f"{self.name} returns {given}: return a LossValue, or the loss as a scalar tensor")
        if value.shape:
            raise FrameworkError(
                f"{self.name} returns a tensor of the shape {tuple(value.shape)}: return a scalar, the sum over all "
                "that it reads divided by `scores.tokens` or `scores.count`"
            )
        if value.is_complex() or value.is_meta:
            kind = "on the meta device" if value.is_meta else f"of the type {value.dtype}"
            raise FrameworkError(f"{self.name} returns a tensor {kind}: return a real number")
        rows = [row for rows in scores.policy for row in rows]
        self._check_slope(value, [row for row in rows if row.requires_grad])
        if not value.isfinite() and all(bool(row.isfinite().all()) for row in rows):
            raise FrameworkError(f"{self.name} returns {value.item()} for log-probabilities that are numbers")
        return LossValue(value, self._numbers(result.metrics))

    def _guard(self, what: str = "") -> Guard:
        return Guard(f"{self.name}{what}", passes=is_out_of_memory)

    def _check_slope(self, value: Tensor, rows: Sequence[Tensor]) -> None:
        """Look whether a loss has a gradient by some of the scores, as far as it has any by name."""
        slopes: Sequence[Tensor | None] = [None]
        if rows and value.requires_grad:
            with self._guard(": it has no gradient by `scores.policy`"):
                slopes = torch.autograd.grad(value, rows, retain_graph=True, allow_unused=True)
        if rows and all(slope is None for slope in slopes):
            raise FrameworkError(f"{self.name} does not depend on `scores.policy`, so nothing would be learned")

    def _numbers(self, metrics: Any) -> dict[str, float]:
        """Return what an objective measures as numbers by name."""
        if not isinstance(metrics, Mapping):
            raise FrameworkError(f"{self.name}: its metrics are {short_repr(metrics)}: return numbers by their names")
        numbers: dict[str, float] = {}
        for name, given in metrics.items():
            with Caught(passes=is_out_of_memory):
                if isinstance(name, str):
                    numbers[name] = float(given.detach() if isinstance(given, Tensor) else given)
            if name not in numbers or isinstance(given, str | bytes):
                raise FrameworkError(
                    f"{self.name}: its metric {short_repr(name)} is {short_repr(given)}: return a number by the name "
                    "of what it measures"
                )
        return numbers

    def check(self, groups: Sequence[TokenGroup]) -> None:
        """Try an objective on made-up scores of the first step: a sound one is linear if it says so, and adds up.

        Raises:
            FrameworkError: it is another loss than it says, or another one in each number of passes.
        """
        if self.linear:
            self._check_linear(groups)
        elif not self.objective.whole_step and not isinstance(self.objective, ReadsBeside) and len(groups) > 1:
            self._check_sum(groups)

    def _check_sum(self, groups: Sequence[TokenGroup]) -> None:
        """Look whether the values of two passes add up to that of a single one."""
        before, ids, draw = RandomState.now(), self.ids(groups), torch.Generator().manual_seed(0)
        shapes = [tuple(each.shape) for each in ids] if ids else [(learned_count(row),) for row in _rows(groups)]
        scores = [-torch.rand(shape, generator=draw, dtype=torch.float64).mul(3).add(0.05) for shape in shapes]
        policy = _by_group(groups, [row.requires_grad_() for row in scores])
        reference = _by_group(groups, [row.detach() * 1.25 for row in scores])

        def value(part: slice) -> float:
            before.restore()
            known = reference[part] if self.objective.needs_reference else None
            numbers = learned_tokens(groups), len(groups), groups
            return float(self(TokenScores(groups[part], policy[part], known, *numbers)).value.detach())

        half, whole = len(groups) // 2, value(slice(None))
        total = value(slice(half)) + value(slice(half, None))
        if not math.isclose(whole, total, rel_tol=1e-4, abs_tol=1e-6) and whole == value(slice(None)):
            raise FrameworkError(
                f"{self.name} is {whole:.4g} for a step in one pass and {total:.4g} for the same step in two: divide "
                "by `scores.tokens` or `scores.count`, which count the whole step, or say whole_step=True"
            )
        before.restore()

    def _check_linear(self, groups: Sequence[TokenGroup]) -> None:
        """Look whether the weights of a linear objective are the same wherever the scores are."""
        before, ids = RandomState.now(), self.ids(groups)

        def weights(at: float) -> Tensor:
            before.restore()
            found, constant = self.weights(groups, ids, at)
            return torch.cat([*(each.flatten().double() for each in found), constant.flatten().double()])

        first, other = weights(0.0), weights(ELSEWHERE)
        if not torch.allclose(first, other, rtol=1e-4, atol=1e-6) and torch.equal(first, weights(0.0)):
            raise FrameworkError(
                f"{self.name} says linear=True, and is not a weighted sum of the scores: leave linear=True out"
            )
        before.restore()

    def ids(self, groups: Iterable[TokenGroup]) -> list[Tensor] | None:
        """Return for each row the ids that the objective reads, (learned, ids); None if they are the learned ones.

        Raises:
            FrameworkError: there are not as many as learned tokens, or the model has none of that number.
        """
        found: list[Tensor] = []
        for group in groups:
            with self._guard(": `ids`"):
                given = self.objective.ids(group)
            if given is None:
                continue
            with self._guard(": `ids` does not give an array for each row"):
                pairs = [(row, np.asarray(ids)) for row, ids in zip(group.rows, given, strict=True)]
            for row, ids in pairs:
                if ids.ndim != 2 or len(ids) != learned_count(row):  # noqa: PLR2004 - tokens and ids
                    raise FrameworkError(
                        f"{self.name}: {group.where} has ids of the shape {ids.shape} for {learned_count(row)} learned "
                        "tokens: give a row of ids for each"
                    )
                if ids.size and not 0 <= ids.min() <= ids.max() < self.vocabulary:
                    raise FrameworkError(
                        f"{self.name}: {group.where} has the id {ids.max() if ids.min() >= 0 else ids.min()}, and the "
                        f"model has {self.vocabulary} tokens: the ids are of another tokenizer"
                    )
                found.append(torch.from_numpy(ids.astype("int64")))
        return found or None

    def beside(self, step: Sequence[TokenGroup]) -> Sequence[TokenGroup]:
        """Return what the objective makes from the groups of a step to read it too; see `ReadsBeside`.

        Raises:
            FrameworkError: it is not as much as there is.
        """
        with self._guard(": `beside`"):
            made = self.objective.beside(step) if isinstance(self.objective, ReadsBeside) else ()
        if made and len(made) != len(step):
            raise FrameworkError(
                f"{self.name}: `beside` has {len(made)} groups for a step of {len(step)}: one for each"
            )
        if self.longest is None or all(len(row.input_ids) <= self.longest for row in _rows(made)):
            return made
        return [GroupedRows(tuple(map(self._cut, each.rows)), each.roles, each.facts, each.arrays) for each in made]

    def _cut(self, row: TokenRow) -> TokenRow:
        return TokenRow(row.input_ids[: self.longest], row.labels[: self.longest], row.where)

    def rows(self, step: Sequence[TokenGroup]) -> list[TokenRow]:
        """Return all rows of a step that are scored."""
        return [*_rows(step), *_rows(self.beside(step))]

    def weights(
        self, groups: Sequence[TokenGroup], ids: Sequence[Tensor] | None, at: float = 0.0
    ) -> tuple[list[Tensor], Tensor]:
        """Return the weight that a linear objective gives each token of each row, and what it adds to their sum.

        Weights of 1 are the mean over all learned tokens. `at`: scores at which they are taken.
        """
        tokens = learned_tokens(groups)
        shapes = [tuple(each.shape) for each in ids] if ids else [(learned_count(row),) for row in _rows(groups)]
        policy = [torch.full(shape, at, dtype=torch.float64, requires_grad=True) for shape in shapes]
        value = self(TokenScores(groups, _by_group(groups, policy), None, tokens, len(groups), groups)).value
        slopes = torch.autograd.grad(value, policy, allow_unused=True)
        pairs = [
            (row, torch.zeros(row.shape) if slope is None else slope) for row, slope in zip(policy, slopes, strict=True)
        ]
        constant = value.detach() - sum((row.detach() * slope).sum() for row, slope in pairs) if at else value.detach()
        return [(slope * -tokens).float() for _, slope in pairs], constant


@dataclass(frozen=True)
class StepRows:
    """What a step knows of its rows beside the parts that go through the model.

    Attributes:
        tokens: learned tokens of the whole step, of all processes.
        step_tokens: all tokens of its rows.
        count: its groups.
        groups: those of this process, of a linear objective all of them; empty if the objective is plain.
        step: all of them.
        members: for each part the rows in it, by their number among those of `groups`, in the order of its targets.
        ids: for each row of the groups the ids that are scored; None if they are the learned ones.
        idle: in a group of processes a part of which nothing is learned, for passes that only others make.
        beside: the parts and rows that are only scored; None if there are none.
    """

    tokens: int
    step_tokens: int
    count: int
    groups: Sequence[TokenGroup] = ()
    step: Sequence[TokenGroup] = ()
    members: Sequence[Sequence[int]] = ()
    ids: Sequence[Tensor] | None = None
    idle: Part | None = None
    beside: tuple[Sequence[Part], StepRows] | None = None


def pack(
    objective: CheckedObjective, packer: Packer, groups: Sequence[TokenGroup], own: slice, world: int
) -> tuple[list[Part], StepRows]:
    """Cut the groups of a step that are this process's into parts.

    Gradients of processes are averaged, so what a part is divided by is this process's share.

    Args:
        objective: of the run.
        packer: cuts.
        groups: of the whole step.
        own: those of this process.
        world: processes.
    """
    mine, tokens, step_tokens = groups[own], learned_tokens(groups), all_tokens(groups)
    made = StepRows(tokens, step_tokens, len(groups))
    if objective.plain:
        parts = packer(mine) if mine else []
    else:
        seen, first = (groups, sum(len(group.rows) for group in groups[: own.start])) if objective.linear else (mine, 0)
        made = replace(made, groups=seen, step=groups, ids=objective.ids(seen))
        parts, members = _with_rows(packer, mine, first, made.ids)
        made = replace(made, members=members, beside=_beside(objective, packer, groups, own))
    for part in parts:
        part.update(count=_shared(tokens, world), step_tokens=_shared(step_tokens, world))
    return parts, made


def _beside(
    objective: CheckedObjective, packer: Packer, groups: Sequence[TokenGroup], own: slice
) -> tuple[list[Part], StepRows] | None:
    """Return the parts of the rows that an objective makes from those of a step; None if it makes none."""
    made = objective.beside(groups)
    if not made:
        return None
    mine = made[own]
    parts, members = _with_rows(packer, mine, 0, None)
    return parts, StepRows(learned_tokens(made), all_tokens(made), len(made), mine, made, members)


def _shared(number: int, world: int) -> float:
    return number / world if world > 1 else number


def _with_rows(
    packer: Packer, groups: Sequence[TokenGroup], first: int, ids: Sequence[Tensor] | None
) -> tuple[list[Part], list[list[int]]]:
    """Return the parts of groups, with a place for each learned token of each row, and the numbers of their rows.

    What is learned of each is weighted with 0 until the objective has said more.
    """
    numbers: dict[int, list[int]] = {}
    for number, row in enumerate(_rows(groups), start=first):
        numbers.setdefault(id(row), []).append(number)  # a row that comes twice is one object
    parts, members = [], []
    for part, located in packer.parts_with_rows(groups) if groups else ():
        members.append([numbers[id(row)].pop() for row, _ in located])
        places = [place for _, each in located for place in each]
        part |= {name: part[name][places] for name in ("source", "target")}
        if ids is not None:
            part["target"] = torch.cat([ids[row] for row in members[-1]])
        parts.append(part | {"share": torch.zeros(part["target"].shape)})
    return parts, members


@dataclass
class Made:
    """What a step gave: its loss, and the metrics of the objective."""

    loss: Tensor
    metrics: dict[str, float] = field(default_factory=dict)

    def add(self, metrics: Mapping[str, Any]) -> None:
        """Add the metrics of a pass."""
        for name, value in metrics.items():
            self.metrics[name] = self.metrics.get(name, 0.0) + float(torch.as_tensor(value).detach())


# One step for all objectives: another trainer would have all of this a second time (decision 0092).
class OptimizerStep:
    """The forward and backward passes of one optimizer step.

    Args:
        objective: of the run.
        losses: of the model.
        as_reference: lets the model be the reference within a context.
        rank: the number of this process.
        world: processes that train together.
        all_gather: returns what each of them has, in their order.

    Attributes:
        known: the log-probabilities of the reference, if they are known beforehand.
        keeps_graphs: whether an objective of the whole step keeps what all its passes need to go backward.
    """

    known: StartScores | None = None
    keeps_graphs = True

    def __init__(
        self,
        objective: CheckedObjective,
        losses: Losses,
        as_reference: Callable[[], AbstractContextManager[None]],
        rank: int = 0,
        world: int = 1,
        all_gather: Callable[[Any], list[Any]] = lambda mine: [mine],
    ) -> None:
        self.objective = objective
        self.losses = losses
        self.as_reference = as_reference
        self.rank, self.world = rank, world
        self.all_gather = all_gather

    def __call__(
        self,
        parts: Sequence[Part],
        rows: StepRows,
        backward: Callable[..., Tensor],
        forward: Callable[[Part, Compute], Tensor],
    ) -> Made:
        """Make the passes.

        Args:
            parts: of this process; those beyond `rows.members` are idle.
            rows: their rows.
            backward: takes a part through the model and back by `compute`, with `more` in it, and returns what that
                gives; `last` says whether it is the last one.
            forward: takes a part through the model without gradients.
        """
        backwards = [partial(backward, part, last=number == len(parts)) for number, part in enumerate(parts, start=1)]
        if self.objective.plain:
            return Made(torch.stack([each(compute=self.losses.mean) for each in backwards]).sum())
        if self.objective.linear:
            weights, constant = self.objective.weights(rows.groups, rows.ids)
            members = _of_parts(rows, len(parts))
            losses = [
                each(compute=self.losses.mean, more=_share(weights, some))
                for each, some in zip(backwards, members, strict=True)
            ]
            return Made(torch.stack(losses).sum() + constant.to(losses[0]))
        reference, beside = self._reference(parts, rows, forward), self._beside(rows, forward)
        every = range(len(parts))
        batches = [every] if self.objective.objective.whole_step else [range(number, number + 1) for number in every]
        kept = len(batches) == len(parts) or self.keeps_graphs
        alone = self.world == 1 or not self.objective.objective.whole_step
        if alone and kept and all(_is_whole(each, rows) for each in rows.members):
            return self._at_once(batches, parts, rows, backwards, reference, beside)
        return self._scored_first(parts, rows, backwards, forward, reference, beside)

    def _reference(
        self, parts: Sequence[Part], rows: StepRows, forward: Callable[[Part, Compute], Tensor]
    ) -> list[list[Tensor]] | None:
        """Return the log-probabilities of the reference; None if the objective does not read it."""
        if not self.objective.objective.needs_reference:
            return None
        if self.known is not None and rows.ids is None:
            return _by_group(rows.groups, self.known.log_probs(_rows(rows.groups)))
        with self.as_reference():
            return self._scores(parts, rows, forward)

    def _beside(self, rows: StepRows, forward: Callable[[Part, Compute], Tensor]) -> TokenScores | None:
        """Return the scores of all rows of the step that are only scored."""
        if rows.beside is None:
            return None
        parts, made = self._padded(*rows.beside, rows.idle)
        scored = self._scores(parts, made, forward), self._reference(parts, made, forward)
        groups, policy, reference = (made.groups, *scored) if self.world == 1 else self._gathered(made, *scored)
        return TokenScores(groups, policy, reference, made.tokens, made.count, made.step)

    def _padded(self, parts: Sequence[Part], made: StepRows, idle: Part | None) -> tuple[Sequence[Part], StepRows]:
        """Let every process make as many passes."""
        if idle is None:
            return parts, made
        return [*parts, *[idle] * (max(self.all_gather(len(parts))) - len(parts))], made

    def reduce_memory(self) -> str:
        """Score the rows of a step first, if that needs less memory, and say so; else return an empty text."""
        if not self.keeps_graphs or not self.objective.objective.whole_step:
            return ""
        self.keeps_graphs = False
        return "the rows of a step scored before the loss is known"

    def score(
        self, parts: Sequence[Part], rows: StepRows, forward: Callable[[Part, Compute], Tensor]
    ) -> Iterator[tuple[TokenRow, Tensor]]:
        """Yield the log-probabilities of all rows of this process, those that are only scored too."""
        beside = [self._padded(*rows.beside, rows.idle)] if rows.beside else []
        for some, made in [(parts, rows), *beside]:
            for group, scored in zip(made.groups, self._scores(some, made, forward), strict=True):
                yield from zip(group.rows, scored, strict=True)

    def _scores(
        self, parts: Sequence[Part], rows: StepRows, forward: Callable[[Part, Compute], Tensor]
    ) -> list[list[Tensor]]:
        """Return the log-probabilities of the rows of this process by group, without gradients."""
        found: dict[int, Tensor] = {}
        for part, members in zip(parts, _of_parts(rows, len(parts)), strict=True):
            scored = forward(part, lambda some: self.losses.log_probs(some)[0])
            if members:
                found |= zip(members, torch.split(scored, _sizes(members, rows)), strict=True)
        return _by_group(rows.groups, [found[number] for number in range(len(found))])

    def at_start(
        self, parts: Sequence[Part], rows: StepRows, forward: Callable[[Part, Compute], Tensor]
    ) -> tuple[float, float, float]:
        """Return the loss of a step, that of the reference in place of the model, and how far apart both are.

        The last is the mean over the tokens, in nats.
        """
        parts, rows = self._padded(parts, rows, rows.idle)
        policy, reference = self._scores(parts, rows, forward), self._reference(parts, rows, forward)
        beside = self._beside(rows, forward)
        other = None if beside is None else replace(beside, policy=beside.reference or beside.policy)
        groups = rows.groups
        if self.world > 1:
            groups, policy, reference = self._gathered(rows, policy, reference)
        assert reference is not None  # noqa: S101 - asked for by objectives with one only
        known = reference, rows.tokens, rows.count, rows.step
        values = [
            self.objective(TokenScores(groups, scores, *known, more)).value.item()
            for scores, more in ((policy, beside), (reference, other))
        ]
        apart = [torch.cat([*map(torch.cat, scores)]) for scores in (policy, reference)]
        return values[0], values[1], float((apart[0] - apart[1]).abs().mean())

    def _at_once(
        self,
        batches: Sequence[range],
        parts: Sequence[Part],
        rows: StepRows,
        backwards: Sequence[Callable[..., Tensor]],
        reference: list[list[Tensor]] | None,
        beside: TokenScores | None,
    ) -> Made:
        """Compute the loss of each batch of parts with its gradients; it has whole groups, and the values add up."""
        made = Made(torch.zeros(()))
        owners = [number for number, group in enumerate(rows.groups) for _ in group.rows]
        losses, of_parts = [], _of_parts(rows, len(parts))
        for batch in batches:
            members = [number for each in batch for number in of_parts[each]]

            def compute(last: Part, batch: range = batch, members: Sequence[int] = members) -> Tensor:
                device = last["input_ids"].device
                some = [*(to_device(parts[each], device) for each in batch[:-1]), last]
                scored = [self.losses.log_probs(part) for part in some]
                log_probs = torch.cat([each for each, _ in scored])
                by_row = dict(zip(members, torch.split(log_probs, _sizes(members, rows)), strict=True))
                numbers = sorted({owners[number] for number in members})
                groups = [rows.groups[number] for number in numbers]
                policy = _by_group(groups, [by_row[number] for number in sorted(members)])
                known = None if reference is None else [reference[number] for number in numbers]
                scores = TokenScores(groups, policy, known, rows.tokens, rows.count, rows.step, beside)
                value = self.objective(scores)
                made.add(value.metrics)
                loss: Tensor = value.value * self.world
                for part, (_, auxiliary) in zip(some, scored, strict=True):
                    loss = self.losses.with_auxiliary(loss, auxiliary, part)
                return loss

            losses.append(backwards[batch[-1]](compute=compute if members else self.losses.mean))
        return Made(torch.stack(losses).sum(), self._added(made.metrics))

    def _scored_first(
        self,
        parts: Sequence[Part],
        rows: StepRows,
        backwards: Sequence[Callable[..., Tensor]],
        forward: Callable[[Part, Compute], Tensor],
        reference: list[list[Tensor]] | None,
        beside: TokenScores | None,
    ) -> Made:
        """Score all rows, take the derivatives of the loss by their log-probabilities as weights, and go backward."""
        before = RandomState.now()
        own = self._scores(parts, rows, forward)
        before.restore()  # dropout falls on the same places in the passes that follow
        leaves = [row.detach().requires_grad_() for of_group in own for row in of_group]
        groups, policy, known = rows.groups, _by_group(rows.groups, leaves), reference
        whole = self.objective.objective.whole_step
        if whole and self.world > 1:
            groups, policy, known = self._gathered(rows, policy, reference)
        made = Made(torch.zeros(()))
        if groups:
            result = self.objective(TokenScores(groups, policy, known, rows.tokens, rows.count, rows.step, beside))
            made.loss = result.value.detach() * (1 if whole else self.world)
            made.add(result.metrics)
        slopes = torch.autograd.grad(result.value, leaves, allow_unused=True) if leaves else ()
        weights = [
            torch.zeros_like(leaf) if slope is None else -slope * self.world
            for leaf, slope in zip(leaves, slopes, strict=True)
        ]
        extra = []

        def compute(part: Part) -> Tensor:
            total, auxiliary = self.losses.weighted(part)
            loss = self.losses.with_auxiliary(total, auxiliary, part)
            extra.append((loss - total).detach())
            return loss

        for one, members in zip(backwards, _of_parts(rows, len(backwards)), strict=True):
            one(compute=compute, more=_share(weights, members))
        loss = torch.stack([made.loss.to(extra[0].device), *extra]).sum()
        return Made(loss, made.metrics if whole else self._added(made.metrics))

    def _gathered(
        self, rows: StepRows, policy: list[list[Tensor]], reference: list[list[Tensor]] | None
    ) -> tuple[list[TokenGroup], list[list[Tensor]], list[list[Tensor]] | None]:
        """Return the groups and scores of all processes; only this process's have gradients."""
        plain = [[row.detach().cpu() for row in of_group] for of_group in policy]
        known = reference and [[row.cpu() for row in of_group] for of_group in reference]
        every = self.all_gather((list(rows.groups), plain, known))
        device = next((row.device for of_group in policy for row in of_group), torch.device("cpu"))
        groups = [group for each in every for group in each[0]]
        scores = [
            of_group
            for number, each in enumerate(every)
            for of_group in (policy if number == self.rank else [[row.to(device) for row in rows] for rows in each[1]])
        ]
        if reference is None:
            return groups, scores, None
        return groups, scores, [[row.to(device) for row in rows] for each in every for rows in each[2]]

    def _added(self, metrics: dict[str, float]) -> dict[str, float]:
        """Return metrics summed over all processes."""
        if self.world == 1:
            return metrics
        made = Made(torch.zeros(()))
        for each in self.all_gather(metrics):
            made.add(each)
        return made.metrics


def _of_parts(rows: StepRows, count: int) -> list[Sequence[int]]:
    """Return the rows of each part; an idle one has none."""
    return [*rows.members, *[()] * (count - len(rows.members))]


def _share(weights: Sequence[Tensor], members: Sequence[int]) -> dict[str, Tensor]:
    """Return the weights of the rows of a part; an idle one keeps its own."""
    return {"share": torch.cat([weights[number] for number in members])} if members else {}


def _rows(groups: Iterable[TokenGroup]) -> Iterator[TokenRow]:
    return (row for group in groups for row in group.rows)


def _by_group(groups: Sequence[TokenGroup], values: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return the values of rows by their groups."""
    left = iter(values)
    return [list(islice(left, len(group.rows))) for group in groups]


def _sizes(members: Sequence[int], rows: StepRows) -> list[int]:
    """Return the learned tokens of some rows."""
    every = list(_rows(rows.groups))
    return [learned_count(every[number]) for number in members]


def _is_whole(members: Sequence[int], rows: StepRows) -> bool:
    """Whether a part has either all rows of a group or none."""
    first, inside = 0, {*members}
    for group in rows.groups:
        numbers = range(first, first + len(group.rows))
        if 0 < sum(number in inside for number in numbers) < len(group.rows):
            return False
        first += len(group.rows)
    return True
