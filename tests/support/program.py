"""Runs `python -m framework` as a user does, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from framework.util.command import this_program
from framework_plugins.hf.settings.config import CPU_DTYPE

# A Hub that does not answer, so that no test depends on a network; a stand-in's address replaces it.
CLOSED = "http://127.0.0.1:9"


def environment(home: Path, **overrides: str) -> dict[str, str]:
    """Return the variables of this process without what belongs to its user: keys, caches, proxies."""
    dropped = ("HF_", "WANDB_", "HYDRA_", "FRAMEWORK_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    inherited = {name: value for name, value in inherited.items() if not name.lower().endswith("_proxy")}
    hub = {"HF_ENDPOINT": CLOSED, "HF_HOME": str(home / "hf"), "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
    passed_on = {name: os.environ.get(name, "") for name in ("FRAMEWORK_CACHE", CPU_DTYPE)}
    wandb = {"WANDB_CONFIG_DIR": str(home / "wandb-settings")}
    return {
        **inherited,
        **hub,
        **wandb,
        **{name: value for name, value in passed_on.items() if value},
        "COLUMNS": "120",
        **overrides,
    }


def typed(cwd: Path) -> str:
    """Return how the program is started in a folder, as its messages write it."""
    with contextlib.chdir(cwd):
        return this_program()


def framework(
    *words: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """Run the program with these words in `cwd` and return what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "framework", *words],
        cwd=cwd,
        env=dict(env or environment(cwd.parent)),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
    )
