"""Weights as a model: read or shared, in the number format and on the device of the run, with what is trained."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import dispatch_model
from transformers import AutoConfig, BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel
from transformers.quantizers import AutoHfQuantizer
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

from framework import FrameworkError, Plan, Stage
from framework.api import unknown
from framework.api.training import ModelPlace, Quantization
from framework_plugins.hf.fused_layers import install
from framework_plugins.hf.load import base_cache, sink_attention
from framework_plugins.hf.load.adapt_model import train_rows, with_adapter
from framework_plugins.hf.load.adapter_config import trained_config
from framework_plugins.hf.load.model_parts import family_problem, freeze, outside_text, packable, reads_tokens
from framework_plugins.hf.load.weight_files import check_loaded
from framework_plugins.hf.machine.hardware import Hardware
from framework_plugins.hf.machine.library_errors import refusing_errors
from framework_plugins.hf.packing.eligibility import ForwardPlan
from framework_plugins.hf.packing.tree_states import use_tree_states
from framework_plugins.hf.settings.attention import SINKS, attention_of_family
from framework_plugins.hf.settings.config import Attention, HFTrainerConfig, NF4Config, Packing, Switch
from framework_plugins.lib.auto_class import auto_class
from framework_plugins.lib.group_member import member
from framework_plugins.lib.model_settings import read_settings
from framework_plugins.lib.weight_files import DOWNLOAD_AGAIN

Read = Callable[[ModelPlace, dict[str, Any]], Any]
"""Makes a model of the weights in a folder."""
MXFP4 = "mxfp4"
"""What transformers calls the four bits in which gpt-oss was published: its experts are packed again."""
NF4 = ("load_in_4bit", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant", "bnb_4bit_compute_dtype")


def attention_implementation(requested: Attention, config: PreTrainedConfig | None = None) -> str | None:
    """Return the attention implementation to ask transformers for; None leaves the choice to it, not to config.json.

    Args:
        requested: `trainer.attention`.
        config: of the model; None: another library has its own attention for its family.
    """
    family = config.get_text_config().model_type if config else ""
    if requested in {Attention.auto, Attention.sdpa} and attention_of_family(family) == SINKS:
        sink_attention.register()
        return SINKS
    return None if requested is Attention.auto else requested.value


def without_weights(location: ModelPlace, config: HFTrainerConfig, *, trust: bool) -> PreTrainedModel:
    """Return the model of a folder without memory for its weights.

    Raises:
        FrameworkError: transformers makes none of its config.json.
    """
    problem = f"model {location.name}: transformers cannot build it from config.json"
    settings = read_settings(location.folder / "config.json", f"model {location.name}")
    unknown_family = family_problem(str(settings.get("model_type")), str(settings.get("transformers_version") or ""))
    if unknown_family and not settings.get("auto_map"):
        raise FrameworkError(f"model {location.name}: {unknown_family}")
    with refusing_errors(problem, code=f"model {location.name}"), torch.device("meta"):
        loaded = AutoConfig.from_pretrained(location.folder, trust_remote_code=trust)
        empty: PreTrainedModel = auto_class(transformers, loaded.to_dict()).from_config(
            loaded, trust_remote_code=trust, attn_implementation=attention_implementation(config.attention, loaded)
        )
    if not reads_tokens(empty):
        raise FrameworkError(
            f"model {location.name}: {type(empty).__name__} has no embedding of tokens: choose a model that reads text"
        )
    return empty


def packs_experts(plan: Plan, empty: PreTrainedModel) -> bool:
    """Whether the experts of a model are loaded in four bits.

    Raises:
        FrameworkError: `quantization.experts=enabled`, and they cannot be.
    """
    config, group = plan.quantization.config, plan.launch.config.group()
    if not isinstance(config, NF4Config) or config.experts is Switch.disabled:
        return False
    sharded = group is not None and group.sharded
    reason = (
        f"the weights are divided over processes, launch={plan.launch.component.name}"
        if sharded
        else ""
        if packable(empty)
        else f"{type(empty).__name__} has none that a function of transformers computes"
    )
    if reason and config.experts is Switch.enabled:
        raise FrameworkError(f"quantization.experts=enabled: {reason}: leave it at auto")
    return not reason and _stored_quantization(empty) in {"", MXFP4}


def _stored_quantization(empty: PreTrainedModel) -> str:
    """Return how the weights in the files are quantized, as config.json says it; empty if they are not."""
    text_config = empty.config.get_text_config()
    saved = getattr(empty.config, "quantization_config", None) or getattr(text_config, "quantization_config", None)
    return str(saved.get("quant_method", "")) or "an unnamed method" if saved else ""


def check_quantized(plan: Plan, location: ModelPlace, empty: PreTrainedModel, machine: Hardware) -> None:
    """Make sure that weights which config.json says are quantized can be loaded, and trained, here.

    Raises:
        FrameworkError: transformers does not know how they are quantized, or a package or a GPU is missing, or the
            plan does not suit them.
    """
    config = copy.deepcopy(empty.config)
    saved = getattr(config, "quantization_config", None) or getattr(
        config.get_text_config(), "quantization_config", None
    )
    if not saved:
        return
    method = _stored_quantization(empty)
    if method == MXFP4 and packs_experts(plan, empty):
        return  # what `load` reads is unpacked, and packed again
    name = f"model {location.name}: its weights are quantized by {method}, says quantization_config in config.json"
    fix = "install what is missing, or take weights that are not quantized and set quantization=nf4"
    with refusing_errors(f"{name}, and they cannot be loaded", fix), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not AutoHfQuantizer.supports_quant_method(saved):
            raise FrameworkError(f"{name}: {unknown('quant_method', method, AUTO_QUANTIZER_MAPPING)} {DOWNLOAD_AGAIN}")
        plan_config = plan.quantization.create().config(machine.dtype)
        merged_config = AutoHfQuantizer.merge_quantization_configs(saved, None)
        stored = merged_config.quantization_method() if isinstance(merged_config, BitsAndBytesConfig) else method
        if plan_config is not None and plan_config.quantization_method() != stored:
            chosen = plan.quantization.component.name
            raise FrameworkError(f"{name} ({stored}), so quantization={chosen} cannot be: set quantization=none")
        quantizer = AutoHfQuantizer.from_config(merged_config)
        quantizer.validate_environment(device_map={"": machine.device}, weights_only=True)
        if Stage.train not in plan.stages or getattr(quantizer.quantization_config, "dequantize", False):
            return
        if trained_config(plan) is None:
            raise FrameworkError(f"{name}, and adapter=full would train them: set adapter=lora")
        if not quantizer.is_trainable:
            raise FrameworkError(f"{name}, and transformers cannot train on top of them: {fix}")


def load(
    plan: Plan,
    config: HFTrainerConfig,
    machine: Hardware,
    location: ModelPlace,
    forward_plan: ForwardPlan,
    folder: Path,
    peft_config: Any,
    read: Read | None = None,
) -> Any:
    """Load weights, add the adapter, and return the model.

    Args:
        plan: names the quantization, the group and the seed.
        config: of the trainer.
        machine: the device and the number format.
        location: the base, as an adapter is to name it.
        forward_plan: how rows go through it.
        folder: the weights.
        peft_config: the adapter; None if the weights themselves are trained.
        read: makes another model of the weights, which is not shared, than the one that writes text.

    Raises:
        FrameworkError: the folder does not hold the weights of the model.
    """
    # Full fine-tuning updates the weights themselves: in 16 bits small updates would round to nothing.
    dtype = torch.float32 if peft_config is None else machine.dtype
    quantization: Quantization = plan.quantization.create()
    device = machine.device
    read_config = AutoConfig.from_pretrained(folder, trust_remote_code=plan.model.config.trust_remote_code)
    settings: dict[str, Any] = {
        "dtype": dtype,
        "quantization_config": quantization.config(machine.dtype),
        "attn_implementation": attention_implementation(config.attention, read_config),
        "trust_remote_code": plan.model.config.trust_remote_code,
        "use_safetensors": True,
        "use_kernels": False,  # since 5.25 transformers fetches programs from the Hub by default, and runs them
        "packed_experts": forward_plan.packed_experts,
    }
    group = plan.launch.config.group()
    if group and group.sharded and member():
        from framework_plugins.hf.load.sharded_weights import device_for_shards  # noqa: PLC0415 - for those who are in a group

        device = device_for_shards(group, machine, settings["quantization_config"])
    settings["device_map"] = machine.split or {"": device}
    frozen = peft_config is not None and plan.settings.share and not group and read is None
    place = ModelPlace(folder, location.name if folder == location.folder else str(folder))
    model = base_cache.shared_base(
        base_cache.files_key(folder, settings) if frozen else "", lambda: (read or _read)(place, settings)
    )
    if forward_plan.branch_attention and config.attention is not Attention.flash_attention_2:
        install.use_branches(model)
    if forward_plan.packing is Packing.tree:
        use_tree_states(model)
    if peft_config is None:
        freeze(model, outside_text(model))  # an optimizer step needs a gradient, and a group one for each weight
        return model
    if plan.model.config.new_tokens and isinstance(peft_config.trainable_token_indices, list):
        train_rows(model, peft_config, peft_config.trainable_token_indices)
    transformers.set_seed(plan.seed)  # whether the base was read or shared, the adapter begins the same
    with refusing_errors("adapter: peft cannot put it on this model"):
        adapted = with_adapter(model, peft_config, location)
    if forward_plan.fused_layers:
        machine.facts["layers"] = install.install(adapted, along_branches=forward_plan.branch_attention)
    return adapted


def _read(location: ModelPlace, settings: dict[str, Any]) -> Any:
    """Read all weights: those that are not in the files would be random numbers.

    Raises:
        FrameworkError: they are not all there.
    """
    # None would take away what config.json says of weights that were saved quantized. Of the attention it has to: a
    # config.json can name kernels that are not installed, or on the Hub. Of a config that it reads itself, transformers
    # keeps what is under the name of the attribute, `_attn_implementation`.
    arguments = {name: value for name, value in settings.items() if value is not None or name == "attn_implementation"}
    with refusing_errors(f"model {location.name}: transformers cannot load its weights"):
        config = AutoConfig.from_pretrained(location.folder, trust_remote_code=settings["trust_remote_code"])
        if arguments.pop("packed_experts"):
            from framework_plugins.hf.load.packed_experts import PackedExpertsConfig  # noqa: PLC0415 - with bitsandbytes

            stored = vars(config).pop("quantization_config", None)
            options = {name: value for name, value in settings["quantization_config"].to_dict().items() if name in NF4}
            arguments["quantization_config"] = PackedExpertsConfig(from_mxfp4=stored is not None, **options)
        model, info = auto_class(transformers, config.to_dict()).from_pretrained(
            location.folder, **arguments, config=config, output_loading_info=True, ignore_mismatched_sizes=True
        )
    if len(device_map := settings["device_map"]) > 1 and len({*device_map.values()}) == 1:
        dispatch_model(model, device_map, force_hooks=True)  # on a CPU; of several devices transformers does it
    if member() is None:  # in a group, one process may read for all, after the one that opened the model looked
        check_loaded(location, model, info)
    if settings["quantization_config"] is not None and model.device.type == "cpu":
        _copy_from_mapped_file(model)
    return model


def _copy_from_mapped_file(model: Any) -> None:
    """Copy the weights that a quantization leaves as they are: a view of the mapped file would keep all of it."""
    for weight in model.parameters():
        if weight.is_floating_point():
            weight.data = weight.data.clone()
