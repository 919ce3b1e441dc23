"""torch, CPU, GPU and driver, as a run finds them."""

from __future__ import annotations

import os
import shutil
import subprocess

import torch

from framework.api.diagnostic import DiagnosticResult, State
from framework.api.machine import GIB
from framework.api.plan import Plan
from framework_plugins.hf.machine.diagnostics import needs_gpu
from framework_plugins.hf.machine.hardware import bf16_instructions, use_cores

SMI = "nvidia-smi"
SMI_SECONDS = 20
QUERY = "--query-gpu=name,driver_version,memory.total"
VISIBLE = "CUDA_VISIBLE_DEVICES"
WHEELS = "https://pytorch.org/get-started/locally/"


def torch_build(_: Plan | None) -> DiagnosticResult:
    """Say what torch was built for, and multiply with it."""
    ones = torch.ones(8, 8)
    if not bool((ones @ ones == len(ones)).all()):
        return DiagnosticResult(
            State.broken, "a product of ones is wrong", torch.__version__, "pip install --force-reinstall torch"
        )
    return DiagnosticResult(State.ok, f"built {_built()}", torch.__version__)


def _built() -> str:
    if torch.version.cuda is not None:
        return f"for CUDA {torch.version.cuda}"
    return f"for ROCm {torch.version.hip}" if torch.version.hip is not None else "without CUDA"


def cpu(_: Plan | None) -> DiagnosticResult:
    """Say how many threads a run takes, and whether the CPU multiplies bf16."""
    threads, instructions = use_cores(), bf16_instructions()
    return DiagnosticResult(
        State.ok, f"{threads.removeprefix('CPU, ')}; bf16 {f'by {instructions}' if instructions else 'is slow'}"
    )


def gpu(plan: Plan | None) -> DiagnosticResult:
    """Compute something on each GPU, and say what it is."""
    if not torch.cuda.is_available():
        return _no_gpu(needed=plan is not None and needs_gpu(plan))
    count = torch.cuda.device_count()
    detail = "; ".join(map(_described, range(count)))
    if count > 1:
        fix = f"choose one with {VISIBLE}=0 before the command: a run trains on one"
        return DiagnosticResult(State.broken, f"{count} are visible: {detail}", fix=fix)
    return DiagnosticResult(State.ok, detail)


def _described(number: int) -> str:
    """Describe a GPU; raises what torch raises where it cannot compute on it."""
    ones = torch.ones(8, 8, device=f"cuda:{number}")
    torch.cuda.synchronize(ones.device)
    total = torch.cuda.get_device_properties(number).total_memory
    free = torch.cuda.mem_get_info(number)[0]
    with torch.cuda.device(number):
        bf16 = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16, so fp16"
    capability = ".".join(map(str, torch.cuda.get_device_capability(number)))
    memory = f"{total / GIB:.1f} GiB, {free / GIB:.1f} GiB free"
    return f"{torch.cuda.get_device_name(number)}, compute capability {capability}, {memory}, {bf16}"


def _no_gpu(*, needed: bool) -> DiagnosticResult:
    detail = f"none that torch can use; it is built {_built()}"
    if VISIBLE in os.environ:
        detail += f"; {VISIBLE}={os.environ[VISIBLE]}"
    if driver(None).state is State.ok:
        without = torch.version.cuda is None and torch.version.hip is None
        fix = f"install torch for CUDA, {WHEELS}" if without else "update the driver, or take a torch for an older CUDA"
        return DiagnosticResult(State.missing, detail, fix=fix)
    fix = "run it on a machine with a GPU, or take a smaller model, or set trainer.device=cpu to train here anyway"
    return DiagnosticResult(State.missing, detail, fix=fix if needed else "")


def driver(_: Plan | None) -> DiagnosticResult:
    """Ask `nvidia-smi`."""
    tool = shutil.which(SMI)
    if tool is None:
        return DiagnosticResult(State.missing, f"no {SMI} on PATH")
    fix = f"repair or install the NVIDIA driver until `{SMI}` works by itself"
    try:
        process = subprocess.run(  # noqa: S603 - a fixed query
            [tool, QUERY, "--format=csv,noheader"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=SMI_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return DiagnosticResult(State.broken, f"{SMI} does not answer within {SMI_SECONDS} s", fix=fix)
    lines = (process.stdout or process.stderr).strip().splitlines()
    if process.returncode or not lines:
        return DiagnosticResult(
            State.broken, f"{SMI}: {lines[0] if lines else f'exit code {process.returncode}'}", fix=fix
        )
    cards = [[part.strip() for part in line.split(",")] for line in lines]
    return DiagnosticResult(
        State.ok, "; ".join(f"{card[0]}, {card[-1]}" for card in cards), cards[0][1] if len(cards[0]) > 1 else ""
    )
