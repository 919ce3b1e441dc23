"""The options of `trainer=unsloth`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from framework import FrameworkError
from framework_plugins.hf.settings.config import HFTrainerConfig

ORDER = ("unsloth", "transformers", "trl", "peft")
"""The first library changes the others while it is imported."""
EXTRA = "framework-finetune[unsloth]"


class UnslothRefusalError(FrameworkError):
    """Unsloth cannot be imported: `detail` says why, `fix` what to do."""

    def __init__(self, detail: str, fix: str) -> None:
        super().__init__(f"trainer=unsloth: {detail}\n{fix}")
        self.detail, self.fix = detail, fix


@dataclass
class UnslothTrainerConfig(HFTrainerConfig):
    """The loop of trainer=hf on a model that Unsloth loads, quantizes, adapts and checkpoints."""

    checkpoints_later: ClassVar[bool] = False
    transformers_attention: ClassVar[bool] = False

    optimised_checkpoints: bool = True
    """With quantization=nf4, take the weights that Unsloth has quantized, if the Hub has them: a quarter of the
    download."""
