"""hf/hardware.py: what was picked, and why, is reported."""

from __future__ import annotations

import warnings

import pytest
import torch

from framework.api.schema import Optimizer
from framework.util.errors import FrameworkError
from framework_plugins.hf import hardware
from framework_plugins.hf.config import Device, Dtype, HFTrainerConfig, Switch

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="tells what happens without a GPU")


@no_gpu
def test_a_cpu_takes_what_measures_faster_and_says_the_numbers() -> None:
    picked = hardware.pick(HFTrainerConfig())
    assert picked.device == "cpu"
    assert picked.dtype in {torch.float32, torch.bfloat16}
    assert picked.facts["dtype"].startswith(hardware.NAMES[picked.dtype])
    instructions = hardware.bf16_instructions()
    assert (f"the CPU has {instructions}" if instructions else "GFLOPS: fp32 ") in picked.facts["dtype"]
    assert picked.facts["gradient checkpointing"] == "off"


@no_gpu
def test_an_optimizer_that_cannot_run_here_is_replaced_and_the_reason_given() -> None:
    picked = hardware.pick(HFTrainerConfig(optim=Optimizer.paged_adamw_8bit, dtype=Dtype.fp32))
    assert picked.optimizer is Optimizer.adamw_torch
    assert picked.facts["optimizer"].startswith("adamw_torch (paged_adamw_8bit does not run on this cpu: ")


PAGED = "Paged optimizers are not supported on CPU. Falling back to non-paged optimizer behavior."


@pytest.mark.parametrize(
    ("warning", "kind", "runs"),
    [
        (PAGED, UserWarning, False),
        ("torch.something is deprecated and will be removed", FutureWarning, True),
        ("tl.dot(allow_tf32) is deprecated", DeprecationWarning, True),
        ("", UserWarning, True),
    ],
)
def test_only_a_known_warning_keeps_from_an_8_bit_optimizer(
    monkeypatch: pytest.MonkeyPatch, warning: str, kind: type[Warning], *, runs: bool
) -> None:
    class Steps:
        def __init__(self, weights: list[torch.Tensor], lr: float) -> None:
            (self.weight,) = weights
            self.rate = lr

        def step(self) -> None:
            if warning:
                warnings.warn(warning, kind, stacklevel=1)
            self.weight.data -= self.rate

    monkeypatch.setattr("bitsandbytes.optim.AdamW8bit", Steps)
    picked = hardware.pick(HFTrainerConfig(device=Device.cpu, optim=Optimizer.adamw_8bit, dtype=Dtype.fp32))
    assert (picked.optimizer is Optimizer.adamw_8bit) == runs
    assert (picked.facts["optimizer"] == "adamw_8bit") == runs


@no_gpu
@pytest.mark.parametrize(
    ("config", "told"),
    [
        (HFTrainerConfig(device=Device.cuda), "trainer.device=cuda"),
        (HFTrainerConfig(dtype=Dtype.fp16), "trainer.dtype=fp16 does not train on a CPU"),
    ],
)
def test_what_the_machine_does_not_have_is_refused(config: HFTrainerConfig, told: str) -> None:
    with pytest.raises(FrameworkError, match=told):
        hardware.pick(config)


def test_settings_win_over_probing() -> None:
    picked = hardware.pick(HFTrainerConfig(device=Device.cpu, dtype=Dtype.bf16, gradient_checkpointing=Switch.enabled))
    assert picked.dtype is torch.bfloat16
    assert picked.checkpointing


@no_gpu
def test_a_large_model_is_not_trained_on_a_cpu_unless_asked_for() -> None:
    picked = hardware.pick(HFTrainerConfig(dtype=Dtype.fp32))
    with pytest.raises(FrameworkError, match=r"no GPU found, and llama has 8\.0 billion parameters"):
        hardware.check_size(picked, Device.auto, "llama", 8_000_000_000)
    hardware.check_size(picked, Device.cpu, "llama", 8_000_000_000)
    hardware.check_size(picked, Device.auto, "llama", 100_000_000)
