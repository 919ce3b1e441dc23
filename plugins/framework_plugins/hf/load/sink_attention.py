"""Attention with sinks, as gpt-oss has it, without the matrix of scores.

Each head has a score, its sink, which is in the sum of the softmax and has no value: what attends to it attends to
nothing. torch's kernels take no sink, so transformers computes all scores, which are 25 GiB a layer of gpt-oss 20B for
8,192 tokens. Here the sink is the score of one more key, whose value is zero. No query may see another score there, so
queries have one more feature, which is 1, and keys have 0 there, but for that key, which has its score.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from framework_plugins.hf.settings.attention import SINKS

FEATURES = 8
"""Sizes of queries, keys and values are multiples of it."""


def attend_with_sinks(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    s_aux: torch.Tensor | None = None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as transformers asks for it.

    Args:
        module: the attention of a layer.
        query: (rows, heads, tokens, features).
        key: (rows, heads of keys, tokens seen, features).
        value: (rows, heads of keys, tokens seen, features of values).
        attention_mask: (rows, 1, tokens, tokens seen), true for what is seen, or what is added to the scores.
        s_aux: the sinks, one of each head; some layers have none.
        scaling: of the scores.
        options: those of sdpa.

    Returns:
        (rows, tokens, heads, features of values).
    """
    if s_aux is None:
        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return plain
    if attention_mask is None:
        raise TypeError("attention with sinks takes a mask of pairs, also if nothing is masked but what is later")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    shared, features, values = query.shape[1] // key.shape[1], query.shape[-1], value.shape[-1]
    # Kernels of a GPU read rows of 16 bytes, and torch's for a CPU takes values of the size of keys only.
    width = -(-max(features + 1, values) // FEATURES) * FEATURES
    key, value = repeat_kv(key, shared), repeat_kv(value, shared)
    sinks = pad(s_aux.to(key.dtype).div(scale)[None, :, None, None], (features, width - features - 1))
    key = torch.cat([sinks.expand(key.shape[0], -1, -1, -1), pad(key, (0, width - features))], dim=2)
    query = pad(pad(query, (0, 1), value=1.0), (0, width - features - 1))
    value = pad(value, (0, width - values, 1, 0))
    mask = pad(attention_mask, (1, 0), value=1.0 if attention_mask.dtype == torch.bool else 0.0)
    output = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, mask, options.get("dropout", 0.0), scale=scale
    )
    return output[..., :values].transpose(1, 2).contiguous(), None


def register() -> None:
    """Make the implementation known to transformers."""
    AttentionInterface.register(SINKS, attend_with_sinks)
    AttentionMaskInterface.register(SINKS, _mask)


def _mask(*inputs: Any, **options: Any) -> torch.Tensor | None:
    mask: torch.Tensor | None = sdpa_mask(*inputs, **{**options, "allow_is_causal_skip": False})
    return mask
