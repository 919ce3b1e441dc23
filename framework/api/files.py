"""Files and folders that are there whole or not at all, and the cache folder of the user."""

from framework.util.cache import cache_dir, digest, read_json, write_json
from framework.util.files import whole, write_whole

__all__ = ["cache_dir", "digest", "read_json", "whole", "write_json", "write_whole"]
