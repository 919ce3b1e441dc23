"""What is trained: peft's LoRA in three kinds, or all weights."""

from __future__ import annotations

from typing import Any

from peft import LoraConfig

from framework_hf.config import FullConfig, LoraAdapterConfig


class Lora:
    """LoRA (Hu et al., arXiv 2106.09685)."""

    flags: dict[str, bool] = {}  # noqa: RUF012 - read only

    def __init__(self, config: LoraAdapterConfig) -> None:
        self.settings = config

    def config(self) -> LoraConfig:
        """Configure peft."""
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
