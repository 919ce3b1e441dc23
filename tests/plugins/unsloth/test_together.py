"""unsloth/together.py: with Unsloth, two processes are asked and then train, as one does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.plugins.unsloth.runs import Done, run, tiny
from tests.support.tiny import tiny_chatml

pytestmark = pytest.mark.unsloth
ALONE = ("trainer.gradient_accumulation_steps=4",)
TWO = ("trainer.gradient_accumulation_steps=2", "launch=ddp", "launch.processes=2")
CLOSE = 1e-4


def test_two_processes_train_as_one(tmp_path: Path, data_file: Path) -> None:
    base = tiny_chatml(tmp_path / "base")
    words = (*tiny(base, data_file), "trainer=unsloth", "trainer.device=cpu", "trainer.dtype=fp32")
    alone, two = (run(tmp_path, *words, *more, name=name) for name, more in (("alone", ALONE), ("two", TWO)))
    assert (alone.code, two.code) == (0, 0), two.err
    assert len(alone.steps) == 3
    for key in ("loss", "grad_norm", "tokens", "learning_rate"):
        assert [step[key] for step in two.steps] == pytest.approx([step[key] for step in alone.steps], rel=CLOSE), key
    ours, theirs = _adapter(alone), _adapter(two)
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        np.testing.assert_allclose(theirs[name], weight, atol=CLOSE, err_msg=name)
    assert "unsloth" in two.report["hardware"]
    losses = [each.report["metrics"]["eval_loss"]["after"] for each in (alone, two)]
    assert losses[1] == pytest.approx(losses[0], rel=CLOSE)


def _adapter(done: Done) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = load_file(done.folder / "checkpoint" / "adapter_model.safetensors")
    return found
