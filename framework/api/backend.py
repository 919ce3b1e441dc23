"""For authors of trainers: the arithmetic of memory, hashes for caches, what trials of a sweep share. Provisional."""

from framework.memory import Attention, Loss, Settings, Shape, Weights, estimate
from framework.memory.shape import LINEARS
from framework.util import shared_cache
from framework.util.gc import set_aside, without_collecting
from framework.util.hashing import code_hash, hash_of, module_hash

__all__ = [
    "LINEARS",
    "Attention",
    "Loss",
    "Settings",
    "Shape",
    "Weights",
    "code_hash",
    "estimate",
    "hash_of",
    "module_hash",
    "set_aside",
    "shared_cache",
    "without_collecting",
]
