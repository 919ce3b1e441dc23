"""The evaluation mode of a model."""

from __future__ import annotations

import sys
from typing import Any


def answering(model: Any, device: str) -> Any:
    """Put a model into evaluation mode and return it.

    On a CPU, bitsandbytes (seen in 0.50) repacks 4-bit weights for inference in their first call in evaluation mode,
    for good, and the product of repacked weights has no gradient: a training afterwards would be silently wrong. 4-bit
    layers have no dropout, so that they stay in training mode changes nothing else.
    """
    model.eval()
    if device == "cpu" and "bitsandbytes" in sys.modules:  # else no layer is one of its layers
        from bitsandbytes.nn import Linear4bit  # noqa: PLC0415 - a second, for those who have it already

        for module in model.modules():
            if isinstance(module, Linear4bit):
                module.training = True
    return model
