"""For authors of trainers: memory estimates, hashes for caches, and what the trials of a sweep share. Provisional."""

from framework.memory import Attention, Loss, MemorySettings, Shape, Weights, estimate
from framework.memory.shape import LINEARS
from framework.util.shared_cache import SharedCache

__all__ = [
    "LINEARS",
    "Attention",
    "Loss",
    "MemorySettings",
    "Shape",
    "SharedCache",
    "Weights",
    "estimate",
]
