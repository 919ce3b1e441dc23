"""Which weights a plan trains, by the names of models like Llama, and what optimizers keep of them. Without torch."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from framework import FrameworkError, Plan
from framework.api import Guard, short_repr
from framework.api.training import Adapter, ModelPart, OptimizerFactory, Shape, TrainedWeight
from framework_plugins.hf.settings.config import (
    Experts,
    FullConfig,
    LoraAdapterConfig,
    NF4Config,
    Switch,
)
from framework_plugins.hf.settings.layer_targets import LayerTargets, Names
from framework_plugins.hf.settings.library_fields import WITHIN_WEIGHTS
from framework_plugins.hf.settings.optimizers import AdamWTorchConfig

OTHER_NAMES = {
    "qkv_proj": ("q", "k", "v"),
    "query_key_value": ("q", "k", "v"),
    "c_attn": ("q", "k", "v"),
    "gate_up_proj": ("gate", "up"),
    "input_linear": ("gate", "up"),
    "output_linear": ("down",),
    "w1": ("gate",),
    "w3": ("up",),
    "w2": ("down",),
}
"""What families call layers otherwise; the first ones hold several."""
PARTS = {"q": "self_attn", "k": "self_attn", "v": "self_attn", "o": "self_attn", "gate": "mlp", "up": "mlp",
         "down": "mlp"}  # fmt: skip
"""The parts of a layer that hold the linear layers, in models like Llama."""
EMBEDDING_NAME, HEAD_NAME = "embed_tokens", "lm_head"
"""What models like Llama call them."""


UNPACKED_EXPERTS = frozenset({"dbrx", "jetmoe", "llama4", "llama4_text"})
"""Families whose experts no function of transformers computes; a test compares."""
STACKED_FILES = frozenset({"gemma4_text", "gpt_oss", "granitemoehybrid"})
"""Of the families that are planned, those whose files hold the experts of a layer as one tensor; a test compares."""


def packs_experts(plan: Plan, family: str) -> bool:
    """Return whether the experts of a family are loaded in four bits; `load/loading.py` asks the model itself."""
    config, group = plan.quantization.config, plan.launch.config.group()
    chosen = isinstance(config, NF4Config) and config.experts is not Switch.disabled
    return chosen and family not in UNPACKED_EXPERTS and not (group is not None and group.sharded)


def targets(adapter: Any, shape: Shape) -> tuple[str, ...]:
    """Return the adapted layers by the names that the arithmetic has for them; all if it has none of theirs."""
    if not isinstance(adapter, LoraAdapterConfig):
        return tuple(shape.linears)
    adapted = {name for _, name, _, _ in adapted_linears(adapter, shape)}
    return tuple(name for name in shape.linears if name in adapted)


def _layer_path(block: int, name: str) -> str:
    """Return what a layer is called in models like Llama, whose names the arithmetic has, or in those like Qwen3.5."""
    part = PARTS.get(name)
    return f"model.layers.{block}.{f'{part}.{name}_proj' if part else f'linear_attn.{name}'}"


def _paths(block: int, name: str) -> Iterator[str]:
    """Give what a layer is called there, and in families that call it otherwise."""
    yield _layer_path(block, name)
    others = (other for other, names in OTHER_NAMES.items() if name in names)
    yield from (f"model.layers.{block}.{PARTS[name]}.{other}" for other in others)


def _usual_paths(modules: Names, block: int, name: str) -> Iterable[str]:
    """Return the names to look for: an expression for `q_proj` and `v_proj` may fit `qkv_proj` too."""
    return [_layer_path(block, name)] if isinstance(modules, str) else _paths(block, name)


def trained_parameters(plan: Plan, shape: Shape) -> int:
    """Count what an adapter trains where that is not the same in each block; 0 if the arithmetic counts.

    Modules that are trained whole have all their parameters: an embedding V h, a linear layer those of each block.
    Biases are not counted, below 0.1%.
    """
    config = plan.adapter.config
    uneven = adapts_experts(config)
    if isinstance(config, LoraAdapterConfig):
        names, adapted = targets(config, shape), [layer[:2] for layer in adapted_linears(config, shape)]
        layers = ((index, layer[0]) for index, block in enumerate(shape.blocks) for layer in block.linears)
        uneven = (
            uneven
            or bool(config.rank_pattern or config.modules_to_save)
            or adapted != [layer for layer in layers if layer[1] in names]
        )
    if not uneven and not token_rows(plan):
        return 0
    return _count(planned_weights(plan, shape))


def adapts_experts(adapter: Any) -> bool:
    """Whether experts that are one tensor have LoRA."""
    return isinstance(adapter, LoraAdapterConfig) and adapter.experts is Experts.all


def _count(weights: Iterable[TrainedWeight]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def token_rows(plan: Plan) -> int:
    """Return how many rows of the embedding, and of a head that is not tied to it, are trained by themselves."""
    config = plan.adapter.config
    rows = config.args.trainable_token_indices if isinstance(config, LoraAdapterConfig) else ()
    return len(plan.model.config.new_tokens) or len(rows)


def frozen_bytes(plan: Plan, shape: Shape) -> float:
    """Return the bytes of the adapter that is kept beside the trained one; see `load/frozen.py`."""
    config: Any = plan.adapter.config
    if not isinstance(config, LoraAdapterConfig):
        return 0.0
    if config.merge_first:
        adapter: Adapter = plan.adapter.create()
        config = LoraAdapterConfig(**adapter.start(weights=False).settings)
    elif not WITHIN_WEIGHTS.fullmatch(str(config.args.init_lora_weights)):
        return 0.0
    return 4.0 * _count(_adapter_weights(config, shape))


def kept_bytes(plan: Plan, shape: Shape) -> float:
    """Return the bytes of the weights that a training starts from, if its steps compare with them; see `at_start`."""
    adapter = plan.adapter.config
    compares_start = plan.cost.asks_base and (adapter.trains_all or adapter.starts_from())
    return 4.0 * _count(planned_weights(plan, shape)) if compares_start else 0.0


def planned_weights(plan: Plan, shape: Shape) -> Iterator[TrainedWeight]:
    """Give the weights that will be trained, by the names of models like Llama; norms and biases are left out."""
    yield from _adapter_weights(plan.adapter.config, shape)
    if rows := token_rows(plan):
        yield TrainedWeight(f"model.{EMBEDDING_NAME}.rows", (rows, shape.hidden), ModelPart.embedding)
        if not shape.tied:
            yield TrainedWeight(f"{HEAD_NAME}.rows", (rows, shape.hidden), ModelPart.head)


def _adapter_weights(adapter: Any, shape: Shape) -> Iterator[TrainedWeight]:
    """Give those of an adapter, or of a model that is trained whole."""
    full = isinstance(adapter, FullConfig)
    lora = adapter if isinstance(adapter, LoraAdapterConfig) else None
    ranks, wholes = (lora.rank_pattern, lora.modules_to_save) if lora else ({}, [])
    full_layers = {*shape.linears} if full else {name.removesuffix("_proj") for name in wholes} & shape.linears.keys()
    for index, block in enumerate(shape.blocks):
        for name, inputs, outputs in block.linears:
            if name in full_layers:
                yield TrainedWeight(f"{_layer_path(index, name)}.weight", (outputs, inputs))
        for name, inputs, outputs in block.expert if full else ():
            yield TrainedWeight(f"model.layers.{index}.mlp.experts.{name}", (block.experts * outputs, inputs))
    embeddings = [EMBEDDING_NAME, HEAD_NAME][: 1 if shape.tied else 2] if full else wholes
    for part, name in ((ModelPart.embedding, EMBEDDING_NAME), (ModelPart.head, HEAD_NAME)):
        if name in embeddings:
            yield TrainedWeight(f"model.{name}.weight", (shape.vocab, shape.hidden), part)
    if full:
        return
    linears = adapted_linears(adapter, shape)
    layers = [(_layer_path(index, name), inputs, outputs, 1) for index, name, inputs, outputs in linears]
    for index in _adapted_blocks(adapter, shape) if adapts_experts(adapter) else ():
        block = shape.blocks[index]
        for name, inputs, outputs in block.expert:
            layers.append((f"model.layers.{index}.mlp.experts.{name}", inputs, outputs, block.experts))
    for path, inputs, outputs, times in layers:
        rank = next((rank for key, rank in ranks.items() if re.match(rf"(.*\.)?({key})$", path)), adapter.r)
        yield TrainedWeight(f"{path}.lora_A.weight", (times * rank, inputs))
        yield TrainedWeight(f"{path}.lora_B.weight", (outputs, times * rank))


def _adapted_blocks(adapter: Any, shape: Shape) -> list[int]:
    chosen = adapter.layers_to_transform if isinstance(adapter, LoraAdapterConfig) else None
    return [index for index in range(len(shape.blocks)) if chosen is None or index in chosen]


def adapted_linears(adapter: Any, shape: Shape) -> Iterator[tuple[int, str, int, int]]:
    """Give the linear layers with LoRA: the number of the block, the name, inputs and outputs.

    They are all of those blocks if none has a name that the arithmetic knows.
    """
    chosen = LayerTargets.of_settings(adapter)
    layers = [(index, *layer) for index in _adapted_blocks(adapter, shape) for layer in shape.blocks[index].linears]
    for paths in (partial(_usual_paths, chosen.modules), _paths):
        if included := [layer for layer in layers if any(map(chosen.includes, paths(*layer[:2])))]:
            layers = included
            break
    yield from (layer for layer in layers if not any(map(chosen.excludes, _usual_paths(chosen.excluded, *layer[:2]))))


def state_bytes(plan: Plan, shape: Shape, *, on_gpu: bool) -> float:
    """Return the bytes of the optimizer's states for a trained parameter; if it does not say, those of AdamW."""
    weights = list(planned_weights(plan, shape))
    factory: OptimizerFactory = plan.optimizer.create()
    label = f"optimizer={plan.optimizer.component.name}: state_bytes"
    with Guard(label):
        size = factory.state_bytes(weights, on_gpu=on_gpu)
    if size is not None and not (isinstance(size, int | float) and 0 <= size <= sys.float_info.max):
        raise FrameworkError(f"{label} is {short_repr(size)}: return a number of bytes, or None if it is not known")
    return AdamWTorchConfig.states if size is None else size / _count(weights)
