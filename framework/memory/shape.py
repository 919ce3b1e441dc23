"""What a decoder is made of, as its config.json tells: its layers, one by one, and what is beside them."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from framework.memory.blocks import (
    ATTENTION,
    COUNTED,
    LINEARS,
    MLP,
    UNGATED,
    Block,
    Linear,
    layer_count,
    layer_kinds,
    plain_block,
    problem,
    read_blocks,
)
from framework.util.errors import FrameworkError, summarize_error

__all__ = ["ATTENTION", "LINEARS", "MLP", "UNGATED", "Block", "Linear", "Shape"]

NEEDED = ("hidden_size", "num_attention_heads", "vocab_size")
OPTIONAL = ("num_key_value_heads", "head_dim")
UNEXPLAINED = 0.02
"""Share of the parameters in the files that the formula may miss."""
GATED_TOWERS = frozenset({"pixtral", "gemma4_vision"})
"""Parts for images whose MLP has a gate."""
TEXT_ALONE = frozenset({"qwen3_5", "qwen3_5_moe"})
"""Families whose class for text leaves out the parts for images that their files hold."""
CONFORMER = 24
"""Parameters of a layer of Gemma's part for sound, in squares of its features: two MLPs with 8 each, attention with 5,
and a convolution with 3."""


@dataclass(frozen=True)
class Shape:
    """The shape of a decoder.

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
        other: parameters beside the decoder, of the parts for images and sound.
        family: `model_type` of config.json.
        windows: whether some layers see a window of the tokens only.
        kinds: the layers, where they are not all of one kind that the numbers above describe.
        embedded: parameters of embeddings that each layer has of its own, and of their projection.
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
    kinds: tuple[Block, ...] = ()
    embedded: int = 0

    @classmethod
    def from_config(cls, config: Mapping[str, Any], stored: int = 0) -> Shape:
        """Read a config.json of transformers.

        Args:
            config: its content.
            stored: parameters in the files of the weights; 0 if it is not known.

        Raises:
            FrameworkError: it does not describe a decoder that is known, or describes less than is stored.
        """
        text = config.get("text_config") or config
        kind = str(text.get("model_type") or config.get("model_type") or "unknown")
        try:
            count = layer_count(text)
            if unknown := _unsupported(config, text, count):
                raise FrameworkError(f"config.json of model_type {kind} {unknown}")
            kinds = read_blocks(text, kind, count)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:  # of any file at all
            wrong = f"describes layers that cannot be read: {summarize_error(error)}"
            raise FrameworkError(f"config.json of model_type {kind} {wrong}") from error
        hidden, heads = text["hidden_size"], text["num_attention_heads"]
        towers = _image_parameters(config) + _sound_parameters(config)
        tie = text.get("tie_word_embeddings", text.get("tie_embedding", True))
        shape = cls(
            family=kind,
            hidden=hidden,
            layers=count,
            heads=heads,
            kv_heads=text.get("num_key_value_heads") or heads,
            head_dim=text.get("head_dim") or hidden // heads,
            intermediate=text.get("intermediate_size") or 0,
            vocab=text["vocab_size"],
            # transformers' default if a config says nothing is True; files of Llama and Qwen say it.
            tied=bool(config.get("tie_word_embeddings", tie)),
            gated=kind not in UNGATED,
            other=0 if config.get("model_type") in TEXT_ALONE else towers,
            windows="sliding_attention" in layer_kinds(text) or _window(text),
            kinds=kinds,
            embedded=_layer_embeddings(text, count),
        )
        if set(kinds) == {shape.plain}:
            shape = dataclasses.replace(shape, kinds=())
        # Some files hold the output head although it is the embedding, or parts that are not loaded.
        offsets = (0, shape.vocab * hidden if shape.tied else 0, towers - shape.other)
        missed = min(abs(stored - shape.total - offset) for offset in offsets) if stored else 0
        if missed > UNEXPLAINED * stored:
            raise FrameworkError(
                f"config.json of model_type {kind} describes {shape.total:,} parameters to this estimate, which does "
                f"not cover the model: its files hold {stored:,}"
            )
        if not stored and shape.kinds and kind not in COUNTED:
            raise FrameworkError(
                f"config.json of model_type {kind} has layers of more than one kind or with experts, and this estimate "
                "was not compared with this family: it needs the files of the weights to compare the parameters"
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
    def plain(self) -> Block:
        """A layer of attention and a dense MLP with these numbers."""
        return plain_block(self.hidden, self.q, self.kv, self.intermediate, gated=self.gated)

    @functools.cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The layers, from the first to the last."""
        return self.kinds or (self.plain,) * self.layers

    @functools.cached_property
    def counts(self) -> Mapping[Block, int]:
        """The kinds of layers, and how many there are of each."""
        return Counter(self.blocks)

    @functools.cached_property
    def linears(self) -> dict[str, tuple[int, int]]:
        """The linear layers by name: inputs and outputs, the largest ones if layers have one of the same name."""
        sizes_by_name: dict[str, tuple[int, int]] = {}
        for block in self.counts:
            for name, inputs, outputs in block.linears:
                sizes_by_name[name] = max(
                    sizes_by_name.get(name, (0, 0)), (inputs, outputs), key=lambda sizes: sizes[0] * sizes[1]
                )
        return sizes_by_name

    @functools.cached_property
    def linear_parameters(self) -> int:
        """Parameters of the linear layers, the output head aside: what a quantization stores in few bits."""
        return sum(block.linear_parameters * count for block, count in self.counts.items())

    @functools.cached_property
    def expert_parameters(self) -> int:
        """Parameters of experts that no quantization packs: a layer's are one tensor of three dimensions."""
        return sum(block.experts * block.expert_parameters * count for block, count in self.counts.items())

    @functools.cached_property
    def active_parameters(self) -> int:
        """Parameters of the layers that a token passes."""
        return sum(
            (block.linear_parameters + block.routed * block.expert_parameters) * count
            for block, count in self.counts.items()
        )

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the embedding, and of the output head if that is another matrix."""
        return self.vocab * self.hidden * (1 if self.tied else 2)

    @functools.cached_property
    def total(self) -> int:
        """All parameters; if the number is not known, norms are counted and biases left out (below 0.1%)."""
        vectors = sum(block.rest * count for block, count in self.counts.items()) + self.hidden
        experts = self.expert_parameters + self.embedded
        return self.parameters or self.linear_parameters + experts + self.embedding_parameters + vectors + self.other

    def lora_parameters(self, rank: int, targets: tuple[str, ...]) -> int:
        """Return the parameters of LoRA: rank x (inputs + outputs) of each adapted layer (arXiv 2106.09685)."""
        return rank * sum(
            count * sum(inputs + outputs for name, inputs, outputs in block.linears if name in targets)
            for block, count in self.counts.items()
        )


def _unsupported(config: Mapping[str, Any], text: Mapping[str, Any], count: int) -> str:
    """Return why a config is not a decoder that the estimate supports; empty if it is."""
    invalid = [name for name in NEEDED if not isinstance(text.get(name), int)]
    invalid += [name for name in OPTIONAL if not isinstance(text.get(name) or 0, int)]
    invalid += [] if count else ["num_hidden_layers"]
    if invalid:
        return f"has no {', '.join(invalid)}"
    if reason := problem(text, count):
        return f"{reason}, which this estimate does not cover"
    quantized = config.get("quantization_config") or {}
    # transformers unpacks weights in MXFP4 to 16 bits where they are trained.
    if quantized and quantized.get("quant_method") != "mxfp4":
        return "says that the weights in the file are already quantized"
    return ""


def _window(text: Mapping[str, Any]) -> bool:
    # Qwen 2 names a window in its config and switches it off beside it.
    window = bool(text.get("sliding_window")) and bool(text.get("use_sliding_window", True))
    return window and not text.get("layer_types")


def _layer_embeddings(text: Mapping[str, Any], count: int) -> int:
    """Return the parameters of Gemma's embeddings for each layer: V L p, and h L p of the projection beside it."""
    features = count * int(text.get("hidden_size_per_layer_input") or 0)
    return features * int((text.get("vocab_size_per_layer_input") or text["vocab_size"]) + text["hidden_size"])


def _image_parameters(config: Mapping[str, Any]) -> int:
    """Return about the parameters of the part for images, a transformer too: layers x (4 h^2 + 2 h i), 3 h i if gated.

    Projectors and tables of positions are left out, below 1% of the models that have them.
    """
    vision = config.get("vision_config") or {}
    hidden, inner = vision.get("hidden_size") or 0, vision.get("intermediate_size") or 0
    matrices = 3 if vision.get("model_type") in GATED_TOWERS else 2
    layers = vision.get("num_hidden_layers") or vision.get("depth") or 0
    return int(layers * (4 * hidden**2 + matrices * hidden * inner))


def _sound_parameters(config: Mapping[str, Any]) -> int:
    """Return about the parameters of the part for sound, a conformer."""
    audio = config.get("audio_config") or {}
    return int((audio.get("num_hidden_layers") or 0) * CONFORMER * (audio.get("hidden_size") or 0) ** 2)
