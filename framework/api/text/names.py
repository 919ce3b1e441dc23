"""Names of models."""

from __future__ import annotations

import re

_COPY = re.compile(r"-(?:unsloth-)?bnb-4bit$")
_CACHED = re.compile(r"models--([^/]+)/snapshots/[^/]+$")


def model_name(name: str) -> str:
    """Return the part of a model's id or folder that says which model it is: folders differ from machine to machine."""
    name = name.rstrip("/\\").replace("\\", "/")
    if cached := _CACHED.search(name):
        name = cached[1].replace("--", "/")
    return _COPY.sub("", name.rpartition("/")[2].lower())
