"""What else a card is asked for: kernels of bitsandbytes, the allocator, Unsloth, and an export's comparison."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from framework import Selection
from framework.api import State, plugins
from framework_gpu_tests.training import make
from framework_plugins.exports.parity.check_rows import CheckRow
from framework_plugins.exports.parity.reference_logits import Placement, find_placement, folder_logits, trained_logits
from framework_plugins.hf.machine import diagnostic_checks, hardware
from framework_plugins.hf.machine.allocator import OLD_VARIABLE, VARIABLE
from framework_plugins.hf.settings.config import Device, HFTrainerConfig

ON_A_CARD = pytest.mark.parametrize("device", [pytest.param("cuda", marks=pytest.mark.gpu)])


def test_products_with_weights_in_nf4_are_right_where_a_run_makes_them(device: str) -> None:
    """The check of `doctor` takes the card if there is one."""
    found = diagnostic_checks.nf4(None)
    assert found is not None
    assert found.state is State.ok, found.detail
    assert device == "cpu" or "GPU" in found.detail


@ON_A_CARD
def test_the_optimizers_of_8_bits_run(device: str) -> None:
    """On a CPU one is replaced, see tests/plugins/hf/machine/test_hardware.py."""
    for name in ("adamw_8bit", "paged_adamw_8bit"):
        component = plugins().components("optimizer")[name]
        picked = hardware.pick(HFTrainerConfig(device=Device(device)), Selection(component, component.schema()))
        assert (type(picked.optimizer), picked.facts["optimizer"]) == (component.schema, name)


@ON_A_CARD
def test_segments_of_the_allocator_expand(device: str) -> None:
    """In a process in which the backend is imported before torch, as a run imports it."""
    code = f"""
import framework_plugins.hf.backend, torch
rows = torch.ones(1 << 20, device={device!r})
print(any(each["is_expandable"] for each in torch.cuda.memory_snapshot()))
"""
    env = {name: value for name, value in os.environ.items() if name not in {VARIABLE, OLD_VARIABLE}}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == str(sys.platform == "linux" and "microsoft" not in os.uname().release.lower())


@pytest.mark.parametrize(
    "device", [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.gpu)]
)
def test_an_export_is_compared_where_the_model_is(base: Path, rows: Path, tmp_path: Path, device: str) -> None:
    """In fp32 both devices give the same logits, and in 16 bits in memory a card gives them too."""
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=4, target_modules="all-linear"))
    for weight in adapted.parameters():
        weight.data = weight.data if weight.data.any() else torch.full_like(weight.data, 0.01)
    adapted.save_pretrained(tmp_path / "adapter")
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    plan = make(base, rows, tmp_path / "run")
    torch.ones(1, device=device)
    held = find_placement(base)
    assert held == Placement(device, torch.float32)
    checked = [CheckRow("", tuple(range(5, end)), (9,), stopped=False) for end in (12, 70, 30)]
    wanted, largest, _ = trained_logits(plan, tmp_path / "adapter", checked, Placement("cpu", torch.float32))
    made, found, _ = trained_logits(plan, tmp_path / "adapter", checked, held)
    merged = list(folder_logits(tmp_path / "merged", checked, held, trust=False))
    assert found == pytest.approx(largest, rel=1e-3)
    for one, two, three in zip(wanted, made, merged, strict=True):
        assert abs(one - two).max() < 1e-3
        assert abs(two - three).max() < 1e-3
    assert abs(wanted[0]).max() > 0.1


@pytest.mark.unsloth
def test_steps_of_unsloth_are_those_of_trainer_hf(base: Path, rows: Path, tmp_path: Path, device: str) -> None:
    """Each in a process of its own; what is compared is the loss of each step, in bf16."""
    if find_spec("unsloth") is None:
        pytest.skip("unsloth is not installed")
    words = [
        "model=local", f"model.path={json.dumps(str(base))}", "data=local_file", f"data.path={json.dumps(str(rows))}",
        "trainer.max_steps=3", "trainer.warmup_steps=1", "trainer.learning_rate=0.01", "evaluator=[]", "exporter=[]",
        "logger=[jsonl]", "trainer.packing=pad", "trainer.dtype=bf16", f"trainer.device={device}", "audit=[]",
        "stages=[data,train]",
    ]  # fmt: skip
    losses: dict[str, list[float]] = {}
    for name in ("hf", "unsloth"):
        command = [sys.executable, "-m", "framework", *words, f"trainer={name}", f"run_dir={name}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        entries = map(json.loads, (tmp_path / name / "log.jsonl").read_text(encoding="utf-8").splitlines())
        losses[name] = [entry["loss"] for entry in entries if entry["event"] == "step"]
    assert losses["unsloth"] == pytest.approx(losses["hf"], rel=0.02)
    assert len(losses["hf"]) == 3
