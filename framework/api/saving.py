"""What makes a run need less memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Saving:
    """What makes a run need less memory.

    Attributes:
        settings: what to change, `{"trainer.max_seq_length": 1024}`.
        costs: what is paid for that, in a few words.
        price: in what: 0 nothing, 1 time, 2 what is learned. The cheap ones are tried first.
    """

    settings: Mapping[str, Any]
    costs: str
    price: int = 1
