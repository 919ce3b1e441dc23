"""Rows of tokens as a tree: what rows have in common at their beginning is one node, what follows are its children.

With causal attention the states of a beginning do not depend on what follows. So rows with a common beginning can be
laid out as one sequence with the beginning in it once, each other token attends along its branch only, and positions
count along the branch: every state, loss and gradient is that of the rows one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from framework.api.training import TokenRow
from framework_plugins.hf.settings.pass_size import MIN_SAVED_TOKENS


@dataclass(frozen=True, slots=True)
class Node:
    """A stretch of tokens: `start` is its place in the sequence, `depth` how many tokens its branch has before it."""

    start: int
    length: int
    depth: int
    parent: int


@dataclass(slots=True)
class Tree:
    """Rows laid out as one sequence.

    Attributes:
        ids: the tokens in the order of the sequence.
        nodes: parents before children; `parent` is the number of a node, -1 at the top.
        source: for each learned token the place of the token before it in its branch.
        target: the learned tokens.
        weight: how many rows learn that token at that place.
        tokens: tokens of the rows one by one.
        supervised: learned tokens of the rows one by one, the sum of `weight`.
        ends: for each row the number of its last node.
    """

    ids: list[int] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    source: list[int] = field(default_factory=list)
    target: list[int] = field(default_factory=list)
    weight: list[int] = field(default_factory=list)
    tokens: int = 0
    supervised: int = 0
    ends: list[int] = field(default_factory=list)

    @property
    def positions(self) -> list[int]:
        """The position of each token in its own branch."""
        return [position for node in self.nodes for position in range(node.depth, node.depth + node.length)]

    @property
    def row_counts(self) -> list[int]:
        """How many rows hold each token."""
        rows = [0] * len(self.nodes)
        for end in self.ends:
            while end >= 0:
                rows[end] += 1
                end = self.nodes[end].parent  # noqa: PLW2901 - up the branch
        return [count for count, node in zip(rows, self.nodes, strict=True) for _ in range(node.length)]

    def path(self, index: int) -> list[tuple[int, int]]:
        """Return the stretches before a node in its branch, as (start, length), from the top."""
        stretches = []
        parent = self.nodes[index].parent
        while parent >= 0:
            node = self.nodes[parent]
            stretches.append((node.start, node.length))
            parent = node.parent
        return stretches[::-1]

    def learned_places(self, rows: Sequence[TokenRow]) -> list[list[int]]:
        """Return for each row, of those that make this tree, where in `target` its learned tokens are."""
        index = {pair: position for position, pair in enumerate(zip(self.source, self.target, strict=True))}
        indices = []
        for row, end in zip(rows, self.ends, strict=True):
            branch = _branch_positions(self, end)
            labels = enumerate(row.labels)
            indices.append([index[branch[at - 1], label] for at, label in labels if label != TokenRow.IGNORE and at])
        return indices

    @property
    def pairs(self) -> int:
        """How many pairs of tokens attend to each other, later ones within a stretch counted too."""
        return sum(node.length * (node.depth + node.length) for node in self.nodes)


def common_prefix_length(left: Sequence[Any], right: Sequence[Any]) -> int:
    """Return how many tokens two rows, or characters two texts, have in common at their beginning."""
    end = min(len(left), len(right))
    if left[:end] == right[:end]:
        return end
    low = 0  # halving: slices are compared in C
    while low + 1 < end:
        middle = (low + end) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            end = middle
    return low


def build_tree(rows: Sequence[TokenRow], *, share: bool = True) -> Tree:
    """Lay rows out as one sequence: beginnings that are worth it once, or side by side if they do not `share` them."""
    order = sorted(range(len(rows)), key=lambda index: rows[index].input_ids)
    ids = [rows[index].input_ids for index in order]
    shared = [0, *(common_prefix_length(left, right) if share else 0 for left, right in pairwise(ids))]
    tree = Tree(tokens=sum(map(len, ids)), ends=[-1] * len(rows))
    ends = _add_nodes(tree, ids, shared)
    learned: dict[tuple[int, int], int] = {}
    for position, index in enumerate(order):
        tree.ends[index] = ends[position]
        branch = _branch_positions(tree, ends[position])
        for at, label in enumerate(rows[index].labels):
            if label != TokenRow.IGNORE and at:  # nothing is before the first token, so nothing predicts it
                key = (branch[at - 1], label)
                learned[key] = learned.get(key, 0) + 1
    pairs = sorted(learned)
    tree.source = [source for source, _ in pairs]
    tree.target = [target for _, target in pairs]
    tree.weight = [learned[pair] for pair in pairs]
    tree.supervised = sum(tree.weight)
    return tree


def _add_nodes(tree: Tree, ids: Sequence[list[int]], shared: Sequence[int]) -> list[int]:
    """Add the nodes of sorted rows, of which each shares `shared[row]` tokens with the one before it.

    Returns:
        for each row the number of its last node.
    """
    ends = [-1] * len(ids)
    todo = [(0, len(ids), 0, -1)]  # rows low..high, whose first `depth` tokens are at `parent` and above
    while todo:
        low, high, depth, parent = todo.pop()
        if high - low == 1:
            ends[low] = _append_node(tree, ids[low][depth:], depth, parent)
            continue
        least = min(shared[low + 1 : high])
        alike = len(ids[high - 1]) == least  # the last of sorted rows is the longest of those that begin like it
        if alike or (least - depth) * (high - low - 1) >= MIN_SAVED_TOKENS:
            parent, depth = _append_node(tree, ids[low][depth:least], depth, parent), least
        cuts = [low, *(row for row in range(low + 1, high) if shared[row] == least), high]
        parts = [(start, end, depth, parent) for start, end in pairwise(cuts)]
        todo += reversed(parts)
    return ends


def _append_node(tree: Tree, ids: list[int], depth: int, parent: int) -> int:
    """Append a node and return its number; without tokens of its own it is its parent."""
    if not ids:
        return parent
    tree.nodes.append(Node(len(tree.ids), len(ids), depth, parent))
    tree.ids += ids
    return len(tree.nodes) - 1


def _branch_positions(tree: Tree, end: int) -> list[int]:
    """Return the places of a branch's tokens in the sequence."""
    node = tree.nodes[end]
    stretches = [*tree.path(end), (node.start, node.length)]
    return [position for start, length in stretches for position in range(start, start + length)]
