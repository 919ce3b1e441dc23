"""The options of `adapter=`: three kinds of peft's LoRA, or all weights. Without torch until peft is asked for."""

from __future__ import annotations

from typing import Any

from framework.api.training import Adapter, Start
from framework_plugins.hf.load.start import find_start
from framework_plugins.hf.settings.config import ALL_EXPERTS, Experts, FullConfig, LoraAdapterConfig
from framework_plugins.hf.settings.layer_targets import LayerTargets
from framework_plugins.hf.settings.library_fields import EVA, WITHIN_WEIGHTS, non_default

TASK = "CAUSAL_LM"


class Lora(Adapter):
    """LoRA (Hu et al., arXiv 2106.09685)."""

    flags: dict[str, bool] = {}  # noqa: RUF012 - read only

    def __init__(self, config: LoraAdapterConfig) -> None:
        self.settings = config

    def config(self) -> Any:
        from peft import LoraConfig  # noqa: PLC0415 - torch, and a plan asks only what an adapter starts from

        settings: Any = self.settings
        options = non_default(settings.args)
        options.pop("exclude_modules", None)
        start = str(options.get("init_lora_weights"))
        if start == EVA or WITHIN_WEIGHTS.fullmatch(start):  # `from_rows.py` and `frozen.py` begin so
            del options["init_lora_weights"]
        if settings.experts is Experts.all:
            options["target_parameters"] = [ALL_EXPERTS]
        return LoraConfig(
            task_type=TASK,
            r=settings.r,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            rank_pattern=dict(settings.rank_pattern),
            alpha_pattern=dict(settings.alpha_pattern),
            bias=settings.bias.value,
            modules_to_save=list(settings.modules_to_save) or None,
            **LayerTargets.of_settings(settings).peft_fields(),
            **self.flags,
            **options,
        )

    def start(self, *, weights: bool) -> Start:
        """Find the adapter that `adapter.start` names."""
        return find_start(self.settings, weights=weights)


class Dora(Lora):
    """DoRA (Liu et al., arXiv 2402.09353)."""

    flags = {"use_dora": True}  # noqa: RUF012


class RsLora(Lora):
    """rsLoRA (Kalajdzievski, arXiv 2312.03732)."""

    flags = {"use_rslora": True}  # noqa: RUF012


class Full(Adapter):
    """All weights."""

    def __init__(self, config: FullConfig) -> None:
        self.settings = config

    def config(self) -> None:
        """No adapter."""
