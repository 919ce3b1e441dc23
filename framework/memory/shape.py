"""What a transformer is made of, as its config.json tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from framework.errors import FrameworkError

ATTENTION = ("q", "k", "v", "o")
"""The linear layers of attention: queries, keys, values, output."""
MLP = ("gate", "up", "down")
"""The linear layers of a gated MLP; one without a gate has the last two."""
LINEARS = (*ATTENTION, *MLP)
NEEDED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
UNGATED = frozenset({"gpt_neox", "phi", "starcoder2", "opt", "falcon", "bloom", "gpt2"})
"""Model types whose MLP has two layers; all newer ones are gated."""


@dataclass(frozen=True)
class Shape:
    """A decoder of equal layers.

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

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Shape:
        """Read a config.json of transformers.

        Raises:
            FrameworkError: it does not describe a decoder of equal dense layers.
        """
        text = config.get("text_config") or config
        kind = str(text.get("model_type") or config.get("model_type") or "unknown")
        if missing := [name for name in NEEDED if not isinstance(text.get(name), int)]:
            message = f"config.json of model_type {kind} names no {', '.join(missing)}"
            raise FrameworkError(message)
        if any(text.get(name) for name in ("num_local_experts", "num_experts", "n_routed_experts")):
            message = f"config.json of model_type {kind} has experts, of which this arithmetic knows nothing"
            raise FrameworkError(message)
        hidden, heads = text["hidden_size"], text["num_attention_heads"]
        return cls(
            hidden=hidden,
            layers=text["num_hidden_layers"],
            heads=heads,
            kv_heads=text.get("num_key_value_heads") or heads,
            head_dim=text.get("head_dim") or hidden // heads,
            intermediate=text["intermediate_size"],
            vocab=text["vocab_size"],
            # transformers' default where a config says nothing is True; files of Llama and Qwen say it.
            tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", True))),
            gated=kind not in UNGATED,
        )

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
        """Parameters of the embedding, and of the output head where that is another matrix."""
        return self.vocab * self.hidden * (1 if self.tied else 2)

    @property
    def total(self) -> int:
        """All parameters; where the number is not known, norms are counted and biases left out (below 0.1%)."""
        norms = (2 * self.layers + 1) * self.hidden
        return self.parameters or self.linear_parameters + self.embedding_parameters + norms

    def lora_parameters(self, rank: int, targets: tuple[str, ...]) -> int:
        """Return the parameters of LoRA: rank x (inputs + outputs) of each adapted layer (arXiv 2106.09685)."""
        known = self.linears
        return self.layers * rank * sum(sum(known[name]) for name in targets if name in known)
