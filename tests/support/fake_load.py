"""Loading a model in four bits with tensors that have no memory: the bytes of a GPU while transformers reads the files.

The files are those that transformers would write. A tensor of a file is not counted: it is mapped, or on its way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import transformers
from bitsandbytes.functional import quantize_blockwise
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves
from transformers.core_model_loading import revert_weight_conversion

from framework_plugins.hf.load.loading import attention_implementation
from framework_plugins.hf.load.packed_experts import PackedExpertsConfig
from framework_plugins.hf.settings.config import Attention
from framework_plugins.lib.auto_class import auto_class
from tests.support.fake_step import BLOCK, CONSTANTS, Live

PACKERS = (
    "bitsandbytes.nn.Params4bit",
    "bitsandbytes.nn.modules.Params4bit",
    "framework_plugins.hf.load.packed_experts.Params4bit",
)


@dataclass(frozen=True)
class FakeLoad:
    """Bytes after a model was loaded, and at most while it was."""

    loaded: int
    peak: int


class _OnGpu(Live):  # type: ignore[no-untyped-call] # torch's
    """Counts what is on a GPU: neither a model without memory, nor the tensors of files."""

    def __init__(self, files: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self._known |= {_key(tensor) for tensor in files.values()}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor) and leaf.device.type != "meta":
                self._add(leaf.untyped_storage())
        return made


def fake_load(config_json: Mapping[str, Any]) -> FakeLoad:
    """Load the model of a config.json in NF4 with double quantization, its experts too."""
    config = transformers.AutoConfig.for_model(**config_json)
    kind, attention = auto_class(transformers, config_json), attention_implementation(Attention.sdpa, config)
    with torch.device("meta"), torch.no_grad():
        model = kind.from_config(config, dtype=torch.bfloat16, attn_implementation=attention)
        weights = model.state_dict()
        for tied in model.all_tied_weights_keys:  # files hold the other one
            del weights[tied]
        shapes = {name: weight.shape for name, weight in revert_weight_conversion(model, weights).items()}
    quantize_blockwise(torch.zeros(CONSTANTS))  # bitsandbytes makes its table of numbers once
    with FakeTensorMode(allow_non_fake_inputs=True), ExitStack() as stack:
        files = {name: torch.empty(shape, dtype=torch.float16) for name, shape in shapes.items()}  # bf16 is a copy
        for packer in PACKERS:
            stack.enter_context(patch(packer, _packed))
        stack.enter_context(patch("torch.equal", lambda *_: True))  # of tied weights
        live = stack.enter_context(_OnGpu(files))
        loaded = type(model).from_pretrained(
            None, config=model.config, state_dict=files, dtype=torch.bfloat16, device_map={"": "cpu"},
            attn_implementation=attention, quantization_config=PackedExpertsConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=torch.bfloat16,
            ),
        )  # fmt: skip
        result = FakeLoad(live.now, live.peak)
        del loaded
    return result


def _key(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - storages have no other name


def _packed(
    data: torch.Tensor, *_: Any, quant_state: Any = None, compress_statistics: bool = True, **__: Any
) -> torch.nn.Parameter:
    """Return what bitsandbytes keeps of a weight on a GPU, whose kernel needs nothing besides."""
    if data.device.type == "meta" or quant_state is not None:
        weight: Any = torch.nn.Parameter(data, requires_grad=False)
        weight.quant_state = quant_state
        return weight  # type: ignore[no-any-return]
    blocks = math.ceil(data.numel() / BLOCK)
    packed: Any = torch.nn.Parameter(torch.empty(data.numel() // 2, 1, dtype=torch.uint8), requires_grad=False)
    packed.quant_state = SimpleNamespace(shape=data.shape, absmax=torch.empty(blocks))
    if compress_statistics:
        packed.quant_state.absmax = torch.empty(blocks, dtype=torch.uint8)
        packed.quant_state.second = torch.empty(math.ceil(blocks / CONSTANTS))
    return packed  # type: ignore[no-any-return]
