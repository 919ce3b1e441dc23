"""hf/machine/hardware.py: what was picked, and why, is reported."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from framework.util.errors import FrameworkError
from framework.util.gpus import Gpu
from framework_plugins.hf.machine import hardware, precision
from framework_plugins.hf.machine.allocator import (
    CPU_CACHES,
    EXPANDABLE_SEGMENTS,
    OLD_VARIABLE,
    VARIABLE,
    expand_segments,
    keep_few_shapes,
    sleep_soon,
)
from framework_plugins.hf.settings.config import CPU_DTYPE, Attention, Device, Dtype, HFTrainerConfig, Switch
from framework_plugins.hf.settings.library_fields import SFTArgs
from framework_plugins.hf.settings.optimizers import AdamW8bitConfig, AdamWTorchConfig
from tests.support.training import chosen

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="tells what happens without a GPU")


def pick(config: HFTrainerConfig, optimizer: str = "adamw_torch") -> hardware.Hardware:
    return hardware.pick(config, chosen("optimizer", optimizer))


@pytest.fixture(autouse=True)
def unfixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine's CPU decide."""
    monkeypatch.delenv(CPU_DTYPE, raising=False)


@no_gpu
@pytest.mark.parametrize(("name", "taken"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_variable_fixes_what_a_cpu_takes(monkeypatch: pytest.MonkeyPatch, name: str, taken: torch.dtype) -> None:
    monkeypatch.setenv(CPU_DTYPE, name)
    picked = pick(HFTrainerConfig())
    assert (picked.dtype, picked.facts["dtype"]) == (taken, f"{name} ({CPU_DTYPE}={name})")


@no_gpu
def test_a_variable_that_names_another_dtype_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CPU_DTYPE, "fp16")
    with pytest.raises(FrameworkError, match=r"^FRAMEWORK_CPU_DTYPE=fp16: choose fp32 or bf16, or unset it$"):
        pick(HFTrainerConfig())


@no_gpu
def test_a_cpu_takes_what_measures_faster_and_says_so() -> None:
    picked = pick(HFTrainerConfig())
    assert picked.device == "cpu"
    assert picked.dtype in {torch.float32, torch.bfloat16}
    assert picked.facts["dtype"].startswith(hardware.DTYPE_NAMES[picked.dtype])
    instructions = hardware.bf16_instructions()
    assert (f"the CPU has {instructions}" if instructions else "(measured: ") in picked.facts["dtype"]
    assert picked.facts["gradient checkpointing"] == "off"


@no_gpu
@pytest.mark.parametrize(("bf16", "taken"), [(2.0, torch.float32), (900.0, torch.bfloat16)])
def test_another_start_that_measures_other_speeds_says_the_same(
    monkeypatch: pytest.MonkeyPatch, bf16: float, taken: torch.dtype
) -> None:
    """The description of the machine is a part of the key of the baseline, which an interrupted run keeps."""
    monkeypatch.setattr(hardware, "bf16_instructions", str)
    picked = []
    for busy in (1.0, 0.8):
        speeds = {torch.float32: 170 * busy, torch.bfloat16: bf16 * busy}
        monkeypatch.setattr(hardware, "cpu_gflops", speeds.__getitem__)
        picked.append(pick(HFTrainerConfig()))
    assert picked[0].facts == picked[1].facts
    assert [each.dtype for each in picked] == [taken, taken]


@no_gpu
def test_an_optimizer_that_cannot_run_here_is_replaced_and_the_reason_given() -> None:
    picked = pick(HFTrainerConfig(dtype=Dtype.fp32), "paged_adamw_8bit")
    assert isinstance(picked.optimizer, AdamWTorchConfig)
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
    class Steps(torch.optim.SGD):
        def __init__(self, groups: list[dict[str, Any]], lr: float, **_: object) -> None:
            super().__init__(groups, lr)

        def step(self, closure: Any = None) -> None:  # type: ignore[override] # no loss
            if warning:
                warnings.warn(warning, kind, stacklevel=1)
            super().step(closure)

    monkeypatch.setattr("bitsandbytes.optim.AdamW", Steps)
    picked = pick(HFTrainerConfig(device=Device.cpu, dtype=Dtype.fp32), "adamw_8bit")
    assert isinstance(picked.optimizer, AdamW8bitConfig) == runs
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
        pick(config)


def test_a_release_of_gpu_memory_is_not_used_on_a_cpu_and_said_to_be() -> None:
    with_it, without = (HFTrainerConfig(device=Device.cpu, args=SFTArgs(torch_empty_cache_steps=n)) for n in (2, None))
    name = "torch_empty_cache_steps"
    assert pick(with_it).facts[name] == "not used: a CPU has no cache to release"
    assert name not in pick(without).facts


def test_settings_win_over_probing() -> None:
    picked = pick(HFTrainerConfig(device=Device.cpu, dtype=Dtype.bf16, gradient_checkpointing=Switch.enabled))
    assert picked.dtype is torch.bfloat16
    assert picked.checkpointing


@no_gpu
def test_a_large_model_is_not_trained_on_a_cpu_unless_asked_for() -> None:
    picked = pick(HFTrainerConfig(dtype=Dtype.fp32))
    with pytest.raises(FrameworkError, match=r"no GPU found, and llama has 8\.0 billion parameters"):
        hardware.check_size(picked, Device.auto, "llama", 8_000_000_000)
    hardware.check_size(picked, Device.cpu, "llama", 8_000_000_000)
    hardware.check_size(picked, Device.auto, "llama", 100_000_000)


OLD_DRIVER = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by downloading "
    "and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx"
)


def with_gpu(monkeypatch: pytest.MonkeyPatch, **answers: Any) -> None:
    """Let torch report an RTX 4090, changed by `answers`; an exception among them is raised."""
    told = {
        "is_available": True, "device_count": 1, "get_device_name": "NVIDIA GeForce RTX 4090",
        "get_device_capability": (8, 9), "is_bf16_supported": True, **answers,
    }  # fmt: skip

    def ask(answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    for name, answer in told.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer, **__: ask(answer))
    monkeypatch.setattr(torch.version, "cuda", "13.0")


def test_a_gpu_takes_bf16_and_computes_activations_again_until_the_rows_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_gpu(monkeypatch)
    picked = pick(HFTrainerConfig())
    assert (picked.device, picked.dtype, picked.checkpointing) == ("cuda", torch.bfloat16, True)
    assert picked.facts["device"] == "NVIDIA GeForce RTX 4090"


def test_a_gpu_without_bf16_takes_fp16_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch, get_device_name="Tesla T4", get_device_capability=(7, 5), is_bf16_supported=False)
    picked = pick(HFTrainerConfig())
    assert picked.dtype is torch.float16
    assert picked.facts["dtype"] == "fp16 (the GPU has no bf16)"
    picked = pick(HFTrainerConfig(dtype=Dtype.fp32))
    assert picked.facts["dtype"] == "fp32 (as configured)"


T4 = {"get_device_name": "Tesla T4", "get_device_capability": (7, 5), "is_bf16_supported": False}
FLASH = HFTrainerConfig(attention=Attention.flash_attention_2)


@pytest.mark.parametrize(
    ("config", "answers", "told"),
    [
        (
            HFTrainerConfig(dtype=Dtype.bf16), T4,
            "trainer.dtype=bf16: Tesla T4 has no bf16. Set trainer.dtype=auto|fp16|fp32",
        ),
        (
            HFTrainerConfig(), {"device_count": 2},
            "2 GPUs are visible and this run trains on one: take all of them with launch=ddp, or choose one with "
            "CUDA_VISIBLE_DEVICES=0 before the command",
        ),
        *(
            (
                HFTrainerConfig(device=device), {"is_available": False, "init": RuntimeError(OLD_DRIVER)},
                f"trainer.device={device.value}: The NVIDIA driver on your system is too old (found version 11040)\n"
                "Update the driver, install a torch for an older CUDA than 13.0, or train on the CPU: "
                "trainer.device=cpu",
            )
            for device in (Device.auto, Device.cuda)
        ),
        (
            HFTrainerConfig(device=Device.cuda),
            {"is_available": False, "init": RuntimeError("No CUDA GPUs are available")},
            "trainer.device=cuda: No CUDA GPUs are available. Set trainer.device=auto, or check `nvidia-smi`",
        ),
        (
            FLASH, {"is_available": False, "init": RuntimeError("Found no NVIDIA driver on your system.")},
            "trainer.attention=flash_attention_2 runs on a GPU only: set trainer.attention=auto",
        ),
        (
            FLASH, T4,
            "trainer.attention=flash_attention_2: Tesla T4 has compute capability 7.5, and 8.0 is needed: set "
            "trainer.attention=auto",
        ),
        (
            HFTrainerConfig(attention=Attention.flash_attention_2, dtype=Dtype.fp32), {},
            "trainer.attention=flash_attention_2 computes in 16 bits, and trainer.dtype is fp32: set "
            "trainer.attention=auto, or trainer.dtype=auto",
        ),
        (
            FLASH, {},
            "trainer.attention=flash_attention_2: flash-attn is not installed: pip install flash-attn "
            "--no-build-isolation, or set trainer.attention=auto",
        ),
    ],
)  # fmt: skip
def test_what_a_gpu_does_not_have_is_refused_in_two_lines(
    monkeypatch: pytest.MonkeyPatch, config: HFTrainerConfig, answers: dict[str, Any], told: str
) -> None:
    with_gpu(monkeypatch, **answers)
    with pytest.raises(FrameworkError) as caught:
        pick(config)
    assert str(caught.value) == told


def test_a_driver_that_is_too_old_keeps_nobody_from_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch, is_available=False, init=RuntimeError(OLD_DRIVER))
    assert pick(HFTrainerConfig(device=Device.cpu, dtype=Dtype.fp32)).device == "cpu"


def test_a_torch_without_cuda_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch, is_available=False)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(FrameworkError, match=r"trainer\.device=cuda: torch was built without CUDA"):
        pick(HFTrainerConfig(device=Device.cuda))


def test_flash_attention_of_another_torch_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_gpu(monkeypatch)
    (tmp_path / "flash_attn.py").write_text(
        "raise ImportError('flash_attn_2_cuda.so: undefined symbol: _ZN3c105ErrorC2E')\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "flash_attn", raising=False)
    monkeypatch.setattr(hardware, "installed", lambda _: "2.8.3")
    with pytest.raises(FrameworkError) as caught:
        pick(FLASH)
    first, second = str(caught.value).splitlines()
    assert first == (
        f"trainer.attention=flash_attention_2: flash-attn 2.8.3 is built for another torch than {torch.__version__}: "
        "ImportError: flash_attn_2_cuda.so: undefined symbol: _ZN3c105ErrorC2E"
    )
    assert second.startswith("Build it again, pip install --force-reinstall")


def test_products_of_a_training_pass_on_a_gpu_are_tf32_and_nothing_else_is() -> None:
    ways = [torch.get_float32_matmul_precision()]
    with precision.tf32("cpu"):
        ways.append(torch.get_float32_matmul_precision())
    with precision.tf32("cuda"):
        ways.append(torch.get_float32_matmul_precision())
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    assert [*ways, torch.get_float32_matmul_precision()] == ["highest", "highest", "high", "highest"]
    torch.set_float32_matmul_precision("medium")
    try:
        with precision.tf32("cuda"):
            assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_gpu_has_what_is_free_what_this_process_has_and_no_more_than_its_fraction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_gpu(monkeypatch, mem_get_info=(5000, 10_000), memory_reserved=2000, get_per_process_memory_fraction=1.0)
    machine = pick(HFTrainerConfig())
    assert hardware.available_gpu(machine) == Gpu("NVIDIA GeForce RTX 4090", 10_000, 7000)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda: 0.5)
    assert hardware.available_gpu(machine).free == 5000


@pytest.mark.parametrize(
    ("version", "system", "release", "before", "after"),
    [
        ("2.13.0", "linux", "6.1.0-generic", {}, {VARIABLE: EXPANDABLE_SEGMENTS}),
        ("2.13.0+cu130", "linux", "6.1.0-generic", {}, {VARIABLE: EXPANDABLE_SEGMENTS}),
        ("2.6.0", "linux", "6.1.0-generic", {}, {OLD_VARIABLE: EXPANDABLE_SEGMENTS}),
        (
            "2.13.0",
            "linux",
            "6.1.0-generic",
            {OLD_VARIABLE: "max_split_size_mb:64"},
            {OLD_VARIABLE: "max_split_size_mb:64"},
        ),
        ("2.13.0", "linux", "6.1.0-generic", {VARIABLE: ""}, {VARIABLE: ""}),
        ("2.13.0+cpu", "linux", "6.1.0-generic", {}, {}),
        ("2.13.0+rocm7.1", "linux", "6.1.0-generic", {}, {}),
        ("2.13.0", "win32", "11", {}, {}),
        ("2.13.0", "linux", "5.15.0-microsoft-standard-WSL2", {}, {}),
    ],
)
def test_segments_expand_where_torch_can_do_that_and_nobody_set_anything(
    monkeypatch: pytest.MonkeyPatch, version: str, system: str, release: str,
    before: dict[str, str], after: dict[str, str],
) -> None:  # fmt: skip
    monkeypatch.setattr("framework_plugins.hf.machine.allocator.installed", lambda _: version)
    monkeypatch.setattr("framework_plugins.hf.machine.allocator.sys.platform", system)
    monkeypatch.setattr("framework_plugins.hf.machine.allocator.platform.release", lambda: release)
    expand_segments(before)
    assert before == after


@pytest.mark.parametrize("own", [{}, {"LRU_CACHE_CAPACITY": "2048"}], ids=["unset", "set"])
def test_code_for_a_shape_is_kept_once_and_for_few_shapes_unless_the_user_says_otherwise(own: dict[str, str]) -> None:
    environ = dict(own)
    keep_few_shapes(environ)
    assert environ == CPU_CACHES | own


@pytest.mark.parametrize(
    ("own", "cores", "load", "spins"),
    [
        ({}, 2, 1.0, "1000"),
        ({}, 2, 0.3, None),
        ({}, 8, 9.0, None),
        ({"GOMP_SPINCOUNT": "5"}, 2, 1.0, "5"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, 2, 1.0, None),
    ],
)
def test_threads_that_wait_sleep_soon_on_a_busy_machine_unless_the_user_says_otherwise(
    own: dict[str, str], cores: int, load: float, spins: str | None
) -> None:
    environ = dict(own)
    sleep_soon(environ, cores, load)
    assert environ.get("GOMP_SPINCOUNT") == spins


@pytest.mark.skipif(sys.platform != "linux", reason="Linux hands it down")
def test_the_peak_is_not_that_of_the_process_that_started_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which `getrusage` includes: a run that a large notebook starts would report the notebook's."""
    monkeypatch.setattr("resource.getrusage", lambda _: SimpleNamespace(ru_maxrss=2**40))
    assert 2**20 < hardware.peak_memory("cpu") < 2**40
