"""The class of transformers that loads a model, for plugins that load one: the core imports no such library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["auto_class"]


def auto_class(transformers: Any, config: Mapping[str, Any]) -> Any:
    """Return the auto class that loads the model of a config.json; some families with images have no causal one.

    Args:
        transformers: the library.
        config: the content of the file, or of a config object: `config.to_dict()`.
    """
    tables, kind = transformers.models.auto.modeling_auto, config.get("model_type")
    own = "AutoModelForCausalLM" in (config.get("auto_map") or {})
    causal = own or kind in tables.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if not causal and kind in tables.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES:
        return transformers.AutoModelForMultimodalLM
    return transformers.AutoModelForCausalLM
