"""One optimizer step with a tiny twin of the run's model, compared with plain transformers and peft.

The twin goes the way of the run: loaded by its backend, with its adapter, quantization and packing, on its device. The
rows have a common beginning, differ in length, and go through in several passes. That is done once for each set of
versions, architecture and kind of settings, when a model is opened: before its weights and the data are read.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_pre_hook

from framework import FrameworkError, Plan, Selection
from framework.api import (
    ProcessError,
    PythonProcess,
    Step,
    cache_dir,
    installed,
    key_of,
    plugins,
    read_json,
    summarize_error,
    write_json,
)
from framework.api.training import StepControl, TokenRow, TrainRun
from framework_plugins.hf.backend import HFBackend
from framework_plugins.hf.load.adapter_config import trained_config
from framework_plugins.hf.machine.out_of_memory import RandomState
from framework_plugins.hf.model import HFModel
from framework_plugins.hf.settings.config import LocalModelConfig, LoraAdapterConfig
from framework_plugins.unsloth.twin import ADAPTER, GRADIENTS, MODEL, NO_DROPOUT

LIBRARIES = (
    "framework-finetune", "unsloth", "unsloth_zoo", "torch", "transformers", "trl", "peft", "bitsandbytes", "triton",
)  # fmt: skip
ATTENTION_LIBRARIES = ("xformers", "flash_attn")
"""What Unsloth computes attention with on a GPU, if it is installed."""
PACKAGES = ("framework_plugins.unsloth", "framework_plugins.hf")
"""The code that compares, and that is compared."""
ROWS, PASSES = 6, 3
"""Of the step: rows, and passes with equally many."""
SHARED_TOKENS, ROW_TOKENS = 24, 48
"""Tokens with which all rows begin, and of the longest row."""
FP32_TOLERANCE, ROUNDED_TOLERANCE = 1e-3, 5e-2
"""How far losses and gradients may lie apart, in fp32 on a CPU with weights that are not quantized, and otherwise: as a
share. With 4-bit weights bitsandbytes multiplies a single row in another way than several."""
SMALL_GRADIENT = 1e-2
"""A gradient below this share of all together is compared with that share: some are zero but for rounding."""
SETTINGS: Mapping[str, Any] = {
    "per_device_train_batch_size": ROWS // PASSES,
    "gradient_accumulation_steps": PASSES,
    "max_steps": 8,  # in fp16 the first ones look for a factor with which no gradient overflows
    "warmup_steps": 0,
    "warmup_ratio": None,
    "neftune_noise_alpha": None,  # the plain step has no noise
    "logging_steps": 1,
    "eval_steps": None,
    "save_steps": None,
    "save_seconds": None,
    "keep_best": False,
    "max_seq_length": ROW_TOKENS,
    "max_grad_norm": 1e9,  # clipped gradients would hide how large they were
}
CHOSEN = {
    "launch": "single", "method": "sft", "loss": "cross_entropy", "optimizer": "adamw_torch", "schedule": "linear",
    "sampler": "shuffled",
}  # fmt: skip
"""The options of the step, whatever those of the run are: the plain one has no others."""
PLAIN, HF = "transformers and peft", "trainer=hf"
STEP_SECONDS = 600
log = logging.getLogger(__name__)


def check(run: HFModel, backend: type[HFBackend]) -> str:
    """Compare, unless that was done with these versions, this architecture and such settings, and they agreed.

    Args:
        run: the model of the run, opened and not loaded.
        backend: what opens the twin.

    Returns:
        Why nothing was compared; empty if it was.

    Raises:
        FrameworkError: the steps differ, one cannot be made, or the process of the plain one crashed.
    """
    config = json.loads((run.place.folder / "config.json").read_text(encoding="utf-8"))
    if "auto_map" in config:
        return "the model has its own code"
    file = cache_dir() / "unsloth" / f"compared-{_key(run, config)}.json"
    if read_json(file):
        return ""
    log.info("a step of a tiny model is compared with one of %s, once for these versions", PLAIN)
    trainer, before = f"trainer={run.plan.trainer.component.name}", RandomState.now()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            loss = plain(run, config, Path(scratch))
        except ProcessError as error:  # it crashed or hung, which says nothing about the model
            raise FrameworkError(
                f"a step of {PLAIN} for the comparison with {trainer} has no result: {error}. Set {HF}"
            ) from error
        except FrameworkError as error:
            return f"they cannot make a tiny model of it: {error}"
        difference = problem(run, backend, Path(scratch), loss)
    before.restore()
    if difference:
        options = " ".join(
            f"{group}={getattr(run.plan, group).component.name}" for group in ("adapter", "quantization")
        )
        raise FrameworkError(
            f"{trainer} does not train {config.get('model_type')} with {options} on "
            f"this {run.machine.device.upper()} as {PLAIN} do: {difference}"
            + ("" if HF in difference else f". Set {HF}")
        )
    write_json(file, {"loss": loss})
    return ""


def _key(run: HFModel, config: Mapping[str, Any]) -> str:
    """Return a hash of all on which the result depends; of the adapter's numbers, whether they are zero."""
    machine, plan = run.machine, run.plan
    adapter = {
        name: bool(value) if isinstance(value, float | int) else value for name, value in plan.adapter.settings.items()
    }
    key = {
        "versions": {name: installed(name) for name in LIBRARIES + ATTENTION_LIBRARIES},
        "model": {name: value for name, value in config.items() if name != "transformers_version"},
        "device": torch.cuda.get_device_name() if machine.device == "cuda" else machine.device,
        "forward plan": [run.forward_plan, run.config.packing, machine.facts["attention"]],
        "machine": [machine.dtype, machine.checkpointing],
        "chosen": [plan.adapter.component.name, adapter, plan.quantization.component.name],
    }
    return key_of(key, code=PACKAGES)


# In a process of its own: nothing is plain where Unsloth was imported (decision 0051).
def plain(run: HFModel, config: Mapping[str, Any], folder: Path) -> float:
    """Have the twin made and trained in a process without Unsloth; return its loss, see `twin.step`."""
    plan, machine = _with_twin(run.plan, folder), run.machine
    adapter = trained_config(plan)
    if adapter is not None:
        adapter.lora_dropout = 0.0
    quantization = plan.quantization.create().config(machine.dtype)
    call = ("framework_plugins.unsloth.twin:step", folder, config, rows(), adapter, quantization)
    with PythonProcess() as process:
        loss: float = process.call(*call, machine.device, machine.dtype, seconds=STEP_SECONDS)
    return loss


def problem(run: HFModel, backend: type[HFBackend], folder: Path, loss: float) -> str:
    """Make the step of the run with the twin in a folder; return in what it differs, empty if in nothing."""
    plan = _with_twin(run.plan, folder)
    plain_weights = run.plan.quantization.component.name == "none"
    exact = run.machine.device == "cpu" and run.machine.dtype is torch.float32 and plain_weights
    try:
        with backend(plan.trainer.config).open(plan) as model:
            if (folder / ADAPTER).is_dir():
                model.restore(folder / ADAPTER)
            return next(_differences(model, folder, loss, FP32_TOLERANCE if exact else ROUNDED_TOLERANCE), "")
    except FrameworkError as error:
        return str(error).splitlines()[0].rstrip(".")
    except Exception as error:  # noqa: BLE001 - whatever it is, it would end the run
        return summarize_error(error)


def rows() -> list[TokenRow]:
    """Return rows of different lengths with a common beginning; a part of each is supervised, each time another."""
    result = []
    for row in range(ROWS):
        ids = [
            4 + (position * position + (row * 31 if position >= SHARED_TOKENS else 0)) % 499
            for position in range(ROW_TOKENS - 3 * row)
        ]
        masked = SHARED_TOKENS + 2 + row
        result.append(TokenRow(ids, [TokenRow.IGNORE] * masked + ids[masked:]))
    return result


def _with_twin(plan: Plan, folder: Path) -> Plan:
    """Return the plan of a step with the twin, which otherwise trains as the run does."""
    plain: dict[str, Any] = {
        group: Selection(plugins().components(group)[name], plugins().components(group)[name].schema())
        for group, name in CHOSEN.items()
    }
    local, adapter = plugins().components("model")["local"], plan.adapter
    if adapter.config.starts_from():
        adapter = dataclasses.replace(adapter, config=dataclasses.replace(adapter.config, start=None))
    # Another way through the layers, and no chance in it.
    if isinstance(adapter.config, LoraAdapterConfig) and adapter.config.lora_dropout:
        adapter = dataclasses.replace(adapter, config=dataclasses.replace(adapter.config, lora_dropout=NO_DROPOUT))
    settings = dataclasses.replace(plan.settings, checkpoint=None, share=False)
    return dataclasses.replace(
        plan, settings=settings, run_dir=folder / "run", adapter=adapter,
        model=Selection(local, LocalModelConfig(path=str(folder / MODEL))),
        trainer=dataclasses.replace(plan.trainer, config=dataclasses.replace(plan.trainer.config, **SETTINGS)),
        callback={}, reward={}, **plain,
    )  # fmt: skip


def _differences(model: HFModel, folder: Path, loss: float, allowed: float) -> Iterator[str]:
    twin_rows, gradients = rows(), load_file(folder / GRADIENTS)
    evaluated = model.loss(twin_rows)
    model.complete([row.input_ids[: SHARED_TOKENS + 1] for row in twin_rows], max_new_tokens=4, batch_size=ROWS)
    trained, own_gradients = _step(model, twin_rows, folder)
    for phase, value in (("evaluation", evaluated), ("training", trained)):
        if not abs(value - loss) <= allowed * loss:  # what is not a number differs too
            yield f"the loss in {phase} is {value:.4f}, and theirs {loss:.4f}"
    if unmatched := sorted(own_gradients.keys() ^ gradients.keys()):
        yield f"{unmatched[0]} is trained by only one of the two"
        return
    least = SMALL_GRADIENT * math.hypot(*(gradient.norm().item() for gradient in gradients.values()))
    for name, gradient in gradients.items():
        far = (own_gradients[name] - gradient).norm().item() / max(gradient.norm().item(), least)
        if not far <= allowed:
            yield f"the gradient of {name} differs by {far:.1%} of its size"


def _step(model: HFModel, twin_rows: list[TokenRow], folder: Path) -> tuple[float, dict[str, torch.Tensor]]:
    """Train until a step has finite gradients, and return its loss and them."""
    losses: list[float] = []
    gradients: dict[str, torch.Tensor] = {}

    def look(*_: Any) -> None:
        named = {name: weight.grad for name, weight in model.model.named_parameters() if weight.grad is not None}
        if not gradients and all(gradient.isfinite().all() for gradient in named.values()):
            gradients.update({name: gradient.detach().float().cpu().clone() for name, gradient in named.items()})

    def on_step(step: Step) -> StepControl | None:
        losses.append(step.loss)
        return StepControl(stop="its gradients are known") if gradients else None

    handle = register_optimizer_step_pre_hook(look)
    try:
        model.train(twin_rows, [], TrainRun(folder / "checkpoint", folder / "scratch", on_step))
    finally:
        handle.remove()
    if not gradients:
        raise FrameworkError("no step has finite gradients")
    return losses[-1], gradients
