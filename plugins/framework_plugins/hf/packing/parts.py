"""What goes into one forward pass: the rows of an optimizer step, cut into parts of as much memory as asked for.

A part is a dict, as a trainer moves it to its device. `source` are places in the flattened states of the part, from
each of which the token in `target` is learned with the weight in `share`; `times` of a tree is how many rows hold each
token. `count` is the number of learned tokens in the whole step, and `step_tokens` that of all tokens of its rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import torch

from framework.api.records import IGNORE, TokenRow
from framework_plugins.hf.packing.tree import WORTH, Tree, common, plant
from framework_plugins.hf.packing.tree_attention import branches, dense
from framework_plugins.hf.settings.config import Packing

Part = dict[str, Any]
ROUND = 16
"""Tokens of a tree are rounded up to a multiple: a library has code for a shape that it has seen before."""
ENOUGH, SLOWER = 1024, 1.03
"""On a CPU, a pass of this many tokens is as fast per token as a longer one, and needs less memory: rows are cut into
parts of this size if the cost grows by at most this factor."""
ATTENTION = 4.0
"""How much longer a multiplication takes in attention than in a linear layer, about, on CPUs and GPUs alike."""


@dataclass(frozen=True, slots=True)
class Packer:
    """Lays rows out for a model.

    Attributes:
        packing: one by one, padded, or as a tree.
        rows: rows in one padded pass; a tree has at most as many tokens as that many of the longest row.
        pad_id: the token that fills gaps; it is masked everywhere, so any would do.
        pair: what a pair of tokens costs in attention, in tokens.
        masked: whether a tree needs a dense mask, so that all its tokens make pairs; else its branches do.
        small: whether passes are kept to the size that is enough for a CPU.
    """

    packing: Packing
    rows: int
    pad_id: int
    pair: float = 0.0
    masked: bool = False
    small: bool = False

    def __call__(self, rows: Sequence[TokenRow]) -> list[Part]:
        parts = list(self._parts(rows))
        count, tokens = sum(map(learned, rows)), sum(len(row.input_ids) for row in rows)
        for part in parts:
            part |= {"count": count, "step_tokens": tokens}
        return parts

    def smaller(self, rows: Sequence[TokenRow]) -> Packer | None:
        """Return one with half as many rows in a pass, or fewer, that cuts these rows smaller; None where none does."""
        longest, packer = self.longest(rows), self
        while packer.rows > 1:
            packer = replace(packer, rows=packer.rows // 2)
            if packer.longest(rows) < longest:
                return packer
        return None

    def longest(self, rows: Sequence[TokenRow]) -> int:
        """Return the tokens of the longest part of these rows."""
        return max(
            len(tree.ids) if tree else len(some) * max(len(row.input_ids) for row in some)
            for some, tree in self._cuts(rows)
        )

    def located(self, rows: Sequence[TokenRow]) -> Iterator[tuple[Part, list[tuple[TokenRow, list[int]]]]]:
        """Give each part with its rows, and where in its `target` the learned tokens of each row stand, in order."""
        for some, tree in self._cuts(rows):
            if tree is None:
                ends = list(accumulate((learned(row) for row in some), initial=0))
                yield (
                    self._part(some, None),
                    [(row, list(range(start, end))) for row, (start, end) in zip(some, pairwise(ends), strict=True)],
                )
            else:
                yield self._part(some, tree), list(zip(some, tree.learned(some), strict=True))

    def _parts(self, rows: Sequence[TokenRow]) -> Iterator[Part]:
        for some, tree in self._cuts(rows):
            yield self._part(some, tree)

    def _part(self, rows: list[TokenRow], tree: Tree | None) -> Part:
        return planted(tree, self.pad_id, masked=self.masked) if tree else padded(rows, self.pad_id)

    def _cuts(self, rows: Sequence[TokenRow]) -> Iterator[tuple[list[TokenRow], Tree | None]]:
        """Cut rows into what makes a part, with their tree; without one they are padded."""
        if self.packing is Packing.none:
            yield from (([row], None) for row in rows)
        elif self.packing is Packing.pad:
            yield from ((batch, None) for batch in self._batches(rows))
        else:
            for some, tree in self._planted(rows):
                if self.cost(tree) <= self.cost_padded(some):
                    yield some, tree
                else:
                    yield from ((batch, None) for batch in self._batches(some))

    def _planted(self, rows: Sequence[TokenRow]) -> list[tuple[list[TokenRow], Tree]]:
        """Cut rows into groups, each with its tree."""
        longest = max(len(row.input_ids) for row in rows)
        groups = [(some, plant(some)) for some in _within(rows, self.rows * longest)]
        if not self.small or all(len(tree.ids) <= ENOUGH for _, tree in groups):
            return groups
        smaller = [(some, plant(some)) for some in _within(rows, min(self.rows * longest, max(ENOUGH, longest)))]
        costs = [sum(self.cost(tree) for _, tree in some) for some in (groups, smaller)]
        return smaller if costs[1] <= SLOWER * costs[0] else groups

    def _batches(self, rows: Sequence[TokenRow]) -> list[list[TokenRow]]:
        """Cut rows into batches of similar length."""
        sorted_ = sorted(rows, key=lambda row: len(row.input_ids))
        return [sorted_[start : start + self.rows] for start in range(0, len(sorted_), self.rows)]

    def cost(self, tree: Tree) -> float:
        """Return what a tree costs, in tokens of the linear layers."""
        tokens = len(tree.ids)
        return tokens + self.pair * (tokens**2 if self.masked else tree.pairs)

    def cost_padded(self, rows: Sequence[TokenRow]) -> float:
        """Return what the same rows cost with padding."""
        shapes = [(len(batch), len(batch[-1].input_ids)) for batch in self._batches(rows)]
        return sum(count * longest * (1 + self.pair * longest) for count, longest in shapes)


def learned(row: TokenRow) -> int:
    """Return how many tokens of a row are learned; nothing stands before the first, so nothing predicts it."""
    return row.supervised - (row.labels[0] != IGNORE)


def _within(rows: Sequence[TokenRow], budget: int) -> Iterator[list[TokenRow]]:
    """Cut rows, sorted so that those which begin alike are neighbours, into groups whose trees fit into `budget`."""
    group: list[TokenRow] = []
    size = 0
    for row in sorted(rows, key=lambda row: row.input_ids):
        shared = common(group[-1].input_ids, row.input_ids) if group else 0
        more = len(row.input_ids) - (shared if shared >= WORTH else 0)
        if group and size + more > budget:
            yield group
            group, size, more = [], 0, len(row.input_ids)
        group.append(row)
        size += more
    if group:
        yield group


def planted(tree: Tree, pad_id: int, *, masked: bool) -> Part:
    """Return a tree as a part, with its branches or with a dense mask."""
    tokens, learned = (-(-count // ROUND) * ROUND for count in (len(tree.ids), len(tree.source)))
    fill, blank = [0] * (tokens - len(tree.ids)), [0] * (learned - len(tree.source))
    part = {
        "input_ids": torch.tensor([tree.ids + [pad_id] * len(fill)]),
        "position_ids": torch.tensor([tree.positions + fill]),
        "source": torch.tensor(tree.source + blank, dtype=torch.long),
        "target": torch.tensor(tree.target + blank, dtype=torch.long),
        "share": torch.tensor([float(weight) for weight in tree.weight + blank]),
        "times": torch.tensor([[float(count) for count in tree.times + fill]]),
        "tokens": tree.tokens,
        "supervised": tree.supervised,
    }
    if masked:
        return part | {"attention_mask": dense(tree, tokens)}
    # transformers leaves a mask with four dimensions as it is: this one spares it making one that nobody looks at.
    return part | {"attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool), "branches": branches(tree)}


def padded(rows: Sequence[TokenRow], pad_id: int) -> Part:
    """Return rows side by side, padded on the right: `input_ids` and `attention_mask`, each (rows, longest)."""
    longest = max(len(row.input_ids) for row in rows)
    gaps = [longest - len(row.input_ids) for row in rows]
    learned = [
        (number * longest + at - 1, label)
        for number, row in enumerate(rows)
        for at, label in enumerate(row.labels)
        if label != IGNORE and at
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
