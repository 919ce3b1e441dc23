"""framework/util/gpus.py: GPUs by name, and the one that the driver reports."""

import stat
from pathlib import Path

import pytest

from framework import FrameworkError
from framework.util import gpus
from framework.util.host import GIB


@pytest.fixture(autouse=True)
def _nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "OTHERS", ())
    monkeypatch.setattr(gpus, "WSL", "/no/such/folder")


def driver(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put an `nvidia-smi` on the path."""
    command = folder / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    command.chmod(command.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")


@pytest.mark.parametrize("name", ["rtx4090", "RTX 4090", "NVIDIA GeForce RTX 4090", "rtx-4090"])
def test_a_gpu_is_known_by_the_names_that_people_write(name: str) -> None:
    found = gpus.named(name)
    assert (found.name, found.total) == ("rtx4090", round(23.6 * GIB))
    assert found.usable == found.total - round(gpus.CONTEXT * GIB)


@pytest.mark.parametrize(
    ("text", "name", "notice"),
    [
        ("a10g", "a10g", ""),
        ("a100", "a100_40", "a100 is a100_40 or a100_80: planned for a100_40, the smaller one"),
        ("V100", "v100_16", "V100 is v100_16 or v100_32: planned for v100_16, the smaller one"),
        ("NVIDIA A100-SXM4-80GB", "a100_80", ""),
        ("NVIDIA H100 80GB HBM3", "h100", ""),
        ("rtx 3080 12gb", "rtx3080_12", ""),
        ("24GiB", "24GiB", ""),
    ],
)
def test_a_name_without_a_size_is_the_smaller_gpu(text: str, name: str, notice: str) -> None:
    assert (gpus.named(text).name, gpus.size_notice(text)) == (name, notice)


def test_a_gpu_has_a_memory_that_is_sold() -> None:
    sold = (5, 6, 8, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 141, 180, 192, 288)
    sizes = {name: gpus.named(name).total / GIB for name in gpus.CARDS}
    assert {name: size for name, size in sizes.items() if not any(0.85 * one <= size <= one for one in sold)} == {}


@pytest.mark.parametrize(("size", "total"), [("24GiB", 24 * 2**30), ("24gb", 24 * 10**9), ("11.5 GiB", 11.5 * 2**30)])
def test_a_size_is_a_gpu(size: str, total: float) -> None:
    assert gpus.named(size).total == total


@pytest.mark.parametrize(
    ("text", "told"),
    [("rtx4099", "Did you mean 'rtx4090'?"), ("rtx4090_48", "Valid: t4"), ("0GiB", "Valid: t4"), ("x", "24GiB")],
)
def test_what_is_no_gpu_is_reported_with_the_valid_names(text: str, told: str) -> None:
    with pytest.raises(FrameworkError, match=f"plan.gpu={text}: no GPU of that name is known") as error:
        gpus.named(text)
    assert told in str(error.value)


def test_the_gpu_that_is_here_is_the_drivers_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(tmp_path, monkeypatch, "echo 'NVIDIA GeForce RTX 3060, 12288, 11800'; echo 'NVIDIA L4, 24576, 24000'")
    found = gpus.here()
    assert found is not None
    assert (found.name, found.total, found.free) == ("NVIDIA GeForce RTX 3060", 12288 * 2**20, 11800 * 2**20)
    assert found.bf16


@pytest.mark.parametrize("script", ["echo 'No devices were found'", "exit 9", "true"])
def test_a_driver_without_a_gpu_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    driver(tmp_path, monkeypatch, script)
    assert gpus.here() is None


def test_without_a_driver_there_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.here() is None


def test_the_gpu_that_is_chosen_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(tmp_path, monkeypatch, 'echo "GPU $4, 24576, 24000"')
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    found = gpus.here()
    assert found is not None
    assert found.name == "GPU 1"


@pytest.mark.parametrize("chosen", ["", "-1"])
def test_where_none_is_visible_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    driver(tmp_path, monkeypatch, "echo 'NVIDIA L4, 24576, 24000'")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert gpus.here() is None


def test_a_gpu_of_which_nothing_is_reported_is_no_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(tmp_path, monkeypatch, "echo 'NVIDIA GB10, [N/A], [N/A]'")
    with pytest.raises(FrameworkError, match=r"as in plan\.gpu=24GiB"):
        gpus.here()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1234")
    with pytest.raises(FrameworkError, match=r"as in plan\.gpu=24GiB"):
        gpus.here()
    (tmp_path / "nvidia-smi").unlink()
    (tmp_path / "kfd").touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpus, "OTHERS", (str(tmp_path / "kfd"),))
    with pytest.raises(FrameworkError, match=r"as in plan\.gpu=24GiB"):
        gpus.here()


@pytest.mark.parametrize(
    ("name", "has"), [("Tesla T4", False), ("NVIDIA GeForce RTX 2080 Ti", False), ("rtx3060", True)]
)
def test_gpus_before_ampere_have_no_bf16(name: str, *, has: bool) -> None:
    assert gpus.Gpu(name, 1, 1).bf16 == has
