"""The options of `method=` and `loss=`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from framework.api.training import LossConfig, MethodConfig


@dataclass
class SftConfig(MethodConfig):
    """Supervised fine-tuning: each row teaches its learned answers."""


@dataclass
class PretrainConfig(MethodConfig):
    """Continued pretraining on plain text: documents fill blocks of trainer.max_seq_length, and all tokens are learned.

    Attention and positions end where a document ends.
    """

    texts: ClassVar[bool] = True


@dataclass
class CrossEntropyConfig(LossConfig):
    """The mean negative log-probability of the learned tokens."""

    plain: ClassVar[bool] = True
    linear: ClassVar[bool] = True
