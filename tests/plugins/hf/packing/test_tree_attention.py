"""hf/packing/tree_attention.py: along branches, and with a dense mask, as row by row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torch.nn.attention.flex_attention import flex_attention

from framework.api.records import TokenRow
from framework_plugins.hf.packing import tree_attention
from framework_plugins.hf.packing.tree import build_tree
from framework_plugins.hf.packing.tree_attention import (
    MASK_BLOCK,
    attend,
    attend_by_mask,
    branch_mask,
    branches,
    check_block_masks,
    masks_of_layers,
)
from tests.plugins.hf.packing import drawn
from tests.support.examples import examples

HEADS, KV, SIZE, FILL = 6, 2, 8, 5


def made(count: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    random = torch.Generator().manual_seed(seed)
    shapes = [(1, heads, count, SIZE) for heads in (HEADS, KV, KV)]
    return tuple(torch.randn(shape, generator=random, dtype=torch.float64).requires_grad_() for shape in shapes)


def masked(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
    k, v = (part.repeat_interleave(HEADS // KV, dim=1) for part in (k, v))
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale).transpose(1, 2)


@settings(max_examples=examples(60))
@given(rows=drawn.rows(longest=450), share=st.booleans())
def test_blocks_give_what_a_dense_mask_gives_and_its_gradients(rows: list[TokenRow], *, share: bool) -> None:
    tree = build_tree(rows, share=share)
    count = len(tree.ids)
    q, k, v = made(count + FILL)
    above = torch.randn(1, count, HEADS, SIZE, dtype=torch.float64)
    along = attend(q, k, v, branches(tree), 0.3)[:, :count]
    whole = masked(q, k, v, branch_mask(tree, count + FILL), 0.3)[:, :count]
    torch.testing.assert_close(along, whole, rtol=1e-9, atol=1e-11)
    ours = torch.autograd.grad(along, (q, k, v), above)
    plain = torch.autograd.grad(whole, (q, k, v), above)
    for one, two in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-10)


@settings(max_examples=examples(60))
@given(rows=drawn.rows(longest=60))
def test_a_dense_mask_shows_each_token_its_branch_and_nothing_else(rows: list[TokenRow]) -> None:
    tree = build_tree(rows)
    mask = branch_mask(tree, len(tree.ids) + FILL)[0, 0]
    for number, node in enumerate(tree.nodes):
        before = [at for start, length in tree.path(number) for at in range(start, start + length)]
        for place in range(node.start, node.start + node.length):
            assert mask[place].nonzero().flatten().tolist() == sorted([*before, *range(node.start, place + 1)])
    for place in range(len(tree.ids), len(mask)):
        assert mask[place].nonzero().flatten().tolist() == [place]


def test_rows_that_share_nothing_see_only_themselves() -> None:
    tree = build_tree([TokenRow([*range(40), row], [-100] * 41) for row in (1, 2)], share=False)
    alone = torch.ones(41, 41, dtype=torch.bool).tril()
    assert torch.equal(branch_mask(tree, 82)[0, 0], torch.kron(torch.eye(2), alone).bool())


@settings(max_examples=examples(60))
@given(rows=drawn.rows(longest=450), window=st.integers(0, 300), fill=st.integers(0, 200), share=st.booleans())
def test_a_block_mask_shows_what_a_dense_mask_shows(
    rows: list[TokenRow], window: int, fill: int, *, share: bool
) -> None:
    tree = build_tree(rows, share=share)
    tokens = len(tree.ids) + fill
    made = branches(tree).block_mask(tokens, window, torch.device("cpu"))
    places = torch.tensor([tree.positions + [0] * fill])
    dense = masks_of_layers(branch_mask(tree, tokens), places, {"": window}, None)
    assert isinstance(dense, torch.Tensor)
    query, key = torch.arange(tokens)[:, None], torch.arange(tokens)[None]
    assert torch.equal(made.mask_mod(torch.tensor(0), torch.tensor(0), query, key), dense[0, 0])
    count = -(-tokens // MASK_BLOCK)
    gap = count * MASK_BLOCK - tokens
    whole = functional.pad(dense[0, 0], (0, gap, 0, gap)).view(count, MASK_BLOCK, count, MASK_BLOCK)
    assert not (whole.any(3).any(1) & ~made.to_dense()[0, 0].bool()).any()
    assert made.full_kv_num_blocks is not None
    assert made.full_kv_indices is not None
    for number, many in enumerate(made.full_kv_num_blocks[0, 0]):
        assert whole[number, :, made.full_kv_indices[0, 0, number, :many]].all()


def test_a_block_mask_leaves_out_what_no_query_of_a_block_sees() -> None:
    rows = [TokenRow([row] * 256, [-100] * 256) for row in range(8)]
    made = branches(build_tree(rows)).block_mask(2048, 0, torch.device("cpu"))
    assert made.to_dense().sum() == 8 * 3
    assert made.full_kv_num_blocks is not None
    assert made.full_kv_num_blocks.sum() == 8


def flexible(rows: list[TokenRow]) -> tuple[Any, ...]:
    tree = build_tree(rows)
    q, k, v = (part.detach().float() for part in made(len(tree.ids) + FILL))
    return q, k, v, branches(tree), attend(q, k, v, branches(tree), 0.3)[:, : len(tree.ids)]


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_gives_what_the_branches_give() -> None:
    q, k, v, along, expected = flexible(drawn.make(1, 6, 450))
    mask = along.block_mask(q.shape[2], 0, q.device)
    out = flex_attention(q, k, v, block_mask=mask, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(out.transpose(1, 2)[:, : expected.shape[1]], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, in what it imports to compile
def test_compiled_flex_attention_gives_what_the_branches_give() -> None:
    """Compiled, it goes by the blocks."""
    for seed in (1, 2):
        q, k, v, along, expected = flexible(drawn.make(seed, 6, 450))
        module = torch.nn.Identity().eval()
        with torch.no_grad():
            out = attend_by_mask(module, q, k, v, along, scaling=0.3)
            near = attend_by_mask(module, q, k, v, along, scaling=0.3, sliding_window=50)
        torch.testing.assert_close(out[:, : expected.shape[1]], expected, rtol=1e-5, atol=1e-6)
        sees = along.block_mask(q.shape[2], 50, q.device).mask_mod
        every = torch.arange(q.shape[2])
        dense = masked(q, k, v, sees(torch.tensor(0), torch.tensor(0), every[:, None], every[None]), 0.3)
        torch.testing.assert_close(near, dense, rtol=1e-5, atol=1e-6)


def test_kernels_are_compared_with_a_dense_mask_before_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    check = check_block_masks.__wrapped__
    kind = (torch.device("cpu"), torch.bfloat16, HEADS, KV, SIZE)

    def right(_: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, along: Any, *, scaling: float) -> torch.Tensor:
        return attend(q, k, v, along, scaling)

    monkeypatch.setattr(tree_attention, "attend_by_mask", right)
    check(*kind)
    monkeypatch.setattr(tree_attention, "attend_by_mask", lambda *given, scaling: right(*given, scaling=1.1 * scaling))
    with pytest.raises(RuntimeError, match=r"FlexAttention is off by \d+% for 6 heads of 8 features in torch.bfloat16"):
        check(*kind)


def test_long_stretches_and_many_rows_are_cut_into_blocks_of_limited_size() -> None:
    rows = [TokenRow([row] * 900, [-100] * 899 + [row]) for row in range(40)]
    along = branches(build_tree(rows))
    for block in along.blocks(HEADS):
        count, longest, before = block.shape
        assert longest <= tree_attention.MAX_STRETCH
        assert count == 1 or count * longest * (longest + before) * HEADS <= tree_attention.MAX_SCORES
    assert sum(len(block.queries) for block in along.blocks(HEADS)) >= 40 * 900


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_of_a_shared_beginning_is_summed_in_fp32(dtype: torch.dtype) -> None:
    rows = [TokenRow([*range(64), 70 + row], [-100] * 64 + [70 + row]) for row in range(200)]
    tree = build_tree(rows)
    q, k, v = (part.detach().to(dtype).requires_grad_() for part in made(len(tree.ids)))
    exact = [part.detach().double().requires_grad_() for part in (q, k, v)]
    above = torch.randn(1, len(tree.ids), HEADS, SIZE, dtype=torch.float64)
    ours = torch.autograd.grad(attend(q, k, v, branches(tree), 0.3), (q, k, v), above.to(dtype))
    wanted = torch.autograd.grad(attend(exact[0], exact[1], exact[2], branches(tree), 0.3), exact, above)
    for one, two in zip(ours, wanted, strict=True):
        apart = (one.double() - two).norm() / two.norm()
        assert apart < (1e-5 if dtype is torch.float32 else 2e-2)
