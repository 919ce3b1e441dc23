"""config.json and adapter_config.json: read, and refused where a number makes no sense or a name asks for other code.

A field is known by its name wherever it is, in `text_config` and `rope_parameters` too: families differ in where they
put it. What has the wrong type the libraries refuse themselves. No torch, so a plan reads it.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from annotated_types import Ge, Gt, Le, Lt

from framework import FrameworkError
from framework.api.training import Type
from framework_plugins.lib.weight_files import ADAPTER_CONFIG

_COPY = re.compile(r"-(?:unsloth-)?bnb-4bit$")
_CACHED = re.compile(r"models--([^/]+)/snapshots/[^/]+$")
LARGEST_FILE = 16 * 2**20
"""Bytes of a file of settings; the largest ones, with lists of all layers, have below one million."""
CHARACTERS_SHOWN = 40
"""Characters of a wrong value that a message gives."""
SIZE_TYPE, LAYERS_TYPE, INNER_TYPE = (
    Type(int, bounds=(Ge(low), Le(high))) for low, high in ((1, 2**31), (1, 10_000), (0, 2**31))
)
"""More layers would take hours to make; an inner size is 0 if all layers have experts."""
RANK_TYPE = Type(int, bounds=(Ge(0), Le(2**16)))
"""Of an adapter: the weights of a higher one would not fit into memory, and 0 is that of OFT."""
MAX_FLOAT32 = 3.4e38
"""The largest number that a model computes with."""
EXPERTS_TYPE = Type(int, bounds=(Ge(0), Le(2**16)))
"""0 if no layer has experts."""
EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts")
EXPERTS_USED = ("num_experts_per_tok", "top_k_experts", "experts_per_token")
"""What families call the number of experts of a layer, and of those that a token goes through."""
POSITIVE_TYPE, LENGTH_TYPE = Type(float, bounds=(Gt(0), Le(MAX_FLOAT32))), Type(float, bounds=(Ge(1),))
WINDOW_TYPE = Type(float, bounds=(Ge(0),))
"""0 if no layer has a window."""
SHARE_TYPE, DROPOUT_TYPE = (Type(float, bounds=(Ge(0), high)) for high in (Le(1), Lt(1)))
RANGES: Mapping[str, Type] = {
    "hidden_size|num_attention_heads|num_key_value_heads|head_dim|vocab_size|n_embd|n_head": SIZE_TYPE,
    "max_position_embeddings|n_positions|n_ctx": LENGTH_TYPE,
    "sliding_window": WINDOW_TYPE,
    "(moe_)?intermediate_size": INNER_TYPE,
    "|".join((*EXPERT_COUNTS, *EXPERTS_USED)): EXPERTS_TYPE,
    "num_hidden_layers|n_layer": LAYERS_TYPE,
    r"\w*(dropout|pdrop|layer_?drop|drop_rate|drop_?path)(_p|_prob|_rate)?": DROPOUT_TYPE,
    r"\w*_prob(ability)?": SHARE_TYPE,
    r"(\w+_)?eps(ilon)?(_\w+)?": SHARE_TYPE,
    r"(\w+_)?theta|\w*rope\w*_base_freq(uency)?|rotary_emb(edding)?_base": POSITIVE_TYPE,
    "factor|(low_freq|high_freq|attention)_factor": POSITIVE_TYPE,
    "partial_rotary_factor|rotary_pct": SHARE_TYPE,
}
"""What fields of config.json may hold, by a pattern for their names."""
ADAPTER_RANGES: Mapping[str, Type] = {
    r"\w*dropout": DROPOUT_TYPE,
    "r": RANK_TYPE,
    "(lora_)?alpha": POSITIVE_TYPE,  # 0 switches an adapter off
    r"rank_pattern\..*": RANK_TYPE,
    r"alpha_pattern\..*": POSITIVE_TYPE,
}
"""The same for adapter_config.json."""
SUB_CONFIGS = ("text_config", "vision_config")
"""Parts of a model with numbers of their own."""
TYPES: Mapping[str, Any] = {
    "architectures": list, "model_type": str, "auto_map": Mapping, "quantization_config": Mapping, "layer_types": list,
    **dict.fromkeys(SUB_CONFIGS, Mapping),
}  # fmt: skip
REQUIRED_SWITCHES = {"is_encoder_decoder": False, "return_dict": True}
"""A decoder is trained, and its outputs have names."""
MAX_STOP_TOKENS = 1000
"""Tokens that may end an answer: families have one to ten."""
KERNELS = re.compile(r"(^|[._])(attn|experts)_implementation(\.|$)")
OWN_KERNELS = re.compile(r"(paged\|)?(eager|sdpa|flash_attention_\d|flex_attention|grouped_mm|batched_mm)")
"""Kernels that are in transformers or in an installed package: it fetches code for any other name."""
RESTORE_FILE = "restore it from its source"
REMOVE_KERNELS = "take it out of the file, trainer.attention chooses the kernels"
UNCHECKED_TABLES = frozenset({"quantization_config", "task_specific_params", "id2label", "label2id"})
"""Parts with names of their own."""


def read_settings(file: Path, label: str) -> Mapping[str, Any]:
    """Read a JSON file of settings.

    Args:
        file: it exists, and is a file.
        label: begins the message.

    Raises:
        FrameworkError: it cannot be read, is too large, or holds no settings.
    """
    try:
        if (size := file.stat().st_size) > LARGEST_FILE:
            raise FrameworkError(
                f"{label}: {file.name} has {size / 1e6:,.1f} MB, and at most {LARGEST_FILE / 1e6:,.1f} MB are read: "
                f"{RESTORE_FILE}"
            )
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FrameworkError(f"{label}: {file.name} is not valid JSON ({error}): {RESTORE_FILE}") from error
    except OSError as error:
        raise FrameworkError(
            f"{label}: {file.name} cannot be read: {os.strerror(error.errno or 0)}: make it readable for this user"
        ) from error
    if not isinstance(settings, Mapping):
        raise FrameworkError(
            f"{label}: {file.name} holds a {type(settings).__name__} instead of settings: {RESTORE_FILE}"
        )
    return settings


def read_adapter_config(folder: Path, label: str = "") -> Mapping[str, Any]:
    """Read the settings of the adapter in a folder, which `label` names in a message; empty: the folder itself.

    Raises:
        FrameworkError: as `read_settings`, or a number makes no sense.
    """
    label = label or str(folder)
    settings = read_settings(folder / ADAPTER_CONFIG, label)
    if problem := value_problem(settings, ADAPTER_RANGES):
        raise FrameworkError(f"{label}: {ADAPTER_CONFIG} {problem}")
    return settings


def check_base(settings: Mapping[str, Any], label: str, base: str) -> None:
    """Make sure that an adapter with these settings was trained on the base of that name, as far as names tell.

    Raises:
        FrameworkError: it names another one.
    """
    trained_on = str(settings.get("base_model_name_or_path") or "")
    if trained_on and model_name(trained_on) != model_name(base):
        raise FrameworkError(
            f"{label} was trained on {trained_on}, and the base here is {base}: choose that base, or, if both are the "
            f"same weights, write {base} into its {ADAPTER_CONFIG}"
        )


def config_problem(config: Mapping[str, Any]) -> str:
    """Say why a config.json describes no model, as the end of a sentence; empty if it may."""
    for part in [config, *(part for name in SUB_CONFIGS if isinstance(part := config.get(name), Mapping))]:
        for name, valid in TYPES.items():
            if (value := part.get(name)) is not None and not isinstance(value, valid):
                return f"has a {name} that is a {type(value).__name__}: {RESTORE_FILE}"
        for name, needed in REQUIRED_SWITCHES.items():
            if part.get(name) is (not needed):
                return (
                    f"has {name}={str(not needed).lower()}, and only {str(needed).lower()} works here: {RESTORE_FILE}"
                )
        if part.get("sliding_window") == 0 and part.get("use_sliding_window", True):
            return f"has sliding_window=0, which must be a number of at least 1 if windows are used: {RESTORE_FILE}"
    if any(not isinstance(name, str) for name in config.get("architectures") or []):
        return f"has architectures that are not names: {RESTORE_FILE}"
    stops = config.get("eos_token_id")
    if isinstance(stops, list) and len(stops) > MAX_STOP_TOKENS:
        return f"lists {len(stops):,} tokens as eos_token_id: {RESTORE_FILE}"
    return value_problem(config, RANGES) or _expert_problem(config.get("text_config") or config)


def _expert_problem(text: Mapping[str, Any]) -> str:
    """Say that a token would go through more experts than there are; empty if it does not."""
    count, used = (next((name for name in names if text.get(name)), "") for names in (EXPERT_COUNTS, EXPERTS_USED))
    if not (isinstance(text.get(used), int) and isinstance(text.get(count), int)) or text[used] <= text[count]:
        return ""  # a list has a number for each layer
    return (
        f"has {used}={text[used]} and {count}={text[count]}, so a token would go through more experts than there are: "
        f"{RESTORE_FILE}"
    )


def value_problem(settings: Mapping[str, Any], ranges: Mapping[str, Type]) -> str:
    """Name an invalid value, as the end of a sentence that begins with the file; empty if there is none."""
    for path, value in _nested_values(settings):
        name = path.rpartition(".")[2]
        if isinstance(value, float) and math.isnan(value):
            return f"has {path}=NaN, which is not a number: {RESTORE_FILE}"
        if KERNELS.search(path) and isinstance(value, str) and not OWN_KERNELS.fullmatch(value):
            code = "which transformers would fetch as code from the Hub"
            return f"has {path}={value[:CHARACTERS_SHOWN]}, {code}: {REMOVE_KERNELS}"
        for pattern, valid in ranges.items():
            if re.fullmatch(pattern, name) or re.fullmatch(pattern, path):
                if not _is_valid(valid, value):
                    return f"has {path}={_short_repr(value)}, which must be {valid.valid}: {RESTORE_FILE}"
                break
    return ""


def attention_named(config: Mapping[str, Any]) -> set[str]:
    """Return the attention implementations in a config.json, of all its parts."""
    return {value for path, value in _nested_values(config) if "attn_implementation" in path and isinstance(value, str)}


def max_positions(config: Mapping[str, Any]) -> int | None:
    """Return how many tokens a model can read, with the factor of its rotary positions; None if it is unknown."""
    text = config.get("text_config") or config
    named = (text.get(name) for name in ("max_position_embeddings", "n_positions"))
    length = next((limit for limit in named if isinstance(limit, int)), None)
    if length is None:
        return None
    rotary = [text.get(name) or {} for name in ("rope_scaling", "rope_parameters")]
    factors = (value for part in rotary for path, value in _nested_values(part) if re.search(r"(^|\.)factor$", path))
    return int(length * max((factor for factor in factors if isinstance(factor, int | float)), default=1))


def _is_valid(valid: Type, value: Any) -> bool:
    is_integer = valid.base is int
    if type(value) is int or (type(value) is float and not is_integer):
        return abs(value) != math.inf and valid.holds(value)
    return not is_integer or value is None  # a name, or a switch; transformers checks it


def _nested_values(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Give each value with its path, `text_config.rope_parameters.rope_theta`."""
    waiting: list[tuple[str, Any]] = [("", settings)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Mapping) and value.keys() == {"__float__"}:  # what transformers writes for NaN
            value = _to_float(value["__float__"])
        if isinstance(value, Mapping):
            inner = ((f"{path}.{name}".strip("."), child) for name, child in value.items())
            waiting += [
                (inner_path, child)
                for inner_path, child in inner
                if inner_path.rpartition(".")[2] not in UNCHECKED_TABLES
            ]
        elif isinstance(value, list):
            # Some architectures give one number a layer: whether each is right is known to their classes.
            waiting += [(f"{path}.{index}", child) for index, child in enumerate(value)]
        else:
            yield path, value


def _to_float(tag: Any) -> Any:
    try:
        return float(tag)
    except (TypeError, ValueError):
        return tag


def _short_repr(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= CHARACTERS_SHOWN else f"{text[:CHARACTERS_SHOWN]}…"


def model_name(name: str) -> str:
    """Return the part of a model's id or folder that identifies it: folders differ from machine to machine."""
    name = name.rstrip("/\\").replace("\\", "/")
    if cached := _CACHED.search(name):
        name = cached[1].replace("--", "/")
    return _COPY.sub("", name.rpartition("/")[2].lower())
