"""What is trained: three kinds of peft's LoRA, or all weights; or the adapter in the folder that `checkpoint` names."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from framework import FrameworkError, Plan
from framework.api import installed
from framework.api.training import Adapter
from framework_plugins.hf.load.hub import check_inside
from framework_plugins.hf.load.model_settings import ADAPTER_RANGES, config_problem, read_settings, value_problem
from framework_plugins.hf.load.weight_files import NAMES_SHOWN
from framework_plugins.hf.machine.library_errors import refusing_errors
from framework_plugins.hf.settings.config import (
    ALL_EXPERTS,
    ALL_LINEAR,
    Experts,
    FullConfig,
    LoraAdapterConfig,
    target_pattern,
)
from framework_plugins.hf.settings.library_fields import LORA_REASONS, non_default

ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
METADATA_FIELDS = ("peft_version", "runtime_config")
"""Settings in a file that say nothing of the adapter."""
VALID_KINDS = "valid are those that change layers, LORA with or without use_rslora and use_dora"
UNUSABLE = {
    "layer_replication": LORA_REASONS["layer_replication"],
    "alora_invocation_tokens": "such an adapter works only after these tokens, and here it works on the whole text",
}
"""Settings in a file that no adapter may have here, and why."""
TASK, LONGEST_TASK = "CAUSAL_LM", 40


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
        more = non_default(settings.args)
        outside += more.pop("exclude_modules", [])
        if settings.experts is Experts.all:
            more["target_parameters"] = [ALL_EXPERTS]
        return LoraConfig(
            task_type=TASK,
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
        raise FrameworkError(
            f"checkpoint={plan.config['checkpoint']}: the folder holds no .safetensors, so no trained weights"
        )
    setting = f"checkpoint={plan.config['checkpoint']}"
    check_inside(weights, setting)
    if (weights / ADAPTER_CONFIG_FILE).is_file():
        return _saved_config(weights / ADAPTER_CONFIG_FILE, setting)
    if (weights / ADAPTER_WEIGHTS_FILE).is_file() or not (weights / "config.json").is_file():
        lacks = ADAPTER_CONFIG_FILE if (weights / ADAPTER_WEIGHTS_FILE).is_file() else "config.json"
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
        raise FrameworkError(f"{setting}: {ADAPTER_CONFIG_FILE} has peft_type={kind}: {VALID_KINDS}")
    if problem := value_problem(content, ADAPTER_RANGES):
        raise FrameworkError(f"{setting}: {ADAPTER_CONFIG_FILE} {problem}")
    for name, reason in UNUSABLE.items():
        if content.get(name):
            raise FrameworkError(f"{setting}: {ADAPTER_CONFIG_FILE} sets {name}: {reason}")
    if (task := content.get("task_type")) not in (None, TASK):
        raise FrameworkError(
            f"{setting}: {ADAPTER_CONFIG_FILE} has task_type={str(task)[:LONGEST_TASK]}: only adapters for {TASK} are "
            "read, those of models that write text"
        )
    with refusing_errors(f"{setting}: {ADAPTER_CONFIG_FILE} cannot be read", "save the adapter again"):
        names = {field.name for field in dataclasses.fields(PEFT_TYPE_TO_CONFIG_MAPPING[kind])}
        strange = sorted(name for name, value in content.items() if value and name not in {*names, *METADATA_FIELDS})
        # What is off changes nothing; newer versions of peft write some settings that this one does not know.
        saved: PeftConfig = PeftConfig.from_peft_type(
            **{name: content[name] for name in (names - {*METADATA_FIELDS}) & content.keys()}
        )
    if saved.is_prompt_learning or saved.is_adaption_prompt:
        raise FrameworkError(
            f"{setting}: peft_type={kind} puts tokens before the text and changes no layer: {VALID_KINDS}"
        )
    if strange:
        more = f" and {len(strange) - NAMES_SHOWN} others" if len(strange) > NAMES_SHOWN else ""
        raise FrameworkError(
            f"{setting}: {ADAPTER_CONFIG_FILE} sets {', '.join(strange[:NAMES_SHOWN])}{more}, "
            f"which peft {installed('peft')} does not know: install the version that saved it"
        )
    return saved
