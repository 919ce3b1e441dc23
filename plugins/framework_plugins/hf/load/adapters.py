"""What is trained: three kinds of peft's LoRA, or all weights; how they are added to a model, and saved."""

from __future__ import annotations

import copy
import dataclasses
import json
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    PeftConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    load_peft_weights,
    set_peft_model_state_dict,
)
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import ModulesToSaveWrapper
from safetensors import SafetensorError
from transformers import PreTrainedModel

from framework.api.errors import FrameworkError
from framework.api.files import atomic_folder
from framework.api.machine import installed
from framework.api.plan import Plan
from framework.api.protocols import Adapter, ModelPlace, ModelSource
from framework.api.text import model_name, summarize_error
from framework_plugins.hf.cpu_kernels import install
from framework_plugins.hf.load.hub import check_inside
from framework_plugins.hf.load.model_settings import ADAPTER_RANGES, config_problem, read_settings, value_problem
from framework_plugins.hf.load.weight_files import (
    SHOWN,
    not_finite,
    odd_types,
    refuse_odd,
    refuse_partial,
    stored_tensors,
    times,
)
from framework_plugins.hf.machine.import_setup import without_bitsandbytes
from framework_plugins.hf.machine.library_errors import refusing
from framework_plugins.hf.settings.config import ALL_LINEAR, FullConfig, LoraAdapterConfig, target_pattern
from framework_plugins.hf.settings.library_fields import LORA_REASONS, changed

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BESIDE = ("peft_version", "runtime_config")
"""Settings in a file that say nothing of the adapter."""
VALID_KINDS = "valid are those that change layers, LORA with or without use_rslora and use_dora"
VISION = "vision_tower"
"""Names the image part of models such as Gemma 3."""


class Lora:
    """LoRA (Hu et al., arXiv 2106.09685)."""

    flags: dict[str, bool] = {}  # noqa: RUF012 - read only

    def __init__(self, config: LoraAdapterConfig) -> None:
        self.settings = config

    def config(self) -> LoraConfig:
        settings: Any = self.settings
        targets = settings.target_modules
        pattern = ALL_LINEAR if targets == [ALL_LINEAR] else target_pattern(targets)
        blocks = settings.layers_to_transform
        # peft picks blocks only of layers that are given by name; of others it can leave out the rest.
        outside = [rf"(?!\D*\.(?:{'|'.join(map(str, blocks))})\.).*"] if pattern and blocks else []
        more = changed(settings.args)
        outside += more.pop("exclude_modules", [])
        return LoraConfig(
            task_type="CAUSAL_LM",
            r=settings.r,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules=pattern or list(targets),
            exclude_modules=target_pattern(outside) or outside or None,
            layers_to_transform=None if pattern else blocks,
            rank_pattern=dict(settings.rank_pattern),
            alpha_pattern=dict(settings.alpha_pattern),
            bias=settings.bias.value,
            modules_to_save=list(settings.modules_to_save) or None,
            **self.flags,
            **more,
        )


class Dora(Lora):
    """DoRA (Liu et al., arXiv 2402.09353)."""

    flags = {"use_dora": True}  # noqa: RUF012


class RsLora(Lora):
    """rsLoRA (Kalajdzievski, arXiv 2312.03732)."""

    flags = {"use_rslora": True}  # noqa: RUF012


class Full:
    """All weights."""

    def __init__(self, config: FullConfig) -> None:
        self.settings = config

    def config(self) -> None:
        """No adapter."""


def trained_config(plan: Plan) -> PeftConfig | None:
    """Return what the trained weights are: the plan's adapter, or the one in the folder that `checkpoint` names.

    Raises:
        FrameworkError: the folder holds no weights, or an adapter that peft cannot read.
    """
    adapter: Adapter = plan.adapter.create()
    weights = plan.external_checkpoint
    if weights is None:
        config: PeftConfig | None = adapter.config()
        return config
    if not any(weights.glob("*.safetensors")):
        lacks = "the folder holds no .safetensors, so no trained weights" if weights.is_dir() else "no such folder"
        raise FrameworkError(f"checkpoint={plan.config['checkpoint']}: {lacks}")
    setting = f"checkpoint={plan.config['checkpoint']}"
    check_inside(weights, setting)
    if (weights / CONFIG).is_file():
        return _saved_config(weights / CONFIG, setting)
    if (weights / WEIGHTS).is_file() or not (weights / "config.json").is_file():
        lacks = CONFIG if (weights / WEIGHTS).is_file() else "config.json"
        raise FrameworkError(f"{setting}: the folder lacks {lacks}, which describes the weights: save them again")
    if problem := config_problem(read_settings(weights / "config.json", setting)):
        raise FrameworkError(f"{setting}: config.json {problem}")
    return None


def _saved_config(file: Path, setting: str) -> PeftConfig:
    """Return what peft makes of the settings of an adapter.

    Raises:
        FrameworkError: it makes none of them, or none that changes layers, or has no such settings.
    """
    content = read_settings(file, setting)
    kind = content.get("peft_type")
    if not isinstance(kind, str) or kind not in PEFT_TYPE_TO_CONFIG_MAPPING:
        raise FrameworkError(f"{setting}: {CONFIG} has peft_type={kind}: {VALID_KINDS}")
    if problem := value_problem(content, ADAPTER_RANGES):
        raise FrameworkError(f"{setting}: {CONFIG} {problem}")
    if content.get("layer_replication"):
        raise FrameworkError(f"{setting}: {CONFIG} sets layer_replication: {LORA_REASONS['layer_replication']}")
    with refusing(f"{setting}: {CONFIG} cannot be read", "save the adapter again"):
        names = {field.name for field in dataclasses.fields(PEFT_TYPE_TO_CONFIG_MAPPING[kind])}
        strange = sorted(name for name, value in content.items() if value and name not in {*names, *BESIDE})
        # What is off changes nothing; newer versions of peft write some settings that this one does not know.
        saved: PeftConfig = PeftConfig.from_peft_type(
            **{name: content[name] for name in (names - {*BESIDE}) & content.keys()}
        )
    if saved.is_prompt_learning or saved.is_adaption_prompt:
        raise FrameworkError(
            f"{setting}: peft_type={kind} puts tokens before the text and changes no layer: {VALID_KINDS}"
        )
    if strange:
        more = f" and {len(strange) - SHOWN} others" if len(strange) > SHOWN else ""
        raise FrameworkError(
            f"{setting}: {CONFIG} sets {', '.join(strange[:SHOWN])}{more}, which peft {installed('peft')} does not "
            "know: install the version that saved it"
        )
    return saved


def check_adapter(plan: Plan, config: PeftConfig, empty: PreTrainedModel, place: ModelPlace) -> None:
    """Make sure that an adapter that lies elsewhere is whole, and one of this base.

    Args:
        plan: names its folder.
        config: the adapter.
        empty: the base, without memory for its weights; it is left as it is.
        place: the base, as an adapter names it.

    Raises:
        FrameworkError: it is not.
    """
    folder = plan.checkpoint
    trained_on = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("base_model_name_or_path")
    if trained_on and model_name(str(trained_on)) != model_name(place.name):
        raise FrameworkError(
            f"checkpoint={plan.config['checkpoint']} was trained on {trained_on}, and the base here is {place.name}: "
            f"choose that base, or, if both are the same weights, write {place.name} into its {CONFIG}"
        )
    with refusing(f"checkpoint={plan.config['checkpoint']}: peft cannot make an adapter from {CONFIG}"):
        adapted = with_adapter(copy.deepcopy(empty), copy.deepcopy(config), place, fast=False, empty=True)
    _check_tensors(adapted, folder)


def _check_tensors(model: PeftModel, folder: Path) -> None:
    """Compare the tensors in a folder, by their headers, with those of an adapter.

    Raises:
        FrameworkError: the file cannot be read, or some are missing, left over or of another shape.
    """
    needed = get_peft_model_state_dict(model, save_embedding_layers=False)
    stored = stored_tensors([folder / WEIGHTS])
    if odd := odd_types(stored) | not_finite([folder / WEIGHTS]):
        refuse_odd(str(folder / WEIGHTS), odd)
    shapes = {name: shape for name, (shape, _) in stored.items()}
    left = sorted(shapes.keys() - needed.keys())
    every = model.state_dict() if left else {}  # an embedding that was saved too is the model's
    refuse_partial(
        f"{folder} does not fit this model and adapter",
        missing=[(name, "") for name in needed.keys() - shapes.keys()],
        reshaped=[
            (name, f" ({times(shapes[name])}, not {times(weight.shape)})")
            for name, weight in needed.items()
            if name in shapes and shapes[name] != tuple(weight.shape)
        ],
        left=[(name, "") for name in left if name not in every],
        fix="Save the adapter again, or choose the base and the adapter that it was trained with",
    )


def with_adapter(model: Any, config: PeftConfig, place: ModelPlace, *, fast: bool, empty: bool = False) -> Any:
    """Return a model with new adapter weights, which name `place` as their base.

    With `fast` its layers are those of the folder `fast`, where they give the same. With `empty` the weights take no
    memory.

    Raises:
        ValueError: the model has no such layers.
    """
    if any(VISION in name for name, _ in model.named_modules()):
        given = config.exclude_modules or []
        also = [given] if isinstance(given, str) else sorted(given)
        config.exclude_modules = target_pattern([f".*{VISION}.*", *also])  # rows of text teach it nothing
    if fast:
        install.prepare(config)
    with without_bitsandbytes():
        adapted = get_peft_model(model, config, low_cpu_mem_usage=empty)
    belongs_to(adapted, place)
    if not empty:
        _keep_whole_modules_in_fp32(adapted)
        _keep_biases_of_base(adapted, config)
    if fast:
        install.install(adapted)
    return adapted


def _keep_whole_modules_in_fp32(adapted: PeftModel) -> None:
    """Raise what `modules_to_save` trains to fp32, as adapters are; between them the states keep their format.

    peft leaves a copy in the format of the base, where an update below half a digit of 16 bits is lost.
    """
    head = adapted.get_base_model().get_output_embeddings()
    for wrapper in list(adapted.modules()):
        if isinstance(wrapper, ModulesToSaveWrapper):
            for module in wrapper.modules_to_save.values():
                formats = {weight.dtype for weight in module.parameters()}
                if formats == {torch.float32} or len(formats) != 1:
                    continue
                module.float()
                module.register_forward_pre_hook(_raised)
                if wrapper is not head:  # logits stay as they are
                    module.register_forward_hook(partial(_lowered, formats.pop()))


def _raised(_: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(each.float() if torch.is_tensor(each) and each.is_floating_point() else each for each in inputs)


def _lowered(dtype: torch.dtype, _: torch.nn.Module, __: tuple[Any, ...], output: Any) -> Any:
    return output.to(dtype) if torch.is_tensor(output) else output


def _keep_biases_of_base(adapted: Any, config: PeftConfig) -> None:
    """Let a model whose biases are trained be its base again where its adapter is switched off: peft leaves them."""
    if getattr(config, "bias", "none") == "none":
        return
    own = [
        (weight, weight.detach().clone())
        for name, weight in adapted.named_parameters()
        if weight.requires_grad and name.endswith(".bias") and adapted.base_model.prefix not in name
    ]
    disable = adapted.disable_adapter

    @contextmanager
    def disabled() -> Iterator[None]:
        trained = [weight.detach().clone() for weight, _ in own]
        with torch.no_grad():
            for weight, before in own:
                weight.copy_(before)
        try:
            with ExitStack() as stack:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message="Careful, disabling adapter layers with bias")
                    stack.enter_context(disable())
                yield
        finally:
            with torch.no_grad():
                for (weight, _), value in zip(own, trained, strict=True):
                    weight.copy_(value)

    adapted.disable_adapter = disabled


def belongs_to(adapted: Any, place: ModelPlace) -> None:
    """Let an adapter name its base."""
    config = adapted.peft_config["default"]
    config.base_model_name_or_path, config.revision = place.name, place.revision or None


def weights(source: ModelSource) -> ModelPlace:
    """Bring the safetensors of a base model to this machine.

    Raises:
        FrameworkError: it has none.
    """
    place = source.fetch(weights=True)
    if not any(place.folder.glob("*.safetensors")):
        raise FrameworkError(
            f"model {place.name} has no .safetensors: pickled weights run code when loaded and are refused"
        )
    check_inside(place.folder, f"model {place.name}")
    return place


def save_weights(model: Any, folder: Path, state: dict[str, Any] | None = None) -> None:
    """Write the trained weights, the adapter's alone if there is one; `folder` is complete or absent.

    Args:
        model: whose weights they are.
        folder: where to.
        state: the weights themselves, where the model does not hold them whole.
    """
    # "auto" would ask the Hub whether the vocabulary grew; it did not.
    extra = {"save_embedding_layers": False} if isinstance(model, PeftModel) else {}
    with atomic_folder(folder, replace=True) as half:
        model.save_pretrained(half, **extra, **({} if state is None else {"state_dict": state}))


def restore_adapter(model: PeftModel, checkpoint: Path, device: str) -> None:
    """Put saved weights into an adapter.

    Raises:
        FrameworkError: they do not fit this base and adapter, or are not all of it.
    """
    _check_tensors(model, checkpoint)
    try:
        set_peft_model_state_dict(model, load_peft_weights(str(checkpoint), device=device))
    except (RuntimeError, ValueError, OSError, SafetensorError) as error:
        raise FrameworkError(f"{checkpoint} does not fit this model and adapter: {summarize_error(error)}") from error
