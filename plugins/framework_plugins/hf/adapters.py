"""What is trained: three kinds of peft's LoRA, or all weights; how they are added to a model, and saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, load_peft_weights, set_peft_model_state_dict
from safetensors import SafetensorError

from framework.api.errors import FrameworkError
from framework.api.files import atomic_folder
from framework.api.plan import Plan
from framework.api.protocols import Adapter, ModelPlace, ModelSource
from framework.api.text import model_name, summarize_error
from framework_plugins.hf.config import FullConfig, LoraAdapterConfig
from framework_plugins.hf.fast import install
from framework_plugins.hf.libraries import without_bitsandbytes
from framework_plugins.hf.models import check_index

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
        return LoraConfig(
            task_type="CAUSAL_LM",
            r=settings.r,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules="all-linear" if targets == ["all-linear"] else list(targets),
            **self.flags,
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
    check_index(weights, f"checkpoint={plan.config['checkpoint']}")
    if not (weights / "adapter_config.json").is_file():
        return None
    try:
        saved = PeftConfig.from_pretrained(weights)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise FrameworkError(
            f"checkpoint={plan.config['checkpoint']}: adapter_config.json cannot be read: {summarize_error(error)}"
        ) from error
    saved.base_model_name_or_path = None  # peft warns where it is called otherwise here
    return saved


def check_base(plan: Plan, place: ModelPlace) -> None:
    """Make sure that the adapter in the folder of `checkpoint` was trained on this base, as far as names tell.

    Raises:
        FrameworkError: it names another one.
    """
    file = plan.external_checkpoint and plan.external_checkpoint / "adapter_config.json"
    if not file or not file.is_file():
        return
    trained_on = str(json.loads(file.read_text(encoding="utf-8")).get("base_model_name_or_path") or "")
    if trained_on and model_name(trained_on) != model_name(place.name):
        raise FrameworkError(
            f"checkpoint={plan.config['checkpoint']}: the adapter was trained on {trained_on}, and the base here is "
            f"{place.name}: choose that base, or where both are the same weights, write {place.name} into {file.name}"
        )


def with_adapter(model: Any, config: PeftConfig, place: ModelPlace, *, fast: bool) -> Any:
    """Return a model with new adapter weights, which name `place` as their base.

    With `fast` its layers are those of the folder `fast`, where they give the same.

    Raises:
        FrameworkError: the model has no such layers.
    """
    if any(VISION in name for name, _ in model.named_modules()):
        config.exclude_modules = f".*{VISION}.*"  # rows of text teach it nothing
    if fast:
        install.prepare(config)
    try:
        with without_bitsandbytes():
            adapted = get_peft_model(model, config)
    except ValueError as error:
        raise FrameworkError(f"adapter.target_modules: {summarize_error(error)}") from error
    belongs_to(adapted, place)
    if fast:
        install.install(adapted)
    return adapted


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
    check_index(place.folder, f"model {place.name}")
    return place


def save_weights(model: Any, folder: Path, state: dict[str, Any] | None = None) -> None:
    """Write the trained weights, the adapter's alone where there is one; `folder` is complete or absent.

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
        FrameworkError: they do not fit this base and adapter.
    """
    try:
        result = set_peft_model_state_dict(model, load_peft_weights(str(checkpoint), device=device))
        problem = ", ".join(result.unexpected_keys[:2])
    except (RuntimeError, ValueError, OSError, SafetensorError) as error:
        problem = summarize_error(error)
    if problem:
        raise FrameworkError(f"{checkpoint} does not fit this model and adapter: {problem}")
