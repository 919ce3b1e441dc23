"""hf/load/sink_attention.py: attention with sinks is that of transformers, and keeps no matrix of scores."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
import transformers
from packaging.version import Version
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from framework_plugins.hf.load.loading import attention_implementation
from framework_plugins.hf.settings.attention import EAGER_FAMILIES, SINK_FAMILIES, SINKS
from framework_plugins.hf.settings.config import Attention

SIZES: Mapping[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 300, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
MORE: Mapping[str, Any] = {
    "num_local_experts": 4, "num_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "sliding_window": 4,
    "moe_intermediate_size": 32, "n_group": 1, "topk_group": 1,
}  # fmt: skip
WITHOUT_ATTENTION = {"falcon_mamba", "mamba", "mamba2", "rwkv", "xlstm"}


def twins(family: str) -> tuple[Any, Any]:
    """Return a small model with the attention of transformers, and the same with ours."""
    config = AutoConfig.for_model(family, **SIZES)
    for name, value in MORE.items():
        if getattr(config, name, None) is not None:
            setattr(config, name, value)
    torch.manual_seed(0)
    models = [
        AutoModelForCausalLM.from_config(
            copy.deepcopy(config), attn_implementation=attention_implementation(each, config)
        ).eval()
        for each in (Attention.eager, Attention.auto)
    ]
    for name, weight in models[0].named_parameters():
        if "sink" in name:
            torch.nn.init.normal_(weight)
    models[1].load_state_dict(models[0].state_dict())
    return models[0], models[1]


def gradients(model: Any, ids: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    model(input_ids=ids).logits.square().sum().backward()
    return [weight.grad for _, weight in sorted(model.named_parameters()) if weight.grad is not None]


@pytest.mark.parametrize("family", sorted(SINK_FAMILIES & MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.keys()))
def test_it_is_the_attention_of_transformers(family: str) -> None:
    plain, ours = twins(family)
    assert ours.config._attn_implementation == SINKS  # noqa: SLF001 - no public name
    ids = torch.randint(3, 300, (2, 13))
    padded = torch.ones_like(ids)
    padded[1, :4] = 0
    for mask in (None, padded):
        seen = 1 if mask is None else mask[..., None]
        expected, computed = (model(input_ids=ids, attention_mask=mask).logits * seen for model in (plain, ours))
        torch.testing.assert_close(computed, expected, rtol=0, atol=1e-6)
    pairs = [*zip(gradients(plain, ids), gradients(ours, ids), strict=True)]
    largest = max(float(gradient.abs().max()) for gradient, _ in pairs)
    assert max(float((one - other).abs().max()) for one, other in pairs) < 1e-5 * largest
    answers = [model.generate(ids, max_new_tokens=6, do_sample=False) for model in (plain, ours)]
    assert torch.equal(*answers)


def test_no_matrix_of_scores_is_kept() -> None:
    plain, ours = twins("gpt_oss")
    sizes = []
    for model in (plain, ours):
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor, kept: dict[int, int] = kept) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(input_ids=torch.randint(3, 300, (1, 512))).logits.sum()
        sizes.append(max(kept.values()))
    scores = 4 * 512 * 512 * 4  # heads, pairs, bytes
    assert sizes[0] >= scores
    assert sizes[1] < scores / 3  # a mask of all pairs, with a number of 4 bytes for each


@pytest.mark.skipif(Version(transformers.__version__) < Version("5.24"), reason="the tables are of a newer one")
def test_each_family_without_a_kernel_of_torch_is_known() -> None:
    known, here = SINK_FAMILIES | EAGER_FAMILIES, set()
    for family, name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        kind = getattr(transformers, name if isinstance(name, str) else name[0], None)
        if kind is not None and not kind._supports_sdpa and family not in WITHOUT_ATTENTION:  # noqa: SLF001
            here.add(family)
    assert here - known == set()
    assert known & set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - here == set()


@pytest.mark.parametrize(("requested", "name"), [(Attention.eager, "eager"), (Attention.sdpa, SINKS)])
def test_what_is_set_counts(requested: Attention, name: str) -> None:
    assert attention_implementation(requested, AutoConfig.for_model("gpt_oss", **SIZES)) == name
