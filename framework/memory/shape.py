"""What a transformer is made of, as its config.json tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from framework.util.errors import FrameworkError

ATTENTION = ("q", "k", "v", "o")
"""The linear layers of attention: queries, keys, values, output."""
MLP = ("gate", "up", "down")
"""The linear layers of a gated MLP; one without a gate has the last two."""
LINEARS = (*ATTENTION, *MLP)
NEEDED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
OPTIONAL = ("num_key_value_heads", "head_dim")
UNGATED = frozenset(
    {
        "gpt_neox",
        "phi",
        "starcoder2",
        "nemotron",
        "arcee",
        "apertus",
        "apertus1p5_text",
        "jais2",
        "nanochat",
        "persimmon",
    }
)
"""Model types whose MLP has two layers."""
UNEXPLAINED = 0.02
"""Share of the parameters in the files that the formula may miss."""
LIKE_OTHERS = frozenset({"full_attention", "sliding_attention"})
"""Kinds of layers that hold the same weights and states."""


@dataclass(frozen=True)
class Shape:
    """The shape of a decoder whose layers all have one shape.

    Attributes:
        hidden: features of a token between the layers.
        layers: how many there are.
        heads: of attention.
        kv_heads: heads of keys and values; fewer where heads share them.
        head_dim: features of a head.
        intermediate: features inside the MLP.
        vocab: rows of the embedding.
        tied: whether the output head is the embedding.
        gated: whether the MLP has a gate.
        parameters: of the whole model, where known; 0: counted from the rest.
        other: parameters beside the decoder, of the part for images.
        family: `model_type` of config.json.
        windows: whether some layers see a window of the tokens only.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool
    gated: bool = True
    parameters: int = 0
    family: str = ""
    other: int = 0
    windows: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any], stored: int = 0) -> Shape:
        """Read a config.json of transformers.

        Args:
            config: its content.
            stored: parameters in the files of the weights; 0 if it is not known.

        Raises:
            FrameworkError: it does not describe a decoder of equal dense layers, or describes less than is stored.
        """
        text = config.get("text_config") or config
        kind = str(text.get("model_type") or config.get("model_type") or "unknown")
        if problem := _unknown(config, text):
            raise FrameworkError(f"config.json of model_type {kind} {problem}")
        hidden, heads = text["hidden_size"], text["num_attention_heads"]
        shape = cls(
            family=kind,
            hidden=hidden,
            layers=text["num_hidden_layers"],
            heads=heads,
            kv_heads=text.get("num_key_value_heads") or heads,
            head_dim=text.get("head_dim") or hidden // heads,
            intermediate=text["intermediate_size"],
            vocab=text["vocab_size"],
            # transformers' default if a config says nothing is True; files of Llama and Qwen say it.
            tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", True))),
            gated=kind not in UNGATED,
            other=_image_parameters(config),
            windows="sliding_attention" in _kinds(text) or _window(text),
        )
        # Some files hold the output head although it is the embedding.
        head = shape.vocab * hidden if shape.tied else 0
        if stored and min(abs(stored - shape.total), abs(stored - shape.total - head)) > UNEXPLAINED * stored:
            raise FrameworkError(
                f"config.json of model_type {kind} describes {shape.total:,} parameters to this estimate, which does "
                f"not cover the model: its files hold {stored:,}"
            )
        return shape

    @property
    def q(self) -> int:
        """Features of all queries."""
        return self.heads * self.head_dim

    @property
    def kv(self) -> int:
        """Features of all keys, and of all values."""
        return self.kv_heads * self.head_dim

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """The linear layers of one layer: inputs and outputs by name."""
        hidden, inner = self.hidden, self.intermediate
        attention = {"q": (hidden, self.q), "k": (hidden, self.kv), "v": (hidden, self.kv), "o": (self.q, hidden)}
        gate = {"gate": (hidden, inner)} if self.gated else {}
        return attention | gate | {"up": (hidden, inner), "down": (inner, hidden)}

    @property
    def linear_parameters(self) -> int:
        """Parameters of the linear layers, the output head aside: what a quantization stores in few bits."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linears.values())

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the embedding, and of the output head if that is another matrix."""
        return self.vocab * self.hidden * (1 if self.tied else 2)

    @property
    def total(self) -> int:
        """All parameters; if the number is not known, norms are counted and biases left out (below 0.1%)."""
        norms = (2 * self.layers + 1) * self.hidden
        return self.parameters or self.linear_parameters + self.embedding_parameters + norms + self.other

    def lora_parameters(self, rank: int, targets: tuple[str, ...]) -> int:
        """Return the parameters of LoRA: rank x (inputs + outputs) of each adapted layer (arXiv 2106.09685)."""
        known = self.linears
        return self.layers * rank * sum(sum(known[name]) for name in targets if name in known)


def _unknown(config: Mapping[str, Any], text: Mapping[str, Any]) -> str:
    """Say what keeps a config from being a decoder of equal dense layers; empty if nothing does."""
    missing = [name for name in NEEDED if not isinstance(text.get(name), int)]
    missing += [name for name in OPTIONAL if not isinstance(text.get(name) or 0, int)]
    experts = any("expert" in name and value for name, value in text.items())
    other = sorted(_kinds(text) - LIKE_OTHERS)
    mamba = any(name.startswith("mamba_") and value for name, value in text.items())
    mixed = text.get("per_layer_config") or text.get("global_head_dim")
    holds = {
        f"has no {', '.join(missing)}": bool(missing),
        "has experts, which this estimate does not cover": experts,
        f"has layers of the kind {', '.join(other)}, which this estimate does not cover": bool(other),
        "has state-space layers, which this estimate does not cover": mamba,
        "has layers of several shapes, which this estimate does not cover": bool(mixed),
        "has an embedding in each layer, which this estimate does not cover": bool(
            text.get("hidden_size_per_layer_input")
        ),
        "keeps keys and values compressed, which this estimate does not cover": bool(text.get("kv_lora_rank")),
        "says that the weights in the file are already quantized": bool(config.get("quantization_config")),
    }
    return next((reason for reason, true in holds.items() if true), "")


def _kinds(text: Mapping[str, Any]) -> set[str]:
    return {str(kind) for kind in text.get("layer_types") or []}


def _window(text: Mapping[str, Any]) -> bool:
    # Qwen 2 names a window in its config and switches it off beside it.
    return bool(text.get("sliding_window")) and bool(text.get("use_sliding_window", True)) and not _kinds(text)


def _image_parameters(config: Mapping[str, Any]) -> int:
    """Return about the parameters of the part for images, a transformer too: layers x (4 h^2 + 2 h i)."""
    vision = config.get("vision_config") or {}
    hidden, inner = vision.get("hidden_size") or 0, vision.get("intermediate_size") or 0
    return int((vision.get("num_hidden_layers") or 0) * (4 * hidden**2 + 2 * hidden * inner))
