"""What goes into one forward pass: the rows of an optimizer step, cut into parts of as much memory as asked for.

A part is a dict, as a trainer moves it to its device. `source` are places in the flattened states of the part, from
each of which the token in `target` is learned with the weight in `share`; `row_counts` of a tree is how many rows hold
each token. `count` is the number of learned tokens in the whole step, and `step_tokens` that of all tokens of its rows.

Rows may be cut apart anywhere. Those of one unit, a `TokenGroup` whose rows an objective reads together, are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import torch

from framework.api.training import TokenGroup, TokenRow
from framework_plugins.hf.packing.tree import Tree, build_tree, common_prefix_length
from framework_plugins.hf.packing.tree_attention import branch_mask, branches
from framework_plugins.hf.packing.tree_states import NODES
from framework_plugins.hf.settings.config import Packing
from framework_plugins.hf.settings.pass_size import MIN_SAVED_TOKENS, smaller_on_a_cpu

Part = dict[str, Any]
Unit = Sequence[TokenRow]
"""Rows that stay in one pass."""
TOKEN_MULTIPLE = 16
"""Tokens of a tree are rounded up to a multiple: a library has code for a shape that it has seen before."""
MOST_FILL = 1 / 32
"""How much longer a tree may become for its last block of attention to be whole."""
ATTENTION_COST = 4.0
"""How much longer a multiplication takes in attention than in a linear layer, about, on both CPUs and GPUs."""


@dataclass(frozen=True, slots=True)
class Packer:
    """Lays rows out for a model.

    Attributes:
        packing: one by one, padded, or as a tree.
        rows: units in one padded pass, which are rows unless `together`; a tree has at most as many tokens as that many
            of the longest.
        pad_id: the token that fills rows up; it is masked everywhere, so any would do.
        pair_cost: what a pair of tokens costs in attention, in tokens.
        dense_mask: whether a tree needs a dense mask, so that all its tokens make pairs; else its branches do.
        small_passes: whether passes are kept to the size that is enough for a CPU.
        together: whether the rows of a group are one unit.
        share: whether rows in a tree share their beginnings; else they are side by side.
        tokens: of a pass, padding included, however many rows that is; a longer unit has a pass of its own. 0: `rows`
            decide.
        block: tokens of a block of the kernels along branches, which are faster for whole ones; 0: no such kernels.
    """

    packing: Packing
    rows: int
    pad_id: int
    pair_cost: float = 0.0
    dense_mask: bool = False
    small_passes: bool = False
    together: bool = False
    tokens: int = 0
    share: bool = True
    block: int = 0

    def __call__(self, groups: Sequence[TokenGroup]) -> list[Part]:
        parts = [self._part(rows, tree) for rows, tree in self._cuts(self.units(groups))]
        count, tokens = learned_tokens(groups), all_tokens(groups)
        for part in parts:
            part |= {"count": count, "step_tokens": tokens}
        return parts

    def units(self, groups: Sequence[TokenGroup]) -> list[Unit]:
        """Return the rows of groups as they may be cut apart."""
        return [group.rows for group in groups] if self.together else [(row,) for group in groups for row in group.rows]

    def smaller(self, groups: Sequence[TokenGroup]) -> Packer | None:
        """Return one with half as many units or tokens in a pass, or fewer, that cuts them smaller; None if none does.

        The last resort is to cut groups apart.
        """
        longest = self.largest_part(groups)
        return next((packer for packer in self._smaller() if packer.largest_part(groups) < longest), None)

    def _smaller(self) -> Iterator[Packer]:
        """Give packers that may cut smaller, each by half."""
        packer, limit = self, "tokens" if self.tokens else "rows"
        while (size := getattr(packer, limit)) > 1:
            packer = replace(packer, **{limit: size // 2})
            yield packer
        if self.together:
            yield replace(packer, together=False)

    def largest_part(self, groups: Sequence[TokenGroup]) -> int:
        """Return the tokens of the longest part of these groups."""
        return max(
            len(tree.ids) if tree else len(rows) * max(len(row.input_ids) for row in rows)
            for rows, tree in self._cuts(self.units(groups))
        )

    def parts_with_rows(self, groups: Sequence[TokenGroup]) -> Iterator[tuple[Part, list[tuple[TokenRow, list[int]]]]]:
        """Give each part with its rows, and where in its `target` the learned tokens of each row are, in order."""
        for rows, tree in self._cuts(self.units(groups)):
            if tree is None:
                ends = list(accumulate((learned_count(row) for row in rows), initial=0))
                yield (
                    self._part(rows, None),
                    [(row, list(range(start, end))) for row, (start, end) in zip(rows, pairwise(ends), strict=True)],
                )
            else:
                yield self._part(rows, tree), list(zip(rows, tree.learned_places(rows), strict=True))

    def _part(self, rows: list[TokenRow], tree: Tree | None) -> Part:
        if tree is None:
            return padded_batch(rows, self.pad_id)
        return tree_batch(tree, dense_mask=self.dense_mask, block=self.block)

    def _cuts(self, units: Sequence[Unit]) -> Iterator[tuple[list[TokenRow], Tree | None]]:
        """Cut units into what makes a part, with their tree; without one they are padded."""
        if self.packing is Packing.none:
            yield from (([*unit], None) for unit in units)
        elif self.packing is Packing.pad:
            yield from ((batch, None) for batch in self._batches(units))
        else:
            for group, tree in self._trees(units):
                if self.cost(tree) <= self.cost_padded(group):
                    yield _rows_of(group), tree
                else:
                    yield from ((batch, None) for batch in self._batches(group))

    def _trees(self, units: Sequence[Unit]) -> list[tuple[list[Unit], Tree]]:
        """Cut units into those of one tree each."""
        longest = max(len(unit) * _longest(unit) for unit in units)
        budget = max(longest, self.tokens) if self.tokens else self.rows * longest
        groups = self._trees_within(units, budget)
        if not self.small_passes:
            return groups
        return smaller_on_a_cpu(
            groups,
            partial(self._trees_within, units),
            budget,
            longest,
            largest=lambda trees: max(len(tree.ids) for _, tree in trees),
            cost=lambda trees: sum(self.cost(tree) for _, tree in trees),
        )

    def _trees_within(self, units: Sequence[Unit], budget: int) -> list[tuple[list[Unit], Tree]]:
        groups = _groups_within(units, budget, share=self.share)
        return [(group, build_tree(_rows_of(group), share=self.share)) for group in groups]

    def _batches(self, units: Sequence[Unit]) -> list[list[TokenRow]]:
        """Cut units into batches of similar length."""
        sorted_ = sorted(units, key=_longest)
        if self.tokens:
            return self._batches_within(sorted_)
        return [_rows_of(sorted_[start : start + self.rows]) for start in range(0, len(sorted_), self.rows)]

    def _batches_within(self, units: Sequence[Unit]) -> list[list[TokenRow]]:
        """Cut sorted units into batches of as many tokens, padding included, as a pass may have."""
        batches: list[list[TokenRow]] = []
        for unit in units:
            batch = [*batches[-1], *unit] if batches else []
            if batch and len(batch) * _longest(batch) <= self.tokens:
                batches[-1] = batch
            else:
                batches.append([*unit])
        return batches

    def cost(self, tree: Tree) -> float:
        """Return what a tree costs, in tokens of the linear layers."""
        tokens = len(tree.ids)
        return tokens + self.pair_cost * (tokens**2 if self.dense_mask else tree.pairs)

    def cost_padded(self, units: Sequence[Unit]) -> float:
        """Return what the same units cost with padding."""
        shapes = [(len(batch), _longest(batch)) for batch in self._batches(units)]
        return sum(count * longest * (1 + self.pair_cost * longest) for count, longest in shapes)


def learned_count(row: TokenRow) -> int:
    """Return how many tokens of a row are learned; nothing is before the first, so nothing predicts it."""
    return row.supervised - (row.labels[0] != TokenRow.IGNORE)


def learned_tokens(groups: Sequence[TokenGroup]) -> int:
    """Return how many tokens of groups are learned."""
    return sum(learned_count(row) for group in groups for row in group.rows)


def all_tokens(groups: Sequence[TokenGroup]) -> int:
    """Return how many tokens groups have."""
    return sum(len(row.input_ids) for group in groups for row in group.rows)


def part_tokens(part: Part) -> int:
    """Return how many tokens a part has, padding included."""
    return int(part["input_ids"].numel())


def _longest(rows: Unit) -> int:
    return max(len(row.input_ids) for row in rows)


def _rows_of(units: Sequence[Unit]) -> list[TokenRow]:
    return [row for unit in units for row in unit]


def _groups_within(units: Sequence[Unit], budget: int, *, share: bool) -> Iterator[list[Unit]]:
    """Cut units, sorted so that those with a common beginning are neighbours, into groups whose trees fit `budget`."""
    group: list[Unit] = []
    size = 0
    for unit in sorted(units, key=lambda unit: [row.input_ids for row in unit]):
        rows = [*([group[-1][-1]] if group else []), *unit]
        unit_tokens = _tree_tokens(rows[-len(unit) :], share=share)
        added_tokens = unit_tokens if not group else _tree_tokens(rows, share=share) - len(rows[0].input_ids)
        if group and size + added_tokens > budget:
            yield group
            group, size, added_tokens = [], 0, unit_tokens
        group.append(unit)
        size += added_tokens
    if group:
        yield group


def _tree_tokens(rows: Sequence[TokenRow], *, share: bool) -> int:
    """Return about how many tokens neighbours have in a tree."""
    shared = (common_prefix_length(left.input_ids, right.input_ids) for left, right in pairwise(rows) if share)
    return sum(len(row.input_ids) for row in rows) - sum(length for length in shared if length >= MIN_SAVED_TOKENS)


def tree_batch(tree: Tree, *, dense_mask: bool, block: int = 0) -> Part:
    """Return a tree as a part, with its branches or with a dense mask; see `Packer` for `block`."""
    tokens, learned = (-(-count // TOKEN_MULTIPLE) * TOKEN_MULTIPLE for count in (len(tree.ids), len(tree.source)))
    if block and -tokens % block <= tokens * MOST_FILL:
        tokens += -tokens % block
    fill, unlearned = [0] * (tokens - len(tree.ids)), [0] * (learned - len(tree.source))
    part = {
        # The embedding of a pad token is 0 in many models: alone it stays 0, where some norms have no gradient.
        "input_ids": torch.tensor([tree.ids + tree.ids[:1] * len(fill)]),
        "position_ids": torch.tensor([tree.positions + fill]),
        "source": torch.tensor(tree.source + unlearned, dtype=torch.long),
        "target": torch.tensor(tree.target + unlearned, dtype=torch.long),
        "share": torch.tensor([float(weight) for weight in tree.weight + unlearned]),
        "row_counts": torch.tensor([[float(count) for count in tree.row_counts + fill]]),
        NODES: tree.nodes,
        "tokens": tree.tokens,
        "supervised": tree.supervised,
    }
    if dense_mask:
        return part | {"attention_mask": branch_mask(tree, tokens)}
    # transformers leaves a mask with four dimensions as it is: this one spares it making one that nobody looks at.
    return part | {"attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool), "branches": branches(tree)}


def row_starts(part: Part) -> Part:
    """Return where the rows of a part begin that has them side by side, as flash attention takes it."""
    ends = [node.start + node.length for node in part[NODES]]
    tokens = part["input_ids"].shape[1]
    edges = [0, *ends, *([tokens] if ends[-1] < tokens else [])]  # what fills the sequence up is a row of its own
    starts = torch.tensor(edges, dtype=torch.int32, device=part["input_ids"].device)
    longest = max(end - start for start, end in pairwise(edges))
    return {"cu_seq_lens_q": starts, "cu_seq_lens_k": starts, "max_length_q": longest, "max_length_k": longest}


def padded_batch(rows: Sequence[TokenRow], pad_id: int) -> Part:
    """Return rows side by side, padded on the right: `input_ids` and `attention_mask`, each (rows, longest)."""
    longest = max(len(row.input_ids) for row in rows)
    gaps = [longest - len(row.input_ids) for row in rows]
    learned = [
        (index * longest + position - 1, label)
        for index, row in enumerate(rows)
        for position, label in enumerate(row.labels)
        if label != TokenRow.IGNORE and position
    ]
    return {
        "input_ids": torch.tensor([row.input_ids + [pad_id] * gap for row, gap in zip(rows, gaps, strict=True)]),
        "attention_mask": torch.tensor([[1] * (longest - gap) + [0] * gap for gap in gaps]),
        "source": torch.tensor([source for source, _ in learned], dtype=torch.long),
        "target": torch.tensor([target for _, target in learned], dtype=torch.long),
        "share": torch.ones(len(learned)),
        "tokens": sum(len(row.input_ids) for row in rows),
        "supervised": len(learned),
    }


def zero_weight_part(packer: Packer, groups: Sequence[TokenGroup]) -> Part:
    """Return a part of which nothing is learned, for a process that has fewer of them than another."""
    (part, *_) = packer([min((row for group in groups for row in group.rows), key=lambda row: len(row.input_ids))])
    return part | {"share": torch.zeros_like(part["share"]), "tokens": 0, "supervised": 0}
