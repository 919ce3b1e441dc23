"""The parts of `bench-gpu`: a model, a quantization, a limit of memory and a kind of rows each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LLAMA: dict[str, dict[str, Any]] = {
    "llama1b": {
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 64, "tie_word_embeddings": True, "vocab_size": 128_256,
    },
    "llama8b": {
        "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": False, "vocab_size": 128_256,
    },
}  # fmt: skip
"""Llama 3.2 1B and Llama 3.1 8B."""
TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 512}  # fmt: skip
WEIGHTS_GIB = {"llama1b": 2.3, "llama8b": 15.0}
"""Of the random weights on disk, in 16 bits; a test counts them."""
SIZES = (("llama1b", "nf4", 8), ("llama1b", "none", 8), ("llama8b", "nf4", 12), ("llama8b", "nf4", 24),
         ("llama8b", "none", 24))  # fmt: skip
"""8B in 16 bits has 15 GiB of weights; 1B leaves most of 24 GiB empty."""
ROWS = {"alpaca": 24, "long": 6, "shared": 12}
"""Steps on each kind: rows as long as Alpaca's, of 2,048 tokens, and of 90 after a prompt of 500 that all share."""
DRY_STEPS = 2
MARGIN = 0.93
"""The share of a limit that a card must have: CUDA offers a little less than what is on the box."""
BATCH = 8
"""Rows of an optimizer step, of all contenders but one that packs them into sequences."""
HELD_OUT = 8


@dataclass(frozen=True)
class BenchPart:
    """One table's worth of trainings.

    Attributes:
        shape: of the model.
        quantization: nf4 or none.
        limit: GiB that each training may have.
        rows: which kind.
        steps: optimizer steps.
        dry: whether the shape is tiny, and the CPU trains.
    """

    shape: str
    quantization: str
    limit: int
    rows: str
    steps: int
    dry: bool = False

    @property
    def name(self) -> str:
        """How it is asked for."""
        return f"{self.shape}-{'nf4' if self.quantization == 'nf4' else '16bit'}-{self.limit}-{self.rows}"


def all_parts(*, dry: bool = False) -> dict[str, BenchPart]:
    """Return all parts by name, the quickest first."""
    parts = [BenchPart(*size, rows, DRY_STEPS if dry else steps, dry) for size in SIZES for rows, steps in ROWS.items()]
    return {part.name: part for part in parts}
