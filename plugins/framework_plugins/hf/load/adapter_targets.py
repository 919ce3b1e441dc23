"""Which matrices of a model an adapter changes: layers that read text, with or without experts, never a router unasked.

peft knows some families of experts by the names that their layers had in earlier versions of transformers, and replaces
those names by the experts' parameters and the router. Here names mean the layers that the model has.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel
from peft.tuners.lora.layer import LoraLayer, ParamWrapper
from transformers import PreTrainedModel

from framework import FrameworkError, Plan
from framework.api import count, unknown
from framework_plugins.hf.load import model_parts
from framework_plugins.hf.load.start import NEW_ADAPTER
from framework_plugins.hf.settings.config import ALL_EXPERTS, LoraAdapterConfig, NoQuantizationConfig
from framework_plugins.hf.settings.layer_targets import ALL_LINEAR, LayerTargets, layer_pattern, target_pattern

MAMBA_FAMILIES = frozenset({"falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h"})
MAMBA_LAYERS = frozenset({"out_proj", "conv1d"})
"""Layers that peft does not adapt in these families: their kernels read the weights themselves."""


def choose_layers(model: PreTrainedModel, config: PeftConfig) -> None:
    """Change the settings of a new adapter so that peft adapts the layers that they mean in this model.

    Raises:
        FrameworkError: the model does not have such layers, or peft cannot adapt them.
    """
    left_out = model_parts.patterns(model_parts.outside_text(model))
    if isinstance(config, LoraConfig):
        left_out += _all_linear_exclusions(model, config)
    if left_out:
        excluded = config.exclude_modules or []
        excluded_patterns = [excluded] if isinstance(excluded, str) else sorted(excluded)
        config.exclude_modules = target_pattern([*left_out, *excluded_patterns])
    if isinstance(config, LoraConfig):
        _name_experts(model, config)
        _keep_names(model, config)


def check_targets(plan: Plan, config: PeftConfig | None, empty: Any, dtype: torch.dtype) -> None:
    """Refuse what of an adapter this model does not have, before its weights are fetched.

    Args:
        plan: of the run.
        config: the adapter that it trains; None if it trains all weights.
        empty: the model, without memory for its weights.
        dtype: in which it is computed.

    Raises:
        FrameworkError: names the setting, and the names that there are.
    """
    if plan.external_checkpoint or not isinstance(config, LoraConfig):
        return
    modules, head = dict(empty.named_modules()), empty.get_output_embeddings()
    inner = {*model_parts.linear_layers(empty)}
    linear = inner | {name for name, part in modules.items() if part is head and model_parts.is_linear(part)}
    layers = {name.rpartition(".")[2] for name in linear}
    targets = LayerTargets.of_peft(config)
    if isinstance(targets.modules, str):
        if not any(map(replace(targets, blocks=None).includes, linear)):
            example = min(linear)
            raise FrameworkError(
                f"adapter.target_modules=[{','.join(plan.adapter.config.target_modules)}] matches no "
                f"linear layer by its whole name; one is called {example}"
            )
    else:
        for target in sorted(targets.modules):
            if target.rpartition(".")[2] not in layers:
                raise FrameworkError(f"adapter.target_modules: {unknown('layer', target, layers)}")
        _check_names(empty, config)
    _check_layers_to_transform(plan, empty)
    start = plan.start(weights=False)
    if start and not start.merged and plan.adapter.config.target_modules != start.settings["target_modules"]:
        _check_layers_of_start(plan, start.place, empty, config, linear, inner)
    _check_layer_names(plan, targets, inner if targets.modules == ALL_LINEAR else linear)
    names = {name.rpartition(".")[2] for name in modules} - {""}
    for saved in config.modules_to_save or ():
        if saved not in names:
            raise FrameworkError(f"adapter.modules_to_save: {unknown('module', saved, names)}")
        parts = [part for name, part in modules.items() if name.rpartition(".")[2] == saved]
        packed = any(
            isinstance(module, torch.nn.Linear) and module is not head for part in parts for module in part.modules()
        )
        if packed and not isinstance(plan.quantization.config, NoQuantizationConfig):
            kind = plan.quantization.component.name
            raise FrameworkError(
                f"adapter.modules_to_save=[{saved}]: quantization={kind} stores it in few bits, which cannot be "
                "trained: set quantization=none, or adapt it, adapter.target_modules"
            )
    if config.bias != "none":
        adapted = config.bias == "lora_only"
        if not any(modules[name].bias is not None for name in linear):
            raise FrameworkError(
                f"adapter.bias={config.bias}: the {'adapted ' if adapted else ''}layers of {type(empty).__name__} have "
                "no biases, so nothing would be trained: set adapter.bias=none"
            )
        if dtype is torch.float16:
            raise FrameworkError(f"adapter.bias={config.bias} does not train in fp16: set trainer.dtype=fp32")


def _check_layers_of_start(
    plan: Plan,
    source: str,
    empty: PreTrainedModel,
    config: LoraConfig,
    linear: Collection[str],
    inner: Collection[str],
) -> None:
    """Refuse settings that choose other layers than those of the adapter that training starts from."""
    new_config: LoraConfig = plan.adapter.create().config()
    choose_layers(empty, new_config)
    requested, saved = (
        {*filter(targets.adapts, inner if targets.modules == ALL_LINEAR else linear)}
        for targets in map(LayerTargets.of_peft, (new_config, config))
    )
    if requested != saved:
        named = plan.adapter.config.target_modules
        raise FrameworkError(
            f"adapter.target_modules=[{','.join(named)}] adapts {_names(requested)}, and the adapter of "
            f"adapter.start={source} has {_names(saved)}: leave adapter.target_modules out, {NEW_ADAPTER}"
        )


def _names(layers: Collection[str]) -> str:
    """Say which layers these are."""
    kinds = ", ".join(sorted({name.rpartition(".")[2] for name in layers}))
    return f"{count(len(layers), 'layer')} ({kinds})"


def _check_layer_names(plan: Plan, targets: LayerTargets, linear: Collection[str]) -> None:
    """Refuse names in settings of single layers that fit no adapted layer: peft passes over them."""
    settings = plan.adapter.config
    if not isinstance(settings, LoraAdapterConfig):
        return
    adapted = [*filter(targets.adapts, linear)]
    targeted = [*filter(replace(targets, excluded=frozenset()).adapts, linear)]
    for setting, patterns, layers in (
        ("args.exclude_modules", {layer: layer_pattern(layer) for layer in settings.args.exclude_modules}, targeted),
        ("rank_pattern", {layer: rf"(.*\.)?({layer})" for layer in settings.rank_pattern}, adapted),
        ("alpha_pattern", {layer: rf"(.*\.)?({layer})" for layer in settings.alpha_pattern}, adapted),
    ):
        for layer, pattern in patterns.items():
            if not any(re.fullmatch(pattern, name) for name in layers):
                names = {name.rpartition(".")[2] for name in layers}
                raise FrameworkError(f"adapter.{setting} fits no adapted layer: {unknown('layer', layer, names)}")


def _check_layers_to_transform(plan: Plan, empty: Any) -> None:
    blocks = plan.adapter.config.layers_to_transform
    block_count = getattr(empty.config.get_text_config(), "num_hidden_layers", None)
    if blocks and block_count and max(blocks) >= block_count:
        raise FrameworkError(
            f"adapter.layers_to_transform: the model has no block {max(blocks)}, only blocks 0 to {block_count - 1}"
        )


def _check_names(model: PreTrainedModel, config: LoraConfig) -> None:
    """Refuse names of layers that peft does not adapt in this family.

    Raises:
        FrameworkError: names them, and the ones that it adapts.
    """
    requested = {target.rpartition(".")[2] for target in config.target_modules or ()}
    names = {name.rpartition(".")[2] for name in model_parts.linear_layers(model)}
    family = model.config.model_type
    reasons = ("its kernels read these weights themselves", "it takes them for the names of experts")
    for refused, reason in zip(_refused_names(model), reasons, strict=True):
        if wrong := sorted(requested & refused):
            raise FrameworkError(
                f"adapter.target_modules=[{','.join(sorted(requested))}]: peft does not adapt {', '.join(wrong)} of "
                f"{family}, because {reason}: leave them out. Valid: {', '.join(sorted(names - refused))}"
            )


def _refused_names(model: PreTrainedModel) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of layers that peft does not adapt because of Mamba kernels, and because of experts."""
    mamba = MAMBA_LAYERS if model.config.model_type in MAMBA_FAMILIES else frozenset()
    return mamba, replaced_names(model) or frozenset()


def _all_linear_exclusions(model: PreTrainedModel, config: LoraConfig) -> list[str]:
    """Return patterns for the linear layers that `all-linear` leaves out: routers, experts and Mamba layers."""
    if config.target_modules != ALL_LINEAR:
        return []
    layers = model_parts.linear_layers(model)
    names = model_parts.routers(model, layers)
    if ALL_EXPERTS not in (config.target_parameters or ()):
        names += model_parts.single_experts(layers)
    mamba, _ = _refused_names(model)
    names += [name for name in layers if name.rpartition(".")[2] in mamba]
    return model_parts.patterns(names)


def _name_experts(model: PreTrainedModel, config: LoraConfig) -> None:
    if ALL_EXPERTS not in (config.target_parameters or ()):
        return
    fused = model_parts.fused_experts(model)
    if not fused and not model_parts.single_experts(model_parts.linear_layers(model)):
        raise FrameworkError(f"adapter.experts=all: {type(model).__name__} has no experts: set adapter.experts=none")
    for setting, value in (("adapter.lora_dropout", config.lora_dropout), ("adapter=dora", config.use_dora)):
        if fused and value:
            fix = "adapter.lora_dropout=0" if setting != "adapter=dora" else "adapter=lora"
            raise FrameworkError(f"adapter.experts=all: peft does not adapt fused experts with {setting}: set {fix}")
    # The blocks are either a list, or all others are left out by a pattern.
    blocks, left_out = config.layers_to_transform, config.exclude_modules
    chosen = [name for name in fused if blocks is None or _block_number(name) in blocks]
    if isinstance(left_out, str):
        chosen = [name for name in chosen if not re.fullmatch(left_out, name)]
    config.target_parameters = chosen or None


def token_rows(config: PeftConfig | None) -> int:
    """Return how many rows an embedding needs for the tokens that an adapter trains; 0 if it trains none."""
    trained = getattr(config, "trainable_token_indices", None) or ()
    ids = itertools.chain(*trained.values()) if isinstance(trained, dict) else trained
    return 1 + max(ids, default=-1)


def _block_number(name: str) -> int:
    """Return the number of the block that a parameter is in."""
    match = re.search(r"\.(\d+)\.", name)
    return int(match[1]) if match else -1


def _keep_names(model: PreTrainedModel, config: LoraConfig) -> None:
    """Name each layer in full in the families whose names peft replaces, without the layers that it would replace."""
    replaced = replaced_names(model)
    if replaced is None or not isinstance(config.target_modules, str):
        return
    names = {*filter(LayerTargets.of_peft(config).adapts, model_parts.linear_layers(model))}
    config.target_modules = {name for name in names if name.rpartition(".")[2] not in replaced}
    # These are in `target_modules` already, and peft takes numbers of blocks only of names that are not in full.
    config.layers_to_transform = None


def replaced_names(model: PreTrainedModel) -> frozenset[str] | None:
    """Return the names of linear layers that peft replaces as experts and routers; None if it replaces none."""
    try:
        from peft.utils.transformers_weight_conversion import (  # noqa: PLC0415 - peft has it since 0.19
            convert_peft_config_for_transformers,
        )
    except ImportError:
        return None
    names = {name.rpartition(".")[2] for name in model_parts.linear_layers(model)}
    probe = LoraConfig(target_modules=ALL_LINEAR)
    convert_peft_config_for_transformers(probe, model=model, conversions=None)
    if not probe.target_parameters:
        return None
    return frozenset(names - set(probe.target_modules or ()))


@dataclass(frozen=True)
class TextLayers:
    """The layers of a model that an adapter could change.

    Attributes:
        linear: the linear layers of the text part.
        experts: the layers of experts, and the parameters of fused ones.
        routers: layers that choose experts.
        outside: the parts that read no text.
        refused: names of layers that `all-linear` means, and peft does not adapt in this family.
    """

    linear: frozenset[str]
    experts: frozenset[str]
    routers: frozenset[str]
    outside: tuple[str, ...]
    refused: frozenset[str]

    @classmethod
    def of(cls, model: PreTrainedModel, config: LoraConfig) -> TextLayers:
        """Read them from a model, with or without memory for its weights, and the adapter that it is to have."""
        linear = model_parts.linear_layers(model)
        experts = {*model_parts.fused_experts(model), *model_parts.single_experts(linear)}
        return cls(
            frozenset(linear),
            frozenset(experts),
            frozenset(model_parts.routers(model, linear)),
            tuple(model_parts.outside_text(model)),
            _refused_names(model)[0] | _refused_names(model)[1] if config.target_modules == ALL_LINEAR else frozenset(),
        )

    def describe(self, adapted: PeftModel) -> str:
        """Describe the layers that peft adapts; empty if the model has only plain layers that read text."""
        names = sorted({name.rpartition(".")[2] for name in self.linear} & self.refused)
        if not (self.experts or self.outside or names):
            return ""
        changed = {name for name, part in adapted.get_base_model().named_modules() if isinstance(part, LoraLayer)}
        matrices = {name for name in changed if name in self.linear}
        wrapped = {_parameter_name(name, adapted.get_base_model().get_submodule(name)) for name in changed - matrices}
        text = f"{len(matrices)} of {count(len(self.linear), 'linear layer')}"
        if self.experts:
            experts, router = (matrices | wrapped) & self.experts, matrices & self.routers or wrapped - self.experts
            text += f"; experts: {'yes' if experts else 'no'}, router: {'yes' if router else 'no'}"
        text += f"; peft does not adapt {', '.join(names)} of this family" if names else ""
        return text + (f"; left out: {', '.join(self.outside)}, which read no text" if self.outside else "")


def _parameter_name(name: str, layer: Any) -> str:
    """Return the name in the base of the parameter or layer that peft adapts."""
    return f"{name.replace('.base_layer', '')}.{layer.parameter_name}" if isinstance(layer, ParamWrapper) else name
