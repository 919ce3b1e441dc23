"""Files and folders that are there whole or not at all, and the cache folder of the user."""

from framework.util.cache import cache_dir, digest, read_json, write_json
from framework.util.files import atomic_folder, write_atomically

__all__ = ["atomic_folder", "cache_dir", "digest", "read_json", "write_atomically", "write_json"]
