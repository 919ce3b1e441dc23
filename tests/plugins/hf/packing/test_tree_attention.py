"""hf/packing/tree_attention.py: along branches, and with a dense mask, as row by row."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from torch.nn import functional

from framework.api.records import TokenRow
from framework_plugins.hf.packing import tree_attention
from framework_plugins.hf.packing.tree import plant
from framework_plugins.hf.packing.tree_attention import attend, branches, dense
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
@given(rows=drawn.rows(longest=450))
def test_blocks_give_what_a_dense_mask_gives_and_its_gradients(rows: list[TokenRow]) -> None:
    tree = plant(rows)
    count = len(tree.ids)
    q, k, v = made(count + FILL)
    above = torch.randn(1, count, HEADS, SIZE, dtype=torch.float64)
    along = attend(q, k, v, branches(tree), 0.3)[:, :count]
    whole = masked(q, k, v, dense(tree, count + FILL), 0.3)[:, :count]
    torch.testing.assert_close(along, whole, rtol=1e-9, atol=1e-11)
    ours = torch.autograd.grad(along, (q, k, v), above)
    plain = torch.autograd.grad(whole, (q, k, v), above)
    for one, two in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-10)


@settings(max_examples=examples(60))
@given(rows=drawn.rows(longest=60))
def test_a_dense_mask_shows_each_token_its_branch_and_nothing_else(rows: list[TokenRow]) -> None:
    tree = plant(rows)
    mask = dense(tree, len(tree.ids) + FILL)[0, 0]
    for number, node in enumerate(tree.nodes):
        before = [at for start, length in tree.path(number) for at in range(start, start + length)]
        for place in range(node.start, node.start + node.length):
            assert mask[place].nonzero().flatten().tolist() == sorted([*before, *range(node.start, place + 1)])
    for place in range(len(tree.ids), len(mask)):
        assert mask[place].nonzero().flatten().tolist() == [place]


def test_long_stretches_and_many_rows_are_cut_into_blocks_of_limited_size() -> None:
    rows = [TokenRow([row] * 900, [-100] * 899 + [row]) for row in range(40)]
    along = branches(plant(rows))
    for block in along.blocks(HEADS):
        count, longest, before = block.shape
        assert longest <= tree_attention.STRETCH
        assert count == 1 or count * longest * (longest + before) * HEADS <= tree_attention.SCORES
    assert sum(len(block.queries) for block in along.blocks(HEADS)) >= 40 * 900


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_of_a_shared_beginning_is_summed_in_fp32(dtype: torch.dtype) -> None:
    rows = [TokenRow([*range(64), 70 + row], [-100] * 64 + [70 + row]) for row in range(200)]
    tree = plant(rows)
    q, k, v = (part.detach().to(dtype).requires_grad_() for part in made(len(tree.ids)))
    exact = [part.detach().double().requires_grad_() for part in (q, k, v)]
    above = torch.randn(1, len(tree.ids), HEADS, SIZE, dtype=torch.float64)
    ours = torch.autograd.grad(attend(q, k, v, branches(tree), 0.3), (q, k, v), above.to(dtype))
    wanted = torch.autograd.grad(attend(exact[0], exact[1], exact[2], branches(tree), 0.3), exact, above)
    for one, two in zip(ours, wanted, strict=True):
        apart = (one.double() - two).norm() / two.norm()
        assert apart < (1e-5 if dtype is torch.float32 else 2e-2)
