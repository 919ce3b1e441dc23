"""The checks of `doctor` themselves: torch, CPU, GPU and driver as a run finds them, the libraries, and NF4."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
from importlib.metadata import version

import torch

from framework import Plan
from framework.api import GIB, DiagnosticResult, State, installed
from framework_plugins.hf.machine.diagnostics import needs_bitsandbytes, needs_gpu
from framework_plugins.hf.machine.hardware import bf16_instructions, use_cores
from framework_plugins.hf.settings.config import HFTrainerConfig

NVIDIA_SMI = "nvidia-smi"
SMI_SECONDS = 20
NVIDIA_SMI_QUERY = "--query-gpu=name,driver_version,memory.total"
VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
WHEELS = "https://pytorch.org/get-started/locally/"
ROWS, WIDTH, INPUTS = 256, 512, 16
TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 2e-2, torch.float16: 5e-3}
"""How far the product may be from that of the dequantized weights, relative to its size."""
NF4_LOSS = (0.02, 0.15)
"""What NF4 loses of normally distributed weights lies between these: about a tenth of their size."""
FIX = "pip install --upgrade bitsandbytes, or set quantization=none"


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
    detail = "; ".join(map(_describe_gpu, range(count)))
    if count > 1:
        fix = f"choose one with {VISIBLE_DEVICES}=0 before the command: a run trains on one"
        return DiagnosticResult(State.broken, f"{count} are visible: {detail}", fix=fix)
    return DiagnosticResult(State.ok, detail)


def _describe_gpu(index: int) -> str:
    """Describe a GPU; raises what torch raises where it cannot compute on it."""
    ones = torch.ones(8, 8, device=f"cuda:{index}")
    torch.cuda.synchronize(ones.device)
    total = torch.cuda.get_device_properties(index).total_memory
    free = torch.cuda.mem_get_info(index)[0]
    with torch.cuda.device(index):
        bf16 = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16, so fp16"
    capability = ".".join(map(str, torch.cuda.get_device_capability(index)))
    memory = f"{total / GIB:.1f} GiB, {free / GIB:.1f} GiB free"
    return f"{torch.cuda.get_device_name(index)}, compute capability {capability}, {memory}, {bf16}"


def _no_gpu(*, needed: bool) -> DiagnosticResult:
    detail = f"none that torch can use; it is built {_built()}"
    if VISIBLE_DEVICES in os.environ:
        detail += f"; {VISIBLE_DEVICES}={os.environ[VISIBLE_DEVICES]}"
    if driver(None).state is State.ok:
        without = torch.version.cuda is None and torch.version.hip is None
        fix = f"install torch for CUDA, {WHEELS}" if without else "update the driver, or take a torch for an older CUDA"
        return DiagnosticResult(State.missing, detail, fix=fix)
    fix = "run it on a machine with a GPU, or take a smaller model, or set trainer.device=cpu to train here anyway"
    return DiagnosticResult(State.missing, detail, fix=fix if needed else "")


def driver(_: Plan | None) -> DiagnosticResult:
    """Ask `nvidia-smi`."""
    tool = shutil.which(NVIDIA_SMI)
    if tool is None:
        return DiagnosticResult(State.missing, f"no {NVIDIA_SMI} on PATH")
    fix = f"repair or install the NVIDIA driver until `{NVIDIA_SMI}` works by itself"
    try:
        process = subprocess.run(  # noqa: S603 - a fixed query
            [tool, NVIDIA_SMI_QUERY, "--format=csv,noheader"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=SMI_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return DiagnosticResult(State.broken, f"{NVIDIA_SMI} does not answer within {SMI_SECONDS} s", fix=fix)
    lines = (process.stdout or process.stderr).strip().splitlines()
    if process.returncode or not lines:
        return DiagnosticResult(
            State.broken, f"{NVIDIA_SMI}: {lines[0] if lines else f'exit code {process.returncode}'}", fix=fix
        )
    cards = [[part.strip() for part in line.split(",")] for line in lines]
    return DiagnosticResult(
        State.ok, "; ".join(f"{card[0]}, {card[-1]}" for card in cards), cards[0][1] if len(cards[0]) > 1 else ""
    )


def transformers(_: Plan | None) -> DiagnosticResult:
    """Import what loads models."""
    return _imported("transformers", "AutoModelForCausalLM", "AutoTokenizer")


def peft(_: Plan | None) -> DiagnosticResult:
    """Import what adds adapters."""
    return _imported("peft", "LoraConfig", "get_peft_model")


def trl(plan: Plan | None) -> DiagnosticResult:
    """Import the trainer, which takes seconds; for a run of `trainer=hf` only look for it."""
    if plan is not None and isinstance(plan.trainer.config, HFTrainerConfig) and (found := installed("trl")):
        return DiagnosticResult(State.ok, "installed; trainer=trl imports it", found)
    return _imported("trl", "SFTTrainer")


def _imported(name: str, *parts: str) -> DiagnosticResult:
    library = importlib.import_module(name)
    for part in parts:
        getattr(library, part)  # these libraries import their parts when they are asked for
    return DiagnosticResult(State.ok, f"{' and '.join(parts)} can be imported", version(name))


def bitsandbytes(plan: Plan | None) -> DiagnosticResult:
    """Import what quantizes, which takes seconds; for a run that does not, only look for it."""
    if plan is not None and not needs_bitsandbytes(plan) and (found := installed("bitsandbytes")):
        return DiagnosticResult(State.ok, "installed; quantization=nf4 and quantization=int8 import it", found)
    import bitsandbytes as library  # noqa: PLC0415 - whether that succeeds is the check

    return DiagnosticResult(State.ok, "can be imported", library.__version__)


def nf4(plan: Plan | None) -> DiagnosticResult | None:
    """Quantize a matrix with double quantization as a run does, multiply, go back, and compare with the dequantized.

    A run without bitsandbytes says nothing.
    """
    if plan is not None and not needs_bitsandbytes(plan):
        return None
    from bitsandbytes import matmul_4bit  # noqa: PLC0415 - as above
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit  # noqa: PLC0415 - as above

    device, dtype = _device_and_dtype()
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(ROWS, WIDTH, generator=generator).to(device, dtype)
    inputs = torch.randn(INPUTS, WIDTH, generator=generator).to(device, dtype).requires_grad_()
    packed, state = quantize_4bit(weights, quant_type="nf4", compress_statistics=True)
    plain = dequantize_4bit(packed, state)
    distance = _distance(plain, weights)
    multiplied = matmul_4bit(inputs, packed.t(), quant_state=state)
    multiplied.sum().backward()
    off = max(_distance(multiplied, inputs @ plain.t()), _distance(inputs.grad, plain.sum(0).expand_as(inputs)))
    where = f"on this {device.upper() if device == 'cpu' else 'GPU'} in {str(dtype).removeprefix('torch.')}"
    if not NF4_LOSS[0] < distance < NF4_LOSS[1]:
        return DiagnosticResult(
            State.broken, f"{distance:.1%} of the weights are lost {where}, about 9% are usual", fix=FIX
        )
    if not off < TOLERANCES[dtype]:
        return DiagnosticResult(
            State.broken, f"a product or its gradient is {off:.2%} off that of the dequantized weights {where}", fix=FIX
        )
    return DiagnosticResult(
        State.ok, f"a product and its gradient {where} are those of the dequantized weights, {off:.2%} off"
    )


def _device_and_dtype() -> tuple[str, torch.dtype]:
    if not torch.cuda.is_available():
        return "cpu", torch.float32
    return "cuda", torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _distance(tensor: torch.Tensor | None, reference: torch.Tensor) -> float:
    """Return how far two are apart, relative to the size of the second; what is not there is infinitely far."""
    if tensor is None:
        return float("inf")
    tensor, reference = tensor.detach(), reference.detach()
    return float((tensor.float() - reference.float()).norm() / reference.float().norm())
