"""For authors of trainers: the arithmetic of memory, hashes for caches, what trials of a sweep share. Provisional."""

from framework.memory import Attention, Loss, Settings, Shape, Weights, estimate
from framework.memory.shape import LINEARS
from framework.util.hashing import code_hash, hash_of, module_hash
from framework.util.shared_cache import drop as drop_shared
from framework.util.shared_cache import find as find_shared
from framework.util.shared_cache import keep as keep_shared
from framework.util.shared_cache import key_of as shared_key

__all__ = [
    "LINEARS",
    "Attention",
    "Loss",
    "Settings",
    "Shape",
    "Weights",
    "code_hash",
    "drop_shared",
    "estimate",
    "find_shared",
    "hash_of",
    "keep_shared",
    "module_hash",
    "shared_key",
]
