"""Which version of a library is installed; `requirements.py` asks whether it fits, and takes longer to import."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed(name: str) -> str | None:
    """Return the version of a distribution, None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


DISTRIBUTION = "framework-finetune"
"""The name for pip; a distribution `framework` on an index is not ours."""
VERSION = installed(DISTRIBUTION) or "0+unknown"
"""Ours; unknown in a source tree that was never installed."""
