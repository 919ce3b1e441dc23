"""The parts of a model: those that read no text, experts and their routers.

They are found by what they are, not by their names: families name them differently.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MULTIMODAL_LM_MAPPING,
    PreTrainedModel,
)
from transformers.pytorch_utils import Conv1D

from framework.api import installed
from framework_plugins.hf.settings.checks import unknown_family

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
SENSES = re.compile("vision|visual|image|video|audio|speech|sound")
"""In the names of configs of parts that do not read text."""
TOWER = re.compile(f"{SENSES.pattern}|multi_modal")
"""In the names of tensors of such parts, and of what joins them to the text."""
STACKS = ("gate_up_proj", "up_proj", "down_proj")
"""What transformers calls the matrices of a layer's experts where one of its own functions computes them."""
EXPERTS = "experts"
"""What families call the part that holds the experts of a layer."""


def family_problem(model_type: str, written_by: str) -> str:
    """Say why transformers has no class for a family, as the end of a sentence; empty if it may.

    Args:
        model_type: the name of the family in config.json.
        written_by: the version of transformers that wrote config.json; empty if it does not say.
    """
    if model_type not in CONFIG_MAPPING:
        return unknown_family(model_type, written_by)
    config_class = CONFIG_MAPPING[model_type]
    if config_class not in MODEL_FOR_CAUSAL_LM_MAPPING and config_class not in MODEL_FOR_MULTIMODAL_LM_MAPPING:
        version = f"transformers {installed('transformers')}"
        return f"model_type={model_type} does not write text in {version}: choose a model with a causal head"
    return ""


def reads_tokens(model: PreTrainedModel) -> bool:
    """Whether a model has one embedding of tokens, as all models for text only have."""
    try:
        return hasattr(model.get_input_embeddings(), "weight")
    except NotImplementedError:
        return False


def outside_text(model: PreTrainedModel) -> list[str]:
    """Return the names of the parts that read no text: towers for images and sound, and projectors."""
    if not any(SENSES.search(name) for name in getattr(model.config, "sub_configs", ())):
        return []
    decoder = model.get_decoder()
    text_parts = [
        name for name, part in model.named_modules() if part is decoder or part is model.get_output_embeddings()
    ]
    outside = list(parts_beside(model, text_parts))
    start = next((f"{name}." for name, part in model.named_modules() if part is decoder and name), "")
    for name, part in decoder.named_children():
        towers = (inner for inner in part.modules() if isinstance(inner, PreTrainedModel))
        if any(type(tower.config) is not type(decoder.config) for tower in towers):
            outside.append(f"{start}{name}")
    return outside


def parts_beside(module: nn.Module, kept_parts: list[str], prefix: str = "") -> Iterator[str]:
    """Give the names of the outermost modules that are not kept, contain no kept part and lie in none."""
    for name, part in module.named_children():
        path = f"{prefix}.{name}".removeprefix(".")
        if any(kept_path.startswith(f"{path}.") for kept_path in kept_parts):
            yield from parts_beside(part, kept_parts, path)
        elif path not in kept_parts and "" not in kept_parts:
            yield path


def is_linear(part: nn.Module) -> bool:
    """Whether a part is a linear layer, GPT-2's kind or a quantized one too."""
    return isinstance(part, nn.Linear | Conv1D)


def linear_layers(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Return the linear layers of the text part by name, the output head aside."""
    head, outside = model.get_output_embeddings(), tuple(f"{name}." for name in outside_text(model))
    return {
        name: part
        for name, part in model.named_modules()
        if is_linear(part) and part is not head and not f"{name}.".startswith(outside)
    }


def packable(model: PreTrainedModel) -> list[str]:
    """Return the modules of the text part whose experts a function of transformers computes, by the names of both."""
    outside = tuple(f"{name}." for name in outside_text(model))
    return [
        name
        for name, part in model.named_modules()
        if is_computed_by_transformers(part) and not f"{name}.".startswith(outside)
    ]


def is_computed_by_transformers(part: nn.Module) -> bool:
    """Whether a part has the experts of a layer, and a function of transformers computes them."""
    return hasattr(part, "is_transposed") and hasattr(part, "down_proj")


def has_packed_experts(model: nn.Module) -> bool:
    """Whether the experts of a model are in four bits."""
    return any(
        hasattr(getattr(part, name, None), "quant_state")
        for part in model.modules()
        if hasattr(part, "is_transposed")
        for name in STACKS
    )


def weight_shape(weight: torch.Tensor) -> torch.Size:
    """Return the shape of a weight, of a packed one the shape that it had."""
    state = getattr(weight, "quant_state", None)
    return weight.shape if state is None else state.shape


def fused_experts(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Return the matrices of experts that are one parameter, (experts, rows, columns), by name."""
    outside = tuple(f"{name}." for name in outside_text(model))
    return {
        f"{name}.{key}": weight
        for name, part in model.named_modules()
        if not isinstance(part, CONVOLUTIONS) and not f"{name}.".startswith(outside)
        for key, weight in part.named_parameters(recurse=False)
        if len(weight_shape(weight)) == 3  # noqa: PLR2004
    }


def single_experts(layers: dict[str, nn.Module]) -> list[str]:
    """Return the linear layers of experts that are separate modules."""
    return [name for name in layers if re.search(rf"(^|\.){EXPERTS}\.\d+\.", name)]


def routers(model: PreTrainedModel, layers: dict[str, nn.Module]) -> list[str]:
    """Return the linear layers that choose experts: siblings of the experts with one output for each."""
    counts = {name.rpartition(".")[0]: weight_shape(weight)[0] for name, weight in fused_experts(model).items()}
    counts |= {
        name: len(part)
        for name, part in model.named_modules()
        if isinstance(part, nn.ModuleList) and name.rpartition(".")[2] == EXPERTS
    }
    # A layer's experts are in its block, `mlp.experts`; a router is beside them or one level below, `mlp.router.layer`.
    blocks = {name.rpartition(".")[0]: count for name, count in counts.items()}
    return [
        name
        for name, part in layers.items()
        if any(outputs(part) == blocks.get(block) for block in (_parent_name(name), _parent_name(_parent_name(name))))
    ]


def _parent_name(name: str) -> str:
    return name.rpartition(".")[0]


def outputs(layer: Any) -> int:
    """Return the outputs of a linear layer."""
    return int(layer.nf if isinstance(layer, Conv1D) else layer.out_features)


def freeze(model: nn.Module, names: list[str]) -> None:
    """Let parts of a model not be trained."""
    for name in names:
        model.get_submodule(name).requires_grad_(False)  # noqa: FBT003 - torch's name for it


@torch.no_grad()
def grow(model: Any, rows: int) -> None:
    """Give embedding and head as many rows as tokens that were added need; a new one is the mean of all."""
    row_count = len(model.get_input_embeddings().weight)
    if rows <= row_count:
        return
    model.resize_token_embeddings(rows, mean_resizing=False)
    for part in filter(None, (model.get_input_embeddings(), model.get_output_embeddings())):
        part.weight[row_count:] = part.weight[:row_count].float().mean(dim=0)


def patterns(names: list[str]) -> list[str]:
    """Return regular expressions for parts and all that is in them, the same one for all blocks."""
    in_any_block = {re.sub(r"\.\d+(?=\.)", ".@", name) for name in names}
    return [re.escape(name).replace("@", r"\d+") + r"(\..*)?" for name in sorted(in_any_block)]
