"""What an adapter is called in its file: by the names of the class in config.json, as peft reads them.

Some families with images have a class that reads text only. That class is opened here, so the part for images takes no
memory. Other programs open the class in config.json, in which the layers have other names, and peft leaves out each
tensor whose layer it does not find. It also renames tensors by the table that transformers has for files of weights. So
the class in config.json is made without memory, peft loads the adapter into it, and each tensor is looked up there.
"""

from __future__ import annotations

import copy
import functools
import re
import shutil
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import (
    LoraConfig,
    PeftConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    load_peft_weights,
    set_peft_model_state_dict,
)
from peft.tuners.lora.layer import LoraLayer, ParamWrapper
from peft.utils import ModulesToSaveWrapper
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key, revert_weight_conversion

from framework import FrameworkError, Plan
from framework.api import summarize_error
from framework.api.training import ModelSource
from framework_plugins.hf.load import model_parts
from framework_plugins.hf.load.adapter_targets import token_rows
from framework_plugins.hf.load.model_parts import grow
from framework_plugins.hf.machine.import_setup import without_bitsandbytes
from framework_plugins.lib import experts
from framework_plugins.lib.auto_class import auto_class, published_class
from framework_plugins.lib.weight_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, list_names

PREFIX, LORA, ADAPTER = "base_model.model.", ".lora_", "default"
"""What peft writes before the name of a tensor, and after that of its layer, and what it calls an adapter."""
Shapes = Mapping[str, tuple[int, ...]]
REFUSALS = (ValueError, TypeError, RuntimeError, KeyError)
"""What peft raises about settings or tensors that do not fit a model."""


@dataclass(frozen=True)
class AdaptedParts:
    """The parts of a model that an adapter changes.

    Attributes:
        ranks: r and alpha of each layer, and of each parameter that is adapted by itself, by their names.
        parameters: which of them are parameters.
        whole: the modules that are trained in full.
    """

    ranks: Mapping[str, tuple[int, float]]
    parameters: frozenset[str] = frozenset()
    whole: frozenset[str] = frozenset()

    @classmethod
    def of(cls, adapted: PeftModel) -> AdaptedParts:
        """Read them from a model that has the adapter."""
        modules = dict(adapted.get_base_model().named_modules())
        ranks, parameters = {}, set()
        for name, layer in modules.items():
            if isinstance(layer, LoraLayer) and ADAPTER in layer.r:
                part = name
                if isinstance(layer, ParamWrapper):
                    part = f"{name.replace('.base_layer', '')}.{layer.parameter_name}"
                    parameters.add(part)
                ranks[part] = layer.r[ADAPTER], float(layer.lora_alpha[ADAPTER])
        full_modules = {name for name, module in modules.items() if isinstance(module, ModulesToSaveWrapper)}
        return cls(ranks, frozenset(parameters), frozenset(full_modules))

    def renamed(self, rename: Callable[[str], str]) -> AdaptedParts:
        """Return the same parts under other names; a part whose new name is empty is left out."""
        ranks = {rename(name): value for name, value in self.ranks.items() if rename(name)}
        parameters, full_modules = (
            frozenset(filter(None, map(rename, names))) for names in (self.parameters, self.whole)
        )
        return AdaptedParts(ranks, parameters, full_modules)

    def settings(self, config: LoraConfig) -> LoraConfig:
        """Return the settings of an adapter with the names of these parts in full."""
        full: Any = copy.deepcopy(config)
        full.target_modules = sorted(self.ranks.keys() - self.parameters)
        full.target_parameters = sorted(self.parameters) or None
        full.modules_to_save = sorted(self.whole) or None
        full.exclude_modules = full.layers_to_transform = full.layers_pattern = None
        full.rank_pattern = {re.escape(name): r for name, (r, _) in self.ranks.items() if r != config.r}
        full.alpha_pattern = {re.escape(name): a for name, (_, a) in self.ranks.items() if a != config.lora_alpha}
        return full


class AdapterNames:
    """The names of an adapter in the model that is opened, and in the class in config.json.

    Args:
        config: of the base.
        kinds: the auto classes that open the model, and the class in config.json.
        trust: whether code in the folder of the weights may be run.
    """

    def __init__(self, config: PretrainedConfig, kinds: tuple[Any, Any], *, trust: bool) -> None:
        self.config = config
        self.kinds = kinds
        self.trust = trust
        self.same = kinds[0] is kinds[1]
        self._files: dict[str, tuple[LoraConfig, Mapping[str, str]]] = {}
        """What a file of an adapter is, by the names of the opened model."""
        self._loaded: set[str] = set()
        """Files that peft loads whole, by their own names."""
        self._opened_settings: dict[str, LoraConfig] = {}

    @functools.cached_property
    def opened(self) -> PreTrainedModel:
        """The model that is opened, without memory for its weights."""
        return self._build_empty(self.kinds[0])

    @functools.cached_property
    def published(self) -> PreTrainedModel:
        """The class in config.json, without memory for its weights."""
        return self.opened if self.same else self._build_empty(self.kinds[1])

    def _build_empty(self, kind: Any) -> PreTrainedModel:
        with torch.device("meta"):
            model: PreTrainedModel = kind.from_config(copy.deepcopy(self.config), trust_remote_code=self.trust)
        return model

    @functools.cached_property
    def _pairs(self) -> list[tuple[str, str]]:
        """The names of the parts that read text, in the opened model and in the class in config.json."""
        return [] if self.same else [*zip(_text_parts(self.opened), _text_parts(self.published), strict=True)]

    @functools.cached_property
    def _conversion_table(self) -> tuple[list[WeightRenaming], list[WeightConverter]]:
        table = get_model_conversion_mapping(self.opened)
        renamings = [entry for entry in table if isinstance(entry, WeightRenaming)]
        return renamings, [entry for entry in table if isinstance(entry, WeightConverter)]

    @functools.cached_property
    def _outside_prefixes(self) -> tuple[str, ...]:
        return tuple(f"{PREFIX}{part}." for part in model_parts.outside_text(self.published))

    def for_model(self, model: PeftModel) -> AdapterNames:
        """Return the names for a model, which may be of the class in config.json."""
        if self.same or type(model.get_base_model()).__name__ != type(self.published).__name__:
            return self
        return AdapterNames(self.config, (self.kinds[1], self.kinds[1]), trust=self.trust)

    def to_published(self, name: str) -> str:
        """Return the name in the class in config.json of a part of the opened model."""
        return name if self.same else _replace_prefix(name, self._pairs)

    def to_opened(self, name: str) -> str:
        """Return the name in the opened model of a part of the class in config.json; empty if there is none."""
        return name if self.same else _replace_prefix(name, [(published, opened) for opened, published in self._pairs])

    def in_opened(self, key: str, names: Collection[str]) -> str:
        """Return the one of `names` in the opened model that a key of a file means; empty if none."""
        if key in names:
            return key
        moved = PREFIX + self.to_opened(key.removeprefix(PREFIX))
        layer, lora, suffix = moved.removeprefix(PREFIX).partition(LORA)
        weight, _ = rename_source_key(f"{layer}.weight", *self._conversion_table)
        in_file = f"{PREFIX}{weight.removesuffix('.weight')}{lora}{suffix}"
        return next((name for name in (moved, in_file) if name in names), "")

    def outside(self, key: str) -> bool:
        """Whether a tensor of an adapter belongs to a part that reads no text."""
        return bool(self._outside_prefixes) and key.startswith(self._outside_prefixes)

    def opened_settings(self, config: LoraConfig) -> LoraConfig:
        """Return the settings of an adapter from elsewhere, changed to name the same layers in the opened model."""
        if self.same:
            return config
        state = _settings_key(config, {})
        if state not in self._opened_settings:
            self._opened_settings[state] = self._convert_settings(config)
        return copy.deepcopy(self._opened_settings[state])

    def _convert_settings(self, config: LoraConfig) -> LoraConfig:
        try:
            parts = AdaptedParts.of(add_adapter(self.published, config)).renamed(self.to_opened)
        except REFUSALS:  # the names of its layers are those of the opened model
            return config
        try:
            is_same = AdaptedParts.of(add_adapter(self.opened, config)) == parts
        except REFUSALS:
            is_same = False
        return config if is_same or not parts.ranks else parts.settings(config)

    def check(self, adapted: PeftModel) -> None:
        """Check, on a model without memory, that peft can load the adapter once it is saved.

        Raises:
            FrameworkError: it would not.
        """
        config = adapted.peft_config[ADAPTER]
        shapes = _shapes(_tensors(adapted))
        keys = {name: name for name in shapes}
        try:
            is_complete = self.same and not _lost_tensors(adapted, shapes, keys)
        except REFUSALS:
            is_complete = False
        if is_complete:
            self._files[_settings_key(config, shapes)] = copy.deepcopy(config), keys
        else:
            self.file(config, shapes)

    def file(self, config: LoraConfig, shapes: Shapes) -> tuple[LoraConfig, Mapping[str, str]]:
        """Return the settings for an adapter's file, and the key in the file of each tensor.

        Args:
            config: the settings in the opened model.
            shapes: of the tensors, by their names in the opened model.

        Raises:
            FrameworkError: peft would not load it so.
        """
        state = _settings_key(config, shapes)
        if state not in self._files:
            self._files[state] = settings, keys = self._fitting_file(config, shapes)
            self._loaded.add(_settings_key(settings, {keys[name]: shape for name, shape in shapes.items()}))
        settings, keys = self._files[state]
        return _copy_base_fields(settings, config), keys

    def _fitting_file(self, config: LoraConfig, shapes: Shapes) -> tuple[LoraConfig, Mapping[str, str]]:
        parts = None if self.same else AdaptedParts.of(add_adapter(self.opened, config)).renamed(self.to_published)
        names = {name: PREFIX + self.to_published(name.removeprefix(PREFIX)) for name in shapes}
        published_shapes = {names[name]: shape for name, shape in shapes.items()}
        problem = ""
        for settings in self._candidate_settings(config, parts):
            for keys in self._candidate_keys(published_shapes):
                problem = self.problem(
                    settings, {keys[name]: shape for name, shape in published_shapes.items()}, parts, keys
                )
                if not problem:
                    return settings, {name: keys[names[name]] for name in shapes}
        raise FrameworkError(
            f"adapter: {problem}, so what is trained would be lost where the adapter is used: leave these layers out, "
            "adapter.args.exclude_modules, or set adapter=full"
        )

    def _candidate_settings(self, config: LoraConfig, parts: AdaptedParts | None) -> Iterator[LoraConfig]:
        """Give settings that may name these parts in the class in config.json: short names, then full ones."""
        if parts is None:
            yield config
            return
        outside = "|".join(model_parts.patterns(model_parts.outside_text(self.published)))
        for left_out in (None, outside):  # peft warns if nothing is left out
            short: Any = copy.deepcopy(config)
            short.exclude_modules = left_out
            short.target_modules = sorted({name.rpartition(".")[2] for name in parts.ranks.keys() - parts.parameters})
            short.target_parameters = sorted(parts.parameters) or None
            yield short
        yield parts.settings(config)

    def _candidate_keys(self, names: Collection[str]) -> Iterator[Mapping[str, str]]:
        """Give keys under which peft may find tensors: their names, then the names of their layers in weight files."""
        yield {name: name for name in names}
        weights = self.published.state_dict()
        keys = {}
        for name in names:
            layer, lora, suffix = name.removeprefix(PREFIX).partition(LORA)
            weight = f"{layer}.weight"
            stored = revert_weight_conversion(self.published, {weight: weights[weight]}) if weight in weights else ()
            stored = [weight] if len(stored) != 1 else [*stored]
            keys[name] = f"{PREFIX}{stored[0].removesuffix('.weight')}{lora}{suffix}" if lora else name
        yield keys

    def loads(self, config: LoraConfig, shapes: Shapes) -> bool:
        """Whether peft loads all of a file into the class in config.json."""
        return _settings_key(config, shapes) in self._loaded or not self.problem(config, shapes)

    def problem(
        self,
        config: LoraConfig,
        shapes: Shapes,
        parts: AdaptedParts | None = None,
        keys: Mapping[str, str] | None = None,
    ) -> str:
        """Name the tensors of a file that peft does not load into the class in config.json; empty if it loads all.

        Args:
            config: the settings in the file.
            shapes: of the tensors, by their keys in the file.
            parts: the parts that it changes.
            keys: in the file, by the names in the class; None: peft may put a tensor anywhere.
        """
        kind = type(self.published).__name__
        try:
            adapted = add_adapter(self.published, config)
            lost = _lost_tensors(adapted, shapes, keys)
        except REFUSALS as error:
            return f"peft cannot put it on {kind}: {summarize_error(error).rstrip('.')}"
        if lost:
            return f"peft does not load {list_names(lost)} into {kind}"
        if parts is not None and AdaptedParts.of(adapted) != parts:
            return f"peft gives other ranks or alphas to its layers in {kind}"
        return ""


def adapter_names(folder: Path, *, trust: bool) -> AdapterNames:
    """Return the names of adapters of the base in a folder."""
    return _adapter_names(folder, (folder / "config.json").stat().st_mtime_ns, trust)


@functools.lru_cache(maxsize=2)
def _adapter_names(folder: Path, _: int, trust: bool) -> AdapterNames:  # noqa: FBT001 - part of the key
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust)
    settings = config.to_dict()
    kinds = auto_class(transformers, settings), published_class(transformers, settings)
    return AdapterNames(config, kinds, trust=trust)


def base_names(plan: Plan) -> AdapterNames:
    """Return the names of adapters of the base of a run."""
    source: ModelSource = plan.model.create()
    return adapter_names(source.fetch(weights=False).folder, trust=plan.model.config.trust_remote_code)


def _text_parts(model: PreTrainedModel) -> list[str]:
    """Return the names of the part that reads tokens, and of the output head."""
    names = {module: name for name, module in model.named_modules()}
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    return [names[embedding].rpartition(".")[0], names[head]]


def _replace_prefix(name: str, pairs: Collection[tuple[str, str]]) -> str:
    """Replace the beginning of a name by the pair that matches it; return an empty text if no pair does."""
    return next(
        (replacement + name[len(prefix) :] for prefix, replacement in pairs if f"{name}.".startswith(f"{prefix}.")), ""
    )


def add_adapter(model: PreTrainedModel, config: LoraConfig) -> PeftModel:
    """Return a copy, without memory, of a model with an adapter."""
    base, settings = copy.deepcopy(model), copy.deepcopy(config)
    grow(base, token_rows(settings))
    settings.init_lora_weights, settings.base_model_name_or_path = False, None
    with without_bitsandbytes(), warnings.catch_warnings(action="ignore"):  # what does not fit is found below
        adapted: PeftModel = get_peft_model(base, settings, low_cpu_mem_usage=True)
    return adapted


def _tensors(adapted: PeftModel) -> dict[str, torch.Tensor]:
    """Return the tensors of an adapter by their names in the model."""
    tensors: dict[str, torch.Tensor] = get_peft_model_state_dict(
        adapted, adapted.state_dict(keep_vars=True), save_embedding_layers=False
    )
    return tensors


def _lost_tensors(adapted: PeftModel, shapes: Shapes, keys: Mapping[str, str] | None) -> list[str]:
    """Let peft load the tensors of a file into an adapter without memory, and return the names of the lost ones.

    The tensors of the adapter that the file does not fill are lost too: peft leaves them as initialized. Other tensors,
    such as an embedding that peft saves with an adapter, are weights of the base.
    """
    tensors = _tensors(adapted)
    loaded = {
        key: nn.Parameter(torch.empty(shape, device="meta"))
        for key, shape in shapes.items()
        if LORA in key or key in tensors
    }
    set_peft_model_state_dict(adapted, loaded, low_cpu_mem_usage=True)
    names_by_id = {id(weight): name for name, weight in _tensors(adapted).items()}
    destinations = {key: names_by_id.get(id(weight), "") for key, weight in loaded.items()}
    expected = (
        {key: name for name, key in keys.items()}
        if keys is not None
        else {key: destinations.get(key) for key in shapes}
    )
    lost = [key for key in shapes if destinations.get(key) != expected[key] or (LORA in key and not destinations[key])]
    return lost + sorted(tensors.keys() - {*destinations.values()})


NOT_OF_LAYERS = ("auto_mapping", "base_model_name_or_path", "inference_mode", "init_lora_weights", "lora_dropout",
                 "peft_version", "revision", "runtime_config")  # fmt: skip
"""Settings of an adapter on which it does not depend where peft puts its tensors."""


def _settings_key(config: LoraConfig, shapes: Shapes) -> str:
    """Return a key for settings and tensors."""
    settings = {name: value for name, value in config.to_dict().items() if name not in NOT_OF_LAYERS}
    targets = settings.get("target_modules")
    settings["target_modules"] = targets if isinstance(targets, str) else sorted(targets or ())
    return f"{sorted(settings.items(), key=str)} {sorted(shapes.items())}"


def _copy_base_fields(settings: LoraConfig, config: LoraConfig) -> LoraConfig:
    """Return the first settings with the fields of the second that do not concern layers (`NOT_OF_LAYERS`)."""
    merged: Any = copy.deepcopy(settings)
    for name in NOT_OF_LAYERS:
        if hasattr(config, name):
            setattr(merged, name, copy.deepcopy(getattr(config, name)))
    return merged


def publish(folder: Path, names: AdapterNames, weights: Mapping[str, torch.Tensor]) -> str:
    """Rename the tensors of a saved adapter for the class in config.json, and load it as peft does.

    Args:
        folder: with the names of the opened model.
        names: of the base.
        weights: the expected tensors in the file, by their names in the opened model; empty: not compared.

    Returns:
        The tensors that would be lost; empty if peft loads all as it is.
    """
    config, file = PeftConfig.from_pretrained(str(folder)), folder / ADAPTER_WEIGHTS
    if not isinstance(config, LoraConfig):
        return ""
    stored = load_file(file)
    shapes = _shapes(stored)
    try:
        settings, keys = names.file(config, shapes)
    except FrameworkError as error:
        return str(error)
    if _settings_key(settings, {}) != _settings_key(config, {}) or any(key != name for name, key in keys.items()):
        renamed = file.with_suffix(".renamed")  # the tensors are those of the file, not of a copy
        save_file({keys[name]: tensor for name, tensor in stored.items()}, renamed, metadata={"format": "pt"})
        renamed.replace(file)
        settings.save_pretrained(str(folder))
        config, stored = PeftConfig.from_pretrained(str(folder)), load_file(file)
    if _settings_key(config, {}) != _settings_key(settings, {}):
        return f"{ADAPTER_CONFIG} does not say what was trained"
    tensors = {name: stored[key] for name, key in keys.items()}
    wrong = [name for name, weight in weights.items() if not _is_equal(tensors.get(name), weight)]
    if not wrong:
        return ""
    listed = list_names([keys.get(name, name) for name in wrong])
    return f"{listed} in {file.name} are not what was trained{_wrong_experts(names, config, wrong, tensors, weights)}"


def _wrong_experts(
    names: AdapterNames,
    config: LoraConfig,
    wrong: Collection[str],
    tensors: Mapping[str, torch.Tensor],
    weights: Mapping[str, torch.Tensor],
) -> str:
    """Name the experts whose parts of wrong tensors differ, as an addition to a message; empty if none has any."""
    found = {}
    for name, layer in add_adapter(names.published, config).get_base_model().named_modules():
        opened = names.to_opened(name)
        pair = [f"{PREFIX}{opened}.lora_{part}.weight" for part in "AB"]
        if isinstance(layer, ParamWrapper) and {*pair} & {*wrong} and {*pair} <= tensors.keys() & weights.keys():
            parts = [
                experts.matrices(source[pair[0]].detach().cpu(), source[pair[1]].detach().cpu(), layer.num_experts)
                for source in (tensors, weights)
            ]
            found[f"{opened.replace('.base_layer', '')}.{layer.parameter_name}"] = [
                number
                for number, (saved, trained) in enumerate(zip(*parts, strict=True))
                if not all(map(_is_equal, saved, trained))
            ]
    return f": {experts.listed(found)}" if found else ""


def _shapes(tensors: Mapping[str, torch.Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _is_equal(stored: torch.Tensor | None, weight: torch.Tensor) -> bool:
    if stored is None or (stored.shape, stored.dtype) != (weight.shape, weight.dtype):
        return False
    return torch.allclose(stored, weight.detach().cpu(), rtol=0, atol=0, equal_nan=True)


def republish(folder: Path, names: AdapterNames, target: Path) -> bool:
    """Copy an adapter with the names of the class in config.json, unless peft can load it as it is.

    Args:
        folder: with the adapter, as an earlier version or another program has saved it.
        names: of the base.
        target: a folder that is there.

    Returns:
        Whether it was copied.
    """
    config, file = PeftConfig.from_pretrained(str(folder)), folder / ADAPTER_WEIGHTS
    if not isinstance(config, LoraConfig) or not file.is_file():
        return False
    stored = load_file(file)
    if names.loads(config, _shapes(stored)):
        return False
    settings = names.opened_settings(config)
    expected = _tensors(add_adapter(names.opened, settings))
    tensors = {names.in_opened(key, expected): tensor for key, tensor in stored.items()}
    if tensors.keys() != expected.keys():
        return False
    shutil.copytree(folder, target, dirs_exist_ok=True)
    save_file(tensors, target / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    settings.save_pretrained(str(target))
    if problem := publish(target, names, tensors):
        raise FrameworkError(f"{folder}: {problem}")
    return True


@torch.no_grad()
def load_tensors(model: PeftModel, folder: Path, names: AdapterNames, device: str, adapter: str = ADAPTER) -> None:
    """Load the tensors in an adapter's file into a model's adapter, by their names in either class.

    Raises:
        RuntimeError: one has another shape.
    """
    adapter_state = get_peft_model_state_dict(model, adapter_name=adapter, save_embedding_layers=False)
    model_state = model.state_dict()  # an embedding that was saved too is the model's
    for key, tensor in load_peft_weights(str(folder), device=device).items():
        name = names.in_opened(key, adapter_state) or names.in_opened(key, model_state)
        if name:
            (adapter_state if name in adapter_state else model_state)[name].copy_(tensor)
