"""The checks of `doctor`: torch, CPU, GPU and driver, which is a script here; the libraries; a product in NF4."""

import sys
from importlib.metadata import version
from pathlib import Path

import bitsandbytes
import pytest
import torch
from bitsandbytes import functional

from framework import testing
from framework.api.diagnostic import DiagnosticResult, State
from framework_plugins.hf.machine import diagnostic_checks

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that is searched first for a stand-in for nvidia-smi."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "nvidia-smi"


def write(smi: Path, *lines: str) -> None:
    smi.write_text("\n".join(["#!/bin/sh", *lines]) + "\n", encoding="utf-8")
    smi.chmod(0o755)


def test_torch_says_what_it_is_built_for() -> None:
    found = diagnostic_checks.torch_build(None)
    assert (found.state, found.version) == (State.ok, torch.__version__)
    assert found.detail.startswith("built ")


def test_the_cpu_says_threads_and_bf16() -> None:
    found = diagnostic_checks.cpu(None)
    assert found.state is State.ok
    assert "thread" in found.detail
    assert "bf16" in found.detail


def test_a_driver_tells_its_version_and_cards(smi: Path) -> None:
    write(smi, "echo 'NVIDIA H100 80GB HBM3, 550.54.15, 81559 MiB'", "echo 'NVIDIA L4, 550.54.15, 23034 MiB'")
    detail = "NVIDIA H100 80GB HBM3, 81559 MiB; NVIDIA L4, 23034 MiB"
    assert diagnostic_checks.driver(None) == DiagnosticResult(State.ok, detail, "550.54.15")


def test_a_driver_that_fails_is_broken(smi: Path) -> None:
    write(smi, "echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.'", "exit 9")
    found = diagnostic_checks.driver(None)
    assert (found.state, "could not communicate" in found.detail) == (State.broken, True)
    assert "nvidia-smi" in found.fix


def test_a_driver_that_hangs_is_broken(smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostic_checks, "SMI_SECONDS", 0.2)
    write(smi, "exec /bin/sleep 30")
    assert diagnostic_checks.driver(None).detail == "nvidia-smi does not answer within 0.2 s"


@pytest.mark.usefixtures("smi")
def test_without_nvidia_smi_there_is_no_driver() -> None:
    assert diagnostic_checks.driver(None) == DiagnosticResult(State.missing, "no nvidia-smi on PATH")


@NO_GPU
@pytest.mark.usefixtures("smi")
def test_without_a_gpu_only_a_plan_that_needs_one_says_what_to_do(tmp_path: Path) -> None:
    small = testing.plan(["trainer=hf"], run_dir=tmp_path / "run")
    large = testing.plan(["trainer=hf", "model=llama8b"], run_dir=tmp_path / "run")
    assert [diagnostic_checks.gpu(plan).state for plan in (None, small, large)] == [State.missing] * 3
    assert [bool(diagnostic_checks.gpu(plan).fix) for plan in (None, small, large)] == [False, False, True]
    assert diagnostic_checks.gpu(large).fix.startswith("run it on a machine with a GPU")


@NO_GPU
def test_a_card_that_torch_was_not_built_for_is_reported(smi: Path) -> None:
    write(smi, "echo 'NVIDIA L4, 550.54.15, 23034 MiB'")
    found = diagnostic_checks.gpu(None)
    cuda = torch.version.cuda is not None
    assert found.state is State.missing
    assert found.fix.startswith("update the driver" if cuda else "install torch for CUDA, https://pytorch.org")


@pytest.mark.gpu
def test_a_gpu_is_computed_on_and_described() -> None:
    found = diagnostic_checks.gpu(None)
    assert found.state is State.ok
    assert torch.cuda.get_device_name() in found.detail
    assert "compute capability" in found.detail


def test_a_library_that_can_be_imported_is_reported_with_its_version() -> None:
    found = diagnostic_checks.transformers(None)
    assert (found.state, found.version) == (State.ok, version("transformers"))
    assert found.detail.endswith(" can be imported")


def test_bitsandbytes_is_reported_with_its_version() -> None:
    assert diagnostic_checks.bitsandbytes(None) == DiagnosticResult(
        State.ok, "can be imported", bitsandbytes.__version__
    )


def test_what_a_run_does_not_use_is_only_looked_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # an import would raise
    plan = testing.plan(["trainer=hf"], run_dir=tmp_path)
    assert diagnostic_checks.trl(plan).detail == "installed; trainer=trl imports it"
    assert diagnostic_checks.bitsandbytes(plan).detail == "installed; quantization=nf4 and quantization=int8 import it"
    assert diagnostic_checks.nf4(plan) is None
    quantized = testing.plan(["trainer=hf", "quantization=nf4"], run_dir=tmp_path)
    with pytest.raises(ModuleNotFoundError):
        diagnostic_checks.bitsandbytes(quantized)


def test_a_product_in_nf4_agrees_with_that_of_the_dequantized_weights() -> None:
    found = diagnostic_checks.nf4(None)
    assert found is not None
    assert (found.state, found.fix) == (State.ok, "")
    assert found.detail.startswith("a product and its gradient on this ")


def test_a_wrong_product_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    right = bitsandbytes.matmul_4bit
    monkeypatch.setattr(bitsandbytes, "matmul_4bit", lambda *parts, **more: right(*parts, **more) * 1.1)
    found = diagnostic_checks.nf4(None)
    assert found is not None
    assert found.state is State.broken
    assert found.detail.startswith("a product or its gradient is 10.00% off that of the dequantized weights on this ")
    assert found.fix == diagnostic_checks.FIX


@pytest.mark.parametrize(("damage", "told"), [(0.0, "100.0%"), (float("nan"), "nan%")])
def test_weights_that_are_lost_are_broken(monkeypatch: pytest.MonkeyPatch, damage: float, told: str) -> None:
    right = functional.dequantize_4bit
    monkeypatch.setattr(functional, "dequantize_4bit", lambda *parts: torch.as_tensor(right(*parts)) * damage)
    found = diagnostic_checks.nf4(None)
    assert found is not None
    assert found.state is State.broken
    assert found.detail.startswith(f"{told} of the weights are lost on this ")
