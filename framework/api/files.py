"""Atomic writes of files and folders, and the user's cache folder."""

from framework.util.cache import cache_dir, read_json, write_json
from framework.util.files import atomic_folder, describe_room, refuse_links, write_atomically, write_failure
from framework.util.hashing import key_of

__all__ = [
    "atomic_folder",
    "cache_dir",
    "describe_room",
    "key_of",
    "read_json",
    "refuse_links",
    "write_atomically",
    "write_failure",
    "write_json",
]
