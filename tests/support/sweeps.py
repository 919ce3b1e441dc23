"""Sweeps of the echo backend in processes of their own: the backend comes from a file, so that workers have it too."""

import json
from pathlib import Path
from typing import Any

from tests.framework.program import Result, program

PLUGIN = '''
import os
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from framework import Component, FrameworkError, hookimpl
from framework.testing import EchoBackend, EchoModelConfig, EchoTrainerConfig


@dataclass
class SweptConfig(EchoTrainerConfig):
    """The echo backend, with ends of one's choice."""

    fails: bool = False
    """End with a mistake."""
    kills_once: bool = False
    """Kill the process in its first training, with SIGKILL."""
    naps: float = 0.0
    """Seconds of the training."""


class Swept(EchoBackend):
    @contextmanager
    def open(self, plan):
        with super().open(plan) as model:
            seen = os.environ.get("CUDA_VISIBLE_DEVICES", "unset")
            model.facts = {"device": "none", "process": str(os.getpid()), "sees": seen}
            train = model.train

            def ending(*arguments):
                if self.config.fails:
                    raise FrameworkError("it was to fail")
                if self.config.kills_once and not Path("killed").exists():
                    Path("killed").touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(self.config.naps)
                return train(*arguments)

            model.train = ending
            yield model


@hookimpl
def framework_models():
    yield Component("echo", EchoModelConfig, "framework.testing.echo:EchoSource")


@hookimpl
def framework_trainers():
    yield Component("swept", SweptConfig, "swept_plugin:Swept")
'''
ROWS = "".join(f'{{"instruction": "{number}?", "output": "{number}"}}\n' for number in range(12))
WORDS = [
    "plugins=[./swept_plugin.py]", "model=echo", "trainer=swept", "data=local_file", "data.path=rows.jsonl",
    "evaluator=[prompts]", "logger=[]", "hydra.sweep.dir=x",
]  # fmt: skip


def prepare(folder: Path) -> Path:
    """Write data and backend into a new folder."""
    folder.mkdir()
    (folder / "rows.jsonl").write_text(ROWS, encoding="utf-8")
    (folder / "swept_plugin.py").write_text(PLUGIN, encoding="utf-8")
    return folder


def sweep(place: Path, *words: str, **env: str) -> Result:
    """Run a sweep into the folder `x`."""
    return program("-m", *WORDS, *words, cwd=place, env=env)


def points(place: Path) -> list[dict[str, Any]]:
    """Return the points of `sweep.json`."""
    saved = json.loads((place / "x" / "sweep.json").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = saved["points"]
    return found


def hardware(place: Path) -> list[dict[str, str]]:
    """Return the facts of the machine of each point, in their order."""
    files = sorted((place / "x").glob("*/report.json"), key=lambda file: int(file.parent.name))
    return [json.loads(file.read_text(encoding="utf-8"))["hardware"] for file in files]
