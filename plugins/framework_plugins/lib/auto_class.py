"""The class of transformers that loads a model, for plugins that load one: the core imports no such library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["auto_class", "published_class"]


def auto_class(transformers: Any, config: Mapping[str, Any]) -> Any:
    """Return the auto class that loads the text part of a model; some families with images have none of its own.

    Args:
        transformers: the library.
        config: the content of config.json, or of a config object: `config.to_dict()`.
    """
    tables, kind = transformers.models.auto.modeling_auto, config.get("model_type")
    custom = "AutoModelForCausalLM" in (config.get("auto_map") or {})
    causal = custom or kind in tables.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if not causal and kind in tables.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES:
        return transformers.AutoModelForMultimodalLM
    return transformers.AutoModelForCausalLM


def published_class(transformers: Any, config: Mapping[str, Any]) -> Any:
    """Return the auto class that loads the class which `architectures` of a config.json names.

    It has the parts for images too if the class that reads only text is another one. Other programs open it, so the
    names in the file of an adapter are its names.

    Args:
        transformers: the library.
        config: as for `auto_class`.
    """
    tables = transformers.models.auto.modeling_auto
    names = tables.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES.get(config.get("model_type"))
    classes = {names} if isinstance(names, str) else {*(names or ())}
    if classes & {*(config.get("architectures") or ())} and "AutoModelForCausalLM" not in (
        config.get("auto_map") or {}
    ):
        return transformers.AutoModelForMultimodalLM
    return auto_class(transformers, config)
