"""An adapter as peft saves it: its settings, and the change that it makes to each weight of a model."""

from __future__ import annotations

import copy
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import ParamWrapper
from peft.utils.other import get_pattern_key

from framework import FrameworkError
from framework.api import summarize_error
from framework_plugins.exports.merge.tensor_names import MetaModel
from framework_plugins.exports.merge.weight_delta import LowRank, WeightDelta
from framework_plugins.lib.model_settings import read_adapter_config
from framework_plugins.lib.weight_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, StoredTensor, read_headers, shape_text

TOKENIZER = "tokenizer.json"
MERGEABLE_SETTINGS = frozenset(
    (
        "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "ensure_weight_tying", "eva_config",
        "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern",
        "layers_to_transform", "lora_alpha", "lora_dropout", "megatron_core", "modules_to_save", "peft_type",
        "peft_version", "qalora_group_size", "r", "rank_pattern", "revision", "runtime_config", "target_modules",
        "target_parameters", "task_type", "trainable_token_indices", "use_dora", "use_rslora",
    )
)  # fmt: skip
"""Settings that are merged right, or that say nothing about the merged weights. Any other one that is on is refused."""
MERGEABLE_INITS = (True, False, "gaussian", "eva", "orthogonal")
"""Ways to begin that leave the base as it is; others move a part of it into the adapter."""
_PREFIX = "base_model.model."
_LORA_WEIGHT = re.compile(r"(?P<module>.+)\.lora_(?P<part>(?:embedding_)?[AB]|magnitude_vector)(?:\.weight)?")
_TOKEN_ROWS = re.compile(r"(?P<module>.+)\.token_adapter\.trainable_tokens_delta")


class AdapterFolder:
    """A folder with an adapter.

    Raises:
        FrameworkError: it cannot be read, or is of a kind that cannot be merged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = read_adapter_config(folder)
        if not (folder / ADAPTER_WEIGHTS).is_file():
            raise FrameworkError(
                f"{folder} has no {ADAPTER_WEIGHTS}: the weights are missing, or they are pickled, which is refused"
            )
        self.tensors = read_headers([folder / ADAPTER_WEIGHTS])
        if problem := _problem(self.config):
            raise FrameworkError(f"{folder / ADAPTER_CONFIG}: {problem}")

    def weight_deltas(self, model: MetaModel) -> dict[str, WeightDelta]:
        """Return the delta of each weight, by its name in the model.

        Raises:
            FrameworkError: something in the adapter is not of this model.
        """
        deltas: dict[str, WeightDelta] = {}
        parts: dict[str, dict[str, StoredTensor]] = {}
        for key, tensor in self.tensors.items():
            name = key.removeprefix(_PREFIX)
            if matched := _LORA_WEIGHT.fullmatch(name):
                parts.setdefault(matched["module"], {})[matched["part"].removeprefix("embedding_")] = tensor
            elif matched := _TOKEN_ROWS.fullmatch(name):
                target, delta = self._delta_of(model, f"{matched['module']}.weight", deltas)
                deltas[target] = replace(delta, rows=tensor, indices=self._indices(matched["module"], target, model))
            else:
                target, delta = self._delta_of(model, name.replace(".base_layer.", "."), deltas)
                deltas[target] = replace(delta, replacement=tensor)
        wrapped = self._wrapped_parameters(model) if self.config.get("target_parameters") else {}
        for module, low_rank in parts.items():
            target, delta = self._delta_of(model, wrapped.get(module, f"{module}.weight"), deltas)
            deltas[target] = replace(delta, low_rank=self._low_rank(module, low_rank, model, target))
        for target, delta in deltas.items():
            self._check_shapes(model, target, delta)
        return deltas

    def _wrapped_parameters(self, model: MetaModel) -> Mapping[str, str]:
        """Return which parameter each of peft's layers around one changes, by the layer's name in the file.

        Of several parameters of one module each is around the next, so peft is asked.
        """
        field_names = {field.name for field in dataclasses.fields(LoraConfig)} - {
            "peft_type",
            "base_model_name_or_path",
        }
        try:
            config = LoraConfig(**{name: value for name, value in self.config.items() if name in field_names})
            adapted = get_peft_model(copy.deepcopy(model.model), config, low_cpu_mem_usage=True).get_base_model()
        except (ValueError, TypeError) as error:
            raise FrameworkError(
                f"{self.folder / ADAPTER_CONFIG}: peft cannot make its adapter on the base: {summarize_error(error)}"
            ) from error
        return {
            name: f"{name.replace('.base_layer', '')}.{layer.parameter_name}"
            for name, layer in adapted.named_modules()
            if isinstance(layer, ParamWrapper)
        }

    def _delta_of(self, model: MetaModel, name: str, deltas: Mapping[str, WeightDelta]) -> tuple[str, WeightDelta]:
        """Return the name of a weight in the model, and its delta so far."""
        renamed, converted = (name, False) if name in model.state_dict else model.renamed(name)
        if renamed not in model.state_dict or converted:
            raise FrameworkError(
                f"{self.folder} does not belong to {model.folder}: it changes {name}, which the base does not have"
            )
        return renamed, deltas.get(renamed, WeightDelta())

    def _low_rank(self, module: str, parts: Mapping[str, StoredTensor], model: MetaModel, target: str) -> LowRank:
        if not {"A", "B"} <= parts.keys() or (self.config.get("use_dora", False) and "magnitude_vector" not in parts):
            raise FrameworkError(
                f"{self.folder / ADAPTER_WEIGHTS} holds only {', '.join(sorted(parts))} of {module}: it is damaged"
            )
        experts = model.experts(target)
        if experts:  # peft looks for the name of a parameter in the patterns
            module = target
        rank = self._module_setting("rank_pattern", "r", module)
        ranks = rank * (experts or 1)
        if parts["A"].shape[0] != ranks or parts["B"].shape[-1] != ranks:
            raise FrameworkError(
                f"{self.folder}: {module} has rank {parts['A'].shape[0] / (experts or 1):g} and {ADAPTER_CONFIG} says "
                f"{rank}"
            )
        alpha = self._module_setting("alpha_pattern", "lora_alpha", module)
        scaling = alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)
        magnitude, transposed = parts.get("magnitude_vector"), model.transposed(target)
        return LowRank(parts["A"], parts["B"], scaling, magnitude, transposed, experts)

    def _module_setting(self, pattern: str, name: str, module: str) -> float:
        """Return r or lora_alpha of a module: a pattern may set another value than the other modules have."""
        special: Mapping[str, float] = self.config.get(pattern) or {}
        return special.get(get_pattern_key(list(special), module), self.config[name])

    def _indices(self, module: str, target: str, model: MetaModel) -> tuple[int, ...]:
        trained = self.config.get("trainable_token_indices")
        if isinstance(trained, list) and target == model.embedding:
            return tuple(trained)
        for name, indices in trained.items() if isinstance(trained, dict) else ():
            if f".{module}".endswith(f".{name}"):
                return tuple(indices)
        raise FrameworkError(
            f"{self.folder / ADAPTER_CONFIG}: trainable_token_indices does not say which rows of {module} were trained"
        )

    def _check_shapes(self, model: MetaModel, target: str, delta: WeightDelta) -> None:
        shape = delta.replacement.shape if delta.replacement else model.shape(target)
        # More tokens, or fewer, are well where the adapter brings the tokenizer that says so.
        grows = target in {model.embedding, model.head} and (self.folder / TOKENIZER).is_file()
        for expected, tensor in _expected_shapes(model.shape(target), delta, shape, grows=grows):
            if tensor.shape != expected:
                raise FrameworkError(
                    f"{self.folder} does not belong to {model.folder}: {tensor.name} is {shape_text(tensor.shape)}, "
                    f"and {target} of the base is {shape_text(model.shape(target))}, which needs "
                    f"{shape_text(expected)}"
                )
        added = {*range(shape[0], 1 + max(delta.indices, default=0))}
        if delta.rows and (delta.low_rank or not added <= {*delta.indices} or (added and not grows)):
            raise FrameworkError(
                f"{self.folder}: tokens were trained that {target} does not have, or {target} was trained in two ways"
            )


def _expected_shapes(
    base: tuple[int, ...], delta: WeightDelta, shape: tuple[int, ...], *, grows: bool
) -> Iterator[tuple[tuple[int, ...], StoredTensor]]:
    """Give the shape that each tensor of a change has to have."""
    if delta.replacement:
        yield (*shape[:1], *base[1:]) if grows else base, delta.replacement
    if low_rank := delta.low_rank:
        outputs, inputs = reversed(shape[-2:]) if low_rank.transposed else shape[-2:]
        rank = low_rank.lora_a.shape[0]
        yield (rank, inputs), low_rank.lora_a
        yield (outputs, rank), low_rank.lora_b
        if low_rank.magnitude:
            yield (outputs,), low_rank.magnitude
    if delta.rows:
        yield (len(delta.indices), *shape[1:]), delta.rows


def _problem(config: Mapping[str, Any]) -> str:
    """Say why an adapter cannot be merged; empty if it can."""
    kind = config.get("peft_type")
    if kind != "LORA":
        return f"peft_type={kind} cannot be merged. Valid: LORA, with or without use_rslora and use_dora"
    if missing_names := [name for name in ("r", "lora_alpha") if not isinstance(config.get(name), int | float)]:
        return f"it names no {' and no '.join(missing_names)}"
    if unknown := sorted(name for name, value in config.items() if value and name not in MERGEABLE_SETTINGS):
        return f"an adapter with {', '.join(unknown)} cannot be merged: keep it separate, exporter=[adapter]"
    if (start := config.get("init_lora_weights", True)) not in MERGEABLE_INITS:
        return f"init_lora_weights={start} changed the base before training, so it is not the one on disk: keep both"
    return ""
