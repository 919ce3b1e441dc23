"""The class that transformers makes of a config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MULTIMODAL_LM_MAPPING,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
)


def auto_class(config: Any) -> Any:
    """Return the auto class that loads the model of a config; some families with images or sound have no causal one."""
    return _class(type(config), getattr(config, "auto_map", None) or {})


def auto_class_name(settings: Mapping[str, Any]) -> str:
    """Return the name of the same for the content of a config.json."""
    kind = settings.get("model_type")
    known = CONFIG_MAPPING[kind] if kind in CONFIG_MAPPING else None  # noqa: SIM401 - its get() finds nothing
    return str(_class(known, settings.get("auto_map") or {}).__name__)


def _class(config: Any, code: Mapping[str, Any]) -> Any:
    causal = config in MODEL_FOR_CAUSAL_LM_MAPPING or "AutoModelForCausalLM" in code
    multimodal = config in MODEL_FOR_MULTIMODAL_LM_MAPPING
    return AutoModelForMultimodalLM if multimodal and not causal else AutoModelForCausalLM
