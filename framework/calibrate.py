"""How much more a way to train was seen to take on this device than the arithmetic says.

`plan.calibrate=true` finds that out once (`probe.py`); it is kept in the cache for this machine and device, these
versions of the libraries, and this way to train with rows of this length.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path

from framework.memory import Settings
from framework.util.cache import cache_dir, digest, read_json, write_json

LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "unsloth")
OF_ANSWERS = frozenset(("evaluated_rows", "evaluated_length", "answer_rows", "answer_tokens"))
"""Settings that a probe does not try."""
NAME = "calibration-"


def offset(device: str, settings: Settings) -> float:
    """Return how many bytes such a training was seen to take beyond the arithmetic; 0 where none was seen."""
    if not any(cache_dir().glob(f"plans/{NAME}*")):  # the versions of the libraries take 10 ms
        return 0.0
    found = read_json(_file(device, settings)).get("offset", 0.0)
    return float(found) if isinstance(found, int | float) else 0.0


def keep(device: str, settings: Settings, found: float) -> None:
    """Keep what a probe found."""
    write_json(_file(device, settings), {"offset": found})


def _file(device: str, settings: Settings) -> Path:
    """Return where the difference lies: by machine, device, versions and the way to train."""
    way = {name: str(value) for name, value in asdict(settings).items() if name not in OF_ANSWERS}
    key = json.dumps([platform.node(), device, _versions(), way], sort_keys=True)
    return cache_dir() / "plans" / f"{NAME}{digest(key)}.json"


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - for those who have calibrated

    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
