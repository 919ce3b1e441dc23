"""Logits of model folders, by plain transformers and peft: none of what trains here takes part.

All is computed in fp32, also where the weights fit into memory in 16 bits only: computing in bf16 moves more tokens
than a merge does, see docs/explanation/parity.md. Where the run has used a GPU that has room for the weights beside the
trained model, it computes; TF32 is for passes of a training and off here.
"""

from __future__ import annotations

import gc
import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import AutoConfig, PreTrainedModel

from framework import Plan
from framework.api import counting, host_memory
from framework.api.training import ModelSource
from framework_plugins.exports.export_folder import MODEL_CONFIG, read_json
from framework_plugins.exports.parity.check_rows import CheckRow
from framework_plugins.exports.parity.weights import Product, merged_in_fp32, separate_shared, trained_products
from framework_plugins.lib.auto_class import published_class
from framework_plugins.lib.model_settings import read_adapter_config
from framework_plugins.lib.weight_files import ADAPTER_CONFIG

Logits = NDArray[np.float32]
BYTES_PER_WEIGHT = {torch.float32: 4, torch.bfloat16: 2}
DTYPES_16_BIT = {"bfloat16": torch.bfloat16, "float16": torch.float16}
LOADING_FACTOR = 1.2
"""How many times its weights a model needs while it is loaded and asked."""
LOGITS_BYTES = 1 << 29
"""Bytes of the logits that are made at a time where several rows are asked together."""


@dataclass(frozen=True)
class Placement:
    """Where the weights of a model are held, and in which number format: fp32, or bf16 for any 16 bits."""

    device: str
    dtype: torch.dtype


def trained_logits(
    plan: Plan, checkpoint: Path, rows: Sequence[CheckRow], placement: Placement
) -> tuple[list[Logits], float, dict[str, Product]]:
    """Return the logits of the trained weights on their base in 16 bits, as peft puts them together.

    And the size of the largest number that any layer gives on the way, and the expected weights of a merge.
    """
    largest, products = [0.0], dict[str, Product]()
    logits = list(
        _logits(
            "trained model",
            lambda: _load_trained(plan, checkpoint, placement),
            rows,
            placement,
            partial(_track_largest, largest),
            lambda model: products.update(trained_products(model)),
        )
    )
    return logits, largest[0], products


def rounded_logits(
    plan: Plan, checkpoint: Path, rows: Sequence[CheckRow], placement: Placement, *, inputs: bool
) -> Iterator[Logits]:
    """Give the logits of the trained weights, merged by peft in fp32 and rounded to bf16, as a correct export.

    Args:
        plan: names the base.
        checkpoint: the trained weights.
        rows: what is asked.
        placement: where and how memory holds the weights.
        inputs: round what goes into each linear layer to bf16 too, as llama.cpp does where the weights are in bf16.
    """

    def load() -> Any:
        model = _load_trained(plan, checkpoint, placement)
        _merge_and_round(model)
        for module in model.modules() if inputs else ():
            if isinstance(module, nn.Linear):
                module.register_forward_pre_hook(
                    lambda _, arguments: (arguments[0].bfloat16().to(arguments[0].dtype), *arguments[1:])
                )
        return model

    return _logits("rounded model", load, rows, placement)


def _load_trained(plan: Plan, checkpoint: Path, placement: Placement) -> Any:
    trust = plan.model.config.trust_remote_code
    if not (checkpoint / ADAPTER_CONFIG).is_file():
        return _load_folder(checkpoint, placement, trust=trust)
    source: ModelSource = plan.model.create()
    base = _load_folder(source.fetch(weights=True).folder, placement, trust=trust)
    _add_rows(base, checkpoint)
    model = PeftModel.from_pretrained(base, checkpoint, torch_device=placement.device)
    separate_shared(model)
    return model


@torch.no_grad()
def _add_rows(base: Any, checkpoint: Path) -> None:
    """Give a base the rows of the tokens that an adapter adds, as its training did: each the mean of all others."""
    trained = read_adapter_config(checkpoint).get("trainable_token_indices") or []
    ids = itertools.chain(*trained.values()) if isinstance(trained, dict) else trained
    rows, base_rows = 1 + max(ids, default=-1), len(base.get_input_embeddings().weight)
    if rows > base_rows:
        base.resize_token_embeddings(rows, mean_resizing=False)
        for part in filter(None, (base.get_input_embeddings(), base.get_output_embeddings())):
            part.weight[base_rows:] = part.weight[:base_rows].float().mean(dim=0)


def _merge_and_round(model: nn.Module) -> None:
    """Merge the adapter, one layer at a time in fp32, and round all weights to bf16; they keep their dtype."""
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            with merged_in_fp32(module) as weights:
                for weight in weights:
                    weight.data = weight.data.bfloat16()
    for weight in model.parameters():
        if weight.is_floating_point():
            weight.data = weight.data.bfloat16().to(weight.dtype)


def folder_logits(
    folder: Path,
    rows: Sequence[CheckRow],
    placement: Placement,
    *,
    trust: bool,
    name: str = "merged model",
    at_end: Callable[[nn.Module], None] | None = None,
    checkpoint: Path | None = None,
) -> Iterator[Logits]:
    """Give the logits of a complete model folder, row by row; `name` is shown meanwhile, `at_end` gets the model.

    If it is the base of an adapter, `checkpoint`, it has rows for the tokens that this adds.
    """

    def load() -> Any:
        model = _load_folder(folder, placement, trust=trust)
        if checkpoint and (checkpoint / ADAPTER_CONFIG).is_file():
            _add_rows(model, checkpoint)
        return model

    return _logits(name, load, rows, placement, at_end=at_end)


def find_placement(folder: Path, *, gpu: bool = True) -> Placement | None:
    """Return how the weights of a folder can be held a second time; None if they fit nowhere.

    On disk they have 16 bits, or 32 after full fine-tuning. 32 bits go before the faster device: 16 make ties wider.

    Args:
        folder: the weights.
        gpu: whether a GPU may hold them, if this process has used one.
    """
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    devices = {"cuda": _free_on_gpu() if gpu else 0, "cpu": host_memory().available}
    return next(
        (
            Placement(device, dtype)
            for dtype, width in BYTES_PER_WEIGHT.items()
            for device, free in devices.items()
            if size / 2 * width * LOADING_FACTOR + (LOGITS_BYTES if device == "cuda" else 0) < free
        ),
        None,
    )


def _free_on_gpu() -> int:
    """Return the bytes that are left beside the trained model; 0 if this process uses no GPU."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return 0
    free, total = torch.cuda.mem_get_info()
    allocated = torch.cuda.memory_allocated()
    limit = round(total * torch.cuda.get_per_process_memory_fraction())
    return min(limit - allocated, free + torch.cuda.memory_reserved() - allocated)


def stored_dtype(folder: Path) -> str:
    """Return the number format that the config of a folder names: bfloat16, float16, float32."""
    config = read_json(folder / MODEL_CONFIG)
    text = config.get("text_config") or {}
    return str(text.get("dtype") or config.get("dtype") or config.get("torch_dtype") or "float32")


def _load_folder(folder: Path, placement: Placement, *, trust: bool) -> Any:
    """Load a model; one that is held in 16 bits keeps those that it has on disk."""
    dtype = (
        placement.dtype
        if placement.dtype is torch.float32
        else DTYPES_16_BIT.get(stored_dtype(folder), placement.dtype)
    )
    device_options = {} if placement.device == "cpu" else {"device_map": {"": placement.device}}
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust)
    kind = published_class(transformers, config.to_dict())
    options = {"trust_remote_code": trust, "use_safetensors": True, "use_kernels": False, **device_options}
    return kind.from_pretrained(folder, dtype=dtype, **options)


def _logits(
    name: str,
    load: Callable[[], Any],
    rows: Sequence[CheckRow],
    placement: Placement,
    watch: Callable[[nn.Module, list[torch.Tensor]], None] | None = None,
    at_end: Callable[[nn.Module], None] | None = None,
) -> Iterator[Logits]:
    """Give the logits of each row; for a long one only of its end.

    Several are asked together where that spares widening the weights for each; long ones are asked alone.
    """
    model = load().eval()
    real: list[torch.Tensor] = []
    widened = False
    for module in model.modules():
        if watch:
            watch(module, real)
        if any(_is_16_bit(weight) for weight in module.parameters(recurse=False)):
            _compute_in_fp32(module)
            widened = True
    group_size, short = 1, [row for row in rows if not row.last]
    if short and (widened or placement.device != "cpu"):
        row_bytes = 4 * model.config.get_text_config().vocab_size * max(len(row.ids) for row in short)
        group_size = max(1, LOGITS_BYTES // row_bytes)
    groups = [short[start : start + group_size] for start in range(0, len(short), group_size)]
    groups += [[row] for row in rows if row.last]
    assert [row for group in groups for row in group] == list(rows)  # noqa: S101 - long ones come last
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    # transformers 5.24 cannot call Llama4ForConditionalGeneration, whose text part has an output head of its own.
    decoder = inner.get_decoder() if isinstance(inner, PreTrainedModel) else inner
    # In ModernBERT's decoder, `decoder` is the output head.
    speaks = isinstance(decoder, PreTrainedModel) and decoder is not inner
    speaker = decoder if speaks and decoder.get_output_embeddings() is not None else model
    keeps = "logits_to_keep" in inspect.signature(inner.forward).parameters
    with torch.no_grad(), counting(len(rows), "row", f"parity: {name}") as counter:
        for group in groups:
            sequences = [torch.tensor(row.ids) for row in group]
            ids = nn.utils.rnn.pad_sequence(sequences, batch_first=True).to(placement.device)
            lengths = torch.tensor([len(sequence) for sequence in sequences], device=placement.device)
            real[:] = [torch.arange(ids.shape[1], device=placement.device) < lengths[:, None]]
            # After the end of a row nothing looks back, so if none has a gap there is no mask to be made.
            options: dict[str, Any] = {} if len(sequences) == 1 else {"attention_mask": real[0].long()}
            if group[0].last and keeps:
                options["logits_to_keep"] = group[0].last
            logits = speaker(input_ids=ids, use_cache=False, **options).logits
            for row_logits, row in zip(logits, group, strict=True):
                yield row_logits[: len(row.ids)][-row.last :].float().cpu().numpy()
                counter.advance()
    if at_end:
        at_end(model)
    del model, inner, decoder, speaker, logits
    gc.collect()
    if placement.device != "cpu":
        torch.cuda.empty_cache()


def _track_largest(largest: list[float], module: nn.Module, real: list[torch.Tensor]) -> None:
    """Keep the size of the largest number that a module gives; a whole layer gives the sum of its parts.

    Args:
        largest: where it is kept.
        module: of the model.
        real: which places of the rows that are asked are not padding, (rows, longest).
    """

    def look(_: nn.Module, __: Any, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        if isinstance(states, torch.Tensor) and states.is_floating_point():
            if states.shape[:2] == real[0].shape:
                states = states[real[0]]
            largest[0] = max(largest[0], states.abs().max().item())

    module.register_forward_hook(look)


def _is_16_bit(weight: torch.Tensor) -> bool:
    return weight.is_floating_point() and weight.dtype is not torch.float32


def _compute_in_fp32(module: nn.Module) -> None:
    """Let a module have its own weights in fp32 while it computes, which is exact, and in 16 bits else."""
    short: list[torch.Tensor] = []

    def widen(*_: Any) -> None:
        short.extend(weight.data for weight in module.parameters(recurse=False))
        for weight in module.parameters(recurse=False):
            weight.data = weight.data.float() if weight.is_floating_point() else weight.data

    def shorten(*_: Any) -> None:
        for weight, tensor in zip(module.parameters(recurse=False), short, strict=True):
            weight.data = tensor
        short.clear()

    module.register_forward_pre_hook(widen)
    module.register_forward_hook(shorten)
