"""A sweep on the real model: points that share the base give what they give in processes of their own, bit by bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.program import framework

SHORT = (
    "+experiment=quickstart", "logger=[]", "trainer.device=cpu",
    "trainer.per_device_train_batch_size=2", "evaluator=[short_prompts]", "evaluator.prompts.count=4",
    # A trial is asked all of its prompts at once, and, if they chose it, the validation rows too.
    "evaluator.prompts.first=4", "objective=eval_loss",
)  # fmt: skip
POINTS = (("adapter.r=8", "trainer.learning_rate=1e-3"), ("adapter.r=4", "trainer.learning_rate=5e-4"))
RESULTS = ("checkpoint/adapter_model.safetensors", "baseline.json", "evaluate.json")


@pytest.mark.slow
def test_points_that_share_a_base_give_what_they_give_alone(tmp_path: Path) -> None:
    for number, words in enumerate(POINTS):
        done = framework(*SHORT, "trainer.max_steps=2", "exporter=[]", *words, f"run_dir=alone{number}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    grid = ("adapter.r=8,4", "trainer.learning_rate=1e-3,5e-4", "hydra.sweep.dir=shared")
    done = framework("-m", *SHORT, "trainer.max_steps=2", "exporter=[]", *grid, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for number, point in enumerate(("0", "3")):
        for name in RESULTS:
            shared, alone = tmp_path / "shared" / point / name, tmp_path / f"alone{number}" / name
            assert shared.read_bytes() == alone.read_bytes(), (point, name)


@pytest.mark.slow
def test_points_that_differ_in_their_exports_train_once_and_give_what_they_give_alone(tmp_path: Path) -> None:
    # As many steps as change the weights by more than four bits round: the parity gate looks at the exports.
    short = (
        *SHORT, "trainer.max_steps=8", "trainer.warmup_steps=0", "exporter=[gguf]",
        "evaluator.prompts.max_new_tokens=16",
    )  # fmt: skip
    values = ("[q8_0]", "[q4_k_m]")
    for number, value in enumerate(values):
        words = (f"exporter.gguf.quantizations={value}", f"run_dir=alone{number}")
        done = framework(*short, *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    words = (f"exporter.gguf.quantizations={','.join(values)}", "hydra.sweep.dir=shared")
    done = framework("-m", *short, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    taken = [
        json.loads((tmp_path / "shared" / point / "train.json").read_text(encoding="utf-8"))["taken_from"]
        for point in ("0", "1")
    ]
    assert taken == ["", "../0"]
    files = ("gguf/quickstart-Q8_0.gguf", "gguf/quickstart-Q4_K_M.gguf")
    for number, file in enumerate(files):
        for name in (*RESULTS, file):
            shared, alone = tmp_path / "shared" / str(number) / name, tmp_path / f"alone{number}" / name
            assert shared.read_bytes() == alone.read_bytes(), (number, name)
