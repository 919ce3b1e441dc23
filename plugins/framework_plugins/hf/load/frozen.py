"""A frozen adapter beside the one that is trained. The base stays as it is, and both are saved as one adapter of it.

`adapter.merge_first`: the frozen one is that of `adapter.start`, so training begins as if it were merged into the base.
PiSSA and OLoRA: the new adapter begins as a part of the weights, and they take that part from the base. Here the frozen
one is its negative, which gives the same sum: the base is still the one on disk, which baseline, verdict and exports
compare with. peft's `path_initial_model_for_weight_conversion` makes the same of such an adapter once it is trained.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from framework import FrameworkError
from framework_plugins.hf.fused_layers import install
from framework_plugins.hf.load.published import AdapterNames, load_tensors
from framework_plugins.hf.machine.library_errors import refusing_errors
from framework_plugins.lib.weight_files import ADAPTER_WEIGHTS

TRAINED, FROZEN = "default", "frozen"
"""What peft calls the two."""


class FixedLinear(nn.Module):
    """A linear layer whose weight is a buffer: peft lets all parameters of active adapters be trained."""

    weight: torch.Tensor

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self.weight)


# The base on disk is what all is compared with (decision 0093).
def freeze_beside(model: PeftModel, config: LoraConfig, folder: Path, setting: str, names: AdapterNames) -> None:
    """Add a trained adapter, frozen, to a model that has one.

    Args:
        model: with a new adapter.
        config: of the trained one.
        folder: where its weights are.
        setting: names it.
        names: of adapters of the base.

    Raises:
        FrameworkError: it changes something else than linear layers.
    """
    _add_frozen(model, config)
    install.refresh(model)
    with refusing_errors(f"{setting} does not fit this model"):
        load_tensors(model, folder, names, "cpu", FROZEN)
    for name, layer in _layers(model):
        if FROZEN in layer.lora_embedding_A:
            raise FrameworkError(
                f"{setting} adapts the embedding, {name}, and adapter.merge_first=true adds adapters of linear layers "
                "only: merge it into a folder, exporter=[merged], and train on that"
            )
    _freeze(model)


def begin_within_weights(model: PeftModel, start: str) -> None:
    """Initialize the adapter of a model as a part of the weights, and add its negative as a frozen adapter.

    Args:
        model: with a new adapter.
        start: peft's name of the initialization: pissa, pissa_niter_16, olora.
    """
    config = copy.deepcopy(model.peft_config[TRAINED])
    config.modules_to_save = config.trainable_token_indices = None
    _add_frozen(model, config)
    for name, layer in _layers(model):
        base: Any = layer.get_base_layer()
        weight = base.weight.data
        base.weight.data = weight.clone()
        with refusing_errors(f"adapter.args.init_lora_weights={start}: peft cannot begin with {name}"):
            layer.olora_init(TRAINED) if start == "olora" else layer.pissa_init(TRAINED, start)
        base.weight.data = weight
        for parts, sign in ((layer.lora_A, 1), (layer.lora_B, -1)):
            trained: Any = parts[TRAINED]
            trained.weight.data = trained.weight.data.contiguous()
            frozen: Any = parts[FROZEN]
            frozen.weight.data = sign * trained.weight.data
    _freeze(model)


def _add_frozen(model: PeftModel, config: LoraConfig) -> None:
    config.lora_dropout, config.init_lora_weights = 0.0, True
    model.add_adapter(FROZEN, config)


def _freeze(model: PeftModel) -> None:
    """Turn the weights of the frozen adapter into buffers, and activate both adapters."""
    for _, layer in _layers(model):
        for parts in (layer.lora_A, layer.lora_B):
            if FROZEN in parts:
                parts[FROZEN] = FixedLinear(parts[FROZEN].weight)
    model.base_model.set_adapter([TRAINED, FROZEN])


def is_beside(model: Any) -> bool:
    """Whether a model has a frozen adapter besides the trained one."""
    return isinstance(model, PeftModel) and FROZEN in model.peft_config


def fixed_weights(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Give the weights of the frozen adapter, by their names."""
    for name, module in model.named_modules():
        if isinstance(module, FixedLinear):
            yield f"{name}.weight", module.weight


def save_as_one(model: PeftModel, folder: Path, state: dict[str, Any] | None) -> dict[str, torch.Tensor]:
    """Write both adapters as one of the base: the sum of two products is one product, of a rank that is their sum.

    Args:
        model: has both.
        folder: where to.
        state: the weights themselves, where the model does not hold them whole.

    Returns:
        The written tensors by name.
    """
    weights = dict(get_peft_model_state_dict(model, state, TRAINED, save_embedding_layers=False))
    config, layers = copy.deepcopy(model.peft_config[TRAINED]), dict(_layers(model))
    adapters = {
        name: [adapter for adapter in (TRAINED, FROZEN) if adapter in layer.lora_A] for name, layer in layers.items()
    }
    rank = max(
        sum(len(layers[name].lora_A[adapter].weight) for adapter in layer_adapters)
        for name, layer_adapters in adapters.items()
    )
    for name, layer in layers.items():
        a = torch.cat([layer.lora_A[adapter].weight.data for adapter in adapters[name]])
        b = torch.cat([layer.lora_B[adapter].weight.data * layer.scaling[adapter] for adapter in adapters[name]], dim=1)
        # Zeros, so that all have one rank: a GGUF adapter and servers know only one.
        weights[f"base_model.model.{name}.lora_A.weight"] = functional.pad(a, (0, 0, 0, rank - len(a)))
        weights[f"base_model.model.{name}.lora_B.weight"] = functional.pad(b, (0, rank - len(a)))
    if any(TRAINED not in layer_adapters for layer_adapters in adapters.values()):
        config.target_modules, config.exclude_modules, config.layers_to_transform = {*layers}, None, None
    config.r, config.lora_alpha, config.rank_pattern, config.alpha_pattern = rank, rank, {}, {}
    config.use_rslora, config.init_lora_weights, config.inference_mode = False, True, True
    tensors = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
    save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config.save_pretrained(str(folder))
    return tensors


def _layers(model: PeftModel) -> Iterator[tuple[str, LoraLayer]]:
    """Give the adapted layers by their names in the base."""
    for name, module in model.base_model.model.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module
