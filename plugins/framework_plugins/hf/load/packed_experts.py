"""Experts in four bits: the experts of a layer are one tensor, which is packed as its file is read.

bitsandbytes packs linear layers only, and peft adds an adapter to such a tensor by making the sum whole. Here a layer's
experts are unpacked for a product and again for its backward pass, some at a time. The adapter is a product of its own
beside it, with the names and shapes that peft gives it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, cast

import torch
from bitsandbytes.functional import (
    QuantState,
    dequantize_4bit,
    dequantize_blockwise,
    quantize_4bit,
    quantize_blockwise,
)
from bitsandbytes.nn import Params4bit
from peft import LoraConfig
from peft.tuners.lora.layer import ParamWrapper as PeftParamWrapper
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.core_model_loading import ConversionOps, WeightConverter
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS, _grouped_mm
from transformers.integrations.mxfp4 import Mxfp4Dequantize
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.quantizer_bnb_4bit import Bnb4BitHfQuantizer
from transformers.quantizers.quantizers_utils import get_module_from_name

from framework_plugins.hf.load.model_parts import STACKS, packable

IMPLEMENTATION = "packed"
"""The name by which transformers finds `packed_forward`."""
METHOD = "bitsandbytes_experts"
"""The name by which transformers finds the quantizer."""
MXFP4_STACKS = ("gate_up_proj", "down_proj")
UNPACKED_BYTES = 256 << 20
"""Of the experts of a layer, those that are packed or unpacked at a time; one may be larger. The plan counts all."""
QUANT_TYPE, BLOCK_SIZE, SCALES_BLOCK = "nf4", 64, 256
"""What bitsandbytes packs linear layers with."""
RANK_STEP = 8
"""Grouped products on a GPU read rows of 16 bytes: a rank is padded to a multiple of this."""


@register_quantization_config(METHOD)
class PackedExpertsConfig(BitsAndBytesConfig):
    """The settings of `quantization=nf4`, which reach experts too.

    Attributes:
        from_mxfp4: whether the files hold experts in MXFP4, as gpt-oss was published.
    """

    def __init__(self, *, from_mxfp4: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.quant_method = METHOD
        self.from_mxfp4 = from_mxfp4


@register_quantizer(METHOD)
class PackedExpertsQuantizer(Bnb4BitHfQuantizer):
    """Packs linear layers as transformers does, and experts."""

    modules: frozenset[str] = frozenset()

    def _process_model_before_weight_loading(self, model: PreTrainedModel, device_map: Any, **options: Any) -> None:
        super()._process_model_before_weight_loading(model, device_map, **options)
        self.modules = frozenset(packable(model))
        model.set_experts_implementation(IMPLEMENTATION)

    def param_needs_quantization(self, model: PreTrainedModel, param_name: str, **options: Any) -> bool:
        """Whether a tensor of a file becomes a packed weight."""
        return self.is_stack(param_name) or super().param_needs_quantization(model, param_name, **options)

    def is_stack(self, name: str) -> bool:
        """Whether this is a matrix of all experts of a layer."""
        module, _, weight = name.rpartition(".")
        return module in self.modules and weight in STACKS

    def get_quantize_ops(self) -> ConversionOps:
        """Return what packs a tensor."""
        return _Pack(self, super().get_quantize_ops())

    def get_weight_conversions(self) -> list[WeightConverter]:
        """Return how tensors of the files become those of the model."""
        if not self.quantization_config.from_mxfp4:
            return []
        return [
            WeightConverter([f"{stack}_blocks", f"{stack}_scales"], stack, [_FromMxfp4(self)]) for stack in MXFP4_STACKS
        ]


class _Pack(ConversionOps):
    def __init__(self, quantizer: PackedExpertsQuantizer, linear: ConversionOps) -> None:
        self.quantizer, self.linear = quantizer, linear

    def convert(self, input_dict: dict[str, Any], model: Any = None, **options: Any) -> dict[str, torch.Tensor]:
        if not any(self.quantizer.is_stack(name) for name in input_dict):
            linear: dict[str, torch.Tensor] = self.linear.convert(input_dict, model=model, **options)
            return linear
        packed = {}
        for name, tensors in input_dict.items():
            stack = tensors[0] if isinstance(tensors, list) else tensors
            module, _ = get_module_from_name(model, name)
            module.adapters = {}
            packed[name] = pack(stack, double_quant=self.quantizer.quantization_config.bnb_4bit_use_double_quant)
        return packed


class _FromMxfp4(Mxfp4Dequantize):
    def convert(self, input_dict: dict[str, Any], **options: Any) -> dict[str, torch.Tensor]:
        # What is packed later is read in the number format of the model, which holds whole numbers up to 256.
        tensors = {name: part[0] if isinstance(part, list) else part for name, part in input_dict.items()}
        whole = {name: part.to(torch.uint8) for name, part in tensors.items()}
        unpacked: dict[str, torch.Tensor] = super().convert(whole, **options)
        return unpacked


def pack(stack: torch.Tensor, *, double_quant: bool) -> Params4bit:
    """Return a tensor in NF4, on the device that it is on; some experts at a time, as bitsandbytes does at once."""
    settings: Any = {"requires_grad": False, "quant_type": QUANT_TYPE, "compress_statistics": double_quant}
    size = stack[0].numel()
    at_once = max(1, UNPACKED_BYTES // (2 * size))
    if at_once >= len(stack) or size % BLOCK_SIZE:
        return Params4bit(stack.contiguous(), blocksize=BLOCK_SIZE, **settings).to(stack.device)
    data = torch.empty(stack.numel() // 2, 1, dtype=torch.uint8, device=stack.device)
    scales = torch.empty(stack.numel() // BLOCK_SIZE, device=stack.device)
    for first in range(0, len(stack), at_once):
        some = stack[first : first + at_once]
        packed, state = quantize_4bit(some.contiguous(), blocksize=BLOCK_SIZE, quant_type=QUANT_TYPE)
        begin, end = first * size, (first + len(some)) * size
        data[begin // 2 : end // 2] = packed
        scales[begin // BLOCK_SIZE : end // BLOCK_SIZE] = state.absmax
    state = QuantState(
        absmax=scales,
        shape=stack.shape,
        code=state.code,
        blocksize=BLOCK_SIZE,
        quant_type=QUANT_TYPE,
        dtype=stack.dtype,
    )
    if double_quant:
        state.offset = scales.mean()
        state.absmax, state.state2 = quantize_blockwise(scales - state.offset, blocksize=SCALES_BLOCK)
        state.nested = True
    return Params4bit(data, blocksize=BLOCK_SIZE, quant_state=state, bnb_quantized=True, **settings)


def unpack(packed: Params4bit, dtype: torch.dtype) -> torch.Tensor:
    """Return the tensor in a number format, with the shape that it had."""
    weights: torch.Tensor = dequantize_4bit(packed.data, packed.quant_state)
    return weights.to(dtype)


def is_packed(module: nn.Module, stack: str) -> bool:
    """Whether a matrix of all experts of a layer is packed."""
    return isinstance(getattr(module, stack, None), Params4bit)


def _unpacked(packed: Params4bit, dtype: torch.dtype) -> Iterator[tuple[slice, torch.Tensor]]:
    """Give experts with their matrices, as many at a time as are unpacked together."""
    state = packed.quant_state
    experts, size = state.shape[0], state.shape[1:].numel()
    at_once = max(1, UNPACKED_BYTES // (2 * size))
    if at_once >= experts or size % state.blocksize or packed.dtype != torch.uint8:
        yield slice(0, experts), unpack(packed, dtype)
        return
    scales = state.absmax
    if state.nested:
        scales = dequantize_blockwise(state.absmax, state.state2) + state.offset
    for first in range(0, experts, at_once):
        some = slice(first, min(first + at_once, experts))
        part = QuantState(
            absmax=scales[some.start * size // state.blocksize : some.stop * size // state.blocksize],
            shape=torch.Size((some.stop - some.start, *state.shape[1:])), code=state.code, blocksize=state.blocksize,
            quant_type=state.quant_type, dtype=state.dtype,
        )  # fmt: skip
        yield some, dequantize_4bit(packed.data[some.start * size // 2 : some.stop * size // 2], part).to(dtype)


class Groups:
    """Which rows each expert computes: those from the end of the one before to its own.

    Args:
        ends: of each expert.
    """

    def __init__(self, ends: torch.Tensor) -> None:
        self.ends = ends

    @cached_property
    def known(self) -> list[int]:
        """The ends as numbers, for which a GPU is waited for, after a 0."""
        return [0, *self.ends.tolist()]

    def product(self, rows: torch.Tensor, packed: Params4bit, *, transposed: bool) -> torch.Tensor:
        """Return the products of rows with the matrices of their experts."""
        products = rows.new_empty(0)
        for some, matrices in _unpacked(packed, rows.dtype):
            weights = matrices if transposed else matrices.mT
            if some.stop - some.start == len(self.ends):
                whole: torch.Tensor = _grouped_mm(rows, weights, self.ends)
                return whole
            start, stop = self.known[some.start], self.known[some.stop]
            if not some.start:
                products = rows.new_empty(len(rows), weights.shape[-1])
            if start < stop:
                products[start:stop] = _grouped_mm(rows[start:stop], weights, self.ends[some] - start)
            del matrices, weights  # before the next are unpacked
        return products


class _Product(torch.autograd.Function):
    """The product of each row with the matrix of its expert, which is unpacked here and again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, groups: Groups, packed: Params4bit, transposed: bool) -> torch.Tensor:  # noqa: FBT001 - autograd takes no names
        ctx.groups, ctx.packed, ctx.transposed = groups, packed, transposed
        return groups.product(rows, packed, transposed=transposed)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        back = ctx.groups.product(gradients[0].contiguous(), ctx.packed, transposed=not ctx.transposed)
        return back, None, None, None


def packed_forward(
    experts: Any, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """Compute the experts of a layer.

    Args:
        experts: a module of transformers whose experts are one tensor for each matrix.
        hidden_states: (tokens, features).
        top_k_index: the experts of each token, (tokens, experts of a token).
        top_k_weights: how much each of them counts, in the same shape.

    Returns:
        (tokens, features).
    """
    chosen, order = torch.sort(top_k_index.reshape(-1), stable=True)
    groups = Groups(torch.bincount(chosen, minlength=experts.num_experts).cumsum(0, dtype=torch.int32))
    rows = hidden_states[order // top_k_index.shape[-1]]
    rows = _project(experts, "gate_up_proj" if experts.has_gate else "up_proj", rows, groups, chosen)
    rows = experts._apply_gate(rows) if experts.has_gate else experts.act_fn(rows)  # noqa: SLF001 - transformers' own functions do
    rows = _project(experts, "down_proj", rows, groups, chosen)
    if getattr(experts, "has_post_expert_norm", False):  # transformers before 5.24 has no family with one
        rows = experts.post_expert_norm(rows)
    weighted = torch.empty_like(rows).index_copy(0, order, rows * top_k_weights.reshape(-1)[order, None].to(rows.dtype))
    return weighted.view(*top_k_index.shape, -1).sum(dim=1).to(hidden_states.dtype)


ALL_EXPERTS_FUNCTIONS.register(IMPLEMENTATION, packed_forward)


def _project(experts: Any, name: str, rows: torch.Tensor, groups: Groups, chosen: torch.Tensor) -> torch.Tensor:
    """Return the products of rows, sorted by their experts, with a matrix, its bias and its adapter."""
    stack = getattr(experts, name)
    if isinstance(stack, Params4bit):
        apply: Any = _Product.apply
        out: torch.Tensor = apply(rows, groups, stack, experts.is_transposed)
    else:
        out = _grouped_mm(rows, stack if experts.is_transposed else stack.mT, groups.ends)
    if experts.has_bias:
        out = out + getattr(experts, f"{name}_bias")[chosen].to(out.dtype)
    adapter: Any = getattr(experts, "adapters", {}).get(name)
    for active in adapter.active_adapters if adapter is not None else ():
        if active in adapter.lora_A:
            out = out + adapter.product(active, rows, groups.ends)
    return out


class ParamWrapper(PeftParamWrapper):
    """LoRA of a matrix of all experts of a layer. peft finds such layers by this name."""

    def get_param(self) -> torch.Tensor:
        """Return a tensor with shape, number format and device of the unpacked weight, without memory."""
        weight = super().get_param()
        if not isinstance(weight, Params4bit):
            plain: torch.Tensor = weight
            return plain
        state = weight.quant_state
        return torch.empty((), dtype=state.dtype, device=weight.device).expand(state.shape)

    def product(self, adapter: str, rows: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        """Return what an adapter adds to the products of rows, sorted by their experts."""
        left, right, scaling = self.get_delta_factors(adapter)
        down, up = (left, right) if self.get_base_layer().is_transposed else (right.mT, left.mT)
        padding = -down.shape[-1] % RANK_STEP
        # torch's grouped product refuses the strides of peft's second matrix, in which an expert is a column.
        down = nn.functional.pad(down, (0, padding)).contiguous()
        up = nn.functional.pad(up, (0, 0, 0, padding)).contiguous()
        product: torch.Tensor = _grouped_mm(_grouped_mm(rows, down.to(rows.dtype), ends), up.to(rows.dtype), ends)
        return product.mul(scaling)

    def forward(self, x: torch.Tensor, *inputs: Any, **options: Any) -> torch.Tensor:
        """Compute the experts with this adapter, unless it is switched off."""
        experts = self.get_base_layer()
        if self.disable_adapters or not isinstance(super().get_param(), Params4bit):
            return cast("torch.Tensor", super().forward(x, *inputs, **options))
        experts.adapters[self.parameter_name] = self
        try:
            return cast("torch.Tensor", self.base_layer(x, *inputs, **options))
        finally:
            del experts.adapters[self.parameter_name]


def use_packed_lora(model: nn.Module, config: LoraConfig) -> None:
    """Let peft make its layers of packed experts of the kind above."""
    kinds = {
        type(part) for part in model.modules() if any(isinstance(getattr(part, n, None), Params4bit) for n in STACKS)
    }
    config._register_custom_module(dict.fromkeys(kinds, ParamWrapper))  # noqa: SLF001 - documented in peft's developer guides
