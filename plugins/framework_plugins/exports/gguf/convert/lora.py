"""Writes a peft LoRA adapter as a GGUF file; runs in a process of its own (`llama.process`).

llama.cpp computes `W x + alpha / r * B A x`. It stores some weights in another order than transformers: rows moved, or
one matrix cut into two. The converter of the architecture does the same to B here, as B has the rows of W, and each
matrix is proven: what the converter makes of the product B A has to be the product of what it makes of B, and A.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from framework import FrameworkError
from framework_plugins.exports.gguf.convert import converter
from framework_plugins.exports.gguf.convert.hparams import for_converter, read_hparams
from framework_plugins.exports.gguf.convert.model import model_class
from framework_plugins.lib.model_settings import read_adapter_config
from framework_plugins.lib.weight_files import ADAPTER_WEIGHTS

PREFIX = "base_model.model."
"""What precedes the name of a layer in a file of peft."""
LORA_A, LORA_B = ".lora_A.weight", ".lora_B.weight"
NUMPY_DTYPES = {"f32": np.float32, "f16": np.float16}
MATRIX_DIMS = 2
NOT_ADAPTED = re.compile(r"embed|lm_head|\.experts\.")
"""In the names of matrices that `all-linear` does not mean."""
TOLERANCE = 1e-4
"""By how much, of its largest number, a product may differ from another order of the same arithmetic."""


@dataclass(frozen=True)
class LoraPair:
    """The two matrices beside a layer, in the order and with the names of GGUF: shapes (r, inputs), (outputs, r)."""

    name: str
    a: Tensor
    b: Tensor


def convert(adapter: str, base: str, target: str, dtype: str, tree: str | None = None) -> None:
    """Convert.

    Args:
        adapter: the folder with `adapter_config.json` and `adapter_model.safetensors`.
        base: the folder with the config.json of the base model; no weights are needed.
        target: the file to write.
        dtype: f32 or f16.
        tree: the source tree of llama.cpp that converts; None: AutoRound's copy.

    Raises:
        FrameworkError: it is not a plain LoRA adapter, or the layers are stored in a way that a LoRA cannot follow.
    """
    settings = read_adapter_config(Path(adapter))
    check_plain(settings)
    weights = load_file(Path(adapter, ADAPTER_WEIGHTS))
    conversion, gguf = converter.load(tree)
    model = _converter(conversion, gguf, base, target)
    with torch.inference_mode():
        alpha = settings["lora_alpha"] * (math.sqrt(settings["r"]) if settings.get("use_rslora") else 1.0)
        writer = gguf.GGUFWriter(target, gguf.MODEL_ARCH_NAMES[model.model_arch])
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
        for pair in _pairs(weights, model):
            for matrix, end in ((pair.a, "lora_a"), (pair.b, "lora_b")):
                writer.add_tensor(f"{pair.name}.{end}", matrix.contiguous().numpy().astype(NUMPY_DTYPES[dtype]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def refused_layers(base: str, tree: str | None = None) -> list[str]:
    """Return the names of linear layers, as in `target_modules`, whose LoRA a GGUF adapter cannot hold.

    Args:
        base: the folder with config.json and the headers of the weights.
        tree: the source tree of llama.cpp that converts; None: AutoRound's copy.
    """
    conversion, gguf = converter.load(tree)
    model = _converter(conversion, gguf, base, "none")
    layers: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, weight in model.model_tensors.items():
        shape = tuple(weight().shape)
        if name.endswith(".weight") and len(shape) == MATRIX_DIMS and not NOT_ADAPTED.search(name):
            layers.setdefault(re.sub(r"\.\d+\.", ".", name), (name.removesuffix(".weight"), shape))  # one of all blocks
    with torch.inference_mode():
        return sorted(
            {layer.rpartition(".")[2] for layer, shape in layers.values() if not _can_convert(layer, shape, model)}
        )


def _can_convert(layer: str, shape: tuple[int, ...], model: Any) -> bool:
    random = torch.Generator().manual_seed(0)
    a, b = torch.randn(1, shape[1], generator=random), torch.randn(shape[0], 1, generator=random)
    try:
        list(_gguf_pairs(layer, a, b, model))
    except (FrameworkError, RuntimeError, ValueError, AssertionError, KeyError):  # it needs the shape of the whole
        return False
    return True


def _converter(conversion: Any, gguf: Any, base: str, target: str) -> Any:
    hparams = read_hparams(conversion, Path(base))
    kind = model_class(conversion, hparams)
    return kind(Path(base), gguf.LlamaFileType.ALL_F32, Path(target), hparams=for_converter(kind, hparams))


def check_plain(settings: Mapping[str, Any]) -> None:
    """Refuse an adapter that is more than pairs of matrices beside layers with one scale.

    Args:
        settings: the adapter_config.json.

    Raises:
        FrameworkError: it is.
    """
    obstacles = {
        "is not a LoRA adapter": settings.get("peft_type") != "LORA",
        "has the magnitudes of DoRA": settings.get("use_dora"),
        "holds whole layers, modules_to_save": settings.get("modules_to_save"),
        "holds new tokens, trainable_token_indices": settings.get("trainable_token_indices"),
        "holds biases": settings.get("bias", "none") != "none" or settings.get("lora_bias"),
        "has several ranks": settings.get("rank_pattern") or settings.get("alpha_pattern"),
    }
    if problem := next((text for text, applies in obstacles.items() if applies), ""):
        raise FrameworkError(f"the adapter {problem}, which GGUF cannot store: set exporter=[gguf], which merges it")


def _pairs(weights: Mapping[str, Tensor], model: Any) -> Iterator[LoraPair]:
    layers = sorted({name.removesuffix(LORA_A).removesuffix(LORA_B) for name in weights})
    for layer in layers:
        if layer + LORA_A not in weights or layer + LORA_B not in weights:
            raise FrameworkError(
                f"the adapter holds {layer}, which is not a pair of LoRA matrices: GGUF cannot store it"
            )
        yield from _gguf_pairs(
            layer.removeprefix(PREFIX), weights[layer + LORA_A].float(), weights[layer + LORA_B].float(), model
        )


def _gguf_pairs(layer: str, a: Tensor, b: Tensor, model: Any) -> Iterator[LoraPair]:
    """Give a pair as llama.cpp stores its layer, several if llama.cpp cuts the layer into parts."""
    name, block = f"{layer}.weight", next((int(part) for part in layer.split(".") if part.isdecimal()), None)
    name, _ = model.filter_tensors((name, lambda: b @ a)) or (name, None)  # without the prefix of a class with images
    products = list(model.modify_tensors(b @ a, name, block))
    parts = list(model.modify_tensors(b, name, block))
    same_names = [stored for stored, _ in products] == [stored for stored, _ in parts]
    if (
        not products
        or not same_names
        or not all(_is_product(product, part, a) for (_, product), (_, part) in zip(products, parts, strict=True))
    ):
        raise FrameworkError(
            f"llama.cpp stores {layer} in a way that a LoRA cannot follow: leave it out of adapter.target_modules"
        )
    for stored, part in parts:
        yield LoraPair(stored, a, part)


def _is_product(product: Tensor, b: Tensor, a: Tensor) -> bool:
    if b.shape[-1] != a.shape[0] or product.shape != (b @ a).shape:
        return False
    return bool(((product - b @ a).abs().max() <= TOLERANCE * product.abs().max()).item())
