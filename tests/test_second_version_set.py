"""The main job on the versions that Unsloth asks for: `make test-unsloth` runs this in an environment of its own.

Plain TRL 1.15 cannot train there on a CPU, because its fused head launches Triton; our loss does not go through it.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.program import environment, framework

pytestmark = pytest.mark.unsloth


def test_this_is_the_second_set() -> None:
    assert version("unsloth")
    assert version("triton")
    assert version("trl").startswith("1.15.")


def test_the_quickstart_learns_within_a_few_steps(tmp_path: Path) -> None:
    cwd = tmp_path / "work"
    cwd.mkdir()
    words = ("+experiment=quickstart", "trainer.max_steps=8", "evaluator.prompts.count=6", "run_dir=run")
    done = framework(*words, cwd=cwd, env=environment(tmp_path), timeout=900)
    assert done.returncode == 0, done.stderr
    report = json.loads((cwd / "run" / "report.json").read_text(encoding="utf-8"))
    loss = report["metrics"]["eval_loss"]
    assert loss["after"] < loss["before"] / 2
    assert report["versions"]["trl"].startswith("1.15.")
    assert (cwd / "run" / "adapter" / "adapter_model.safetensors").is_file()
