"""Layers that keep a state, along the branches of a tree: each node begins with the state that its parent ended with.

Convolutions over the last tokens, DeltaNet and Mamba hand on what they know of earlier tokens. transformers lets them
do that through a cache, for a text that comes piece by piece; here each node is such a piece, and the cache keeps the
gradients. Nodes from which nothing is handed on are computed together.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from framework_plugins.hf.packing.tree import Node

Tensor = torch.Tensor
NODES = "tree_nodes"
"""The argument of a forward pass that has the nodes of a tree."""
HYBRID_KIND = "hybrid"
"""Kind of a layer that keeps a state and attends besides."""
STATE_KINDS = frozenset({"conv", "linear_attention", HYBRID_KIND})
"""Kinds of layers, as transformers names them, that keep a state."""


class States:
    """What one layer keeps, (rows, …), with gradients: transformers' cache writes in place instead."""

    def __init__(self, conv: Tensor | None = None, recurrent: Tensor | None = None) -> None:
        self.conv = conv
        self.recurrent = recurrent

    def get_conv_state(self, *_: Any, **__: Any) -> Tensor | None:
        """Return the last inputs of the convolution."""
        return self.conv

    def get_recurrent_state(self, *_: Any, **__: Any) -> Tensor | None:
        """Return the state of the recurrence."""
        return self.recurrent

    def is_recording_past(self, *_: Any, **__: Any) -> bool:
        """Say that a single token is to be computed like several: the short cut for it writes in place."""
        return True

    def get_recurrent_states_to_keep(self, *_: Any, **__: Any) -> int:
        """Say that no state but the last is read, since transformers 5.25 of a layer that records several."""
        return 0

    def update_conv_state(self, values: Tensor, *_: Any, conv_kernel_size: int, **__: Any) -> Tensor:
        """Keep the last inputs, and return all that the convolution reads."""
        full = values if self.conv is None else torch.cat([self.conv, values], -1)
        keep = conv_kernel_size - 1
        self.conv = functional.pad(full, (max(0, keep - full.shape[-1]), 0))[..., full.shape[-1] - keep :]
        return full

    def update_recurrent_state(self, values: Tensor, *_: Any, **__: Any) -> Tensor:
        """Keep the state of the recurrence."""
        self.recurrent = values
        return values

    @classmethod
    def stack(cls, states: Sequence[States]) -> States:
        """Return the states of several nodes as rows."""
        rows = ([getattr(state, name) for state in states] for name in ("conv", "recurrent"))
        return cls(*(None if tensors[0] is None else torch.cat(tensors) for tensors in rows))


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens that a layer computes in a row: the node's own, after those whose state is not known."""

    number: int
    places: list[int]
    own: int
    parent: int


def state_layers(model: nn.Module) -> dict[str, Any]:
    """Return the layers that keep a state which a cache hands on: they have a convolution over each feature."""
    return {
        name: part
        for name, part in model.named_modules()
        if any(isinstance(child, nn.Conv1d) and child.groups == child.in_channels for child in part.children())
        and (isinstance(part, AlongNodes) or "cache" in inspect.signature(part.forward).parameters)
    }


def use_tree_states(model: nn.Module) -> None:
    """Let the layers that keep a state go along the branches of a batch that has nodes."""
    for layer in state_layers(model).values():
        kind = type(layer)
        if not issubclass(kind, AlongNodes):
            layer.__class__ = type(kind.__name__, (AlongNodes, kind), {})


class AlongNodes:
    """Mixed into a layer that keeps a state: computes it along the nodes of a tree."""

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Compute one node after the other, if a batch has them."""
        forward: Callable[..., Any] = super().forward  # type: ignore[misc]
        nodes: Sequence[Node] | None = options.pop(NODES, None)
        if nodes is None:  # called as the class of the layer says
            return forward(*inputs, **options)
        return self._forward_nodes(nodes, forward, *inputs, **options | {"cache": None, "attention_mask": None})

    @staticmethod
    def _forward_nodes(
        nodes: Sequence[Node], forward: Callable[..., Tensor], hidden_states: Tensor, **options: Any
    ) -> Tensor:
        by_node: dict[int, States] = {-1: States()}
        outputs, (batches, places) = [], _places(tuple(nodes), hidden_states.device)
        for pieces, filled in batches:
            states = States.stack([by_node[piece.parent] for piece in pieces])
            computed = forward(hidden_states[0][filled], **options | {"cache": states})
            by_node[pieces[0].number] = states  # of a node that is alone: nothing follows those that are together
            outputs += [computed[row, piece.own : len(piece.places)] for row, piece in enumerate(pieces)]
        joined = torch.cat(outputs)
        empty = joined.new_zeros(hidden_states.shape[1], joined.shape[-1])  # what fills the sequence up is in no node
        return empty.index_copy(0, places, joined)[None]


@lru_cache(maxsize=1)  # all layers of a pass ask for the same
def _places(nodes: tuple[Node, ...], device: torch.device) -> tuple[list[tuple[list[Piece], Tensor]], Tensor]:
    """Return what is computed at a time with the places that it reads, and the places of all that is computed."""
    places: list[int] = []
    found = []
    for pieces in _piece_batches(nodes):
        longest = max(2, *(len(piece.places) for piece in pieces))  # one token alone would write in place
        filled = [piece.places + piece.places[-1:] * (longest - len(piece.places)) for piece in pieces]
        found.append((pieces, filled))
        places += [place for piece in pieces for place in piece.places[piece.own :]]
    with torch.inference_mode(mode=False):  # a later pass may keep them for its backward pass
        batches = [(pieces, torch.tensor(filled, device=device)) for pieces, filled in found]
        return batches, torch.tensor(places, device=device)


def _piece_batches(nodes: Sequence[Node]) -> Iterator[list[Piece]]:
    """Give what is computed at a time, parents first: a node that hands its state on, or several that do not."""
    parents = {node.parent for node in nodes}
    before: dict[int, tuple[list[int], int]] = {-1: ([], -1)}
    leaves: dict[tuple[bool, int], list[Piece]] = {}
    for index, node in enumerate(nodes):
        prefix, parent = before[node.parent]
        piece = Piece(index, [*prefix, *range(node.start, node.start + node.length)], len(prefix), parent)
        if index in parents and len(piece.places) > 1:
            before[index] = [], index
            yield [piece]
            continue
        before[index] = piece.places, parent
        leaves.setdefault((parent < 0, len(piece.places).bit_length()), []).append(piece)
    yield from leaves.values()
