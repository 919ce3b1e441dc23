"""Whether the weights in a folder are those of the model that its config.json describes.

transformers fills what is not there with random numbers, passes over what it does not know, and casts integers. Here it
loads only the files' headers, as tensors without memory: in well under a second it is known what is missing, left
over, of another shape or of another type, by the library's own rules for renamed, converted and tied weights. For NaN
the numbers are read too, as fast as the disk gives them; loading them afterwards finds them in memory.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedModel

from framework import FrameworkError
from framework.api import count
from framework.api.training import ModelPlace
from framework_plugins.hf.load.model_parts import SENSES, TOWER
from framework_plugins.hf.machine.library_errors import refusing_errors
from framework_plugins.lib.model_settings import read_settings
from framework_plugins.lib.weight_files import (
    DOWNLOAD_AGAIN,
    FLOAT_DTYPES,
    StoredTensor,
    list_names,
    read_headers,
    shape_text,
    weight_files,
)

FOUR_BIT_SUFFIXES = (".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".quant_state.bitsandbytes__")
"""What bitsandbytes saves beside a weight of four bits."""
EIGHT_BIT_SUFFIX = ".SCB"
"""The same for eight bits."""
OTHER_VERSIONS = "If its config.json was edited, restore it; otherwise install the versions in constraints.txt"
"""What helps if transformers fails on files in which nothing is missing."""


def check_files(location: ModelPlace, empty: PreTrainedModel, *, values: bool = False) -> None:
    """Make sure that the files in a folder hold all of a model, and nothing else.

    Of weights that were saved quantized, other than by bitsandbytes in four bits, only the files are checked here:
    which tensors such a format has is known to what loads it, see `check_loaded`.

    Args:
        location: the folder, with all of its files.
        empty: the model without memory, as transformers makes it of config.json.
        values: read the weights too, and look for NaN.

    Raises:
        FrameworkError: a file is absent or damaged, or tensors are missing, left over, of another shape, or hold no
            numbers to compute with.
    """
    files = weight_files(location.folder, f"model {location.name}")
    stored = read_headers(files)
    # Tables of whole numbers, such as the experts of each token in DeepSeek V4, are stored as such.
    buffers = {name for name, weight in empty.state_dict().items() if not weight.is_floating_point()}
    buffers |= {name for name, _ in empty.named_buffers()}
    odd = not_finite(files) if values else {}
    odd = {name: remark for name, remark in odd.items() if not any(_same_tensor(name, buffer) for buffer in buffers)}
    config = copy.deepcopy(empty.config)
    quantized: Mapping[str, Any] = getattr(config, "quantization_config", None) or {}
    packed = {name.partition(end)[0] for name in stored for end in FOUR_BIT_SUFFIXES if end in name}
    if quantized:
        of_bitsandbytes = quantized.get("quant_method") == "bitsandbytes"
        if of_bitsandbytes and not packed and not any(name.endswith(EIGHT_BIT_SUFFIX) for name in stored):
            raise FrameworkError(
                f"model {location.name}: config.json has a quantization_config of bitsandbytes, and its .safetensors "
                "hold no weights in few bits: take quantization_config out of config.json, and set quantization=nf4"
            )
        if odd:
            refuse_unusable(f"model {location.name}", odd)
        if not packed or not of_bitsandbytes:
            return
        del config.quantization_config
        stored = {name: header for name, header in stored.items() if not any(end in name for end in FOUR_BIT_SUFFIXES)}
    types = not_floats(stored)
    odd |= {
        name: types[name]
        for name in types
        if not any(_same_tensor(name, candidate) for candidate in (*packed, *buffers))
    }
    model_class: Any = type(empty)
    with refusing_errors(f"model {location.name}: transformers cannot load its weights", OTHER_VERSIONS):
        _, info = model_class.from_pretrained(
            None,
            config=config,
            state_dict={
                # transformers says which names do not fit: it renames, merges and ties weights.
                name: torch.empty(tensor.shape, device="meta")
                for name, tensor in stored.items()
                if name not in odd
            },
            device_map={"": "meta"},
            output_loading_info=True,
            use_kernels=False,  # none exists for the meta device
            ignore_mismatched_sizes=True,  # they are refused below, with all the others
        )
    if odd and info["missing_keys"]:  # what is not missing is nothing that the model reads
        refuse_unusable(f"model {location.name}", odd)
    check_loaded(location, empty, info, packed=packed)


def not_floats(stored: Mapping[str, StoredTensor]) -> dict[str, str]:
    """Return the tensors that are not stored as floating-point numbers, with a remark."""
    return {name: f"stored as {tensor.dtype}" for name, tensor in stored.items() if tensor.dtype not in FLOAT_DTYPES}


def not_finite(files: Iterable[Path]) -> dict[str, str]:
    """Return the tensors that hold NaN or infinity, with a remark; the files were opened before."""
    remarks = {}
    for file in files:
        with safe_open(file, framework="pt") as stream:
            for name in stream.keys():  # noqa: SIM118
                tensor_slice = stream.get_slice(name)
                if tensor_slice.get_dtype() in FLOAT_DTYPES and 0 not in tensor_slice.get_shape():
                    minimum, maximum = torch.aminmax(stream.get_tensor(name))
                    if not (minimum.isfinite() and maximum.isfinite()):
                        remarks[name] = "holds NaN or infinity"
    return remarks


def refuse_unusable(name: str, odd: Mapping[str, str]) -> None:
    """Refuse weights that are not numbers to compute with.

    Args:
        name: of the model or the adapter.
        odd: a remark on each tensor, by its name.

    Raises:
        FrameworkError: always.
    """
    listed = list_names([f"{tensor} ({remark})" for tensor, remark in sorted(odd.items())])
    raise FrameworkError(
        f"{name}: {count(len(odd), 'tensor')} of its weights cannot be used: {listed}\nWeights are finite numbers, "
        f"{', '.join(sorted(FLOAT_DTYPES))}: get the original ones, or restore the quantization_config that "
        "belongs to these"
    )


def check_loaded(
    location: ModelPlace, model: PreTrainedModel, info: Mapping[str, Any], *, packed: Collection[str] = frozenset()
) -> None:
    """Refuse a model whose files, according to transformers, do not hold all of its weights.

    Args:
        location: the folder.
        model: the loaded model.
        info: the loading info of transformers.
        packed: weights whose shape in the file is another than in the model.

    Raises:
        FrameworkError: tensors were missing, left over or of another shape.
    """
    # Tables of positions, which older versions saved and newer ones compute.
    computed = {name for name, _ in model.named_buffers()}
    wrong = [
        (name, f" ({shape_text(stored)}, not {shape_text(needed)})") for name, stored, needed in info["mismatched_keys"]
    ]
    # In four bits a weight is a column of bytes.
    wrong = [
        (name, shapes) for name, shapes in wrong if not any(_same_tensor(name, packed_name) for packed_name in packed)
    ]
    quantized = bool(getattr(model.config, "quantization_config", None)) and not packed
    unexpected = (
        ()
        if quantized
        else {name for name in info["unexpected_keys"] if not any(_same_tensor(name, buffer) for buffer in computed)}
    )
    if any(SENSES.search(name) for name in read_settings(location.folder / "config.json", f"model {location.name}")):
        # Llama 4's class for text leaves its tower out.
        unexpected = {name for name in unexpected if not TOWER.search(name)}
    refuse_mismatch(
        f"model {location.name}: its .safetensors do not hold the weights of a {type(model).__name__}, which would "
        "start from random numbers",
        absent=[(name, "") for name in info["missing_keys"]],
        reshaped=wrong,
        unexpected=[(name, "") for name in unexpected],
        fix=DOWNLOAD_AGAIN,
    )


def refuse_mismatch(
    problem: str,
    *,
    absent: Iterable[tuple[str, str]],
    reshaped: Iterable[tuple[str, str]],
    unexpected: Iterable[tuple[str, str]],
    fix: str,
) -> None:
    """Refuse tensors that are missing, of another shape or left over, each given with a remark.

    Raises:
        FrameworkError: there are some.
    """
    kinds = {"missing": absent, "of another shape": reshaped, "not of this model": unexpected}
    if parts := [sentence for kind, tensors in kinds.items() if (sentence := _sentence(kind, tensors))]:
        raise FrameworkError(f"{problem}: {'; '.join(parts)}\n{fix}")


def is_downloaded(location: ModelPlace) -> bool:
    """Whether all files of the weights are on this machine; a damaged file counts."""
    try:
        return bool(weight_files(location.folder, f"model {location.name}"))
    except FrameworkError:
        return not location.revision and any(location.folder.glob("*.safetensors"))


def _same_tensor(name: str, alias: str) -> bool:
    """Whether two names mean one tensor: files leave out the first part, or have one more."""
    return name == alias or name.endswith(f".{alias}") or alias.endswith(f".{name}")


def _sentence(kind: str, tensors: Iterable[tuple[str, str]]) -> str:
    pairs = sorted(tensors)
    names = list_names([f"{name}{shapes}" for name, shapes in pairs])
    return f"{len(pairs)} tensor{'s are' if len(pairs) > 1 else ' is'} {kind} ({names})" if pairs else ""
