"""How a model is trained, as far as memory goes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from framework.memory.shape import LINEARS


class Weights(Enum):
    """How the base weights are stored."""

    fp32 = "fp32"
    half = "half"
    int8 = "int8"
    nf4 = "nf4"


class Attention(Enum):
    """The attention kernels.

    `eager` keeps the score matrices, `sdpa` does not, `grouped` repeats no key heads either, as sdpa without a mask,
    and `flash` takes 16 bits only. `math` is what sdpa without a mask falls back to if heads share keys and flash
    attention is not available: for fp32, and on GPUs before Ampere. It keeps the score matrices in fp32.
    """

    eager = "eager"
    math = "math"
    sdpa = "sdpa"
    grouped = "grouped"
    flash = "flash"


class Loss(Enum):
    """How the loss is computed: over all logits, in chunks, or in chunks over the learned tokens only."""

    plain = "plain"
    chunked = "chunked"
    learned = "learned"


def weight_shards(processes: int, shard_size: int, *, sharded: bool) -> int:
    """Return into how many shards a group of processes cuts weights; `shard_size` 0: over all of them."""
    return (shard_size or processes) if sharded else 1


@dataclass(frozen=True)
class MemorySettings:
    """The settings of a training that its memory depends on.

    Attributes:
        rows: rows in one forward pass.
        length: tokens of the longest row; with packing, of the packed one.
        rank: of LoRA; 0 if all weights are trained.
        targets: the linear layers with LoRA, by the names of `shape.LINEARS`.
        adapted_experts: whether experts that are one tensor have LoRA too.
        trained_width: bytes of a weight of the adapter and of its gradient.
        trained: trained parameters if they are known; 0: counted from rank and targets.
        frozen: bytes of weights beside the base that are not trained: those of a frozen adapter, or of a start that is
            compared with.
        patched: whether single rows of embedding and head are trained: each pass makes copies of the matrices.
        weights: how the base weights are stored.
        double_quant: whether NF4's constants are quantized too.
        packed_experts: whether experts that are one tensor are quantized too.
        grouped_experts: whether packed experts are unpacked a matrix of a layer at a time, and their adapter is a
            product beside it, as `trainer=hf` does.
        merged_experts: whether transformers makes such a tensor of single experts that the files hold.
        upcast: whether what a quantization leaves is raised to fp32, as peft's `prepare_model_for_kbit_training` does.
        autocast: whether products are computed in 16 bits beside fp32 weights.
        state_bytes: bytes of the optimizer's states on the GPU for each trained parameter.
        copies: whether the optimizer's step makes a copy of the trained weights (torch's `foreach` implementation).
        attention: the kernels.
        attention_choice: what a trainer chooses for attention on a GPU, and why, and what computes other layers; empty:
            nothing to tell.
        kernels: whether linear attention and state spaces have kernels of their own; else torch computes them.
        checkpointing: whether activations are computed again in the backward pass.
        offloaded: whether the states that checkpointing keeps lie in the CPU's memory.
        loss: how the loss is computed.
        chunk: bytes that a loss in chunks works in, besides the gradient by the states. (Liger, Unsloth and TRL from
            1.6 cut chunks for about 256 MiB.)
        varied: whether rows are padded to ever other lengths, so that the allocator's blocks do not fit the next pass.
        masked: whether a pass comes with a mask of the pairs of each row, or of a tree, which is one row; each layer
            keeps it in the dtype of its products.
        dropout: whether what adapters read is dropped at random.
        fused: whether an MLP with its adapters is one function, which keeps gate and up, and norms keep what they gave.
        raised_inputs: whether each adapted layer raises what it reads to the adapter's fp32, as peft does by itself.
        magnitudes: whether the adapter is DoRA.
        activation_bytes: those that a layer keeps of a token for its backward pass, of a trainer with layers of its
            own; 0: those of transformers are counted.
        process: bytes of what is not a tensor: the libraries of a process, if the memory is that of a process.
        heap: share of what a pass keeps that the allocator of a process holds besides, in gaps between the kept.
        file: bytes of the file that is mapped while its weights are turned into another format, as a process has it.
        evaluated_rows: rows of a pass of the validation loss; 0: none.
        evaluated_length: tokens of the longest of them; 0: as in training.
        answers_at_once: answers that may be made at a time; 0: the trainer does not say.
        answer_rows: answers that are made at a time; 0: none.
        answer_tokens: tokens of a prompt with its answer.
        prompt_tokens: tokens of the prompts that are read at a time for them.
        merged: bytes of weights that the adapter is merged into while answers are drawn, beside those of the base.
        processes: of the group that trains; 1: one.
        sharded: whether each of them holds a piece of weights, gradients and optimizer only.
        shard_size: how many of them hold the pieces of a whole, the others replicas of these; 0: all.
        offloaded_weights: whether those pieces lie in the CPU's memory.
        evaluated_on: GPUs that a model in pieces is split over while one process evaluates it, before and after the
            training; 1: one has all layers; 0: it is not evaluated.
    """

    rows: int
    length: int
    rank: int = 0
    targets: tuple[str, ...] = LINEARS
    adapted_experts: bool = False
    trained_width: int = 4
    trained: int = 0
    frozen: float = 0.0
    patched: bool = False
    weights: Weights = Weights.half
    double_quant: bool = False
    packed_experts: bool = False
    grouped_experts: bool = False
    merged_experts: bool = False
    upcast: bool = False
    autocast: bool = False
    state_bytes: float = 8.0
    copies: bool = True
    attention: Attention = Attention.sdpa
    attention_choice: str = ""
    kernels: bool = True
    checkpointing: bool = True
    offloaded: bool = False
    loss: Loss = Loss.plain
    chunk: float = 256 * 2**20
    varied: bool = False
    masked: bool = False
    dropout: bool = False
    fused: bool = False
    raised_inputs: bool = True
    magnitudes: bool = False
    activation_bytes: float = 0.0
    process: float = 0.0
    heap: float = 0.0
    file: float = 0.0
    evaluated_rows: int = 0
    evaluated_length: int = 0
    answers_at_once: int = 0
    answer_rows: int = 0
    answer_tokens: int = 0
    prompt_tokens: int = 0
    merged: float = 0.0
    processes: int = 1
    sharded: bool = False
    shard_size: int = 0
    offloaded_weights: bool = False
    evaluated_on: int = 1

    @property
    def pieces(self) -> int:
        """Into how many pieces weights, gradients and optimizer are cut."""
        return weight_shards(self.processes, self.shard_size, sharded=self.sharded)

    @property
    def replicas(self) -> int:
        """How many processes hold the same weights."""
        return self.processes // self.pieces

    @property
    def tokens(self) -> int:
        """Tokens in one forward pass."""
        return self.rows * self.length

    @property
    def full(self) -> bool:
        """Whether all weights are trained."""
        return self.rank == 0

    @property
    def wide(self) -> bool:
        """Whether products are computed in fp32: neither 16-bit weights nor autocast."""
        return self.weights is Weights.fp32 and not self.autocast

    @property
    def wide_states(self) -> bool:
        """Whether the states between layers are fp32: they take the dtype of embedding and norms.

        Kernels of flash attention take 16 bits only, so trainers that use them leave the states there.
        """
        raised = self.upcast and self.attention is not Attention.flash
        return self.weights is Weights.fp32 or raised

    @property
    def compute_bytes(self) -> int:
        """Bytes of a number in a product."""
        return 4 if self.wide else 2

    @property
    def state_width(self) -> int:
        """Bytes of a number in the states between the layers."""
        return 4 if self.wide_states else 2
