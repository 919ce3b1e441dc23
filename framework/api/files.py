"""Atomic writes of files and folders, and the user's cache folder."""

from framework.util.cache import cache_dir, digest, read_json, write_json
from framework.util.files import atomic_folder, describe_room, refuse_links, write_atomically, write_failure

__all__ = [
    "atomic_folder",
    "cache_dir",
    "describe_room",
    "digest",
    "read_json",
    "refuse_links",
    "write_atomically",
    "write_failure",
    "write_json",
]
