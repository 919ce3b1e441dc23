"""The memory use of `trainer=hf` for the plan, and what would reduce it. Without torch."""

from __future__ import annotations

import math
import re
import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from framework import FrameworkError, Plan, Stage
from framework.api import Gpu, host_memory
from framework.api.training import (
    Attention,
    Evaluation,
    Loss,
    MemoryReduction,
    MemorySettings,
    ModelPart,
    OptimizerFactory,
    Shape,
    StartsFromAdapter,
    TrainedWeight,
    Weights,
    estimate,
)
from framework_plugins.hf.settings import rollouts
from framework_plugins.hf.settings.config import (
    ALL_LINEAR,
    Device,
    DoraAdapterConfig,
    Dtype,
    Experts,
    FullConfig,
    HFTrainerConfig,
    Int8Config,
    LoraAdapterConfig,
    NF4Config,
    NoQuantizationConfig,
    Packing,
    Switch,
    fixed_dtype,
    target_pattern,
)
from framework_plugins.hf.settings.config import Attention as Kernels
from framework_plugins.hf.settings.library_fields import WITHIN_WEIGHTS
from framework_plugins.hf.settings.optimizers import AdamWTorchConfig, BuiltInConfig
from framework_plugins.hf.settings.rollouts import ModelRolloutConfig

KERNELS = {Kernels.eager: Attention.eager, Kernels.flash_attention_2: Attention.flash}
CPU_PASS_TOKENS, MAX_SLOWDOWN, MIN_SAVED_TOKENS = 1024, 1.03, 32
"""Tokens that a pass on a CPU is cut to, how much slower that may be, and tokens that are worth a branch: those of
`packing/`, which imports torch."""
GPU_PASS_TOKENS, MIN_KEPT_TOKENS = 8192, 512
"""On a GPU, tokens of a pass beyond which a longer one is no faster per token; and tokens below which passes that keep
their activations lose more, since each of them reads all weights, than longer ones that compute them again."""
PASS_STEP = 256
"""Tokens by which passes differ that memory limits, so that a little more or less of it changes nothing."""
SHARD_BYTES = 5e9
"""Bytes of a file of weights, as models of several files have been saved; one is mapped at a time."""
HEAD_CPU, LOGITS_CPU, HEAD_GPU, LOGITS_GPU = 96 * 2**20, 32 * 2**20, 256 * 2**20, 128 * 2**20
"""Bytes that `loss/chunked_cross_entropy.py` works in: logits in 16 bits, a piece of them in fp32, and what the head
makes of their gradient; as many logits in fp32 take `LOGITS_CPU` or `LOGITS_GPU` more, and so does the gradient of a
trained head on a GPU."""
PROCESS_CPU, PROCESS_CUDA = 610 * 2**20, 1042 * 2**20
"""Bytes of Python with torch, transformers, peft, TRL, bitsandbytes, datasets and a tokenizer: measured with torch 2.13
for CPUs, and with torch 2.15 for CUDA, whose libraries take their place on a machine without a GPU too."""
KEPT_SHAPES = 256
"""Shapes of products in 16 bits of which a CPU keeps what was prepared for them, see `machine/allocator.py`. A pass has
about 50; the next pass of as many tokens has the same ones."""
PRIMITIVES = KEPT_SHAPES * 300 * 2**10
"""Bytes of these, oneDNN's primitives: the code of each has a buffer of 256 KiB, and 30 to 60 KiB are beside it.
Products in fp32 are MKL's."""
HEAP_SHARE = 0.15
"""Of what a pass keeps: glibc puts blocks below 32 MiB into its heap, where what is freed between kept ones stays with
the process. A run takes that much less with MALLOC_MMAP_THRESHOLD_=1048576, which gives each block its own pages."""
OTHER_NAMES = {
    "qkv_proj": ("q", "k", "v"),
    "query_key_value": ("q", "k", "v"),
    "c_attn": ("q", "k", "v"),
    "gate_up_proj": ("gate", "up"),
    "input_linear": ("gate", "up"),
    "output_linear": ("down",),
    "w1": ("gate",),
    "w3": ("up",),
    "w2": ("down",),
}
"""What families call layers otherwise; the first ones hold several."""
PARTS = {"q": "self_attn", "k": "self_attn", "v": "self_attn", "o": "self_attn", "gate": "mlp", "up": "mlp",
         "down": "mlp"}  # fmt: skip
"""The parts of a layer that hold the linear layers, in models like Llama."""
MLP = ("gate", "up", "down")
"""The layers that `cpu_kernels/mlp.py` makes one function of."""
EMBEDDING_NAME, HEAD_NAME = "embed_tokens", "lm_head"
"""What models like Llama call them."""
MIN_ANSWERS = 2
"""Fewer answers to a prompt cannot be compared."""
EVALUATION_MARGIN = 1.15
"""How many times the memory that is estimated for an evaluation one GPU must have to hold all layers."""
MIN_USEFUL_RANK = 8
"""Below it an adapter learns little."""


@dataclass(frozen=True, slots=True)
class PassLimits:
    """How large the passes of a training are.

    Attributes:
        tokens: of a pass; 0: `trainer.per_device_train_batch_size` rows.
        kept: tokens of the longest pass that keeps its activations; None: all do, or none, as checkpointing is set.
    """

    tokens: int = 0
    kept: int | None = None


def footprint(
    plan: Plan, shape: Shape, gpu: Gpu | None, longest: int, shared: int, mean: int | None = None
) -> MemorySettings:
    """Return how a plan trains; without a `mean` all rows are as long as the longest."""
    return plan_passes(plan, shape, gpu, longest, shared, mean)[1]


def plan_passes(
    plan: Plan, shape: Shape, gpu: Gpu | None, longest: int, shared: int, mean: int | None = None
) -> tuple[PassLimits, MemorySettings]:
    """Return how large passes are, and the settings of the one that needs the most memory; see `footprint`."""
    config: HFTrainerConfig = plan.trainer.config
    adapter: Any = plan.adapter.config
    if drawn := math.ceil(plan.cost.rollout_tokens / plan.cost.rows):  # the rows are prompts
        longest, mean = (min(each + drawn, config.max_seq_length) for each in (longest, mean or longest))
    full = isinstance(adapter, FullConfig)
    on_gpu = gpu is not None and config.device is not Device.cpu
    if shape.kinds and not on_gpu:
        raise FrameworkError(
            f"config.json of model_type {shape.family} has experts or layers of several kinds, whose memory is "
            "estimated on GPUs only: plan.gpu=rtx4090 estimates it on that card"
        )
    one_sequence = config.packing is Packing.tree and not config.neftune_noise_alpha
    unmasked = config.attention is Kernels.flash_attention_2
    shared_prefixes = one_sequence and not getattr(adapter, "lora_dropout", 0) and not unmasked
    shared = shared if shared_prefixes else 0
    attends = all(block.q or not block.mixer for block in shape.counts)
    # FlexAttention's or flash-attn's kernels; without triton a tree has a dense mask, which is not counted then.
    kernels = on_gpu and one_sequence and attends and (unmasked or config.attention is Kernels.auto)
    # With windows a tree may cost more than padding, which is taken then; without attention there is none.
    tree = kernels or (shared_prefixes and not shape.windows and attends)
    wide = _computes_in_fp32(config, on_gpu=on_gpu)
    stored, double_quant = _stored(plan, wide=full or wide)
    grouped = replace(
        config, per_device_train_batch_size=math.ceil(config.per_device_train_batch_size * plan.cost.rows)
    )
    rows, length = _largest_pass(grouped, longest, shared, mean or longest, on_gpu=on_gpu, tree=tree)
    answers, group = _answers(plan, longest), plan.launch.config.group()
    new_rows = token_rows(plan)
    # Rows of one pass differ in length, so padding is masked; the kernels of sequences take no mask of pairs.
    dense = on_gpu and not kernels and not unmasked
    masked = dense and (shared_prefixes or rows > 1)
    fast = not on_gpu and not full and stored in {Weights.half, Weights.fp32} and group is None
    settings = MemorySettings(
        rows=rows,
        length=length,
        rank=0 if full else adapter.r,
        targets=targets(adapter, shape),
        adapted_experts=_adapts_experts(adapter),
        weights=stored,
        double_quant=double_quant,
        upcast=wide and stored in {Weights.nf4, Weights.int8},
        autocast=not wide,
        trained=0 if full else trained_parameters(plan, shape),
        frozen=_frozen_bytes(plan, shape) + rollouts.reserved(plan, gpu),
        patched=new_rows > 0,
        state_bytes=_state_bytes(plan, shape, on_gpu=on_gpu),
        copies=False,  # torch's fused implementation changes the weights in place
        attention=KERNELS.get(config.attention, _sdpa(on_gpu=on_gpu, masked=masked)),
        attention_choice=_attention_choice(plan, shape, attends=attends) if on_gpu else "",
        kernels=all(find_spec(block.kernel) for block in shape.counts if block.kernel),
        checkpointing=_checkpointing(config, on_gpu=on_gpu),
        # A head of which all or some rows are trained is peft's layer, and the model is asked for its logits.
        loss=Loss.plain if HEAD_NAME in getattr(adapter, "modules_to_save", []) or new_rows else Loss.learned,
        chunk=HEAD_GPU + LOGITS_GPU * (full or wide) if on_gpu else HEAD_CPU + LOGITS_CPU * wide,
        varied=on_gpu and not tree,
        masked=masked,
        dropout=on_gpu and getattr(adapter, "lora_dropout", 0) > 0,
        raised_inputs=not on_gpu,  # `machine/precision.py`: `rounded_once`
        magnitudes=isinstance(adapter, DoraAdapterConfig),
        activation_bytes=0.0 if on_gpu else _activation_bytes(plan, shape, longest, wide=wide, fast=fast, tree=tree),
        process=0.0 if on_gpu else _process() + PRIMITIVES * (not wide),
        heap=0.0 if on_gpu else HEAP_SHARE,
        file=0.0 if on_gpu or stored is Weights.half else min(2.0 * shape.total, SHARD_BYTES),
        evaluated_rows=config.per_device_eval_batch_size if on_gpu else 0,
        evaluated_length=longest,
        answer_rows=answers[0],
        answer_tokens=answers[1],
        evaluated_on=int(_evaluates(plan)),
        processes=group.processes if group else 1,
        sharded=group is not None and group.sharded,
        shard_size=group.shard_size if group else 0,
        offloaded_weights=group is not None and group.cpu_offload,
    )
    settings = replace(settings, merged=_merged_bytes(plan, shape, settings, on_gpu=on_gpu))
    settings = replace(settings, evaluated_on=_evaluated_on(plan, shape, settings, gpu if on_gpu else None))
    more_passes = config.gradient_accumulation_steps > 1 and not config.pass_tokens
    if not on_gpu and tree and more_passes and decides_passes(plan):
        step = grouped.per_device_train_batch_size * config.gradient_accumulation_steps
        whole = _cut_into_trees(step, longest, shared, sys.maxsize)[0]
        larger = replace(settings, rows=1, length=min(whole, CPU_PASS_TOKENS))
        small = grouped.per_device_train_batch_size * longest < CPU_PASS_TOKENS
        if small and estimate(shape, larger).high <= cpu_room():
            return PassLimits(CPU_PASS_TOKENS), larger
    if gpu is None or not on_gpu or not decides_passes(plan):
        return PassLimits(config.pass_tokens), settings
    together = 1 if plan.cost.apart else math.ceil(plan.cost.rows)
    unit, step = together * longest, grouped.per_device_train_batch_size
    step = _cut_into_trees(step * config.gradient_accumulation_steps, longest, shared * tree, sys.maxsize)[0]
    most = unit if config.packing is Packing.none else config.pass_tokens or min(GPU_PASS_TOKENS, max(unit, step))

    def sized(tokens: int, *, checkpointing: bool) -> MemorySettings:
        rows = 1 if tree else math.ceil(tokens / longest)
        masked = dense and (shared_prefixes or rows > 1)
        attention = KERNELS.get(config.attention, _sdpa(on_gpu=on_gpu, masked=masked))
        length = math.ceil(tokens / rows)
        return replace(
            settings, rows=rows, length=length, masked=masked, attention=attention, checkpointing=checkpointing
        )

    def fitting(*, checkpointing: bool) -> int:
        """Return the tokens of the largest pass that fits."""

        def exceeds(tokens: int) -> bool:
            return estimate(shape, sized(tokens, checkpointing=checkpointing)).high > gpu.usable

        top = max(most, unit)
        found = bisect_left(range(1, top + 1), x=True, key=exceeds)
        return found if found in {0, top} else max(1, found - found % PASS_STEP)

    kept = 0 if config.gradient_checkpointing is Switch.enabled else fitting(checkpointing=False)
    if config.gradient_checkpointing is Switch.auto and kept >= min(most, MIN_KEPT_TOKENS):
        tokens = min(most, config.pass_tokens or kept)
        passes = [sized(each, checkpointing=each > kept) for each in {tokens, max(unit, tokens)}]
        return PassLimits(tokens, kept), max(passes, key=lambda each: estimate(shape, each).reserved)
    again = config.gradient_checkpointing is not Switch.disabled
    tokens = config.pass_tokens or min(most, fitting(checkpointing=True) if again else kept) or unit
    return PassLimits(tokens), sized(max(unit, tokens), checkpointing=again)


def cpu_room() -> int:
    """Return the bytes that passes with all rows of a step may need: half of the machine's memory.

    What is free differs from one start to the next, and a training that continues has to make the same passes again.
    """
    return host_memory().total // 2


def _attention_choice(plan: Plan, shape: Shape, *, attends: bool) -> str:
    """Say what `trainer.attention=auto` will choose on a GPU, and why, as far as config.json and settings tell.

    Args:
        plan: of the run.
        shape: of its model.
        attends: whether no layer keeps a state.
    """
    config: HFTrainerConfig = plan.trainer.config
    if config.attention is not Kernels.auto:
        return ""
    if config.packing is not Packing.tree:
        return f"sdpa, as trainer.packing={config.packing.value} has it"
    if config.neftune_noise_alpha:
        return "sdpa with padding, since trainer.neftune_noise_alpha keeps rows apart"
    dropout = getattr(plan.adapter.config, "lora_dropout", 0.0)
    padded = "padding" if dropout else "a dense mask for trees"
    if not attends:
        return f"sdpa with {padded}, since some layers keep a state"
    here = not plan.planning.gpu
    if here and find_spec("triton") is None:
        return f"sdpa with {padded}, since triton is not installed"
    reason = f"side by side without padding, since adapter.lora_dropout={dropout:g} keeps them from sharing tokens"
    chosen = f"FlexAttention for rows {reason}" if dropout else "FlexAttention with block masks for trees"
    doubts = ["its check on the card fails", *([] if here else ["triton is not installed there"])]
    doubts += ["the model gives its windows to masks only"] * shape.windows
    return f"{chosen}; sdpa instead if {' or '.join(doubts)}"


def _sdpa(*, on_gpu: bool, masked: bool) -> Attention:
    """Return how torch's attention goes about heads of keys: with a mask transformers repeats them."""
    if not on_gpu:
        return Attention.flash
    return Attention.sdpa if masked else Attention.grouped


def _process() -> float:
    """Return the bytes of a process with all libraries, by the build of torch, which is not imported for that."""
    spec = find_spec("torch")
    folders = [] if spec is None else spec.submodule_search_locations or []
    return PROCESS_CUDA if any(any(Path(folder, "lib").glob("*torch_cuda*")) for folder in folders) else PROCESS_CPU


# Checkpointing costs a quarter of the speed, and a small model fits without it (decision 0064).
def decides_passes(plan: Plan) -> bool:
    """Whether the arithmetic decides how large a pass is, and on a GPU from which size on activations are recomputed.

    Where it is wrong, memory runs out once, and the step is repeated with smaller passes; a group cannot repeat a step,
    and Unsloth's kind of checkpointing is chosen when the model is loaded.
    """
    known = isinstance(plan.adapter.config, LoraAdapterConfig | FullConfig)
    return plan.trainer.config.checkpoints_later and known and plan.launch.config.group() is None


def _evaluated_on(plan: Plan, shape: Shape, settings: MemorySettings, gpu: Gpu | None) -> int:
    """Return over how many GPUs a model that is trained in pieces is split while it is evaluated; 0: it is not.

    By the longest rows that may come: the model is opened before they are known.
    """
    group = plan.launch.config.group()
    if group is None or not group.sharded or not settings.evaluated_on or group.evaluation is Evaluation.whole:
        return settings.evaluated_on
    if group.evaluation is Evaluation.auto:
        longest = plan.training.max_seq_length
        rows, tokens = _answers(plan, longest)
        whole = replace(settings, evaluated_length=longest, answer_rows=rows, answer_tokens=tokens)
        made = estimate(shape, whole)
        added = max((made.phases.get(name, 0) for name in ("evaluation", "answers")), default=0)
        if gpu is None or (made.resident + added) * EVALUATION_MARGIN <= gpu.usable:
            return 1
    here: int = group.on_each_machine
    return here


def _evaluates(plan: Plan) -> bool:
    """Whether the model is run outside its training too; an export that is checked answers prompts."""
    stages = {*Stage} if plan.stages == (Stage.plan,) else {*plan.stages}
    return bool({Stage.baseline, Stage.evaluate, Stage.export} & stages)


def _answers(plan: Plan, longest: int) -> tuple[int, int]:
    """Return how many prompts are answered at a time, and their tokens with the answer."""
    trains = Stage.train in plan.stages or plan.stages == (Stage.plan,)
    if plan.cost.rollout_tokens and trains:  # prompts are answered in each step too
        return plan.trainer.config.per_device_eval_batch_size, longest
    if not {Stage.baseline, Stage.evaluate} & set(plan.stages):
        return 0, 0
    configs = [choice.config for choice in plan.evaluator.values() if hasattr(choice.config, "max_new_tokens")]
    batches = ((getattr(each, "batch_size", 1), getattr(each, "count", sys.maxsize)) for each in configs)
    rows = max((min(batch) for batch in batches), default=0)  # as many prompts as there are
    return rows, longest + max((each.max_new_tokens for each in configs), default=0)


def _merged_bytes(plan: Plan, shape: Shape, settings: MemorySettings, *, on_gpu: bool) -> float:
    """Return the bytes of the weights that `generate/merged.py` makes while answers are drawn."""
    rollout, adapter = plan.rollout.config, plan.adapter.config
    plain = isinstance(adapter, LoraAdapterConfig) and not isinstance(adapter, DoraAdapterConfig)
    widths = {Weights.half: 2.0, Weights.fp32: 4.0}  # of others nothing is merged
    if not plan.cost.rollout_tokens or not isinstance(rollout, ModelRolloutConfig) or not plain:
        return 0.0
    adapted = sum(inputs * outputs for _, _, inputs, outputs in _adapted_linears(adapter, shape))
    size = widths.get(settings.weights, 0.0) * adapted
    half = not on_gpu and settings.weights is Weights.half
    return size if rollout.merges(size, half_on_cpu=half) else 0.0


def _stored(plan: Plan, *, wide: bool) -> tuple[Weights, bool]:
    quantization = plan.quantization.config
    if isinstance(quantization, NF4Config):
        return Weights.nf4, quantization.double_quant
    if isinstance(quantization, Int8Config):
        return Weights.int8, False
    return (Weights.fp32 if wide else Weights.half), False


def _computes_in_fp32(config: HFTrainerConfig, *, on_gpu: bool) -> bool:
    return config.dtype is Dtype.fp32 or (config.dtype is Dtype.auto and not on_gpu and not _cpu_has_bf16())


def _cpu_has_bf16() -> bool:
    """Whether Linux reports instructions for bf16; a CPU without them computes in fp32, as a rule."""
    if fixed := fixed_dtype():
        return fixed is Dtype.bf16
    try:
        return any(name in Path("/proc/cpuinfo").read_text(encoding="ascii") for name in ("avx512_bf16", "amx_bf16"))
    except (OSError, UnicodeDecodeError):  # no Linux
        return False


def _largest_pass(
    config: HFTrainerConfig, longest: int, shared: int, mean: int, *, on_gpu: bool, tree: bool
) -> tuple[int, int]:
    """Return rows and tokens of the largest pass: where rows of the longest kind meet, or average ones are not cut.

    A tree has at most the tokens of as many padded rows; on a CPU it is cut smaller unless that costs too much, as
    `packing/parts.py` does it. A common beginning that is repeated weighs more among shorter rows, so a step of average
    rows may stay whole where one of the longest is cut, and be the larger pass of the two.
    """
    rows, tokens = (1 if config.packing is Packing.none else config.per_device_train_batch_size), config.pass_tokens
    step = rows * config.gradient_accumulation_steps
    if not tree:
        return (min(step, max(1, tokens // longest)) if tokens else rows), longest
    if on_gpu or tokens:
        return 1, _cut_into_trees(step, longest, shared, tokens or rows * longest)[0]
    even, mixed = (_pass_on_a_cpu(rows, step, length, shared, mixed=length < longest) for length in (longest, mean))
    return 1, max(even, mixed)


def _pass_on_a_cpu(rows: int, step: int, length: int, shared: int, *, mixed: bool) -> int:
    """Return the tokens of a pass of rows of this length on average.

    The passes of mixed rows are not as full as those of even ones, and the last may hold too few to share their
    beginning: they repeat it once more.
    """
    budget = rows * length
    large = _cut_into_trees(step, length, shared, budget)
    small = _cut_into_trees(step, length, shared, min(budget, max(CPU_PASS_TOKENS, length)))
    cost = min(small[1] + shared * mixed, step * length)  # a row by itself repeats all that there is
    return small[0] if cost <= MAX_SLOWDOWN * large[1] else large[0]


def _cut_into_trees(step: int, longest: int, shared: int, limit: int) -> tuple[int, int]:
    """Cut the rows of a step into trees up to a limit; return the tokens of one, and of all."""
    begins = shared if shared >= MIN_SAVED_TOKENS else 0
    together = min(step, max(1, (limit - begins) // max(1, longest - begins)))
    saved = shared * (together - 1)
    tree = together * longest - (saved if saved >= MIN_SAVED_TOKENS else 0)
    return tree, -(-step * tree // together)


def _checkpointing(config: HFTrainerConfig, *, on_gpu: bool) -> bool:
    return on_gpu if config.gradient_checkpointing is Switch.auto else config.gradient_checkpointing is Switch.enabled


def _activation_bytes(plan: Plan, shape: Shape, longest: int, *, wide: bool, fast: bool, tree: bool) -> float:
    """Return the bytes that a layer keeps of a token for the backward pass on a CPU.

    Counted with `saved_tensors_hooks` for each branch here. e: bytes of a product.

    Args:
        plan: of the run.
        shape: of the model.
        longest: tokens of its longest row.
        wide: whether products are fp32.
        fast: whether layers are replaced by those of the room `cpu_kernels`: it has no autocast.
        tree: whether attention goes along branches; else rows are padded, or come one by one.
    """
    adapter: Any = plan.adapter.config
    full, e, gates = isinstance(adapter, FullConfig), 4 if wide else 2, 2 if shape.gated else 1
    names = shape.linears if full else [name for name in targets(adapter, shape) if name in shape.linears]
    adapted = {name: shape.linears[name] for name in names}
    inputs, outputs = (sum(sizes[side] for sizes in adapted.values()) for side in (0, 1))
    dropout, dora = getattr(adapter, "lora_dropout", 0.0), isinstance(adapter, DoraAdapterConfig)
    fused = fast and not dropout and not dora  # `cpu_kernels/low_rank.py`; else the layers are peft's
    attention = shape.q + 2 * shape.kv  # queries and keys behind their rotation, and values
    if not tree and plan.trainer.config.packing is not Packing.none:
        # Where padding is masked, sdpa is given keys and values of each head, and makes a mask in their dtype.
        attention += 2 * (shape.q - shape.kv) + longest
    if ("o" in adapted and (fused or wide)) or (not tree and (fast or wide or dropout)):
        attention += shape.q  # what it gave, which sdpa keeps, and so does the next layer
    mlp = shape.intermediate * (gates if fused and set(MLP) <= adapted.keys() else gates + 1)
    # A norm keeps what it gave, or what it read in fp32; of one that is trained the quotient too.
    norms = e * 2 * shape.hidden if fast else 4 * 2 * shape.hidden * (2 if full else 1)
    kept = float(norms + e * (attention + mlp))
    if fused or (wide and not dropout):  # inputs in the dtype of the layer, which are one tensor
        kept += 0 if fast else e * 2 * shape.hidden
        kept += e * shape.intermediate * ("down" in adapted and mlp > gates * shape.intermediate)
    else:  # each has a copy, of peft's layers in fp32 and with autocast in 16 bits, and its dropout in fp32
        kept += ((4 if fast or wide else 2) + (4 if dropout else 0)) * inputs
    if not full:
        kept += (4 if fast and not fused else e) * adapter.r * len(adapted)
    return kept + (e + 4) * outputs * dora


def targets(adapter: Any, shape: Shape) -> tuple[str, ...]:
    """Return the adapted layers by the names that the arithmetic has for them; all if it has none of theirs."""
    given = getattr(adapter, "target_modules", [])
    known = tuple(shape.linears)
    if pattern := target_pattern(given):
        return tuple(name for name in known if re.fullmatch(pattern, _place(0, name))) or known
    if given == [ALL_LINEAR]:
        return known
    names = [target.rpartition(".")[2] for target in given]
    parts = {part for name in names for part in OTHER_NAMES.get(name, (name, name.removesuffix("_proj")))}
    return tuple(name for name in known if name in parts) or known


def _place(block: int, name: str) -> str:
    """Return what a layer is called in models like Llama, whose names the arithmetic has, or in those like Qwen3.5."""
    part = PARTS.get(name)
    return f"model.layers.{block}.{f'{part}.{name}_proj' if part else f'linear_attn.{name}'}"


def trained_parameters(plan: Plan, shape: Shape) -> int:
    """Count what an adapter trains where that is not the same in each block; 0 if the arithmetic counts.

    Modules that are trained whole have all their parameters: an embedding V h, a linear layer those of each block.
    Biases are not counted, below 0.1%.
    """
    names = ("rank_pattern", "layers_to_transform", "modules_to_save")
    config = plan.adapter.config
    uneven = any(getattr(config, name, None) for name in names) or _adapts_experts(config)
    if not uneven and not token_rows(plan):
        return 0
    return _count(planned_weights(plan, shape))


def _adapts_experts(adapter: Any) -> bool:
    return getattr(adapter, "experts", Experts.none) is Experts.all


def _count(weights: Iterable[TrainedWeight]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def token_rows(plan: Plan) -> int:
    """Return how many rows of the embedding, and of a head that is not tied to it, are trained by themselves."""
    args = getattr(plan.adapter.config, "args", None)
    return len(plan.model.config.new_tokens) or len(getattr(args, "trainable_token_indices", ()))


def _frozen_bytes(plan: Plan, shape: Shape) -> float:
    """Return the bytes of the adapter that is kept beside the trained one; see `load/frozen.py`."""
    config: Any = plan.adapter.config
    if not isinstance(config, LoraAdapterConfig):
        return 0.0
    if config.merge_first:
        adapter: StartsFromAdapter = plan.adapter.create()
        config = SimpleNamespace(**adapter.start(weights=False).settings)
    elif not WITHIN_WEIGHTS.fullmatch(str(config.args.init_lora_weights)):
        return 0.0
    return 4.0 * _count(_adapter_weights(config, shape))


def planned_weights(plan: Plan, shape: Shape) -> Iterator[TrainedWeight]:
    """Give the weights that will be trained, by the names of models like Llama; norms and biases are left out."""
    yield from _adapter_weights(plan.adapter.config, shape)
    if rows := token_rows(plan):
        yield TrainedWeight(f"model.{EMBEDDING_NAME}.rows", (rows, shape.hidden), ModelPart.embedding)
        if not shape.tied:
            yield TrainedWeight(f"{HEAD_NAME}.rows", (rows, shape.hidden), ModelPart.head)


def _adapter_weights(adapter: Any, shape: Shape) -> Iterator[TrainedWeight]:
    """Give those of an adapter, or of a model that is trained whole."""
    full = isinstance(adapter, FullConfig)
    ranks, wholes = (getattr(adapter, name, None) for name in ("rank_pattern", "modules_to_save"))
    whole = {*shape.linears} if full else {name.removesuffix("_proj") for name in wholes or ()} & shape.linears.keys()
    for number, block in enumerate(shape.blocks):
        for name, inputs, outputs in block.linears:
            if name in whole:
                yield TrainedWeight(f"{_place(number, name)}.weight", (outputs, inputs))
        for name, inputs, outputs in block.expert if full else ():
            yield TrainedWeight(f"model.layers.{number}.mlp.experts.{name}", (block.experts * outputs, inputs))
    embeddings = [EMBEDDING_NAME, HEAD_NAME][: 1 if shape.tied else 2] if full else wholes or ()
    for part, name in ((ModelPart.embedding, EMBEDDING_NAME), (ModelPart.head, HEAD_NAME)):
        if name in embeddings:
            yield TrainedWeight(f"model.{name}.weight", (shape.vocab, shape.hidden), part)
    if full:
        return
    linears = _adapted_linears(adapter, shape)
    layers = [(_place(number, name), inputs, outputs, 1) for number, name, inputs, outputs in linears]
    for number in _adapted_blocks(adapter, shape) if _adapts_experts(adapter) else ():
        block = shape.blocks[number]
        for name, inputs, outputs in block.expert:
            layers.append((f"model.layers.{number}.mlp.experts.{name}", inputs, outputs, block.experts))
    for place, inputs, outputs, times in layers:
        rank = next((rank for key, rank in (ranks or {}).items() if re.match(rf"(.*\.)?({key})$", place)), adapter.r)
        yield TrainedWeight(f"{place}.lora_A.weight", (times * rank, inputs))
        yield TrainedWeight(f"{place}.lora_B.weight", (outputs, times * rank))


def _adapted_blocks(adapter: Any, shape: Shape) -> list[int]:
    chosen = getattr(adapter, "layers_to_transform", None)
    return [number for number in range(len(shape.blocks)) if chosen is None or number in chosen]


def _adapted_linears(adapter: Any, shape: Shape) -> Iterator[tuple[int, str, int, int]]:
    """Give the linear layers with LoRA: the number of the block, the name, inputs and outputs."""
    adapted = targets(adapter, shape)
    for number in _adapted_blocks(adapter, shape):
        yield from ((number, *layer) for layer in shape.blocks[number].linears if layer[0] in adapted)


def _state_bytes(plan: Plan, shape: Shape, *, on_gpu: bool) -> float:
    """Return the bytes of the optimizer's states for a trained parameter; if it does not say, those of AdamW."""
    weights = list(planned_weights(plan, shape))
    factory: OptimizerFactory = plan.optimizer.create()
    known = factory.state_bytes(weights, on_gpu=on_gpu)
    return AdamWTorchConfig.states if known is None else known / _count(weights)


def reductions(plan: Plan) -> Iterator[MemoryReduction]:
    """Give what makes a plan smaller, the cheapest first."""
    config: HFTrainerConfig = plan.trainer.config
    yield from _smaller_passes(config)
    answers = math.ceil(plan.cost.rows) if plan.cost.rollout_tokens else 0
    while answers >= 2 * MIN_ANSWERS:
        answers //= 2
        yield MemoryReduction({"method.num_generations": answers}, "a noisier mean to compare answers with", price=1)
    group = plan.launch.config.group()
    if group and group.hybrid:
        yield MemoryReduction(
            {"launch.dp_shard_size": group.processes}, "traffic: all processes gather the weights from each other"
        )
    if group and group.sharded:  # the optimizers of 8 bits cannot be cut into pieces
        if group.evaluation is Evaluation.whole and group.on_each_machine > 1:
            yield MemoryReduction({"launch.evaluation": Evaluation.split}, "time: one process answers all prompts", 0)
        yield from _smaller_weights(plan)
        return
    optimizer = plan.optimizer.config
    is_torch = isinstance(optimizer, AdamWTorchConfig)
    # Another one would need another learning rate; groups of weights would be lost with another option.
    if (is_torch or (isinstance(optimizer, BuiltInConfig) and optimizer.replaced)) and not optimizer.groups:
        if is_torch:
            yield MemoryReduction({"optimizer": "adamw_8bit"}, "little: optimizer states of 8 bits", price=1)
        if not optimizer.paged:
            yield MemoryReduction({"optimizer": "paged_adamw_8bit"}, "time, whenever the states are moved")
    yield from _smaller_weights(plan)


def _smaller_passes(config: HFTrainerConfig) -> Iterator[MemoryReduction]:
    tokens = config.pass_tokens
    while tokens > MIN_KEPT_TOKENS:
        tokens //= 2
        yield MemoryReduction(
            {"trainer.tokens_per_pass": tokens}, "nothing: the same rows in a step, in smaller passes", 0
        )
    if config.per_device_eval_batch_size > 1:
        yield MemoryReduction(
            {"trainer.per_device_eval_batch_size": 1}, "nothing but a slower validation loss", price=0
        )
    rows, accumulated = config.per_device_train_batch_size, config.gradient_accumulation_steps
    while rows > 1 and not config.pass_tokens:
        divisor = next(number for number in range(2, rows + 1) if rows % number == 0)
        rows, accumulated = rows // divisor, accumulated * divisor
        smaller = {"trainer.per_device_train_batch_size": rows, "trainer.gradient_accumulation_steps": accumulated}
        yield MemoryReduction(smaller, "nothing: the same rows in a step, in smaller passes", price=0)
    if accumulated > 1 and not config.pass_tokens:  # on a CPU a pass may have twice as many
        smaller = {"trainer.tokens_per_pass": MIN_KEPT_TOKENS}
        yield MemoryReduction(smaller, "nothing: the same rows in a step, in smaller passes", price=0)
    if config.gradient_checkpointing is not Switch.enabled:
        yield MemoryReduction({"trainer.gradient_checkpointing": Switch.enabled}, "a third more time")


def _smaller_weights(plan: Plan) -> Iterator[MemoryReduction]:
    adapter: Any = plan.adapter.config
    quantization = plan.quantization.config
    if isinstance(adapter, FullConfig):
        yield MemoryReduction(
            {"adapter": "lora"}, "only an adapter is trained: a tenfold learning rate suits it", price=2
        )
    if isinstance(quantization, NoQuantizationConfig):
        yield MemoryReduction({"quantization": "nf4"}, "a little quality, and time: the base in four bits", price=2)
    elif isinstance(quantization, NF4Config) and not quantization.double_quant:
        yield MemoryReduction({"quantization.double_quant": True}, "no noticeable difference", price=0)
    trained_before = adapter.starts_from() and not adapter.merge_first
    rank = MIN_USEFUL_RANK if trained_before else getattr(adapter, "r", MIN_USEFUL_RANK)
    while rank > MIN_USEFUL_RANK:
        rank = max(MIN_USEFUL_RANK, rank // 2)
        yield MemoryReduction({"adapter.r": rank}, "room to learn: an adapter of a lower rank", price=2)
