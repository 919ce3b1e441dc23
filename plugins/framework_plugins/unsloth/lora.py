"""peft's settings of an adapter, as Unsloth takes them."""

from __future__ import annotations

from typing import Any

from peft import LoraConfig

from framework import FrameworkError

UNSLOTH_ARGUMENTS = (
    "r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "bias",
    "use_rslora",
    "use_dora",
    "modules_to_save",
)
"""What of peft's settings is handed on to Unsloth."""
DESCRIPTIVE_FIELDS = ("base_model_name_or_path", "revision", "inference_mode", "peft_type", "task_type", "peft_version")
"""What says where an adapter comes from, not what it is."""


def lora_settings(config: Any) -> dict[str, Any]:
    """Return peft's settings of an adapter as Unsloth takes them.

    Raises:
        FrameworkError: it is an adapter of another kind.
    """
    settings = {name: getattr(config, name) for name in UNSLOTH_ARGUMENTS} if isinstance(config, LoraConfig) else {}
    plain, actual = LoraConfig(**settings).to_dict(), config.to_dict()
    differing = sorted(
        name for name, value in actual.items() if name not in DESCRIPTIVE_FIELDS and plain.get(name) != value
    )
    if not settings or differing:
        reason = f"sets {', '.join(differing)}" if settings else f"is of the kind {config.peft_type}"
        raise FrameworkError(f"the adapter {reason}, which Unsloth does not make: set trainer=hf")
    if not settings["use_dora"]:
        del settings["use_dora"]
    if isinstance(settings["target_modules"], set):
        settings["target_modules"] = sorted(settings["target_modules"])
    return settings
