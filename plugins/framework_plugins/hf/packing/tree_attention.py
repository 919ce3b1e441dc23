"""Attention along the branches of a tree: as blocks of queries with all the keys they see, or as a mask.

A block holds stretches of queries that see the same tokens before their own stretch. On a CPU that is several times
less work than a dense mask, of which most is masked, and nothing is kept for the backward pass but queries, keys and
values: each block's probabilities are computed again, as flash attention does (Dao et al., arXiv 2205.14135). On a GPU
torch's FlexAttention skips the masked pairs too, by a mask of blocks of 128 tokens, which is made from the nodes; it
has no backward pass on a CPU. Where it cannot be used, a dense mask goes to torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from framework.api.training import TokenRow
from framework_plugins.hf.packing.tree import Node, Tree, build_tree

Tensor = torch.Tensor
ATTENTION_NAME = "framework_branches"
"""The attention implementation as transformers knows it. Without `branches` it is sdpa."""
MAX_STRETCH = 192
"""Longer stretches are cut: within one, queries are compared with keys after them too, and masked."""
STRETCH_MULTIPLE = 8
"""Lengths of stretches are rounded up to a multiple: for each new shape a CPU's library first writes code."""
MASK_BLOCK = 128
"""Tokens of a block of FlexAttention's masks."""
KERNEL_TOLERANCE = 0.03
"""How far FlexAttention may lie from a dense mask in fp32, as a share of its size: in bf16 rounding is 0.005."""
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
    nodes: Sequence[Node] = ()
    _masks: dict[tuple[int, torch.device], BlockMask] = field(default_factory=dict)
    _blocks: dict[int, list[Block]] = field(default_factory=dict)
    _angles: dict[tuple[int, float, torch.dtype], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def blocks(self, heads: int) -> list[Block]:
        """Return the blocks for a number of query heads."""
        if heads not in self._blocks:
            self._blocks[heads] = [_block(group) for group in _groups(self.stretches, MAX_SCORES // heads)]
        return self._blocks[heads]

    def block_mask(self, tokens: int, window: int, device: torch.device) -> BlockMask:
        """Return FlexAttention's mask; each token sees `window` tokens of its branch with itself, 0: all of them."""
        key = window, device
        if key not in self._masks:
            self._masks[key] = _block_mask(self.nodes, tokens, window, device)
        return self._masks[key]

    def repeated(self, cos: Tensor, sin: Tensor, groups: int, scale: float) -> tuple[Tensor, Tensor]:
        """Return angles (tokens, 1, size) scaled, and repeated for each query of a key; all layers have the same."""
        key = (groups, scale, cos.dtype)
        if key not in self._angles:
            cosines, sines = ((part * scale).expand(-1, groups, -1).contiguous() for part in (cos, sin))
            self._angles[key] = cosines, sines
        return self._angles[key]


def branches(tree: Tree) -> Branches:
    """Cut the nodes of a tree into stretches."""
    stretches = []
    for index, node in enumerate(tree.nodes):
        path = tuple(tree.path(index))
        for start in range(0, node.length, MAX_STRETCH):
            before = (*path, (node.start, start)) if start else path
            stretches.append(Stretch(node.start + start, min(MAX_STRETCH, node.length - start), before))
    return Branches(stretches, tree.nodes)


def branch_mask(tree: Tree, length: int) -> Tensor:
    """Return which token sees which: (1, 1, length, length), True where it does; what fills up sees itself."""
    mask = torch.eye(length, dtype=torch.bool)
    for index, node in enumerate(tree.nodes):
        span = slice(node.start, node.start + node.length)
        for start, count in tree.path(index):
            mask[span, start : start + count] = True
        mask[span, span] = torch.ones(node.length, node.length, dtype=torch.bool).tril()
    return mask[None, None]


def _block_mask(nodes: Sequence[Node], tokens: int, window: int, device: torch.device) -> BlockMask:
    """Return which blocks of queries see which blocks of keys in part, or as a whole; nothing is tokens x tokens.

    Nodes come before their children, and after a node all that is below it: so a token is seen from itself to the end
    of what is below its node. What fills the sequence up sees itself.
    """
    ends = [node.start + node.length for node in nodes]
    for index in reversed(range(len(nodes))):
        parent = nodes[index].parent
        if parent >= 0:
            ends[parent] = max(ends[parent], ends[index])
    token_ends, positions = torch.arange(1, tokens + 1), torch.zeros(tokens, dtype=torch.long)
    for node, end in zip(nodes, ends, strict=True):
        span = slice(node.start, node.start + node.length)
        token_ends[span], positions[span] = end, torch.arange(node.depth, node.depth + node.length)
    since = positions - window if window else torch.full_like(positions, -1)
    count = -(-tokens // MASK_BLOCK)
    fill = count * MASK_BLOCK - tokens

    def by_block(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the smallest and the largest value of each block."""
        blocks = torch.cat([values, values[-1:].expand(fill)]).view(count, MASK_BLOCK)
        return blocks.amin(1), blocks.amax(1)

    (least_end, most_end), (least_position, most_position) = by_block(token_ends), by_block(positions)
    least_since, most_since = by_block(since)
    start = torch.arange(count)[:, None] * MASK_BLOCK
    earlier = torch.ones(count, count, dtype=torch.bool).tril(-1)
    visible = earlier & (most_end > start) & (most_position > least_since[:, None]) | torch.eye(count, dtype=torch.bool)
    fully_visible = earlier & (least_end >= start + MASK_BLOCK) & (least_position > most_since[:, None])
    token_ends, positions, since = (values.to(device) for values in (token_ends, positions, since))

    def sees(_: Tensor, __: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < token_ends[key]) & (positions[key] > since[query])

    def listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Return how many blocks of keys each block of queries has, and the numbers of all, those first."""
        numbers = blocks.int().argsort(dim=1, descending=True, stable=True)
        counts, which = (values[None, None].int().to(device) for values in (blocks.sum(1), numbers))
        return counts, which

    (partial, which), (full, which_full) = listed(visible & ~fully_visible), listed(fully_visible)
    return BlockMask.from_kv_blocks(
        partial, which, full, which_full, BLOCK_SIZE=MASK_BLOCK, mask_mod=sees, seq_lengths=(tokens, tokens)
    )


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
        masks = {kind: torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, lowest) for kind, mask in masks.items()}
    return masks if len(masks) > 1 else next(iter(masks.values()))


def _groups(stretches: Sequence[Stretch], limit: int) -> Iterator[list[Stretch]]:
    """Put stretches with one path together, similar lengths side by side, up to `limit` scores."""
    group: list[Stretch] = []
    for stretch in sorted(stretches, key=lambda stretch: (stretch.path, -stretch.length)):
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
    path = [position for start, length in group[0].path for position in range(start, start + length)]
    queries: list[int] = []
    keys: list[int] = []
    real: list[int] = []
    for index, stretch in enumerate(group):
        gap = longest - stretch.length
        positions = [*range(stretch.start, stretch.start + stretch.length), *[stretch.start] * gap]
        queries += positions
        keys += path + positions
        real += range(index * longest, index * longest + stretch.length)
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
                stretch_grad = part[:, :, before:].reshape(heads, -1, size)
                total.index_add_(1, block.queries, stretch_grad.to(total.dtype))
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
    dtype = _product_dtype(query, value)
    q = (query[0] * scaling).to(dtype).view(kv, heads // kv, tokens, size).transpose(1, 2)
    return attend_heads(q, key[0].to(dtype), value[0].to(dtype), along).view(1, tokens, heads, size)


def _product_dtype(query: Tensor, value: Tensor) -> torch.dtype:
    device_type = query.device.type
    return torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else value.dtype


def attend_by_mask(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, along: Branches, **options: Any
) -> Tensor:
    """Attend along branches by FlexAttention, which transformers calls; see `attend`."""
    dtype = _product_dtype(query, value)
    mask = along.block_mask(query.shape[2], options.get("sliding_window") or 0, query.device)
    out: Tensor = flex_attention_forward(
        module, *(tensor.to(dtype) for tensor in (query, key, value)), mask, **options
    )[0]
    return out


@cache
def check_block_masks(device: torch.device, dtype: torch.dtype, heads: int, key_heads: int, size: int) -> None:
    """Compare FlexAttention on a device with a dense mask, forward and backward, on a small tree.

    Raises:
        RuntimeError: they differ, or it does not run there; a probe falls back to a dense mask then.
    """
    begin = [*range(150)]
    rows = [TokenRow(ids, [TokenRow.IGNORE] * len(ids)) for ids in (begin + [1] * 40, begin + [2] * 120, [3] * 60)]
    tree, random = build_tree(rows), torch.Generator().manual_seed(0)
    tokens = len(tree.ids)
    shapes = [(1, count, tokens, size) for count in (heads, key_heads, key_heads, heads)]
    with torch.inference_mode(mode=False), torch.enable_grad():
        *tensors, above = (torch.randn(shape, generator=random).to(device, dtype) for shape in shapes)
        dense = branch_mask(tree, tokens).to(device)
        results = []
        for exact in (False, True):
            q, k, v = (tensor.float() if exact else tensor.clone() for tensor in tensors)
            inputs = [tensor.requires_grad_() for tensor in (q, k, v)]
            if exact:
                k, v = (tensor.repeat_interleave(heads // key_heads, dim=1) for tensor in (k, v))
                out = functional.scaled_dot_product_attention(q, k, v, attn_mask=dense)
            else:
                out = attend_by_mask(torch.nn.Identity(), q, k, v, branches(tree), scaling=size**-0.5).transpose(1, 2)
            results.append([out.detach(), *torch.autograd.grad(out, inputs, above.to(out.dtype))])
    for actual, expected in zip(*results, strict=True):
        distance = float((actual.float() - expected.float()).norm() / expected.float().norm())
        if not distance < KERNEL_TOLERANCE:
            raise RuntimeError(
                f"FlexAttention is off by {distance:.0%} for {heads} heads of {size} features in {dtype}"
            )


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
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attend as transformers asks for it: along the branches of the batch, or else as sdpa does."""
    along: Branches | None = options.pop("branches", None)
    if along is None:
        output: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return output
    if query.device.type != "cpu":
        if not torch.compiler.is_compiling():  # a compiled layer was computed as it is before
            check_block_masks(query.device, _product_dtype(query, value), query.shape[1], key.shape[1], query.shape[3])
        return attend_by_mask(module, query, key, value, along, **options), None
    scaling = options.get("scaling")
    return attend(query, key, value, along, query.shape[-1] ** -0.5 if scaling is None else scaling), None


def register() -> None:
    """Make the implementation known to transformers."""
    AttentionInterface.register(ATTENTION_NAME, _forward)
    AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
