"""A small random model of the same architecture: what llama.cpp computes differently shows before the training.

Widths, experts and the vocabulary are small; the size of a head, positions, norms, multipliers and the kinds of layers
are those of the model. Its answers in transformers and in llama.cpp have to be the same. `divergence` runs in a process
of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import AutoConfig

from framework.api import summarize_error
from framework_plugins.exports.export_folder import TOKENIZER, write_json
from framework_plugins.exports.gguf.convert.model import convert
from framework_plugins.exports.llama.model import Llama
from framework_plugins.exports.parity.agreement import log_softmax
from framework_plugins.lib.auto_class import auto_class

VOCABULARY, RESERVED = 512, 32
"""Tokens of a twin, and how many of the last ones stand for images and the like."""
TOKENS = 192
"""Length of the row that both read."""
WINDOW = 32
"""A sliding window that this row leaves, if the rows of the training leave that of the model."""
BOUND = 0.02
"""Median divergence of a position in nats, above which a family is not exported. Of 130 twins that agree it is 1e-12 to
5e-6. It is 4e-3 or less if llama.cpp has another epsilon or scales positions slightly differently, which a trained
model hardly shows, and 0.19 or more with a wrong rope, window, mask or router."""
LARGEST = 80_000_000
"""Parameters of a twin: a larger one would take longer than seconds."""
SHALLOW = 6
"""Layers of a twin, or more if it takes more to see each kind."""
EXPERTS = 8
WIDTH = 256
"""Features of a twin whose heads do not give their number."""
SHARED_HEADS = ("num_key_value_heads", "num_kv_heads")
SHARING = "num_kv_shared_layers"
EMBEDDING, SPREAD = 0.02, 3.0
"""Standard deviations of the numbers of an embedding, and of the logits that are compared."""
SMALL = {
    "intermediate_size|intermediate_size_mlp|ffn_hidden_size|ffn_dim|n_inner|ffn_config": 384,
    "shared_intermediate_size": 384,  # without experts it has to be that of all layers
    "moe_intermediate_size|expert_ffn_hidden_size|(moe_shared_expert|shared_expert)_intermediate_size": 96,
    "num_experts|num_local_experts|n_routed_experts|moe_num_experts": EXPERTS,
    "num_experts_per_tok|moe_topk|moe_k|top_k_experts": 2,
    "n_group": 2,
    "topk_group": 1,
    "q_lora_rank": 96,
    "kv_lora_rank": 64,
}
"""Sizes of a twin by the names of settings; a smaller one stays."""
LAYER_COUNTS = ("num_hidden_layers", "depth", "encoder_layers", "num_layers", "num_global_layers")
VOCABULARY_SIZE = "vocab_size|vocab_size_per_layer_input"
TOKEN_ID = re.compile(r".*token_(id|ids|index)")
LAYER_NUMBERS = re.compile(r".*(layer|idx|indices).*")


@dataclass(frozen=True)
class Divergence:
    """The distance between the answers of llama.cpp and transformers.

    Attributes:
        nats: the median divergence of a position; None if there is no such model.
        rounding: that of the same weights, rounded to bf16, in transformers: some models multiply each rounding.
        reason: why there is no such model.
    """

    nats: float | None
    rounding: float = 0.0
    reason: str = ""

    @property
    def differs(self) -> bool:
        """Whether the difference is larger than roundings or nearly equal settings explain."""
        return self.nats is not None and not self.nats <= max(BOUND, self.rounding)


def divergence(folder: str, scratch: str, longest: int, *, tree: str | None, trust: bool) -> Divergence:
    """Compare a twin of the model in a folder; if it differs, also one with as many layers as the model, which decides.

    Args:
        folder: of the model: its config.json is read.
        scratch: an empty folder for files.
        longest: tokens of the longest row of the training.
        tree: the source tree of llama.cpp that converts; None: AutoRound's copy.
        trust: run Python code of the folder.
    """
    result = Divergence(None)
    for deep in (False, True):
        twin_folder = Path(scratch, "deep" if deep else "shallow")
        try:
            model = make_twin(Path(folder), longest, deep=deep, trust=trust)
            if model is None:
                return Divergence(None, reason=f"one has more than {LARGEST:,} parameters")
            result = _compare(model, twin_folder, tree)
        except Exception as error:  # noqa: BLE001 - of other libraries, for a config that nobody published
            result = Divergence(None, reason=summarize_error(error))
        if result.nats is not None and not result.differs:
            break
    return result


def _compare(model: Any, folder: Path, tree: str | None) -> Divergence:
    expected = logits(model)
    model.save_pretrained(folder)
    # Some converters count tokens here.
    write_json(folder / TOKENIZER, {"model": {"vocab": {str(n): n for n in range(VOCABULARY)}}, "added_tokens": []})
    file = folder / "model.gguf"
    convert(str(folder), str(file), "f32", "twin", tree, twin=True)
    with Llama(file, n_ctx=2 * TOKENS, threads=1, precise=True) as llama:
        answers = llama.logits(row())
    for weight in model.parameters():
        weight.data = weight.data.bfloat16().float()
    return Divergence(_median(expected, answers), _median(expected, logits(model)))


def _median(expected: NDArray[np.float32], answers: NDArray[np.float32]) -> float:
    """Return the median divergence of a position, in nats.

    Multipliers make the logits of some families so large, or so small, that nothing shows in the probabilities.
    """
    if not expected.std() > 0:  # 0, or not a number
        raise ValueError("its logits are all equal, or not numbers")
    scaled = (array[:, : expected.shape[1]] * (SPREAD / expected.std()) for array in (expected, answers))
    log_p, log_q = (log_softmax(array) for array in scaled)
    return float(np.median((np.exp(log_p) * (log_p - log_q)).sum(-1)))


def make_twin(folder: Path, longest: int, *, deep: bool, trust: bool) -> Any:
    """Return a random small model of the config.json in a folder; None if it would not be small.

    Args:
        folder: of the model.
        longest: tokens of the longest row of the training.
        deep: with as many layers as the model, since llama.cpp knows some families by that number.
        trust: run Python code of the folder.

    Raises:
        Exception: the class takes no such sizes.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust)
    text = config.get_text_config()
    layers = text.to_dict().get("per_layer_config") or {}
    text.per_layer_config = None  # what differs in some layers cannot be read from the settings of all
    _shrink(text, longest)
    if not deep:
        _cut_layers(text)
    _set_layer_settings(text, layers)
    for name in config.sub_configs:
        if (part := getattr(config, name, None)) is not None and part is not text:
            for count in LAYER_COUNTS:
                if isinstance(getattr(part, count, None), int):
                    setattr(part, count, 1)
    _move_tokens(config)
    _move_tokens(text)
    config = type(config).from_dict(config.to_dict())
    kind = auto_class(transformers, config.to_dict())
    with torch.device("meta"):
        parameters = sum(weight.numel() for weight in kind.from_config(config, trust_remote_code=trust).parameters())
    if parameters > LARGEST:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind.from_config(config, dtype=torch.float32, attn_implementation="eager", trust_remote_code=trust)
        _draw_weights(model)
    return model.eval()


def row() -> list[int]:
    """Return the token ids that a twin reads."""
    token_ids = np.random.default_rng(0).integers(RESERVED, VOCABULARY - RESERVED, TOKENS)
    return [int(token_id) for token_id in token_ids]


def logits(model: Any) -> NDArray[np.float32]:
    """Return the logits of a twin after each token of the row."""
    with torch.no_grad():
        row_logits: NDArray[np.float32] = (
            model(input_ids=torch.tensor([row()]), use_cache=False).logits[0].float().numpy()
        )
    return row_logits


def _shrink(text: Any, longest: int) -> None:
    hidden = _shrink_heads(text) if getattr(text, "num_attention_heads", None) else WIDTH
    text.hidden_size = hidden
    for name, value in [*text.to_dict().items()]:
        if not isinstance(value, int) or isinstance(value, bool):
            continue
        if (small := _limit_setting(name, value)) < value:
            setattr(text, name, small)
        if re.fullmatch(VOCABULARY_SIZE, name):  # the row has these ids
            setattr(text, name, VOCABULARY)
    if expand := getattr(text, "expand", None):  # Mamba: the states are as wide as the layers make them
        text.intermediate_size = int(expand * hidden)
        if getattr(text, "num_heads", None):
            text.num_heads = text.intermediate_size // text.head_dim
    keys, values = (getattr(text, f"linear_num_{part}_heads", None) for part in ("key", "value"))
    if keys and values:
        text.linear_num_key_heads = min(keys, 2)
        text.linear_num_value_heads = text.linear_num_key_heads * min(values // keys, 2)
    wide, states = getattr(text, "mamba_expand", None), getattr(text, "mamba_d_head", None)
    if wide and isinstance(states, int):
        text.mamba_n_heads = wide * hidden // states
    window = getattr(text, "sliding_window", None)
    if window and getattr(text, "use_sliding_window", True) and longest > window:
        text.sliding_window = min(window, WINDOW)


def _shrink_heads(text: Any) -> int:
    """Reduce the heads, shared as before, and return the width that goes with them."""
    heads, hidden = text.num_attention_heads, text.hidden_size
    name = next((name for name in SHARED_HEADS if getattr(text, name, None)), "")
    shared = getattr(text, name) if name else heads
    width = getattr(text, "head_dim", None) or hidden // heads
    kv_heads = min(shared, 2)
    text.num_attention_heads = kv_heads * min(heads // shared, 2)
    if name:
        setattr(text, name, kv_heads)
    inner = text.num_attention_heads * width
    if hidden == heads * width:
        return int(inner)
    return WIDTH if inner != WIDTH else WIDTH + 64


def _cut_layers(text: Any) -> None:
    """Keep the first layers: each kind of layer occurs, and the last one is of the same kind as before."""
    every = text.num_hidden_layers
    lists = {name: value for name, value in text.to_dict().items() if isinstance(value, list) and len(value) == every}
    kinds = [repr([value[layer] for value in lists.values()]) for layer in range(every)]
    kinds_end = 1 + max(kinds.index(kind) for kind in kinds)
    dense = getattr(text, "first_k_dense_replace", None) or 0
    least = min(every, max(SHALLOW, kinds_end + 1, dense + 2))
    depth = next(count for count in range(least, every + 1) if kinds[count - 1] == kinds[-1])
    numbers = {
        name: [layer for layer in value if layer < depth]
        for name, value in text.to_dict().items()
        if name not in lists
        and isinstance(value, list)
        and LAYER_NUMBERS.fullmatch(name)
        and all(isinstance(layer, int) and 0 <= layer < every for layer in value)
    }
    for name, value in ({name: value[:depth] for name, value in lists.items()} | numbers).items():
        setattr(text, name, value)
    text.num_hidden_layers = depth
    if getattr(text, SHARING, None):  # the last layers, which read keys of an earlier one of their kind
        setattr(text, SHARING, min(getattr(text, SHARING), depth - kinds_end))


def _set_layer_settings(text: Any, layers: Mapping[str, Mapping[str, Any]]) -> None:
    """Set the settings that differ between the remaining layers: few heads, and inner features."""
    text.per_layer_config = {
        int(layer): {
            name: min(value, getattr(text, name)) if name in SHARED_HEADS else _limit_setting(name, value)
            for name, value in settings.items()
        }
        for layer, settings in layers.items()
        if int(layer) < text.num_hidden_layers
    } or None


def _limit_setting(name: str, value: Any) -> Any:
    """Return the value of a setting for the twin, at most the limit in `SMALL`."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    return min((value, *(limit for pattern, limit in SMALL.items() if re.fullmatch(pattern, name))))


def _move_tokens(config: Any) -> None:
    """Give special tokens ids that the row does not have."""
    for index, (name, value) in enumerate([*config.to_dict().items()]):
        if TOKEN_ID.fullmatch(name) and value is not None:
            setattr(config, name, (VOCABULARY - 1 - index % RESERVED) if "image" in name or "audio" in name else 1)


def _draw_weights(model: Any) -> None:
    """Give matrices numbers that make answers differ, and all others a little noise; embeddings stay small."""
    for module in model.modules():
        for weight in module.parameters(recurse=False):
            noise = torch.randn_like(weight)
            if isinstance(module, torch.nn.Embedding):
                weight.data = EMBEDDING * noise
            elif weight.dim() > 1 and weight is not model.get_input_embeddings().weight:
                weight.data = noise / math.sqrt(weight.shape[-1])
            elif weight.dim() == 1:
                weight.data += 0.1 * noise
