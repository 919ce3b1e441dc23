"""A tiny random model of the architecture in a config.json, and one step of it by plain transformers and peft.

`compare.py` calls `step` in a process of its own, in which Unsloth is not imported and nothing is patched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from framework import FrameworkError
from framework.api import summarize_error
from framework.api.training import TokenRow

MODEL, ADAPTER, GRADIENTS = "model", "adapter", "gradients.safetensors"
"""In the folder of a comparison."""
SMALL_SIZES = {
    "hidden_size": 128, "intermediate_size": 256, "moe_intermediate_size": 128, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2,
    "max_position_embeddings": 512, "max_window_layers": 2,
}  # fmt: skip
"""Sizes, if the config has them. 4-bit layers want 64 features and more."""
VOCABULARY, LAYERS = 512, 2
DROPPED_FIELDS = ("architectures", "auto_map", "quantization_config", "transformers_version", "dtype", "torch_dtype")
NO_DROPOUT = 1e-12
"""A share that drops nothing, and goes the way of one that does: what is compared may not hang on chance."""
ROPE_FIELDS = ("rope_scaling", "rope_parameters")
"""Where these hold lists, the lists are as long as a head is wide."""
INIT_SPREAD = 0.05
"""The spread of what is put where an adapter begins at zero: its other half has no gradient before that."""
ROLES = {"pad_token": "t0", "bos_token": "t1", "eos_token": "t2", "unk_token": "t3"}
TEMPLATE = "{{ messages }}"
"""A model needs one to be opened; no conversation is written."""


def step(
    folder: Path, config: Mapping[str, Any], rows: Sequence[TokenRow], adapter: PeftConfig | None, quantization: Any,
    device: str, dtype: torch.dtype,
) -> float:  # fmt: skip
    """Make a twin, put an adapter on it, and write both and the gradients of one step into a folder.

    Each row goes through the model by itself: nothing is padded, packed or accumulated. Without `adapter` the weights
    themselves are trained. Returns the mean loss over the supervised tokens, in nats.

    Raises:
        FrameworkError: transformers and peft cannot make or train a small model of this kind.
    """
    try:
        make(config, folder / MODEL)
        weights = torch.float32 if adapter is None else dtype
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder / MODEL, dtype=weights, quantization_config=quantization, device_map={"": device}, use_kernels=False
        )
        if adapter is not None:
            model = get_peft_model(model, adapter)
            _fill(model)
            model.save_pretrained(folder / ADAPTER, save_embedding_layers=False)
        with torch.autocast(device, dtype, enabled=dtype is not torch.float32):
            loss = _loss(model.eval(), rows)
        loss.backward()  # type: ignore[no-untyped-call]
    except Exception as error:
        raise FrameworkError(summarize_error(error)) from error
    gradients = {
        name: weight.grad.float().cpu() for name, weight in model.named_parameters() if weight.grad is not None
    }
    save_file(gradients, folder / GRADIENTS)
    return loss.item()


def make(config: Mapping[str, Any], folder: Path) -> None:
    """Write the twin of the model in a config.json, and a tokenizer of numbers."""
    settings = {**config, **config["text_config"]} if isinstance(config.get("text_config"), Mapping) else dict(config)
    kind = settings.pop("model_type")
    small_config = AutoConfig.for_model(kind, **_small(settings))
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(small_config).save_pretrained(folder)
    words = {f"t{token_id}": token_id for token_id in range(VOCABULARY)}
    cut = Tokenizer(models.WordLevel(words, unk_token=ROLES["unk_token"]))
    PreTrainedTokenizerFast(tokenizer_object=cut, chat_template=TEMPLATE, **ROLES).save_pretrained(folder)


def _small(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with small sizes, and two kinds of layers if there are several."""
    settings = {
        name: value for name, value in config.items() if name not in DROPPED_FIELDS and not name.endswith("_config")
    }
    drops = [name for name in settings if "dropout" in name or name.endswith("pdrop")]
    settings |= {name: NO_DROPOUT for name in drops if isinstance(settings[name], float) and settings[name]}
    for name in ROPE_FIELDS:
        if any(isinstance(part, list) for part in (settings.get(name) or {}).values()):
            del settings[name]
    small: dict[str, Any] = {name: size for name, size in SMALL_SIZES.items() if settings.get(name) is not None}
    if "num_key_value_heads" in small and settings["num_key_value_heads"] == settings.get("num_attention_heads"):
        small["num_key_value_heads"] = SMALL_SIZES["num_attention_heads"]
    if layers := settings.get("layer_types"):
        kinds = [*dict.fromkeys(layers)]
        small["layer_types"] = [kinds[0], kinds[-1]]
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return {**settings, **small, **tokens, "vocab_size": VOCABULARY, "num_hidden_layers": LAYERS}


@torch.no_grad()
def _fill(model: torch.nn.Module) -> None:
    draw = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        if weight.requires_grad and not weight.any():
            weight.copy_(INIT_SPREAD * torch.randn(weight.shape, generator=draw))


def _loss(model: Any, rows: Sequence[TokenRow]) -> torch.Tensor:
    losses = []
    for row in rows:
        ids = torch.tensor([row.input_ids], device=model.device)
        labels = torch.tensor(row.labels[1:], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        losses.append(functional.cross_entropy(logits, labels, ignore_index=TokenRow.IGNORE, reduction="sum"))
    count = sum(label != TokenRow.IGNORE for row in rows for label in row.labels[1:])
    return torch.stack(losses).sum() / count
