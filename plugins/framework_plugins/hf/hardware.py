"""The capabilities of this machine: device, dtype, checkpointing, optimizer. Each is probed, and has a reason."""

from __future__ import annotations

import functools
import os
import sys
import time
import warnings
from dataclasses import dataclass, field

import psutil
import torch

from framework.api.errors import FrameworkError
from framework.api.machine import cores as cpu_cores
from framework.api.schema import Optimizer
from framework.api.text import summarize_error
from framework_plugins.hf.config import CPU_LIMIT, Device, Dtype, HFTrainerConfig, Switch

DTYPES = {Dtype.fp32: torch.float32, Dtype.bf16: torch.bfloat16, Dtype.fp16: torch.float16}
NAMES = {dtype: name.value for name, dtype in DTYPES.items()}
OPENMP = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OMP_PROC_BIND", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")
"""What a user may have set for OpenMP; it is kept and reported."""
UNSUPPORTED = "Paged optimizers are not supported on CPU"
"""What bitsandbytes warns of where it takes another optimizer than it was asked for (`optim/optimizer.py` in 0.50)."""
BF16_MARGIN = 1.3
"""How much faster bf16 must be on a CPU: casts cost something, and a close race would be won by chance."""


@dataclass(frozen=True)
class Hardware:
    """What was picked. `facts` says it in words."""

    device: str
    dtype: torch.dtype
    checkpointing: bool
    optimizer: Optimizer
    facts: dict[str, str] = field(default_factory=dict)


def pick(config: HFTrainerConfig, gpu: int | None = None) -> Hardware:
    """Probe the machine, and on a CPU choose the number of threads.

    Args:
        config: the settings.
        gpu: the number of the GPU to take, where a group of processes shares them; None where a run has one.

    Raises:
        FrameworkError: the config asks for what is not there.
    """
    device = _device(config.device, gpu)
    if device == "cuda" and gpu is not None:
        torch.cuda.set_device(gpu)
    name = torch.cuda.get_device_name() if device == "cuda" else use_cores()
    dtype, why = _dtype(config.dtype, device)
    if config.gradient_checkpointing is Switch.auto:
        checkpointing = device == "cuda"
    else:
        checkpointing = config.gradient_checkpointing is Switch.enabled
    optimizer, optimizer_fact = _optimizer(config.optim, device)
    facts = {
        "device": name,
        "dtype": f"{NAMES[dtype]} ({why})",
        "gradient checkpointing": "on" if checkpointing else "off",
        "optimizer": optimizer_fact,
    }
    return Hardware(device, dtype, checkpointing, optimizer, facts)


def check_size(hardware: Hardware, configured: Device, name: str, parameters: int) -> None:
    """Refuse to train a large model on a CPU unless that was asked for.

    Raises:
        FrameworkError: no GPU for a model above `CPU_LIMIT` parameters.
    """
    if hardware.device == "cpu" and configured is Device.auto and parameters > CPU_LIMIT:
        raise FrameworkError(
            f"no GPU found, and {name} has {parameters / 1e9:.1f} billion parameters: on this CPU a single step would "
            "take minutes.\nRun it on a machine with a GPU, take a smaller model (model=smollm2_135m or "
            "model=llama1b), or insist with trainer.device=cpu"
        )


def _device(configured: Device, gpu: int | None) -> str:
    if configured is not Device.cpu and gpu is None and torch.cuda.device_count() > 1:
        raise FrameworkError(
            f"{torch.cuda.device_count()} GPUs are visible and this run trains on one: take all of them with "
            "launch=ddp, or choose one with CUDA_VISIBLE_DEVICES=0 before the command"
        )
    if configured is Device.auto:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if configured is Device.cuda and not torch.cuda.is_available():
        built = "torch was built without CUDA" if torch.version.cuda is None else "no driver or no GPU is visible"
        raise FrameworkError(f"trainer.device=cuda: {built}. Set trainer.device=auto, or check `nvidia-smi`")
    return str(configured.value)


def _dtype(configured: Dtype, device: str) -> tuple[torch.dtype, str]:
    if configured is Dtype.fp16 and device == "cpu":
        raise FrameworkError("trainer.dtype=fp16 does not train on a CPU: set trainer.dtype=auto|fp32|bf16")
    if configured is not Dtype.auto:
        return DTYPES[configured], "as configured"
    if device == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16, "the GPU has it"
        return torch.float16, "the GPU has no bf16"
    if instructions := bf16_instructions():
        return torch.bfloat16, f"the CPU has {instructions}"
    speed = {dtype: cpu_gflops(dtype) for dtype in (torch.float32, torch.bfloat16)}
    faster = torch.bfloat16 if speed[torch.bfloat16] > BF16_MARGIN * speed[torch.float32] else torch.float32
    numbers = ", ".join(f"{NAMES[dtype]} {gflops:.0f}" for dtype, gflops in speed.items())
    return faster, f"measured GFLOPS: {numbers}"


def bf16_instructions() -> str:
    """Name the instructions of this CPU that multiply bf16 at a multiple of fp32's speed; empty where it has none.

    Asked, not measured: a busy machine would make a model train in fp32 today and in bf16 tomorrow.
    """
    known = {"avx512_bf16": "_is_avx512_bf16_supported", "AMX": "_is_amx_tile_supported"}
    supported = (name for name, query in known.items() if getattr(torch.cpu, query, bool)())
    return next(supported, "")


def use_cores() -> str:
    """Let torch use each core that this process may use once, and say so; OMP_NUM_THREADS wins.

    Two threads on one core wait for each other at the end of every product, and so do more threads than a container
    gets time for. How threads wait is left to OpenMP: spinning was seen to be a third faster than sleeping.
    """
    configured = os.environ.get("OMP_NUM_THREADS")
    cores = cpu_cores()
    if configured is None:
        torch.set_num_threads(cores)
    threads = torch.get_num_threads()
    more = [f"{name}={os.environ[name]}" for name in OPENMP if name in os.environ]
    text = f"CPU, {threads} threads" if threads > 1 else "CPU, 1 thread"
    return f"{text} ({', '.join([f'{cores} cores', *more])})"


@functools.cache
def cpu_gflops(dtype: torch.dtype, *, size: int = 768, rounds: int = 5) -> float:
    """Return the speed of a square matrix product on the CPU in GFLOP/s, the best of some rounds: about 20 ms."""
    left, right = torch.ones(size, size, dtype=dtype), torch.ones(size, size, dtype=dtype)
    torch.mm(left, right)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        torch.mm(left, right)
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds) / 1e9


def _optimizer(configured: Optimizer, device: str) -> tuple[Optimizer, str]:
    """Return the optimizer that runs here: an 8-bit one makes a real step on a small tensor first."""
    if configured is Optimizer.adamw_torch:
        return configured, configured.value
    try:
        changes = _step_8bit(configured, device)
    except Exception as error:  # noqa: BLE001 - whatever it is, it means that this optimizer does not run here
        return (
            Optimizer.adamw_torch,
            f"adamw_torch ({configured.value} does not run on this {device}: {summarize_error(error)})",
        )
    if not changes:
        return Optimizer.adamw_torch, f"adamw_torch ({configured.value} changes nothing on this {device})"
    return configured, configured.value


def _step_8bit(optimizer: Optimizer, device: str) -> bool:
    """Make one step and tell whether it went down the gradient."""
    import bitsandbytes  # noqa: PLC0415 - needed by the 8-bit optimizers only

    kind = {
        Optimizer.adamw_8bit: bitsandbytes.optim.AdamW8bit,
        Optimizer.paged_adamw_8bit: bitsandbytes.optim.PagedAdamW8bit,
    }[optimizer]
    # Below 4096 elements bitsandbytes keeps 32-bit states, which would prove nothing.
    weight = torch.nn.Parameter(torch.ones(64, 128, device=device))
    weight.grad = torch.ones_like(weight)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch or Triton, say, about what they will drop some day
        warnings.filterwarnings("error", message=UNSUPPORTED)
        kind([weight], lr=0.1).step()
    return bool((weight < 1).all())


def peak_memory(device: str) -> int:
    """Return the peak so far in bytes: of the allocator on a GPU, of the whole process on a CPU."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # noqa: PLC0415 - not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
