"""A sweep on the real model: points that share the base give what they give in processes of their own, bit by bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.program import framework

SHORT = (
    "+experiment=quickstart", "logger=[]", "trainer.device=cpu", "trainer.max_steps=2", "exporter=[]",
    "trainer.per_device_train_batch_size=2", "evaluator=[short_prompts]", "evaluator.prompts.count=4",
)  # fmt: skip
POINTS = (("adapter.r=8", "trainer.learning_rate=1e-3"), ("adapter.r=4", "trainer.learning_rate=5e-4"))
RESULTS = ("checkpoint/adapter_model.safetensors", "baseline.json", "evaluate.json", "null.json")


@pytest.mark.slow
def test_points_that_share_a_base_give_what_they_give_alone(tmp_path: Path) -> None:
    for number, words in enumerate(POINTS):
        done = framework(*SHORT, *words, f"run_dir=alone{number}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    grid = ("adapter.r=8,4", "trainer.learning_rate=1e-3,5e-4", "hydra.sweep.dir=shared")
    done = framework("-m", *SHORT, *grid, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for number, point in enumerate(("0", "3")):
        for name in RESULTS:
            shared, alone = tmp_path / "shared" / point / name, tmp_path / f"alone{number}" / name
            assert shared.read_bytes() == alone.read_bytes(), (point, name)
