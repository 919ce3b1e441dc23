"""Quantization of the frozen base, by bitsandbytes."""

from __future__ import annotations

import torch
from transformers import BitsAndBytesConfig

from framework_plugins.hf.settings.config import Int8Config, NF4Config, NoQuantizationConfig


class NoQuantization:
    """Weights as they are."""

    def __init__(self, config: NoQuantizationConfig) -> None:
        self.settings = config

    def config(self, compute_dtype: torch.dtype) -> None:
        """Nothing to configure."""


class Int8:
    """Eight bits a weight."""

    def __init__(self, config: Int8Config) -> None:
        self.settings = config

    def config(self, compute_dtype: torch.dtype) -> BitsAndBytesConfig:  # noqa: ARG002 - LLM.int8() picks its own
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=self.settings.llm_int8_threshold)


class NF4:
    """Four bits a weight."""

    def __init__(self, config: NF4Config) -> None:
        self.settings = config

    def config(self, compute_dtype: torch.dtype) -> BitsAndBytesConfig:
        """Configure NF4, computing in `compute_dtype`."""
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=self.settings.double_quant,
            bnb_4bit_compute_dtype=compute_dtype,
        )
