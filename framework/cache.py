"""The cache folder of the user: converted models, tokenized data."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the cache folder: `FRAMEWORK_CACHE`, or `framework` below the user's cache."""
    if own := os.environ.get("FRAMEWORK_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "framework"
