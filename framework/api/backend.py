"""For authors of trainers: memory estimates, hashes for caches, and what the trials of a sweep share. Provisional."""

from framework.memory import Attention, Loss, MemorySettings, Shape, Weights, estimate
from framework.memory.shape import LINEARS
from framework.util.hashing import code_hash, hash_of, module_hash
from framework.util.shared_cache import SharedCache
from framework.util.shared_cache import key_of as shared_key

__all__ = [
    "LINEARS",
    "Attention",
    "Loss",
    "MemorySettings",
    "Shape",
    "SharedCache",
    "Weights",
    "code_hash",
    "estimate",
    "hash_of",
    "module_hash",
    "shared_key",
]
