"""Attention along the branches of a tree: as blocks of queries with all the keys they see, or as a dense mask.

A block holds stretches of queries that see the same tokens before their own stretch. On a CPU that is several times
less work than a dense mask, of which most is masked, and nothing is kept for the backward pass but queries, keys and
values: each block's probabilities are computed again, as flash attention does (Dao et al., arXiv 2205.14135). torch's
FlexAttention would skip the masked pairs too, but has no backward pass on a CPU. On a GPU the mask goes to torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from framework_plugins.hf.packing.tree import Tree

Tensor = torch.Tensor
ATTENTION_NAME = "framework_branches"
"""The attention implementation as transformers knows it. Without `branches` it is sdpa."""
MAX_STRETCH = 192
"""Longer stretches are cut: within one, queries are compared with keys after them too, and masked."""
STRETCH_MULTIPLE = 8
"""Lengths of stretches are rounded up to a multiple: for each new shape a CPU's library first writes code."""
MAX_SCORES = 3_000_000
"""Scores in one block, over all heads of keys: what a block needs beside its queries and keys stays in the cache."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """`length` queries from `start` on, which see `path` and those of their own that are not after them."""

    start: int
    length: int
    path: tuple[tuple[int, int], ...]

    @property
    def before(self) -> int:
        """Number of tokens in `path`."""
        return sum(length for _, length in self.path)


@dataclass(slots=True)
class Block:
    """Stretches with one path.

    Attributes:
        shape: (stretches, longest, tokens in the path).
        queries: places of the queries, stretches x longest, filled up with the first of each stretch.
        keys: places of what each stretch sees, stretches x (path + longest).
        path: the places of the path.
        real: which of the filled-up queries are real; None if all are.
    """

    shape: tuple[int, int, int]
    queries: Tensor
    keys: Tensor
    path: Tensor
    real: Tensor | None


@dataclass(slots=True)
class Branches:
    """How the tokens of a tree attend to each other. Travels with a batch; the blocks are made where they are used."""

    stretches: list[Stretch]
    _blocks: dict[int, list[Block]] = field(default_factory=dict)
    _angles: dict[tuple[int, float, torch.dtype], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def blocks(self, heads: int) -> list[Block]:
        """Return the blocks for a number of query heads."""
        if heads not in self._blocks:
            self._blocks[heads] = [_block(group) for group in _groups(self.stretches, MAX_SCORES // heads)]
        return self._blocks[heads]

    def repeated(self, cos: Tensor, sin: Tensor, groups: int, scale: float) -> tuple[Tensor, Tensor]:
        """Return angles (tokens, 1, size) scaled, and repeated for each query of a key; all layers have the same."""
        key = (groups, scale, cos.dtype)
        if key not in self._angles:
            one, two = ((part * scale).expand(-1, groups, -1).contiguous() for part in (cos, sin))
            self._angles[key] = one, two
        return self._angles[key]


def branches(tree: Tree) -> Branches:
    """Cut the nodes of a tree into stretches."""
    stretches = []
    for number, node in enumerate(tree.nodes):
        path = tuple(tree.path(number))
        for start in range(0, node.length, MAX_STRETCH):
            before = (*path, (node.start, start)) if start else path
            stretches.append(Stretch(node.start + start, min(MAX_STRETCH, node.length - start), before))
    return Branches(stretches)


def branch_mask(tree: Tree, length: int) -> Tensor:
    """Return which token sees which: (1, 1, length, length), True where it does; what fills up sees itself."""
    mask = torch.eye(length, dtype=torch.bool)
    for number, node in enumerate(tree.nodes):
        own = slice(node.start, node.start + node.length)
        for start, count in tree.path(number):
            mask[own, start : start + count] = True
        mask[own, own] = torch.ones(node.length, node.length, dtype=torch.bool).tril()
    return mask[None, None]


def masks_of_layers(
    mask: Tensor, positions: Tensor, windows: Mapping[str, int], dtype: torch.dtype | None
) -> Tensor | dict[str, Tensor]:
    """Return the mask of a tree for each kind of layer, as transformers takes them; one mask if there is one kind.

    Args:
        mask: which token sees which, see `branch_mask`.
        positions: of the tokens, (1, tokens).
        windows: how many tokens back a token sees in each kind of layer; 0: all.
        dtype: of masks that are added to scores; None if they say which scores count.
    """
    query, key = positions[0][:, None], positions[0][None]
    masks = {kind: mask & (query < key + window) if window else mask for kind, window in windows.items()} or {"": mask}
    if dtype is not None:
        lowest = torch.finfo(dtype).min
        masks = {kind: torch.zeros_like(each, dtype=dtype).masked_fill(~each, lowest) for kind, each in masks.items()}
    return masks if len(masks) > 1 else next(iter(masks.values()))


def _groups(stretches: Sequence[Stretch], limit: int) -> Iterator[list[Stretch]]:
    """Put stretches with one path together, similar lengths side by side, up to `limit` scores."""
    group: list[Stretch] = []
    for stretch in sorted(stretches, key=lambda one: (one.path, -one.length)):
        if group:
            longest = group[0].length
            scores = (len(group) + 1) * longest * (longest + stretch.before)
            if stretch.path != group[0].path or scores > limit or 2 * stretch.length < longest:
                yield group
                group = []
        group.append(stretch)
    yield group


def _block(group: Sequence[Stretch]) -> Block:
    longest, before = -(-group[0].length // STRETCH_MULTIPLE) * STRETCH_MULTIPLE, group[0].before
    path = [place for start, length in group[0].path for place in range(start, start + length)]
    queries: list[int] = []
    keys: list[int] = []
    real: list[int] = []
    for number, stretch in enumerate(group):
        gap = longest - stretch.length
        own = [*range(stretch.start, stretch.start + stretch.length), *[stretch.start] * gap]
        queries += own
        keys += path + own
        real += range(number * longest, number * longest + stretch.length)
    return Block(
        (len(group), longest, before),
        torch.tensor(queries),
        torch.tensor(keys),
        torch.tensor(path, dtype=torch.long),
        torch.tensor(real) if len(real) < len(queries) else None,
    )


@lru_cache(maxsize=64)
def _causal(length: int, groups: int, dtype: torch.dtype) -> Tensor:
    """Return what is added to scores so that no query sees a later key: (length x groups, length)."""
    mask = torch.full((length, length), float("-inf"), dtype=dtype).triu(1)
    return mask.repeat_interleave(groups, dim=0)


class _Attend(torch.autograd.Function):
    """softmax(q k^T) v along the branches; q (kv heads, tokens, groups, size), k and v (kv heads, tokens, size)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, blocks: Sequence[Block]) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.blocks = blocks
        heads, tokens, groups, size = q.shape
        out = q.new_zeros(tokens, heads, groups, size)  # what fills the sequence up is in no block
        for block in blocks:
            scores, _, _ = _scores(q, k, block)
            _, longest, _ = block.shape
            count = block.shape[0]
            values = v.index_select(1, block.keys).view(heads * count, -1, size)
            attended = torch.bmm(torch.softmax(scores, -1), values).view(heads, count * longest, groups, size)
            if block.real is None:
                out.index_copy_(0, block.queries, attended.transpose(0, 1))
            else:
                real = block.real
                out.index_copy_(0, block.queries[real], attended.index_select(1, real).transpose(0, 1))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v = ctx.saved_tensors
        grad = grads[0].transpose(0, 1)  # (heads, tokens, groups, size)
        heads, tokens, groups, size = q.shape
        dq = torch.zeros_like(q)
        # A beginning gathers from all its branches: in 16 bits the sum would lose what is small.
        dk, dv = (torch.zeros(heads, tokens, size, dtype=torch.float32).to(q.device) for _ in range(2))
        if q.dtype is torch.float64:
            dk, dv = dk.double(), dv.double()
        for block in ctx.blocks:
            count, longest, before = block.shape
            scores, queries, keys = _scores(q, k, block)
            chances = torch.softmax(scores, -1)
            del scores
            values = v.index_select(1, block.keys).view(heads * count, -1, size)
            above = grad.index_select(1, block.queries)
            if block.real is not None:
                above = _zero_padding(above, block.real)
            above = above.view(heads * count, longest * groups, size)
            inner = torch.bmm(above, values.transpose(1, 2))
            inner = torch._softmax_backward_data(inner, chances, -1, chances.dtype)  # noqa: SLF001 - fused
            for_queries = torch.bmm(inner, keys).view(heads, count * longest, groups, size)
            for_keys = torch.bmm(inner.transpose(1, 2), queries).view(heads, count, -1, size)
            for_values = torch.bmm(chances.transpose(1, 2), above).view(heads, count, -1, size)
            if block.real is None:
                dq.index_copy_(1, block.queries, for_queries)
            else:
                dq.index_copy_(1, block.queries[block.real], for_queries.index_select(1, block.real))
            for total, part in ((dk, for_keys), (dv, for_values)):
                own = part[:, :, before:].reshape(heads, -1, size)
                total.index_add_(1, block.queries, own.to(total.dtype))
                if before:
                    total.index_add_(1, block.path, part[:, :, :before].sum(1, dtype=total.dtype))
        return dq, dk.to(k.dtype), dv.to(v.dtype), None


def _zero_padding(values: Tensor, real: Tensor) -> Tensor:
    """Return (heads, queries, …) with zeros where a query is not real."""
    result = torch.zeros_like(values)
    return result.index_copy_(1, real, values.index_select(1, real))


def _scores(q: Tensor, k: Tensor, block: Block) -> tuple[Tensor, Tensor, Tensor]:
    """Return masked scores of a block, its queries and its keys, with heads and stretches as one dimension."""
    count, longest, before = block.shape
    heads, _, groups, size = q.shape
    queries = q.index_select(1, block.queries).view(heads * count, longest * groups, size)
    keys = k.index_select(1, block.keys).view(heads * count, before + longest, size)
    scores = torch.bmm(queries, keys.transpose(1, 2))
    scores[:, :, before:] += _causal(longest, groups, scores.dtype)
    return scores, queries, keys


def attend(query: Tensor, key: Tensor, value: Tensor, along: Branches, scaling: float) -> Tensor:
    """Attend along branches.

    Args:
        query: (1, heads, tokens, size).
        key: (1, key heads, tokens, size); a query head uses the key head of its group.
        value: like `key`.
        along: the branches of the tokens.
        scaling: what scores are multiplied by.

    Returns:
        (1, tokens, heads, size).
    """
    heads, tokens, size = query.shape[1:]
    kv = key.shape[1]
    # Under autocast rotated queries and keys come in fp32, and in some versions of torch and transformers values too;
    # the products are in its dtype all the same.
    place = query.device.type
    dtype = torch.get_autocast_dtype(place) if torch.is_autocast_enabled(place) else value.dtype
    q = (query[0] * scaling).to(dtype).view(kv, heads // kv, tokens, size).transpose(1, 2)
    return attend_heads(q, key[0].to(dtype), value[0].to(dtype), along).view(1, tokens, heads, size)


def attend_heads(query: Tensor, key: Tensor, value: Tensor, along: Branches) -> Tensor:
    """Attend along branches, with queries that are scaled already.

    Args:
        query: (key heads, tokens, queries to a key head, size).
        key: (key heads, tokens, size).
        value: like `key`.
        along: the branches of the tokens.

    Returns:
        (tokens, key heads, queries to a key head, size).
    """
    blocks = along.blocks(query.shape[0] * query.shape[2])
    out: Tensor = _Attend.apply(query, key, value, blocks)
    return out


def _forward(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **more: Any
) -> tuple[Tensor, None]:
    """Attend as transformers asks for it: along the branches of the batch, or else as sdpa does."""
    along: Branches | None = more.pop("branches", None)
    if along is None:
        output: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **more)
        return output
    scaling = more.get("scaling")
    return attend(query, key, value, along, query.shape[-1] ** -0.5 if scaling is None else scaling), None


def register() -> None:
    """Make the implementation known to transformers."""
    AttentionInterface.register(ATTENTION_NAME, _forward)
    AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
