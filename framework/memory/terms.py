"""The terms of a training's memory in bytes, each with its formula and where it comes from.

T: tokens in a pass, S: tokens of its rows, h: hidden, i: intermediate, q and kv: features of queries and of keys, V:
vocabulary, L: layers, H: heads, e: bytes of a number. "Counted" means: from what autograd of torch keeps for each
operation of the layer in transformers, and checked against the peaks of forward and backward pass that fitcheck-llm
0.3.1 publishes for a T4.
"""

from __future__ import annotations

import dataclasses

from framework.memory.blocks import Block, Linear
from framework.memory.settings import Attention, Loss, MemorySettings, Weights
from framework.memory.shape import Shape
from framework.memory.split import devices_of_layers

NF4_BLOCK, CONSTANTS_BLOCK = 64, 256
"""Weights that share a constant, and constants that share one of the second level (arXiv 2305.14314, appendix)."""
KEPT_SCORES = {Attention.eager: 6.0, Attention.math: 4.0}
"""Bytes of a score that are kept: the softmax in fp32 and, in eager attention, its 16-bit copy (counted)."""
PASSING_SCORES, RAISED_SCORES = 8.0, 1.5
"""Bytes of a score: the backward pass needs the gradients by both in fp32 besides; with fp32 states, eager attention
raises the scores before the mask is added (counted)."""
FORWARD_SCORES = 9.0
"""Bytes a score of a forward pass that keeps nothing: the scores before and after scaling and mask, and the softmax."""
REGROWN, MOST_REGROWN = 2.5, 3.5
"""How often the allocator ends up with the blocks of the largest tensors where every batch has other lengths, and how
often at most: `benchmarks/memory_allocator.py` has 2.0 to 3.7 times the workspace of one pass on average."""

DRAWN_LOGITS = 6
"""Copies in fp32 of the logits of a token that is drawn: probabilities, their sum, and what is left of them."""


def base_weights(shape: Shape, settings: MemorySettings) -> dict[str, float]:
    """Return the base weights: linear layers, what a quantization needs for them, experts, and all else.

    NF4 stores a linear weight in half a byte and a block of 64 with a constant in fp32, or with double quantization
    in a byte, of which 256 share another in fp32: 0.0625 or 0.0159 bytes a weight. LLM.int8() stores a byte, and four
    bytes for each row (arXiv 2208.07339). Embeddings, head and norms stay in 16 bits, or are raised to fp32; experts
    that are one tensor stay in 16 bits too, unless they are packed. Parts for images and sound are linear layers.
    """
    linear, experts = shape.linear_parameters + shape.other, shape.expert_parameters
    if settings.packed_experts:
        linear, experts = linear + experts, 0
    embeddings = shape.total - linear - experts
    if settings.weights is Weights.nf4:
        double = 1 / NF4_BLOCK + 4 / (NF4_BLOCK * CONSTANTS_BLOCK)
        constant = double if settings.double_quant else 4 / NF4_BLOCK
        parts = {"linear layers": linear * 0.5, "quantization constants": linear * constant}
    elif settings.weights is Weights.int8:
        rows = sum(count * sum(matrix.outputs for matrix in block.linears) for block, count in shape.counts.items())
        parts = {"linear layers": linear * 1.0, "quantization constants": rows * 4.0}
    else:
        width = 4 if settings.weights is Weights.fp32 else 2
        parts = {"linear layers": linear * width}
        return parts | _expert_weights(experts, width) | {"embeddings, head, norms": embeddings * width}
    width = 4 if settings.upcast else 2
    return parts | _expert_weights(experts, width) | {"embeddings, head, norms": embeddings * width}


def _expert_weights(experts: int, width: int) -> dict[str, float]:
    return {"experts": float(experts * width)} if experts else {}


def trained_parameters(shape: Shape, settings: MemorySettings) -> int:
    """Return how many parameters are trained: of DoRA also a magnitude for each output."""
    if settings.full:
        return shape.total - shape.other  # parts for images and sound are frozen
    adapter = settings.trained or shape.lora_parameters(settings.rank, settings.targets)
    if settings.trained or not settings.magnitudes:
        return adapter
    adapted = ((linear, count) for block, count in shape.counts.items() for linear in block.linears)
    return adapter + sum(linear.outputs * count for linear, count in adapted if linear.name in settings.targets)


def trained_bytes(settings: MemorySettings) -> int:
    """Return the bytes of a trained weight and of its gradient; adapters are kept in fp32 by peft."""
    if settings.full:
        return 2 if settings.weights is Weights.half else 4
    return settings.trained_width


def optimizer_states(shape: Shape, settings: MemorySettings) -> float:
    """Return Adam's two states: in the dtype of the weight (torch), or a byte each (bitsandbytes, blocks of 256)."""
    # Of other optimizers the bytes do not follow the weight.
    narrow = trained_bytes(settings) / 4 if settings.state_bytes == 8 else 1  # noqa: PLR2004 - two states in fp32
    return trained_parameters(shape, settings) * settings.state_bytes * narrow


def checkpoints(shape: Shape, settings: MemorySettings) -> float:
    """Return the states between layers, which checkpointing keeps: L T h e; of two layers if they are offloaded.

    What comes into each layer beside them (Gemma's embeddings for each layer) is made once, for all.
    """
    carried = sum(block.carried * count for block, count in shape.counts.items())
    features = (2 if settings.offloaded else shape.layers) * shape.hidden + carried
    return features * settings.tokens * settings.state_width


def layer(shape: Shape, block: Block, settings: MemorySettings) -> tuple[float, float]:
    """Return what one layer keeps for its backward pass in attention, and in the MLP.

    Attention: e T (2q + 2kv), rotated queries and keys, values and output; 2q in place of 2kv where heads of keys are
    repeated, and 12 T q in fp32 in place of three of these in torch's math kernel; e S T for a mask; the scores, where
    they are matrices. What is in its place: e T k, with k numbers that `blocks.py`
    derives. MLP: 3 e T i, gate before and after SiLU, and up, or 2 if it is fused; i counts the features of a token's
    experts, and each gives h more, which are weighted. Norms compute in fp32, and keep what they read: 4 T h each, or
    if they are fused what they gave, which the adapters behind them keep too. Inputs of layers are kept for gradients
    of their weights: of base weights that are trained 3h in attention and 2h + i in the MLP; LLM.int8() keeps h, and
    h + i, of frozen ones too. Each adapted layer keeps a copy of its input in the dtype of its
    product. Each product with a frozen fp32 weight keeps the 16-bit copy that autocast made of it: 2 P. (Counted by
    `benchmarks/memory_fake.py`.)
    """
    tokens, hidden = settings.tokens, shape.hidden
    if settings.activation_bytes:
        # The number is that of a whole layer; halves, since attention and MLP are added up wherever they are used.
        return settings.activation_bytes * tokens / 2, settings.activation_bytes * tokens / 2
    e = _product_bytes(settings)
    keys = block.q if settings.attention in {Attention.eager, Attention.sdpa} else block.kv
    masked = settings.length if settings.masked and block.q else 0
    # The backward pass of bitsandbytes' `MatMul8bitLt` has the input, though only the weight's gradient would need it.
    read, gates = (3, 2) if settings.full else (1, 1) if settings.weights is Weights.int8 else (0, 0)
    mixed = 4 * block.unfused if block.unfused and not settings.kernels else e * block.kept
    attended = 12 * block.q + e * block.q if settings.attention is Attention.math else e * 2 * (block.q + keys)
    attention: float = tokens * (mixed + attended + e * (read * hidden + masked))
    products = 2 if settings.fused else 3 + (1 if gates else 0)
    mlp: float = e * tokens * (gates * hidden + products * block.inner + (1 + (gates > 0)) * block.routed * hidden)
    # Norms that are trained keep what they divided too; in full training without autocast `read` has it already.
    norm = 8 if settings.full and settings.wide_states and settings.autocast else 4
    if settings.fused:  # what it gave, which an adapter keeps too
        attention += e * tokens * hidden * (not {"q", "k", "v"} & {*settings.targets})
    elif not (settings.full and settings.wide_states) or settings.autocast:
        attention, mlp = attention + norm * tokens * hidden, mlp + norm * tokens * hidden
    if not settings.full:
        attention += tokens * _adapter_activations(block.mixer, settings)
        mlp += tokens * _adapter_activations(block.mlp, settings)
    if copies_frozen(settings):
        attention += 2.0 * sum(linear.inputs * linear.outputs for linear in block.mixer)
        mlp += 2.0 * (
            sum(linear.inputs * linear.outputs for linear in block.mlp) + block.experts * block.expert_parameters
        )
    if settings.adapted_experts and settings.grouped_experts:  # what the first matrices of their adapters read
        mlp += e * tokens * (block.routed * hidden + block.inner)
    return attention, mlp + adapted_experts(block, settings)


def copies_frozen(settings: MemorySettings) -> bool:
    """Whether the backward pass has 16-bit copies of frozen weights: autocast caches those of trained weights only."""
    return settings.autocast and settings.weights is Weights.fp32 and not settings.full


def frozen_head_copy(shape: Shape, settings: MemorySettings) -> float:
    """Return the 16-bit copy of a frozen fp32 head, from its product to the gradient of the states: 2 V h."""
    copied = copies_frozen(settings) or (settings.autocast and settings.upcast and not settings.full)
    return 2.0 * shape.vocab * shape.hidden * copied


def _product_bytes(settings: MemorySettings) -> int:
    return 4 if settings.wide or (settings.upcast and settings.wide_states) else 2


def _adapter_activations(linears: tuple[Linear, ...], settings: MemorySettings) -> float:
    """Return the bytes that the adapters of some layers keep for a token, and for a pass of copied weights.

    Layers that read the same share it, and attention keeps what it gave. With dropout each has its own input, in 16
    bits with autocast and else in fp32, and a mask of a byte for each number. DoRA copies the input, and keeps two
    results: the base's and the adapter's. With dropout it computes the base's itself, and keeps the weight that it does
    that with.
    """
    adapted = [linear for linear in linears if linear.name in settings.targets]
    inputs = sum(linear.inputs for linear in adapted)
    raises_none = _product_bytes(settings) == 4 and not settings.autocast  # noqa: PLR2004 - they are fp32 already
    if not _copies_inputs(settings) or (raises_none and not settings.dropout and not settings.magnitudes):
        inputs = sum({linear.inputs for linear in adapted if linear.name != "o"})
    if settings.fused:  # the MLP makes what its down projection reads again
        inputs = sum({linear.inputs for linear in adapted if linear.name not in {"o", "down"}})
    masks = settings.dropout * sum(linear.inputs for linear in adapted)
    saved: float = (2 if settings.autocast else 4) * inputs + masks
    if settings.magnitudes:
        saved += 4 * sum(linear.outputs for linear in adapted)
        saved += settings.dropout * 2 * sum(linear.inputs * linear.outputs for linear in adapted) / settings.tokens
    return float(saved)


def _copies_inputs(settings: MemorySettings) -> bool:
    """Whether each adapted layer has an input of its own."""
    return settings.dropout or settings.magnitudes or settings.raised_inputs


def raised_input(shape: Shape, settings: MemorySettings) -> float:
    """Return what an adapter's fp32 copy of its input takes while it is made, and the same behind dropout: 4 T i."""
    raises = settings.magnitudes or settings.raised_inputs
    if settings.full or not raises or not settings.autocast or settings.activation_bytes:
        return 0.0
    largest = max((sizes[0] for name, sizes in shape.linears.items() if name in settings.targets), default=0)
    return 4.0 * (1 + settings.dropout) * settings.tokens * largest


def magnitude_norm(shape: Shape, settings: MemorySettings) -> float:
    """Return what DoRA takes for the norm of its largest weight: 6 i^2 + 2 h i.

    peft multiplies both matrices of the adapter with the identity, of which autocast makes a copy.
    """
    if not settings.magnitudes or settings.process:
        return 0.0
    sizes = [sizes for name, sizes in shape.linears.items() if name in settings.targets]
    return float(max(6 * inputs * inputs + 2 * inputs * outputs for inputs, outputs in sizes))


def last_norm(shape: Shape, settings: MemorySettings) -> float:
    """Return what is kept behind the layers: what the last norm read, in fp32, and the states that it gave.

    If it is trained, also what it divided.
    """
    if settings.process or settings.loss is not Loss.learned:
        return 0.0
    read = 8 if settings.full and settings.wide_states else 4
    return float((read + settings.state_width) * settings.tokens * shape.hidden)


def adapted_experts(block: Block, settings: MemorySettings) -> float:
    """Return a layer's experts with their adapter added, which peft makes whole for each pass (derived).

    The adapter of grouped experts is a product of its own.
    """
    size = block.experts * block.expert_parameters * settings.compute_bytes
    return float(size) if settings.adapted_experts and not settings.grouped_experts else 0.0


def mlp_backward(shape: Shape, settings: MemorySettings) -> float:
    """Return what the backward pass of an MLP takes beside what its layer keeps: e T (3i + h), and one copy less.

    These are the gradients of gate, up and their product, and that of the states that it begins with; while a packed
    weight is whole, two of the three and that weight. What the down projection read is gone by then, if it was kept.
    A layer that is computed again ends with that product beside its dropped copy, and 5h: states, their gradient and
    that times the adapter's scale. Where inputs are raised, all this is less than a copy of one, or about the same: 0.
    """
    if settings.activation_bytes or settings.raised_inputs:
        return 0.0
    inner, copied = max(block.inner for block in shape.counts), "down" in settings.targets and not settings.full
    numbers = float(_product_bytes(settings) * settings.tokens * inner)
    states = float(settings.state_width * settings.tokens * shape.hidden)
    read = float(settings.tokens * inner * ((2 if settings.autocast else 4) + settings.dropout)) if copied else 0.0
    back = max(3 * numbers, 2 * numbers + dequantized(shape, settings)) + states
    if settings.fused:  # dropout's masks are raised, and what they are multiplied with is made again
        return back + 2 * numbers * settings.dropout
    again = numbers + 5 * states if settings.checkpointing and settings.dropout and copied else 0.0
    return max(back - (numbers if settings.full else read), again)


def largest_layer(shape: Shape, settings: MemorySettings) -> float:
    """Return the bytes that a layer keeps for its backward pass, of the layer that keeps most."""
    return max(sum(layer(shape, block, settings)) for block in shape.counts)


def passing(shape: Shape, settings: MemorySettings) -> float:
    """Return what a layer needs if nothing is kept: e T (2h + 3i), its input, and gate, up and product."""
    width = max(3 * block.inner + block.kept + block.routed * shape.hidden for block in shape.counts)
    return float(settings.compute_bytes * settings.tokens * (2 * shape.hidden + width))


def scores(shape: Shape, settings: MemorySettings) -> float:
    """Return the number of scores in a layer's attention, H S T, if they are matrices in memory."""
    if settings.attention not in KEPT_SCORES:
        return 0.0
    return float(shape.heads * settings.length * settings.tokens)


def kept_scores(shape: Shape, settings: MemorySettings) -> float:
    """Return the bytes of the scores that a layer keeps: 6 of each in eager attention, 4 in the math kernel."""
    return KEPT_SCORES.get(settings.attention, 0.0) * scores(shape, settings)


def mask(settings: MemorySettings) -> float:
    """Return the mask of a pass: e S T for eager attention, else a byte for each pair."""
    if settings.attention is Attention.eager:
        return settings.state_width * settings.length * settings.tokens
    return 1.0 * settings.length * settings.tokens if settings.masked else 0.0


def scores_backward(shape: Shape, settings: MemorySettings) -> float:
    """Return what the backward pass through attention needs of scores: 14 bytes each, or 12 in the math kernel.

    With fp32 states eager attention needs 15.5.
    """
    return kept_scores(shape, settings) + (PASSING_SCORES + raised_scores(settings)) * scores(shape, settings)


def raised_scores(settings: MemorySettings) -> float:
    """Return the bytes of a score that eager attention raises before it adds the mask."""
    eager = settings.attention is Attention.eager
    return RAISED_SCORES if eager and settings.upcast and settings.wide_states else 0.0


def loss_backward(shape: Shape, settings: MemorySettings) -> float:
    """Return the workspace of the loss where it is largest, at the start of the backward pass.

    Plain: logits (2 bytes, or 4 of an fp32 head), log-softmax, the gradient by it and by the logits in fp32: 14 or 16
    bytes T V (counted). Chunked: a chunk of these, the learned states and their gradient, 4 T h, in fp32 8 T h; of
    learned tokens only 10 T V if that is less. Of a head that is trained two gradients, 8 V h: one is summed in fp32,
    and multiplied when the chunks are gone. Of a frozen fp32 head autocast's copy.
    """
    size = settings.tokens * shape.vocab
    copy = frozen_head_copy(shape, settings)
    if settings.loss is Loss.plain:
        return (12.0 + logits_bytes(settings)) * size + copy
    head = head_gradient(shape, settings)
    return (2 * head or _chunk(shape, settings)) + _learned_states(shape, settings) + copy


def _learned_states(shape: Shape, settings: MemorySettings) -> float:
    wide = settings.loss is Loss.learned and settings.wide_states and not settings.process
    return (8.0 if wide else 4.0) * settings.tokens * shape.hidden


def _chunk(shape: Shape, settings: MemorySettings) -> float:
    """Return the bytes of one chunk of logits, and of what the loss computes from it."""
    if settings.loss is Loss.chunked:
        return settings.chunk
    return min(settings.chunk, 10.0 * settings.tokens * shape.vocab)


def head_gradient(shape: Shape, settings: MemorySettings) -> float:
    """Return the gradient of a trained head, 4 V h, that a loss in chunks sums in fp32."""
    summed = settings.full and settings.loss is Loss.learned and not settings.process and settings.pieces == 1
    return 4.0 * shape.vocab * shape.hidden * summed


def loss_forward(shape: Shape, settings: MemorySettings) -> float:
    """Return the workspace of the loss in the forward pass.

    Plain: logits, their fp32 copy and the log-softmax. Chunked: as backward, but one gradient of the head and a chunk.
    """
    copy = frozen_head_copy(shape, settings)
    if settings.loss is Loss.plain:
        return (8.0 + logits_bytes(settings)) * settings.tokens * shape.vocab + copy
    return _chunk(shape, settings) + head_gradient(shape, settings) + _learned_states(shape, settings) + copy


def head_copy(shape: Shape, settings: MemorySettings) -> float:
    """Return the 16-bit copy of a trained head, which autocast keeps until the loss is known: 2 V h."""
    return 2.0 * shape.vocab * shape.hidden * (head_gradient(shape, settings) > 0 and settings.autocast)


def logits_bytes(settings: MemorySettings) -> int:
    """Return the bytes of a logit: 4 if the head is fp32 and no autocast lowers it."""
    return 4 if settings.wide or (settings.upcast and settings.weights in {Weights.nf4, Weights.int8}) else 2


def held_logits(shape: Shape, settings: MemorySettings) -> float:
    """Return the logits that the model's output holds through the backward pass."""
    return float(logits_bytes(settings) * settings.tokens * shape.vocab) if settings.loss is Loss.plain else 0.0


def patched(shape: Shape, settings: MemorySettings) -> float:
    """Return what training single rows of the head takes in a pass: 2 e V h.

    peft puts the rows into a copy of the matrix, which the backward pass needs, and that gives it a gradient. The copy
    of the embedding is gone by then. (peft's `TrainableTokensLayer`.)
    """
    if not settings.patched:
        return 0.0
    wide = settings.weights is Weights.fp32 or settings.upcast
    return 2.0 * (4 if wide else 2) * shape.vocab * shape.hidden


def gathered(shape: Shape, settings: MemorySettings) -> float:
    """Return what a process holds whole for a while, of weights that are cut into pieces.

    Two of the largest layers, the current and the next one, and the output head, which stays from the end of the
    forward pass to the start of the backward pass: e (2 P_layer + V h), a layer in the bytes that it is stored in if
    it is quantized. Where all weights are trained, the gradients of one layer and of the head, and what is sent of
    them, s: (e + s) (P_layer + V h); a loss in chunks sums the head's in fp32 and multiplies them once, (8 + s) V h
    instead of (e + s) V h. (torch FSDP2, accelerate's `fsdp2_prepare_model`, `hf/loss/chunked_cross_entropy.py`.)
    """
    if settings.pieces == 1:
        return 0.0
    head = shape.vocab * shape.hidden
    layer = max(block.linear_parameters + block.experts * block.expert_parameters for block in shape.counts)
    wide = settings.compute_bytes
    stored = {Weights.nf4: 0.5, Weights.int8: 1.0}.get(settings.weights, float(wide))
    sent = sent_bytes(settings)
    summed = wide + sent if settings.loss is Loss.plain else 8 + sent
    gradients = (wide + sent) * layer + summed * head if settings.full else 0
    return 2 * stored * layer + wide * head + gradients


def sent_bytes(settings: MemorySettings) -> int:
    """Return the bytes of a gradient's number as it is sent: DDP sends the dtype of the weight, FSDP2 that of products.

    Replicas of shards add up the gradients of several passes in what they send, so that is fp32. (`reduce_in_fp32`.)
    """
    if not settings.sharded:
        return trained_bytes(settings)
    return 4 if settings.autocast and settings.replicas > 1 else settings.compute_bytes


def buckets(shape: Shape, settings: MemorySettings) -> float:
    """Return the buckets in which DDP sends gradients: as large as the gradients."""
    is_single = settings.processes == 1 or settings.sharded
    return 0.0 if is_single else float(trained_parameters(shape, settings) * trained_bytes(settings))


def evaluated_weights(shape: Shape, settings: MemorySettings) -> float:
    """Return the bytes of base weights on the fullest GPU, if one process evaluates with the layers split over GPUs."""
    parts = base_weights(shape, settings)
    total = sum(parts.values())
    linear_bytes = sum(parts.get(name, 0.0) for name in ("linear layers", "quantization constants"))
    packed = shape.expert_parameters * settings.packed_experts
    linear = linear_bytes / (shape.linear_parameters + shape.other + packed)
    expert = linear if packed else parts.get("experts", 0.0) / max(1, shape.expert_parameters)
    sizes = [
        block.linear_parameters * linear + block.experts * block.expert_parameters * expert for block in shape.blocks
    ]
    device_bytes = [0.0] * settings.evaluated_on
    device_bytes[0] = total - sum(sizes)
    for device, size in zip(devices_of_layers(sizes, device_bytes[0], len(device_bytes)), sizes, strict=True):
        device_bytes[device] += size
    return max(device_bytes)


def dequantized(shape: Shape, settings: MemorySettings) -> float:
    """Return the largest packed weight in 16 bits, one at a time: a linear layer, 2 h i, or a matrix of all experts."""
    if settings.weights not in {Weights.nf4, Weights.int8}:
        return 0.0
    sizes = [inputs * outputs for inputs, outputs in shape.linears.values()]
    if settings.grouped_experts:
        sizes += [block.experts * linear.inputs * linear.outputs for block in shape.counts for linear in block.expert]
    return 2.0 * max(sizes)


def packing(shape: Shape, settings: MemorySettings) -> float:
    """Return what is there in 16 bits while a weight of the files is packed: the largest, as they are read one by one.

    Experts are packed when a matrix of all of them is whole. Where files hold them one by one, they are there too.
    """
    copies = 2 if settings.merged_experts else 1
    experts = [block.experts * linear.inputs * linear.outputs for block in shape.counts for linear in block.expert]
    return 2.0 * copies * max(experts, default=0) if settings.grouped_experts else 0.0


def cast_weights(shape: Shape, settings: MemorySettings) -> float:
    """Return the 16-bit copies of fp32 weights that autocast caches through a forward pass, of weights it trains.

    The layers of an adapter keep such copies too, in the dtype of their products.
    """
    if not settings.full:
        copied = settings.process or (settings.autocast and settings.trained_width == 4)  # noqa: PLR2004 - fp32
        return float(settings.compute_bytes * trained_parameters(shape, settings)) if copied else 0.0
    return 2.0 * shape.total if settings.autocast and settings.weights is Weights.fp32 else 0.0


def kv_cache(shape: Shape, settings: MemorySettings) -> float:
    """Return keys and values of the prompts that are answered at a time, 2 L kv e a token, or states in their place."""
    per_token = sum(2 * block.kv * count for block, count in shape.counts.items()) * settings.compute_bytes
    states = sum(4 * block.state * count for block, count in shape.counts.items())
    return float(settings.answer_rows * (per_token * settings.answer_tokens + states))


def next_tokens(shape: Shape, settings: MemorySettings) -> float:
    """Return what answers take besides their keys and values: their prompts are read, or each gets another token.

    A layer's keys and values are copied to add a token, and for each head, since padding is masked.
    """
    read = passing(shape, dataclasses.replace(settings, rows=1, length=settings.prompt_tokens))
    heads = shape.heads / shape.kv_heads if shape.heads > shape.kv_heads else 0
    layer = max(2 * block.kv for block in shape.counts) * (1 + heads) * settings.compute_bytes
    logits = DRAWN_LOGITS * 4 * shape.vocab
    return max(read, float(settings.answer_rows * (settings.answer_tokens * layer + logits)))
