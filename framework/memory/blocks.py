"""The layers of a decoder: what one holds, and what it keeps of a token, read from a config.json.

A layer is a mixer of tokens (attention, or linear attention, a state space, a short convolution in its place) and an
MLP (dense, or with experts). "Derived": from reading the layer's forward pass in transformers 5.24, and the kernels of
flash-linear-attention and mamba-ssm that it calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

ATTENTION = ("q", "k", "v", "o")
"""The linear layers of attention: queries, keys, values, output."""
MLP = ("gate", "up", "down")
"""The linear layers of a gated MLP; one without a gate has the last two."""
LINEARS = (*ATTENTION, *MLP)
UNGATED = frozenset(
    {
        "gpt_neox",
        "phi",
        "starcoder2",
        "nemotron",
        "nemotron_h",
        "arcee",
        "apertus",
        "apertus1p5_text",
        "jais2",
        "nanochat",
        "persimmon",
    }
)
"""Model types whose MLP has two layers."""
COUNTED = frozenset(
    {
        "qwen3_moe",
        "qwen3_next",
        "qwen3_5_text",
        "qwen3_5_moe_text",
        "gemma4_text",
        "muse_glimmer_text",
        "gpt_oss",
        "mixtral",
        "lfm2",
        "lfm2_moe",
        "granitemoehybrid",
        "nemotron_h",
        "glm4_moe",
        "glm4_moe_lite",
        "deepseek_v3",
    }
)
"""Model types with experts or layers of several kinds whose parameters the tests compare with those of transformers."""
GATED_ATTENTION = frozenset({"qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "muse_glimmer_text"})
"""Model types whose queries come with a gate for the output, as wide as they are."""
FULL, SLIDING, LINEAR, SPACE, CONVOLUTION = "full_attention", "sliding_attention", "linear_attention", "mamba", "conv"
EXPERTS, DENSE = "moe", "mlp"
"""Kinds of layers; of Nemotron-H's, which have a mixer or an MLP, the last two have an MLP only."""
PATTERN = {"M": SPACE, "*": FULL, "E": EXPERTS, "-": DENSE}
"""The letters of `hybrid_override_pattern`."""
FORMER = {"attention": FULL, "sliding": SLIDING}
"""What files call kinds of layers besides."""
KNOWN = frozenset({FULL, SLIDING, LINEAR, SPACE, CONVOLUTION, EXPERTS, DENSE})
OWN = frozenset({"head_dim", "num_key_value_heads"})
"""What layers may have for themselves in `per_layer_config`."""
GEMMA_PATTERN = 6
"""Of six of Gemma 4's layers one sees all tokens, if config.json does not say which do."""
CHUNK = 64
"""Tokens that DeltaNet's kernel takes at a time; each token keeps a product with each other of its chunk."""


class Linear(NamedTuple):
    """A linear layer."""

    name: str
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Block:
    """One layer of a decoder.

    Attributes:
        mixer: the linear layers of attention, or of what is in its place.
        mlp: those of the MLP, and of the experts that each token passes.
        q: features of all queries; 0 without attention.
        kv: features of all keys, and of all values.
        inner: features inside the MLP of a token, those of its experts too.
        rest: parameters in no matrix: norms, convolutions, routers.
        kept: numbers of a token that the mixer keeps for the backward pass beside those of plain attention.
        kernel: the package that computes the mixer; without it torch does, and keeps more.
        unfused: numbers in fp32 of a token that it keeps then.
        expert: the matrices of one expert. Those of all experts are one tensor, which bitsandbytes does not pack.
        experts: how many there are.
        routed: through how many of them a token goes.
        state: numbers of a row that generation keeps in fp32, in place of keys and values.
        carried: features of a token that come into the layer beside those of the layer before.
    """

    mixer: tuple[Linear, ...] = ()
    mlp: tuple[Linear, ...] = ()
    q: int = 0
    kv: int = 0
    inner: int = 0
    rest: int = 0
    kept: int = 0
    kernel: str = ""
    unfused: int = 0
    expert: tuple[Linear, ...] = ()
    experts: int = 0
    routed: int = 0
    state: int = 0
    carried: int = 0

    def __add__(self, other: Block) -> Block:
        """Put two parts of a layer together, a mixer and an MLP."""
        return Block(*(a + b for a, b in zip(self._values, other._values, strict=True)))

    @property
    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))

    @property
    def linears(self) -> tuple[Linear, ...]:
        """All linear layers."""
        return (*self.mixer, *self.mlp)

    @property
    def linear_parameters(self) -> int:
        """Parameters of the linear layers."""
        return sum(inputs * outputs for _, inputs, outputs in self.linears)

    @property
    def expert_parameters(self) -> int:
        """Parameters of one expert."""
        return sum(inputs * outputs for _, inputs, outputs in self.expert)


def plain_block(hidden: int, q: int, kv: int, inner: int, *, gated: bool) -> Block:
    """Return a layer of attention and a dense MLP."""
    return Block(_attention(hidden, q, kv), _mlp(hidden, inner, gated=gated), q, kv, inner, rest=2 * hidden)


def layer_kinds(text: Mapping[str, Any]) -> list[str]:
    """Return the kinds of the layers in the order of a config.json; empty if all are full attention."""
    if pattern := text.get("hybrid_override_pattern"):
        return [PATTERN.get(letter, letter) for letter in pattern]
    kinds = text.get("layer_types") or text.get("layers_block_type") or []
    count = text.get("num_hidden_layers") or 0
    if not kinds and (interval := text.get("full_attention_interval")):
        kinds = [LINEAR if (layer + 1) % interval else FULL for layer in range(count)]
    elif not kinds and text.get("global_head_dim"):
        kinds = [SLIDING if (layer + 1) % GEMMA_PATTERN else FULL for layer in range(count)]
    elif not kinds and (attended := text.get("full_attn_idxs")) is not None:
        kinds = [FULL if layer in attended else CONVOLUTION for layer in range(count)]
    named = [FORMER.get(str(kind), str(kind)) for kind in kinds]
    # transformers calls Granite's state spaces linear attention.
    return [SPACE if kind == LINEAR and _space_heads(text) else kind for kind in named]


def layer_count(text: Mapping[str, Any]) -> int:
    """Return how many layers a config.json describes; 0 if it does not say."""
    count = text.get("num_hidden_layers")
    return count if isinstance(count, int) else len(layer_kinds(text))


def problem(text: Mapping[str, Any], count: int) -> str:
    """Say what the layers of a config.json have that is not known, as a predicate; empty if all is."""
    kinds = layer_kinds(text)
    unknown_kinds = sorted(set(kinds) - KNOWN)
    space, experts = SPACE in kinds or EXPERTS in kinds, _expert_count(text)
    inner = text.get("block_ff_dim") or text.get("intermediate_size")
    layer_settings = {name for settings in (text.get("per_layer_config") or {}).values() for name in settings}
    holds = {
        f"has layers with their own {', '.join(sorted(layer_settings - OWN))}": bool(layer_settings - OWN),
        "has experts under names of its own": not experts
        and any("expert" in name and value and isinstance(value, int) for name, value in text.items()),
        f"has layers of the kind {', '.join(unknown_kinds)}": bool(unknown_kinds),
        f"lists {len(kinds)} kinds of layers for {count} layers": bool(kinds) and len(kinds) != count,
        "has linear attention of another kind": LINEAR in kinds and not text.get("linear_num_value_heads"),
        "has state-space layers beside attention": any(name.startswith("mamba_") and value for name, value in
                                                       text.items()) and not space,
        "has experts in some layers by a rule of its own": bool(experts) and bool(text.get("interleave_moe_layer_step")
                                                                                 or text.get("moe_layers")),
        "has experts of no size": bool(experts) and not _expert_size(text),
        "has no intermediate_size": not experts and not isinstance(inner, int | list),
        "has an MLP of its own size in each layer": isinstance(inner, list),
        "has an embedding in each layer of another kind": bool(text.get("hidden_size_per_layer_input"))
        and bool(text.get("laurel_rank")),
    }  # fmt: skip
    return next((reason for reason, true in holds.items() if true), "")


def read_blocks(text: Mapping[str, Any], family: str, count: int) -> tuple[Block, ...]:
    """Return the layers that a config.json describes."""
    kinds = layer_kinds(text) or [FULL] * count
    return tuple(_block(text, family, layer, kind, count) for layer, kind in enumerate(kinds))


def _block(text: Mapping[str, Any], family: str, layer: int, kind: str, count: int) -> Block:
    hidden, features = text["hidden_size"], text.get("hidden_size_per_layer_input") or 0
    mixer = Block() if kind in {EXPERTS, DENSE} else _mixer(text, family, layer, kind, count)
    single_part = "hybrid_override_pattern" in text or "layers_block_type" in text
    mlp = Block() if single_part and mixer.mixer else _feed_forward(text, family, layer, kind, count)
    gate = (Linear("per_layer_input_gate", hidden, features), Linear("per_layer_projection", features, hidden))
    embedding = Block(mlp=gate, inner=features, kept=hidden, carried=features) if features else Block()
    return mixer + mlp + embedding + Block(rest=(1 if single_part else 2) * hidden)


def _mixer(text: Mapping[str, Any], family: str, layer: int, kind: str, count: int) -> Block:
    if kind == LINEAR:
        return _delta_net(text)
    if kind == SPACE:
        return _state_space(text)
    hidden, heads = text["hidden_size"], text["num_attention_heads"]
    if kind == CONVOLUTION:
        width = text.get("conv_L_cache") or 3
        # Derived: the product of two parts, its convolution, and the product with the third.
        linears = (Linear("in_proj", hidden, 3 * hidden), Linear("out_proj", hidden, hidden))
        return Block(linears, rest=hidden * width, kept=6 * hidden, state=hidden * width)
    if text.get("kv_lora_rank"):
        return _latent(text)
    settings = {**text, **_own_settings(text, layer, kind)}
    size = settings.get("head_dim") or hidden // heads
    q, kv = heads * size, (settings.get("num_key_value_heads") or heads) * size
    gated = family in GATED_ATTENTION
    shared = layer >= count - (text.get("num_kv_shared_layers") or 0)
    # Gemma 4's global layers may take their keys for their values too, and its last ones take both from others.
    shares_values = bool(text.get("attention_k_eq_v")) and kind == FULL
    left_out = {"k", "v"} if shared else {"v"} if shares_values else set[str]()
    output = "out_proj" if "conv_L_cache" in text else "o"  # of LFM2, as its convolutions have it
    inner = [linear for linear in _attention(hidden, q, kv)[1:-1] if linear.name not in left_out]
    mixer = (Linear("q", hidden, 2 * q if gated else q), *inner, Linear(output, q, hidden))
    return Block(mixer, q=q, kv=kv, kept=2 * q if gated else 0)


def _own_settings(text: Mapping[str, Any], layer: int, kind: str) -> dict[str, Any]:
    """Return the settings of attention that a layer has for itself."""
    listed = text.get("per_layer_config") or {}
    if listed:
        return dict(listed.get(str(layer)) or listed.get(layer) or {})
    if kind != FULL or not text.get("global_head_dim"):
        return {}
    heads = text.get("num_global_key_value_heads") if text.get("attention_k_eq_v") else None
    return {"head_dim": text["global_head_dim"]} | ({"num_key_value_heads": heads} if heads else {})


def _delta_net(text: Mapping[str, Any]) -> Block:
    """Return DeltaNet's layer: K features of keys, V of values, and a head of keys for several of values.

    Derived: it keeps 2K + V before and after the convolution, queries and keys of each head of values, a chunk's
    products, what it gave, its gate, and the product of both. Counted for heads of 128 features, without the kernel:
    20V + 2K in fp32.
    """
    hidden, heads = text["hidden_size"], text["linear_num_value_heads"]
    keys, values = text["linear_num_key_heads"] * text["linear_key_head_dim"], heads * text["linear_value_head_dim"]
    mixed, repeated = 2 * keys + values, heads * text["linear_key_head_dim"]
    # Qwen3-Next has two of these four projections as one, with as many parameters.
    linears = (
        Linear("in_proj_qkv", hidden, mixed), Linear("in_proj_z", hidden, values), Linear("in_proj_b", hidden, heads),
        Linear("in_proj_a", hidden, heads), Linear("out_proj", values, hidden),
    )  # fmt: skip
    return Block(
        linears,
        rest=mixed * (text.get("linear_conv_kernel_dim") or 4),
        kernel="fla",
        unfused=20 * values + 2 * keys,
        kept=2 * mixed + 2 * repeated + 3 * values + CHUNK * heads,
        state=repeated * text["linear_value_head_dim"],
    )


def _state_space(text: Mapping[str, Any]) -> Block:
    """Return Mamba 2's layer. Derived: its kernel keeps what it was given, and what it gave.

    Counted for a head of p features, s states and chunks of c tokens, without the kernel: 5.3s + 3c + 9.75p + 2ps/c in
    fp32.
    """
    hidden, heads = text["hidden_size"], _space_heads(text)
    size = text.get("mamba_head_dim") or text.get("mamba_d_head")
    inner = heads * size if isinstance(size, int) else (text.get("mamba_expand") or 2) * hidden
    states = text.get("ssm_state_size") or text.get("mamba_d_state") or 128
    mixed = inner + 2 * (text.get("mamba_n_groups") or text.get("n_groups") or 1) * states
    kernel = text.get("mamba_d_conv") or text.get("conv_kernel") or 4
    projected, chunk = inner + mixed + heads, text.get("mamba_chunk_size") or text.get("chunk_size") or 256
    return Block(
        (Linear("in_proj", hidden, projected), Linear("out_proj", inner, hidden)),
        rest=mixed * (kernel + 1) + inner,
        kernel="mamba_ssm",
        unfused=round(heads * (5.3 * states + 3 * chunk) + inner * (9.75 + 2 * states / chunk)),
        kept=projected + 2 * inner,
        state=inner * states,
    )


def _space_heads(text: Mapping[str, Any]) -> int:
    return int(text.get("mamba_num_heads") or text.get("mamba_n_heads") or 0)


def _latent(text: Mapping[str, Any]) -> Block:
    """Return latent attention (arXiv 2405.04434): keys and values, and as a rule queries, come out of a few features.

    Derived: these features are kept before and after their norm, and keys and values of each head as elsewhere.
    """
    hidden, heads, latent = text["hidden_size"], text["num_attention_heads"], text["kv_lora_rank"]
    rotated, plain, value = text["qk_rope_head_dim"], text["qk_nope_head_dim"], text["v_head_dim"]
    q, rank = heads * (plain + rotated), text.get("q_lora_rank") or 0
    queries = (Linear("q_a", hidden, rank), Linear("q_b", rank, q)) if rank else (Linear("q", hidden, q),)
    linears = (
        *queries, Linear("kv_a_proj_with_mqa", hidden, latent + rotated),
        Linear("kv_b", latent, heads * (plain + value)), Linear("o", heads * value, hidden),
    )  # fmt: skip
    kv = (q + heads * value) // 2
    return Block(linears, q=q, kv=kv, rest=latent + rank, kept=2 * (rank + latent) + rotated)


def _feed_forward(text: Mapping[str, Any], family: str, layer: int, kind: str, count: int) -> Block:
    hidden, gated = text["hidden_size"], family not in UNGATED
    experts = _expert_count(text) if kind != DENSE and _has_experts(text, layer, kind) else 0
    keeps_dense = bool(text.get("enable_moe_block"))  # Gemma 4 adds its experts to a dense MLP
    dense = _dense_size(text, family, layer, count) if not experts or keeps_dense else _shared_size(text)
    block = Block(mlp=_mlp(hidden, dense, gated=gated) if dense else (), inner=dense)
    if not experts:
        return block
    size, used = _expert_size(text), _experts_used(text)
    up = Linear("gate_up_proj", hidden, 2 * size) if gated else Linear("up_proj", hidden, size)
    expert = (up, Linear("down_proj", size, hidden))
    if text.get("shared_expert_intermediate_size"):  # Qwen's shared expert has a gate
        block += Block(mlp=(Linear("shared_expert_gate", hidden, 1),))
    return block + Block(inner=used * size, rest=experts * hidden, expert=expert, experts=experts, routed=used)


def _dense_size(text: Mapping[str, Any], family: str, layer: int, count: int) -> int:
    size = int(text.get("block_ff_dim") or text.get("intermediate_size") or 0)
    if family == "granitemoehybrid":
        return int(text["shared_intermediate_size"])
    if family == "lfm2" and text.get("block_auto_adjust_ff_dim", True):
        scaled, step = int((text.get("block_ffn_dim_multiplier") or 1) * int(2 * size / 3)), text["block_multiple_of"]
        return int(step * -(-scaled // step))
    wide = text.get("use_double_wide_mlp") and layer >= count - (text.get("num_kv_shared_layers") or 0)
    return 2 * size if wide else size


def _shared_size(text: Mapping[str, Any]) -> int:
    """Return the features inside the experts that each token passes."""
    names = (
        "shared_expert_intermediate_size", "shared_intermediate_size", "moe_shared_expert_intermediate_size"
    )  # fmt: skip
    size = next((text[name] for name in names if text.get(name)), 0)
    shared = text.get("n_shared_experts") or 0
    return int(size * (shared or 1) if size else shared * _expert_size(text))


def _expert_count(text: Mapping[str, Any]) -> int:
    names = ("num_experts", "num_local_experts", "n_routed_experts")
    return next((int(text[name]) for name in names if isinstance(text.get(name), int)), 0)


def _experts_used(text: Mapping[str, Any]) -> int:
    names = ("num_experts_per_tok", "top_k_experts", "experts_per_token")
    return next((int(text[name]) for name in names if isinstance(text.get(name), int)), 1)


def _expert_size(text: Mapping[str, Any]) -> int:
    return int(text.get("moe_intermediate_size") or text.get("intermediate_size") or 0)


def _has_experts(text: Mapping[str, Any], layer: int, kind: str) -> bool:
    """Whether a layer has experts; families use different settings to name the layers without."""
    if listed := text.get("mlp_layer_types"):
        return bool(listed[layer] == "sparse")
    first_sparse = text.get("first_k_dense_replace") or text.get("num_dense_layers") or 0
    step = text.get("decoder_sparse_step") or 1
    only = "hybrid_override_pattern" in text or "layers_block_type" in text
    among = layer >= first_sparse and layer not in (text.get("mlp_only_layers") or ()) and (layer + 1) % step == 0
    return among and (not only or kind == EXPERTS)


def _attention(hidden: int, q: int, kv: int) -> tuple[Linear, ...]:
    return Linear("q", hidden, q), Linear("k", hidden, kv), Linear("v", hidden, kv), Linear("o", q, hidden)


def _mlp(hidden: int, inner: int, *, gated: bool) -> tuple[Linear, ...]:
    gate = (Linear("gate", hidden, inner),) if gated else ()
    return (*gate, Linear("up", hidden, inner), Linear("down", inner, hidden))
