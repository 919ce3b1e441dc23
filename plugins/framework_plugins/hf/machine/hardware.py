"""The capabilities of this machine: device, dtype, checkpointing, optimizer. Each is probed, and has a reason."""

from __future__ import annotations

import functools
import importlib
import io
import math
import os
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch

from framework import FrameworkError, Plan, Selection
from framework.api import GIB, Gpu, Guard, count, installed, summarize_error, try_out
from framework.api.training import (
    Evaluation,
    ModelSource,
    OptimizerFactory,
    ParameterGroup,
    Shape,
    TokenGroup,
    TrainedWeight,
    estimate,
)
from framework_plugins.hf.machine.optimizer_state import load_state, saved_state
from framework_plugins.hf.machine.out_of_memory import RandomState
from framework_plugins.hf.settings.config import (
    CPU_DTYPE,
    CPU_LIMIT,
    Attention,
    Device,
    Dtype,
    HFTrainerConfig,
    Switch,
    fixed_dtype,
)
from framework_plugins.hf.settings.memory_plan import footprint, plan_passes
from framework_plugins.hf.settings.optimizers import BitsandbytesConfig, BuiltInConfig, StableAdamWConfig
from framework_plugins.hf.settings.pass_size import PassLimits, decides_passes
from framework_plugins.lib.host import cores as cpu_cores

DTYPES = {Dtype.fp32: torch.float32, Dtype.bf16: torch.bfloat16, Dtype.fp16: torch.float16}
DTYPE_NAMES = {dtype: name.value for name, dtype in DTYPES.items()}
CHECKPOINTING = "gradient checkpointing"
"""The fact that tells whether it is on."""
OPENMP = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OMP_PROC_BIND", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")
"""What a user may have set for OpenMP; it is kept and reported."""
DRIVER_TOO_OLD = "driver on your system is too old"
"""What torch says of a driver that is older than the CUDA it was built for."""
AMPERE = (8, 0)
"""The compute capability from which on GPUs have bf16, TF32 and the kernels of flash-attn 2."""
FLASH_SETTING = "trainer.attention=flash_attention_2"
NO_PAGES_WARNING = "Paged optimizers are not supported on CPU"
"""What bitsandbytes warns of where it takes another optimizer than it was asked for (`optim/optimizer.py` in 0.50)."""
BF16_MARGIN = 1.3
"""How much faster bf16 must be on a CPU: casts cost something, and a close race would be won by chance."""


@dataclass(frozen=True)
class Hardware:
    """What was picked. `facts` describes it.

    Attributes:
        split: the parts of a model by name, and which device has each; empty if `device` has all of them.
    """

    device: str
    dtype: torch.dtype
    checkpointing: bool
    optimizer: OptimizerFactory
    facts: dict[str, str] = field(default_factory=dict)
    split: dict[str, str | int] = field(default_factory=dict)


def pick(config: HFTrainerConfig, optimizer: Selection, gpu: int | None = None) -> Hardware:
    """Probe the machine, and on a CPU choose the number of threads.

    Args:
        config: the settings.
        optimizer: the one that is asked for.
        gpu: the number of the GPU to take, where a group of processes shares them; None if a run has one.

    Raises:
        FrameworkError: the config asks for what is not there.
    """
    device = _device(config.device, gpu)
    if device == "cuda" and gpu is not None:
        torch.cuda.set_device(gpu)
    name = torch.cuda.get_device_name() if device == "cuda" else use_cores()
    dtype, why = _dtype(config.dtype, device, name)
    if config.attention is Attention.flash_attention_2:
        _check_flash(device, dtype, name)
    if config.gradient_checkpointing is Switch.auto:
        checkpointing = device == "cuda"
    else:
        checkpointing = config.gradient_checkpointing is Switch.enabled
    factory, optimizer_fact = runnable(optimizer, device)
    facts = {
        "device": name,
        "dtype": f"{DTYPE_NAMES[dtype]} ({why})",
        CHECKPOINTING: "on" if checkpointing else "off",
        "optimizer": optimizer_fact,
    }
    if device == "cpu" and config.releases_cache:
        facts["torch_empty_cache_steps"] = "not used: a CPU has no cache to release"
    return Hardware(device, dtype, checkpointing, factory, facts)


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
    if configured is Device.cpu or torch.cuda.is_available():
        return "cpu" if configured is Device.cpu else "cuda"
    why = _why_no_cuda()
    if DRIVER_TOO_OLD in why:  # whoever has a GPU does not mean the CPU, and torch takes that without a word
        raise FrameworkError(
            f"trainer.device={configured.value}: {why}\nUpdate the driver, install a torch "
            f"for an older CUDA than {torch.version.cuda}, or train on the CPU: trainer.device=cpu"
        )
    if configured is Device.cuda:
        raise FrameworkError(f"trainer.device=cuda: {why}. Set trainer.device=auto, or check `nvidia-smi`")
    return "cpu"


def _why_no_cuda() -> str:
    """Return why torch cannot use a GPU, in its own words if it was built for one."""
    if torch.version.cuda is None:
        return "torch was built without CUDA"
    try:
        # `is_available` warns once in a process, and a library may have asked before.
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return str(error).partition(" Please")[0].rstrip(".")
    return "no driver or no GPU is visible"


def _check_flash(device: str, dtype: torch.dtype, name: str) -> None:
    """Refuse flash attention where its kernels do not run; transformers would look for others on the Hub.

    Raises:
        FrameworkError: no GPU for it, not 16 bits, not installed, or built for another torch.
    """
    fix = "set trainer.attention=auto"
    if device == "cpu":
        raise FrameworkError(f"{FLASH_SETTING} runs on a GPU only: {fix}")
    if torch.cuda.get_device_capability() < AMPERE:
        have, needed = (".".join(map(str, version)) for version in (torch.cuda.get_device_capability(), AMPERE))
        raise FrameworkError(f"{FLASH_SETTING}: {name} has compute capability {have}, and {needed} is needed: {fix}")
    if dtype is torch.float32:
        raise FrameworkError(
            f"{FLASH_SETTING} computes in 16 bits, and trainer.dtype is fp32: {fix}, or trainer.dtype=auto"
        )
    version = installed("flash-attn")
    if version is None:
        raise FrameworkError(
            f"{FLASH_SETTING}: flash-attn is not installed: pip install flash-attn --no-build-isolation, or {fix}"
        )
    try:
        importlib.import_module("flash_attn")
    except (ImportError, OSError) as error:  # an undefined symbol, or a library of another CUDA
        raise FrameworkError(
            f"{FLASH_SETTING}: flash-attn {version} is built for another torch than {torch.__version__}: "
            f"{summarize_error(error)}\nBuild it again, pip install --force-reinstall --no-deps --no-build-isolation "
            f"--no-cache-dir flash-attn, or {fix}"
        ) from error


def _dtype(configured: Dtype, device: str, name: str) -> tuple[torch.dtype, str]:
    if configured is Dtype.fp16 and device == "cpu":
        raise FrameworkError("trainer.dtype=fp16 does not train on a CPU: set trainer.dtype=auto|fp32|bf16")
    if device == "cuda":
        has = torch.cuda.is_bf16_supported(including_emulation=False)
        if configured is Dtype.bf16 and not has:
            raise FrameworkError(f"trainer.dtype=bf16: {name} has no bf16. Set trainer.dtype=auto|fp16|fp32")
        if configured is Dtype.fp32 and torch.cuda.get_device_capability() >= AMPERE:
            return torch.float32, "as configured; products of training passes in TF32"
        if configured is Dtype.auto:
            return (torch.bfloat16, "the GPU has it") if has else (torch.float16, "the GPU has no bf16")
    if configured is not Dtype.auto:
        return DTYPES[configured], "as configured"
    if fixed := fixed_dtype():
        return DTYPES[fixed], f"{CPU_DTYPE}={fixed.value}"
    if instructions := bf16_instructions():
        return torch.bfloat16, f"the CPU has {instructions}"
    # The sentence is a part of the key of the baseline: numbers in it would be others with each start.
    if cpu_gflops(torch.bfloat16) > BF16_MARGIN * cpu_gflops(torch.float32):
        return torch.bfloat16, "measured: faster than fp32 on this CPU"
    return torch.float32, "measured: bf16 is not faster on this CPU"


def bf16_instructions() -> str:
    """Name the instructions of this CPU that multiply bf16 at a multiple of fp32's speed; empty if it has none.

    Asked, not measured: a busy machine would make a model train in fp32 today and in bf16 tomorrow.
    """
    queries = {"avx512_bf16": "_is_avx512_bf16_supported", "AMX": "_is_amx_tile_supported"}
    supported = (name for name, query in queries.items() if getattr(torch.cpu, query, bool)())
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
    variables = [f"{name}={os.environ[name]}" for name in OPENMP if name in os.environ]
    text = f"CPU, {threads} threads" if threads > 1 else "CPU, 1 thread"
    return f"{text} ({', '.join([f'{cores} cores', *variables])})"


@functools.cache
def cpu_gflops(dtype: torch.dtype, *, size: int = 384, rounds: int = 8, limit: float = 0.05) -> float:
    """Return the speed of a square matrix product on the CPU in GFLOP/s: the best of some rounds.

    No round begins after `limit` seconds. A CPU that emulates bf16 needs a hundred times as long as for fp32: one round
    says enough there, and each start of the program would wait for the others.
    """
    left, right = torch.ones(size, size, dtype=dtype), torch.ones(size, size, dtype=dtype)
    seconds: list[float] = []
    begun = time.perf_counter()
    while not seconds or (len(seconds) < rounds and time.perf_counter() - begun < limit):
        start = time.perf_counter()
        torch.mm(left, right)
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds) / 1e9


def runnable(choice: Selection, device: str) -> tuple[OptimizerFactory, str]:
    """Return the optimizer that runs here, and what to say of it.

    One of bitsandbytes or of another plugin makes a few steps on a small matrix first.

    Raises:
        FrameworkError: it does not run here, and no other one is the same optimizer, with the same learning rate.
    """
    name, factory = f"optimizer={choice.component.name}", choice.create()
    if isinstance(choice.config, StableAdamWConfig) and device == "cpu" and installed("triton"):  # it has no setting
        raise FrameworkError(
            f"{name} uses Triton if triton is installed, and Triton needs a GPU: set optimizer=adamw_torch, or "
            "uninstall triton"
        )
    built_in, before = isinstance(choice.config, BuiltInConfig), RandomState.now()
    try:
        reason = ""
        if not built_in or isinstance(choice.config, BitsandbytesConfig):
            reason = try_out(f"does not run on this {device}", partial(_trial, factory, device, resumes=not built_in))
    except FrameworkError as error:  # whatever it is, it means that this optimizer does not run here
        reason = str(error)
    before.restore()
    if not reason:
        unpaged = isinstance(choice.config, BuiltInConfig) and choice.config.paged and device == "cpu"
        return factory, choice.component.name + (" (without pages, which a CPU does not have)" if unpaged else "")
    if factory.substitute is not None:
        return factory.substitute, f"adamw_torch ({choice.component.name} {reason})"
    raise FrameworkError(f"{name} {reason}. Set optimizer=adamw_torch")


TRIAL_STEPS, SAVED_STEP = 10, 5
"""Steps of the trial: an optimizer with a warm-up of its own may not move a weight at first. After the second number a
checkpoint is made."""


def _trial(factory: OptimizerFactory, device: str, *, resumes: bool) -> str:
    """Say what is wrong with an optimizer that is made for a small matrix and updates it; empty if nothing is.

    Args:
        factory: of the optimizer.
        device: where it computes.
        resumes: whether its state is saved as in a checkpoint, and loaded into a new one, which has to continue as it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch or Triton, say, about what they will drop some day
        warnings.filterwarnings("error", message=NO_PAGES_WARNING)
        trial = _TrialOptimizer(factory, device)
        if problem := trial.problem:
            return problem
        checkpoint = None
        for step in range(TRIAL_STEPS):
            if step == SAVED_STEP and resumes:
                checkpoint = trial.save()
            trial.step(step)
            if not trial.weight.isfinite().all():
                return f"makes weights that are not numbers on this {device}"
        if not (trial.weight < 1).all():
            return f"changes nothing on this {device}"
        if checkpoint:
            again = _TrialOptimizer(factory, device)
            again.load(*checkpoint)
            for step in range(SAVED_STEP, TRIAL_STEPS):
                again.step(step)
            if not torch.equal(trial.weight, again.weight):
                return (
                    "does not resume: with its state from a checkpoint it makes other updates than without a pause. "
                    "Keep all that it changes in self.state[weight] or in its groups"
                )
    return ""


class _TrialOptimizer:
    """An optimizer for a small matrix; see `_trial`."""

    def __init__(self, factory: OptimizerFactory, device: str) -> None:
        # Below 4096 elements bitsandbytes keeps 32-bit states, which would prove nothing.
        self.weight = torch.nn.Parameter(torch.ones(64, 128, device=device))
        weight = TrainedWeight("trial.weight", tuple(self.weight.shape), value=self.weight)
        self.made: Any = factory.create([ParameterGroup([weight], 0.1, 0.0)], 0.1, 0)
        self.problem = ""
        if not isinstance(self.made, torch.optim.Optimizer):
            self.problem = f"makes a {type(self.made).__name__}, not a torch.optim.Optimizer"
        elif {id(weight) for group in self.made.param_groups for weight in group["params"]} != {id(self.weight)}:
            self.problem = "leaves out weights that it is given"
        elif hasattr(self.made, "train"):
            self.made.train()

    def step(self, index: int) -> None:
        """Make a step with a gradient that depends on the number."""
        self.weight.grad = torch.full_like(self.weight, 1 + index / TRIAL_STEPS)
        self.made.step()

    def save(self) -> tuple[bytes, torch.Tensor, RandomState]:
        """Return what a checkpoint has of it.

        Raises:
            FrameworkError: its state cannot be saved, or not be read from a checkpoint.
        """
        file = io.BytesIO()
        with Guard("has a state that cannot be saved"):
            torch.save(saved_state(self.made, {self.weight: ""}), file)
        return file.getvalue(), self.weight.detach().clone(), RandomState.now()

    def load(self, state: bytes, weight: torch.Tensor, random: RandomState) -> None:
        """Continue from there."""
        with Guard("has a state that cannot be read back: keep numbers, texts and tensors of torch only"):
            saved = torch.load(io.BytesIO(state), weights_only=True)
        self.weight.data.copy_(weight)
        with Guard("cannot load its state"):
            load_state(self.made, saved, {self.weight: ""})
        random.restore()


def available_gpu(machine: Hardware) -> Gpu:
    """Return this GPU with the memory that this process may have, what it has already included."""
    free, total = torch.cuda.mem_get_info()
    limit = round(total * torch.cuda.get_per_process_memory_fraction())
    return Gpu(machine.facts["device"], total, min(limit, free + torch.cuda.memory_reserved()))


def choose_passes(
    machine: Hardware, plan: Plan, source: ModelSource, groups: Iterable[TokenGroup], *, fused: bool = False
) -> tuple[Hardware, PassLimits]:
    """Return how large passes are, and the machine, without gradient checkpointing if most need none.

    It is the plan's own arithmetic, on a GPU with the memory that is free now instead of what the driver reported, and
    with less for layers that are fused there.
    """
    configured = PassLimits(plan.trainer.config.pass_tokens)
    if not decides_passes(plan):
        return machine, configured
    rows = [[*row.input_ids] for group in groups for row in group.rows]
    longest, mean, shared = max(map(len, rows)), None, 0
    gpu = available_gpu(machine) if machine.device == "cuda" else None
    if gpu is None:  # where passes of average rows may be longer, and what the first and the last share, all do
        mean, shared = math.ceil(sum(map(len, rows)) / len(rows)), len(os.path.commonprefix(rows))  # noqa: RUF071 - of tokens
    shape = _known_shape(source)
    if shape is None:
        return machine, configured
    try:
        limits, needs = plan_passes(plan, shape, gpu, longest, shared, mean, fused=fused)
    except FrameworkError:  # of layers that are estimated on GPUs only
        return machine, configured
    if gpu:
        high = estimate(shape, needs).high / GIB
        # What is free varies by some MiB from run to run; `diff` compares these texts.
        room = f"at most {high:.1f} GiB are needed, and {gpu.usable / GIB:.0f} are free"
        machine.facts["passes"] = f"of at most {count(limits.tokens, 'token')} ({room})"
    elif limits.tokens:
        machine.facts["passes"] = f"of at most {count(limits.tokens, 'token')}"
    if limits.kept is not None:
        machine.facts[CHECKPOINTING] = f"only in passes of more than {count(limits.kept, 'token')}"
    return replace(machine, checkpointing=machine.checkpointing and limits.kept is None), limits


def _known_shape(source: ModelSource) -> Shape | None:
    """Return what a model is made of; None if the arithmetic does not know such a model."""
    try:
        stored = source.parameters()
        return Shape.from_config(source.config_json(), stored)
    except FrameworkError:
        return None


def evaluation_devices(machine: Hardware, plan: Plan, source: ModelSource) -> Sequence[str | int]:
    """Return the devices that the layers of a model are divided over before and after a training; empty: they are not.

    On a CPU, which has one memory, that spares nothing: it can be tried there.

    Raises:
        FrameworkError: there are fewer GPUs than processes are asked for.
    """
    group = plan.launch.config.group()
    if group is None or not group.sharded or group.evaluation is Evaluation.whole:
        return ()
    devices, why = group.on_each_machine, "launch.evaluation=split"
    if group.evaluation is Evaluation.auto:
        shape = _known_shape(source) if machine.device == "cuda" else None
        if shape is None:
            return ()
        gpu = available_gpu(machine)
        devices = footprint(plan, shape, gpu, plan.training.max_seq_length, 0).evaluated_on
        why = f"one GPU, with {gpu.usable / GIB:.0f} GiB, cannot hold all of them"
    if devices <= 1:
        return ()
    if machine.device == "cpu":
        machine.facts["evaluation"] = f"layers split into {devices} parts on the CPU ({why})"
        return ["cpu"] * devices
    if devices > (gpu_count := torch.cuda.device_count()):
        raise FrameworkError(
            f"launch.processes={devices}: the model is split over as many GPUs while it is evaluated, and "
            f"{count(gpu_count, 'GPU')} can be seen: set launch.processes={gpu_count}"
        )
    machine.facts["evaluation"] = f"layers split over {devices} GPUs ({why})"
    return range(devices)  # by number, since accelerate begins with the smallest


def peak_memory(device: str) -> int:
    """Return the peak so far in bytes: of the allocator on a GPU, of the whole process on a CPU."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    if sys.platform == "linux":  # whose `ru_maxrss` begins with the peak of the process that started this one
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    import resource  # noqa: PLC0415 - not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
