"""What the trained weights are, as peft describes an adapter: that of the plan, or one that lies in a folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from framework import FrameworkError, Plan, Stage
from framework.api import installed
from framework.api.training import Adapter, Start
from framework_plugins.hf.load.adapters import TASK
from framework_plugins.hf.load.published import base_names
from framework_plugins.hf.machine.library_errors import refusing_errors
from framework_plugins.hf.settings.config import LoraAdapterConfig
from framework_plugins.hf.settings.library_fields import LORA_REASONS, WITHIN_WEIGHTS
from framework_plugins.lib.model_settings import config_problem, read_adapter_config, read_settings
from framework_plugins.lib.weight_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, check_inside, list_names

METADATA_FIELDS = ("peft_version", "runtime_config")
"""Settings in a file that say nothing of the adapter."""
VALID_KINDS = "valid are those that change layers, LORA with or without use_rslora and use_dora"
UNUSABLE = {
    "layer_replication": LORA_REASONS["layer_replication"],
    "alora_invocation_tokens": "such an adapter works only after these tokens, and here it works on the whole text",
}
"""Settings in a file that no adapter may have here, and why."""
LONGEST_TASK = 40


def trained_config(plan: Plan) -> PeftConfig | None:
    """Return the config of the trained weights: the plan's adapter, or the one in the folder `checkpoint`.

    An adapter that starts from a trained one is like that one, except for its dropout.

    Raises:
        FrameworkError: the folder holds no weights, or an adapter that peft cannot read.
    """
    adapter: Adapter = plan.adapter.create()
    weights = plan.external_checkpoint
    if weights is None and Stage.train not in plan.stages and is_saved_otherwise(plan):
        config_file = plan.checkpoint / ADAPTER_CONFIG
        if config_file.is_file():
            return saved_config(config_file.parent, f"run_dir={plan.run_dir}", plan)
    if weights is None:
        config: PeftConfig | None = adapter.config()
        start = plan.start(weights=False)
        if start is None or start.merged:
            return config
        saved: Any = start_config(start, plan)
        saved.lora_dropout = getattr(config, "lora_dropout", 0.0)
        return saved
    if not any(weights.glob("*.safetensors")):
        raise FrameworkError(
            f"checkpoint={plan.config['checkpoint']}: the folder holds no .safetensors, so no trained weights"
        )
    setting = f"checkpoint={plan.config['checkpoint']}"
    check_inside(weights, setting)
    if (weights / ADAPTER_CONFIG).is_file():
        return saved_config(weights, setting, plan)
    if (weights / ADAPTER_WEIGHTS).is_file() or not (weights / "config.json").is_file():
        lacks = ADAPTER_CONFIG if (weights / ADAPTER_WEIGHTS).is_file() else "config.json"
        raise FrameworkError(f"{setting}: the folder lacks {lacks}, which describes the weights: save them again")
    if problem := config_problem(read_settings(weights / "config.json", setting)):
        raise FrameworkError(f"{setting}: config.json {problem}")
    return None


def is_saved_otherwise(plan: Plan) -> bool:
    """Whether the settings of the trained adapter are in its file, and not in the plan."""
    tokens = plan.model.config.new_tokens
    return bool(plan.adapter.config.starts_from() or has_frozen(plan) or tokens)


def has_frozen(plan: Plan) -> bool:
    """Whether the model has a frozen adapter besides the trained one; see `frozen.py`."""
    config = plan.adapter.config
    return bool((isinstance(config, LoraAdapterConfig) and config.merge_first) or begins_within_weights(plan))


def begins_within_weights(plan: Plan) -> str:
    """Return peft's name of the initialization if the adapter begins as a part of the weights; else empty."""
    start = initialization(plan)
    return start if WITHIN_WEIGHTS.fullmatch(start) else ""


def initialization(plan: Plan) -> str:
    """Return how a new adapter begins, `adapter.args.init_lora_weights`; empty for another kind of adapter."""
    config = plan.adapter.config
    return str(config.args.init_lora_weights) if isinstance(config, LoraAdapterConfig) else ""


def start_config(start: Start, plan: Plan) -> PeftConfig:
    """Return the config of the adapter that a training starts from, as peft reads it.

    Raises:
        FrameworkError: as `trained_config`.
    """
    saved = saved_config(start.folder, f"adapter.start={start.place}", plan)
    saved.inference_mode = False
    saved.init_lora_weights = True  # whatever it began with: its weights are put in
    return saved


def saved_config(folder: Path, setting: str, plan: Plan) -> PeftConfig:
    """Return the config of the adapter in a folder, as peft reads it; errors name `setting`.

    They name layers as the model that is opened does, whatever class the adapter was made on.

    Raises:
        FrameworkError: it makes none of them, or none that changes layers, or has no such settings.
    """
    content = read_adapter_config(folder, setting)
    kind = content.get("peft_type")
    if not isinstance(kind, str) or kind not in PEFT_TYPE_TO_CONFIG_MAPPING:
        raise FrameworkError(f"{setting}: {ADAPTER_CONFIG} has peft_type={kind}: {VALID_KINDS}")
    for name, reason in UNUSABLE.items():
        if content.get(name):
            raise FrameworkError(f"{setting}: {ADAPTER_CONFIG} sets {name}: {reason}")
    if (task := content.get("task_type")) not in (None, TASK):
        raise FrameworkError(
            f"{setting}: {ADAPTER_CONFIG} has task_type={str(task)[:LONGEST_TASK]}: only adapters for {TASK} are "
            "read, those of models that write text"
        )
    with refusing_errors(f"{setting}: {ADAPTER_CONFIG} cannot be read", "save the adapter again"):
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
        raise FrameworkError(
            f"{setting}: {ADAPTER_CONFIG} sets {list_names(strange)}, "
            f"which peft {installed('peft')} does not know: install the version that saved it"
        )
    return base_names(plan).opened_settings(saved) if isinstance(saved, LoraConfig) and _names_paths(saved) else saved


def _names_paths(config: LoraConfig) -> bool:
    """Whether the settings of an adapter name layers by more than the last part of their names."""
    patterns = [*(config.rank_pattern or ()), *(config.alpha_pattern or ()), *(config.target_parameters or ())]
    for setting in (config.target_modules, config.exclude_modules, config.modules_to_save):
        if isinstance(setting, str):
            return True
        patterns += setting or ()
    return any("." in pattern for pattern in patterns)
