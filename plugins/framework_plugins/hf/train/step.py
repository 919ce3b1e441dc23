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

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from framework import FrameworkError
from framework.api import Caught, Guard, is_out_of_memory, short_repr
from framework.api.training import (
    GroupedRows,
    LossValue,
    Objective,
    ReadsBeside,
    ReadsLogits,
    TokenGroup,
    TokenRow,
    TokenScores,
)
from framework_plugins.hf.loss.chunked_cross_entropy import REFERENCE
from framework_plugins.hf.loss.loss import FUNCTIONS, INPUT, Losses, to_device
from framework_plugins.hf.machine.out_of_memory import RandomState
from framework_plugins.hf.machine.world import ALONE, World
from framework_plugins.hf.packing.parts import (
    Packer,
    Part,
    all_tokens,
    learned_count,
    learned_tokens,
    zero_weight_part,
)
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
        return self.objective.linear and not self.of_logits

    @property
    def of_logits(self) -> dict[Callable[..., Tensor], Sequence[str]]:
        """The functions of logits that it reads, each with the names of its further parameters."""
        functions = self.objective.of_logits if isinstance(self.objective, ReadsLogits) else ()
        return {function: [*inspect.signature(function).parameters][1:] for function in functions}

    @property
    def reads_reference_logits(self) -> bool:
        """Whether one of them reads the logits of the reference."""
        return any(REFERENCE in names for names in self.of_logits.values())

    def split(self, rows: StepRows, columns: Sequence[Sequence[Tensor]]) -> tuple[list[list[Tensor]], dict[str, Any]]:
        """Return the log-probabilities of rows, and by name their functions of logits, which follow in the columns."""
        functions = [function.__name__ for function in self.of_logits]
        if not functions:
            return [[*group] for group in columns], {}
        ids = slice(-len(functions)) if rows.ids else 0
        values = {
            name: [[row[:, index] for row in group] for group in columns]
            for index, name in enumerate(functions, start=-len(functions))
        }
        return [[row[:, ids] for row in group] for group in columns], values

    def __call__(self, scores: TokenScores) -> LossValue:
        """Return the loss.

        Raises:
            FrameworkError: the objective raises, or returns something that is not a loss.
        """
        with self._guard(), torch.enable_grad():  # a reward may have switched gradients off, for good
            result = self.objective(scores)
        value = getattr(result, "value", None)
        if not isinstance(result, LossValue) or not isinstance(value, Tensor):
            type_name = type(value if isinstance(result, LossValue) else result).__name__
            raise FrameworkError(f"{self.name} returns {type_name}: return a LossValue, or the loss as a scalar tensor")
        if value.shape:
            raise FrameworkError(
                f"{self.name} returns a tensor of the shape {tuple(value.shape)}: return a scalar, the sum over all "
                "that it reads divided by `scores.tokens` or `scores.count`"
            )
        if value.is_complex() or value.is_meta:
            kind = "on the meta device" if value.is_meta else f"of the type {value.dtype}"
            raise FrameworkError(f"{self.name} returns a tensor {kind}: return a real number")
        rows = [row for groups in (scores.policy, *scores.of_logits.values()) for rows in groups for row in rows]
        self._check_slope(value, [row for row in rows if row.requires_grad])
        if not value.isfinite() and all(bool(row.isfinite().all()) for row in rows):
            raise FrameworkError(f"{self.name} returns {value.item()} for log-probabilities that are numbers")
        return LossValue(value, self._numbers(result.metrics))

    def _guard(self, suffix: str = "") -> Guard:
        return Guard(f"{self.name}{suffix}")

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
        for name, value in metrics.items():
            with Caught(passes=is_out_of_memory):
                if isinstance(name, str):
                    numbers[name] = float(value.detach() if isinstance(value, Tensor) else value)
            if name not in numbers or isinstance(value, str | bytes):
                raise FrameworkError(
                    f"{self.name}: its metric {short_repr(name)} is {short_repr(value)}: return a number by the name "
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
        shapes = [tuple(row_ids.shape) for row_ids in ids] if ids else [(learned_count(row),) for row in _rows(groups)]
        scores = [-torch.rand(shape, generator=draw, dtype=torch.float64).mul(3).add(0.05) for shape in shapes]
        policy = _by_group(groups, [row.requires_grad_() for row in scores])
        reference = _by_group(groups, [row.detach() * 1.25 for row in scores])
        columns = [
            torch.rand((len(row), len(self.of_logits)), generator=draw, dtype=torch.float64, requires_grad=True)
            for row in scores
        ]
        values = {
            function.__name__: _by_group(groups, [row[:, index] for row in columns])
            for index, function in enumerate(self.of_logits)
        }

        def value(part: slice) -> float:
            before.restore()
            part_reference = reference[part] if self.objective.needs_reference else None
            numbers = learned_tokens(groups), len(groups), groups
            of_logits = {name: of_groups[part] for name, of_groups in values.items()}
            part_scores = TokenScores(groups[part], policy[part], part_reference, *numbers, of_logits=of_logits)
            return float(self(part_scores).value.detach())

        half, single = len(groups) // 2, value(slice(None))
        total = value(slice(half)) + value(slice(half, None))
        if not math.isclose(single, total, rel_tol=1e-4, abs_tol=1e-6) and single == value(slice(None)):
            raise FrameworkError(
                f"{self.name} is {single:.4g} for a step in one pass and {total:.4g} for the same step in two: divide "
                "by `scores.tokens` or `scores.count`, which count the whole step, or say whole_step=True"
            )
        before.restore()

    def _check_linear(self, groups: Sequence[TokenGroup]) -> None:
        """Look whether the weights of a linear objective are the same wherever the scores are."""
        before, ids = RandomState.now(), self.ids(groups)

        def weights(at: float) -> Tensor:
            before.restore()
            row_weights, constant = self.weights(groups, ids, at)
            return torch.cat([*(row.flatten().double() for row in row_weights), constant.flatten().double()])

        at_zero, elsewhere = weights(0.0), weights(ELSEWHERE)
        if not torch.allclose(at_zero, elsewhere, rtol=1e-4, atol=1e-6) and torch.equal(at_zero, weights(0.0)):
            raise FrameworkError(
                f"{self.name} says linear=True, and is not a weighted sum of the scores: leave linear=True out"
            )
        before.restore()

    def ids(self, groups: Iterable[TokenGroup]) -> list[Tensor] | None:
        """Return for each row the ids that the objective reads, (learned, ids); None if they are the learned ones.

        Raises:
            FrameworkError: there are not as many as learned tokens, or the model has none of that number.
        """
        tensors: list[Tensor] = []
        for group in groups:
            with self._guard(": `ids`"):
                group_ids = self.objective.ids(group)
            if group_ids is None:
                continue
            with self._guard(": `ids` does not give an array for each row"):
                pairs = [(row, np.asarray(ids)) for row, ids in zip(group.rows, group_ids, strict=True)]
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
                tensors.append(torch.from_numpy(ids.astype("int64")))
        return tensors or None

    def beside(self, step: Sequence[TokenGroup]) -> Sequence[TokenGroup]:
        """Return what the objective makes from the groups of a step to read it too; see `ReadsBeside`.

        Raises:
            FrameworkError: it is not as much as there is.
        """
        with self._guard(": `beside`"):
            groups = self.objective.beside(step) if isinstance(self.objective, ReadsBeside) else ()
        if groups and len(groups) != len(step):
            raise FrameworkError(
                f"{self.name}: `beside` has {len(groups)} groups for a step of {len(step)}: one for each"
            )
        if self.longest is None or all(len(row.input_ids) <= self.longest for row in _rows(groups)):
            return groups
        return [
            GroupedRows(tuple(map(self._cut, group.rows)), group.roles, group.facts, group.arrays) for group in groups
        ]

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
        shapes = [tuple(row_ids.shape) for row_ids in ids] if ids else [(learned_count(row),) for row in _rows(groups)]
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
    """The rows of a step, and their counts, apart from the parts that go through the model.

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
    objective: CheckedObjective, packer: Packer, groups: Sequence[TokenGroup], world: World = ALONE
) -> tuple[list[Part], StepRows]:
    """Cut the groups of a step that are this process's into parts.

    Gradients of processes are averaged, so what a part is divided by is this process's share.

    Args:
        objective: of the run.
        packer: cuts.
        groups: of the whole step.
        world: the processes that share it.
    """
    local = world.share(len(groups))
    local_groups, tokens, step_tokens = groups[local], learned_tokens(groups), all_tokens(groups)
    rows = StepRows(tokens, step_tokens, len(groups))
    if objective.plain:
        parts = packer(local_groups) if local_groups else []
    else:
        scored_groups, first_row = (
            (groups, sum(len(group.rows) for group in groups[: local.start])) if objective.linear else (local_groups, 0)
        )
        rows = replace(rows, groups=scored_groups, step=groups, ids=objective.ids(scored_groups))
        parts, members = _parts_with_rows(packer, local_groups, first_row, rows.ids, objective.of_logits)
        rows = replace(rows, members=members, beside=_beside(objective, packer, groups, local))
    for part in parts:
        part.update(count=_process_share(tokens, world.size), step_tokens=_process_share(step_tokens, world.size))
    if world.size > 1:
        idle = zero_weight_part(packer, groups)
        rows = replace(rows, idle=idle | {"count": tokens / world.size, "step_tokens": step_tokens / world.size})
    return parts, rows


def _beside(
    objective: CheckedObjective, packer: Packer, groups: Sequence[TokenGroup], local: slice
) -> tuple[list[Part], StepRows] | None:
    """Return the parts of the rows that an objective makes from those of a step; None if it makes none."""
    beside_groups = objective.beside(groups)
    if not beside_groups:
        return None
    local_groups = beside_groups[local]
    parts, members = _parts_with_rows(packer, local_groups, 0, None)
    return parts, StepRows(
        learned_tokens(beside_groups),
        all_tokens(beside_groups),
        len(beside_groups),
        local_groups,
        beside_groups,
        members,
    )


def _process_share(count: int, world: int) -> float:
    return count / world if world > 1 else count


def _parts_with_rows(
    packer: Packer,
    groups: Sequence[TokenGroup],
    start: int,
    ids: Sequence[Tensor] | None,
    functions: Mapping[Callable[..., Tensor], Sequence[str]] = MappingProxyType({}),
) -> tuple[list[Part], list[list[int]]]:
    """Return the parts of groups, with a place for each learned token of each row, and the numbers of their rows.

    What is learned of each is weighted with 0 until the objective has said more.
    """
    indices: dict[int, list[int]] = {}
    for index, row in enumerate(_rows(groups), start=start):
        indices.setdefault(id(row), []).append(index)  # a row that comes twice is one object
    parts, members = [], []
    for part, located in packer.parts_with_rows(groups) if groups else ():
        members.append([indices[id(row)].pop() for row, _ in located])
        places = [position for _, positions in located for position in positions]
        part |= {name: part[name][places] for name in ("source", "target")}
        if ids is not None:
            part["target"] = torch.cat([ids[row] for row in members[-1]])
        shape = part["target"].shape
        if functions:
            part |= {FUNCTIONS: functions}
            shape = (*shape, 1)[0], (*shape, 1)[1] + len(functions)
            for name in {name for names in functions.values() for name in names} - {REFERENCE}:
                arrays = [torch.from_numpy(array) for group in groups for array in group.arrays[name]]
                part[INPUT.format(name)] = torch.cat([arrays[row - start] for row in members[-1]])
        parts.append(part | {"share": torch.zeros(shape)})
    return parts, members


@dataclass
class StepOutcome:
    """The result of a step: its loss, and the metrics of the objective."""

    loss: Tensor
    metrics: dict[str, float] = field(default_factory=dict)

    def add(self, metrics: Mapping[str, Any]) -> None:
        """Add the metrics of a pass."""
        for name, value in metrics.items():
            self.metrics[name] = self.metrics.get(name, 0.0) + float(torch.as_tensor(value).detach())


# One step for all objectives: another trainer would have all of this a second time.
class OptimizerStep:
    """The forward and backward passes of one optimizer step.

    Args:
        objective: of the run.
        losses: of the model.
        as_reference: lets the model be the reference within a context.
        world: the processes that train together.

    Attributes:
        known: the log-probabilities of the reference, if they were computed before the first step.
        keeps_graphs: whether an objective of the whole step keeps what all its passes need to go backward.
    """

    known: StartScores | None = None
    keeps_graphs = True

    def __init__(
        self,
        objective: CheckedObjective,
        losses: Losses,
        as_reference: Callable[[], AbstractContextManager[None]],
        world: World = ALONE,
    ) -> None:
        self.objective = objective
        self.losses = losses
        self.as_reference = as_reference
        self.world = world

    def __call__(
        self,
        parts: Sequence[Part],
        rows: StepRows,
        backward: Callable[..., Tensor],
        forward: Callable[[Part, Compute], Tensor],
    ) -> StepOutcome:
        """Make the passes.

        Args:
            parts: of this process; those beyond `rows.members` are idle.
            rows: their rows.
            backward: takes a part through the model and back by `compute`, with `overrides` in it, and returns what
                that gives; `is_last` says whether it is the last one.
            forward: takes a part through the model without gradients.
        """
        if self.objective.reads_reference_logits:
            parts = self._with_reference(parts, rows, forward)
        backwards = [partial(backward, part, is_last=index == len(parts)) for index, part in enumerate(parts, start=1)]
        if self.objective.plain:
            return StepOutcome(torch.stack([run(compute=self.losses.mean) for run in backwards]).sum())
        if self.objective.linear:
            weights, constant = self.objective.weights(rows.groups, rows.ids)
            members = _members_of_parts(rows, len(parts))
            losses = [
                run(compute=self.losses.mean, overrides=_share_override(weights, indices))
                for run, indices in zip(backwards, members, strict=True)
            ]
            return StepOutcome(torch.stack(losses).sum() + constant.to(losses[0]))
        reference, beside_scores = self._reference(parts, rows, forward), self._beside(rows, forward)
        part_indices = range(len(parts))
        batches = (
            [part_indices]
            if self.objective.objective.whole_step
            else [range(index, index + 1) for index in part_indices]
        )
        keeps_graphs = len(batches) == len(parts) or self.keeps_graphs
        is_local = self.world.size == 1 or not self.objective.objective.whole_step
        if is_local and keeps_graphs and all(_is_whole(indices, rows) for indices in rows.members):
            return self._direct_passes(batches, parts, rows, backwards, reference, beside_scores)
        return self._weighted_passes(parts, rows, backwards, forward, reference, beside_scores)

    def _with_reference(
        self, parts: Sequence[Part], rows: StepRows, forward: Callable[[Part, Compute], Tensor]
    ) -> list[Part]:
        """Return parts with what the logits of the reference are made of."""
        with self.as_reference():
            return [
                part | {INPUT.format(REFERENCE): forward(part, self.losses.states_or_logits)} if members else part
                for part, members in zip(parts, _members_of_parts(rows, len(parts)), strict=True)
            ]

    def _reference(
        self, parts: Sequence[Part], rows: StepRows, forward: Callable[[Part, Compute], Tensor]
    ) -> list[list[Tensor]] | None:
        """Return the log-probabilities of the reference; None if the objective does not read it."""
        if not self.objective.objective.needs_reference:
            return None
        if self.known is not None and rows.ids is None:
            return _by_group(rows.groups, self.known.log_probs(_rows(rows.groups)))
        with self.as_reference():
            return self._log_probs(parts, rows, forward)

    def _beside(self, rows: StepRows, forward: Callable[[Part, Compute], Tensor]) -> TokenScores | None:
        """Return the scores of all rows of the step that are only scored."""
        if rows.beside is None:
            return None
        parts, beside_rows = self._padded(*rows.beside, rows.idle)
        scored = self._log_probs(parts, beside_rows, forward), self._reference(parts, beside_rows, forward)
        groups, policy, reference = (
            (beside_rows.groups, *scored) if self.world.size == 1 else self._gather_scores(beside_rows, *scored)
        )
        return TokenScores(groups, policy, reference, beside_rows.tokens, beside_rows.count, beside_rows.step)

    def _padded(self, parts: Sequence[Part], rows: StepRows, idle: Part | None) -> tuple[Sequence[Part], StepRows]:
        """Add idle parts, so that every process makes the same number of passes."""
        if idle is None:
            return parts, rows
        return [*parts, *[idle] * (self.world.all_max(len(parts)) - len(parts))], rows

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
        beside_parts = [self._padded(*rows.beside, rows.idle)] if rows.beside else []
        for step_parts, step_rows in [(parts, rows), *beside_parts]:
            for group, scored in zip(step_rows.groups, self._log_probs(step_parts, step_rows, forward), strict=True):
                yield from zip(group.rows, scored, strict=True)

    def _log_probs(
        self, parts: Sequence[Part], rows: StepRows, forward: Callable[[Part, Compute], Tensor]
    ) -> list[list[Tensor]]:
        """Return the log-probabilities of the rows of this process by group, without gradients."""
        plain = [{name: value for name, value in part.items() if name != FUNCTIONS} for part in parts]
        return self._scores(plain, rows, forward)

    def _scores(
        self, parts: Sequence[Part], rows: StepRows, forward: Callable[[Part, Compute], Tensor]
    ) -> list[list[Tensor]]:
        """Return the same, with the functions of logits as further columns."""
        by_row: dict[int, Tensor] = {}
        for part, members in zip(parts, _members_of_parts(rows, len(parts)), strict=True):
            scored = forward(part, lambda inputs: self.losses.log_probs(inputs)[0])
            if members:
                by_row |= zip(members, torch.split(scored, _learned_counts(members, rows)), strict=True)
        return _by_group(rows.groups, [by_row[index] for index in range(len(by_row))])

    def at_start(
        self, parts: Sequence[Part], rows: StepRows, forward: Callable[[Part, Compute], Tensor]
    ) -> tuple[float, float, float]:
        """Return the loss of a step, that of the reference in place of the model, and how far apart both are.

        The last is the mean over the tokens, in nats.
        """
        parts, rows = self._padded(parts, rows, rows.idle)
        if self.objective.reads_reference_logits:
            parts = self._with_reference(parts, rows, forward)
        policy, reference = self._scores(parts, rows, forward), self._reference(parts, rows, forward)
        beside_scores = self._beside(rows, forward)
        reference_beside = (
            None
            if beside_scores is None
            else replace(beside_scores, policy=beside_scores.reference or beside_scores.policy)
        )
        groups = rows.groups
        if self.world.size > 1:
            groups, policy, reference = self._gather_scores(rows, policy, reference)
        assert reference is not None  # noqa: S101 - asked for by objectives with one only
        arguments = reference, rows.tokens, rows.count, rows.step
        policy, of_logits = self.objective.split(rows, policy)
        values = [
            self.objective(TokenScores(groups, scores, *arguments, side_scores, of_logits)).value.item()
            for scores, side_scores in ((policy, beside_scores), (reference, reference_beside))
        ]
        flat = [torch.cat([*map(torch.cat, scores)]) for scores in (policy, reference)]
        return values[0], values[1], float((flat[0] - flat[1]).abs().mean())

    def _direct_passes(
        self,
        batches: Sequence[range],
        parts: Sequence[Part],
        rows: StepRows,
        backwards: Sequence[Callable[..., Tensor]],
        reference: list[list[Tensor]] | None,
        beside_scores: TokenScores | None,
    ) -> StepOutcome:
        """Compute the loss of each batch of parts with its gradients; it has whole groups, and the values add up."""
        outcome = StepOutcome(torch.zeros(()))
        owners = [index for index, group in enumerate(rows.groups) for _ in group.rows]
        losses, of_parts = [], _members_of_parts(rows, len(parts))
        for batch in batches:
            members = [row_index for part_index in batch for row_index in of_parts[part_index]]

            def compute(last_part: Part, batch: range = batch, members: Sequence[int] = members) -> Tensor:
                device = last_part["input_ids"].device
                batch_parts = [*(to_device(parts[index], device) for index in batch[:-1]), last_part]
                scored = [self.losses.log_probs(part) for part in batch_parts]
                log_probs = torch.cat([row_scores for row_scores, _ in scored])
                by_row = dict(zip(members, torch.split(log_probs, _learned_counts(members, rows)), strict=True))
                group_indices = sorted({owners[row_index] for row_index in members})
                groups = [rows.groups[index] for index in group_indices]
                policy = _by_group(groups, [by_row[row_index] for row_index in sorted(members)])
                group_reference = None if reference is None else [reference[index] for index in group_indices]
                policy, of_logits = self.objective.split(rows, policy)
                numbers = rows.tokens, rows.count, rows.step
                scores = TokenScores(groups, policy, group_reference, *numbers, beside_scores, of_logits)
                value = self.objective(scores)
                outcome.add(value.metrics)
                loss: Tensor = value.value * self.world.size
                for part, (_, auxiliary) in zip(batch_parts, scored, strict=True):
                    loss = self.losses.with_auxiliary(loss, auxiliary, part)
                return loss

            losses.append(backwards[batch[-1]](compute=compute if members else self.losses.mean))
        return StepOutcome(torch.stack(losses).sum(), self._sum_metrics(outcome.metrics))

    def _weighted_passes(
        self,
        parts: Sequence[Part],
        rows: StepRows,
        backwards: Sequence[Callable[..., Tensor]],
        forward: Callable[[Part, Compute], Tensor],
        reference: list[list[Tensor]] | None,
        beside_scores: TokenScores | None,
    ) -> StepOutcome:
        """Score all rows, take the derivatives of the loss by their log-probabilities as weights, and go backward."""
        before = RandomState.now()
        scores = self._scores(parts, rows, forward)
        before.restore()  # dropout falls on the same places in the passes that follow
        leaves = [row.detach().requires_grad_() for of_group in scores for row in of_group]
        groups, policy, reference_scores = rows.groups, _by_group(rows.groups, leaves), reference
        whole_step = self.objective.objective.whole_step
        if whole_step and self.world.size > 1:
            groups, policy, reference_scores = self._gather_scores(rows, policy, reference)
        outcome = StepOutcome(torch.zeros(()))
        if groups:
            policy, of_logits = self.objective.split(rows, policy)
            numbers = rows.tokens, rows.count, rows.step
            result = self.objective(TokenScores(groups, policy, reference_scores, *numbers, beside_scores, of_logits))
            outcome.loss = result.value.detach() * (1 if whole_step else self.world.size)
            outcome.add(result.metrics)
        slopes = torch.autograd.grad(result.value, leaves, allow_unused=True) if leaves else ()
        weights = [
            torch.zeros_like(leaf) if slope is None else -slope * self.world.size
            for leaf, slope in zip(leaves, slopes, strict=True)
        ]
        auxiliary_losses = []

        def compute(part: Part) -> Tensor:
            total, auxiliary = self.losses.weighted(part)
            loss = self.losses.with_auxiliary(total, auxiliary, part)
            auxiliary_losses.append((loss - total).detach())
            return loss

        for run, members in zip(backwards, _members_of_parts(rows, len(backwards)), strict=True):
            run(compute=compute, overrides=_share_override(weights, members))
        loss = torch.stack([outcome.loss.to(auxiliary_losses[0].device), *auxiliary_losses]).sum()
        return StepOutcome(loss, outcome.metrics if whole_step else self._sum_metrics(outcome.metrics))

    def _gather_scores(
        self, rows: StepRows, policy: list[list[Tensor]], reference: list[list[Tensor]] | None
    ) -> tuple[list[TokenGroup], list[list[Tensor]], list[list[Tensor]] | None]:
        """Return the groups and scores of all processes; only this process's have gradients."""
        plain_policy = [[row.detach().cpu() for row in of_group] for of_group in policy]
        plain_reference = reference and [[row.cpu() for row in of_group] for of_group in reference]
        shares = self.world.all_gather((list(rows.groups), plain_policy, plain_reference))
        device = next((row.device for of_group in policy for row in of_group), torch.device("cpu"))
        groups = [group for share in shares for group in share[0]]
        scores = [
            of_group
            for rank, share in enumerate(shares)
            for of_group in (
                policy if rank == self.world.rank else [[row.to(device) for row in rows] for rows in share[1]]
            )
        ]
        if reference is None:
            return groups, scores, None
        return groups, scores, [[row.to(device) for row in rows] for share in shares for rows in share[2] or ()]

    def _sum_metrics(self, metrics: dict[str, float]) -> dict[str, float]:
        """Return metrics summed over all processes."""
        if self.world.size == 1:
            return metrics
        outcome = StepOutcome(torch.zeros(()))
        for process_metrics in self.world.all_gather(metrics):
            outcome.add(process_metrics)
        return outcome.metrics


def _members_of_parts(rows: StepRows, count: int) -> list[Sequence[int]]:
    """Return the rows of each part; an idle one has none."""
    return [*rows.members, *[()] * (count - len(rows.members))]


def _share_override(weights: Sequence[Tensor], members: Sequence[int]) -> dict[str, Tensor]:
    """Return the weights of the rows of a part; an idle one keeps its own."""
    return {"share": torch.cat([weights[row_index] for row_index in members])} if members else {}


def _rows(groups: Iterable[TokenGroup]) -> Iterator[TokenRow]:
    return (row for group in groups for row in group.rows)


def _by_group(groups: Sequence[TokenGroup], values: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return the values of rows by their groups."""
    remaining = iter(values)
    return [list(islice(remaining, len(group.rows))) for group in groups]


def _learned_counts(members: Sequence[int], rows: StepRows) -> list[int]:
    """Return the learned tokens of some rows."""
    all_rows = list(_rows(rows.groups))
    return [learned_count(all_rows[index]) for index in members]


def _is_whole(members: Sequence[int], rows: StepRows) -> bool:
    """Whether a part has either all rows of a group or none."""
    start, inside = 0, {*members}
    for group in rows.groups:
        indices = range(start, start + len(group.rows))
        if 0 < sum(index in inside for index in indices) < len(group.rows):
            return False
        start += len(group.rows)
    return True
