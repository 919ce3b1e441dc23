"""The memory use of `trainer=hf` for the plan. Without torch."""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from framework import FrameworkError, Plan, Stage
from framework.api import Gpu
from framework.api.training import Attention, Evaluation, Loss, MemorySettings, Shape, Weights, estimate
from framework_plugins.hf.settings import rollouts
from framework_plugins.hf.settings.attention import EAGER, SINKS, attention_of_family, flex_problem, layer_kernels
from framework_plugins.hf.settings.config import Attention as Kernels
from framework_plugins.hf.settings.config import (
    Device,
    DoraAdapterConfig,
    Dtype,
    FullConfig,
    HFTrainerConfig,
    Int8Config,
    LoraAdapterConfig,
    NF4Config,
    Packing,
    Switch,
    fixed_dtype,
)
from framework_plugins.hf.settings.pass_size import (
    CPU_PASS_TOKENS,
    GPU_PASS_TOKENS,
    MIN_KEPT_TOKENS,
    PASS_STEP,
    PassLimits,
    cpu_room,
    cut_into_trees,
    decides_passes,
    largest_pass,
)
from framework_plugins.hf.settings.planned_weights import (
    HEAD_NAME,
    STACKED_FILES,
    adapted_linears,
    adapts_experts,
    frozen_bytes,
    kept_bytes,
    packs_experts,
    state_bytes,
    targets,
    token_rows,
    trained_parameters,
)
from framework_plugins.hf.settings.rollouts import ModelRolloutConfig

ANSWERS_AT_ONCE = (64, 32, 16, 8, 4, 2, 1)
"""What `trainer.answers_at_once=auto` chooses from, so that a little more or less memory changes nothing."""
KERNELS = {Kernels.eager: Attention.eager, Kernels.flash_attention_2: Attention.flash}
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
MLP = ("gate", "up", "down")
"""The layers that `fused_layers/mlp.py` makes one function of."""
EVALUATION_MARGIN = 1.15
"""How many times the memory that is estimated for an evaluation one GPU must have to hold all layers."""


def footprint(
    plan: Plan, shape: Shape, gpu: Gpu | None, longest: int, shared: int, mean: int | None = None
) -> MemorySettings:
    """Return how a plan trains; without a `mean` all rows are as long as the longest."""
    return plan_passes(plan, shape, gpu, longest, shared, mean)[1]


def plan_passes(
    plan: Plan,
    shape: Shape,
    gpu: Gpu | None,
    longest: int,
    shared: int,
    mean: int | None = None,
    *,
    fused: bool = False,
) -> tuple[PassLimits, MemorySettings]:
    """Return how large passes are, and the settings of the one that needs the most memory; see `footprint`.

    Whether layers are `fused` on a GPU is known when the loaded model was compared there; before, it is not counted on.
    """
    limits, settings = _passes(plan, shape, gpu, longest, shared, mean, fused=fused)
    return limits, _with_answers(plan, shape, settings, gpu, longest)


def _passes(
    plan: Plan, shape: Shape, gpu: Gpu | None, longest: int, shared: int, mean: int | None, *, fused: bool
) -> tuple[PassLimits, MemorySettings]:
    """Return both without answers, which no pass waits for."""
    config: HFTrainerConfig = plan.trainer.config
    adapter: Any = plan.adapter.config
    if sampled_tokens := math.ceil(plan.cost.rollout_tokens / plan.cost.rows):  # the rows are prompts
        longest, mean = (min(length + sampled_tokens, config.max_seq_length) for length in (longest, mean or longest))
    full, lora = isinstance(adapter, FullConfig), adapter if isinstance(adapter, LoraAdapterConfig) else None
    dropout, whole_modules = (lora.lora_dropout, lora.modules_to_save) if lora else (0.0, [])
    on_gpu = gpu is not None and config.device is not Device.cpu
    if shape.kinds and not on_gpu:
        raise FrameworkError(
            f"config.json of model_type {shape.family} has experts or layers of several kinds, whose memory is "
            "estimated on GPUs only: plan.gpu=rtx4090 estimates it on that card"
        )
    one_sequence = config.packing is Packing.tree and not config.neftune_noise_alpha
    unmasked, recomputes = config.attention is Kernels.flash_attention_2, config.gradient_checkpointing
    shared_prefixes = one_sequence and not dropout and not unmasked
    shared = shared if shared_prefixes else 0
    attends = all(block.q or not block.mixer for block in shape.counts)
    # FlexAttention's or flash-attn's kernels; without triton a tree has a dense mask, which is not counted then.
    has_own = config.attention in {Kernels.auto, Kernels.sdpa}
    of_family = attention_of_family(shape.family) if has_own else ""
    requested = of_family or ("" if config.attention is Kernels.auto else config.attention.value)
    flex = not flex_problem(requested=requested, keeps_states=not attends, triton=True)
    kernels = on_gpu and one_sequence and attends and (unmasked or flex)
    # With windows a tree may cost more than padding, which is taken then; without attention there is none.
    tree = kernels or (shared_prefixes and not shape.windows and attends)
    wide = config.dtype is Dtype.fp32 or (config.dtype is Dtype.auto and not on_gpu and not _cpu_has_bf16())
    stored, double_quant = _stored(plan, wide=full or wide)
    group_rows = plan.cost.rows if tree else plan.padded_rows
    grouped = replace(config, per_device_train_batch_size=math.ceil(config.per_device_train_batch_size * group_rows))
    group = plan.launch.config.group()
    new_rows = token_rows(plan)

    def of_pass(rows: int, length: int) -> dict[str, Any]:
        # Rows of one pass differ in length, so padding is masked; the kernels of sequences take no mask of pairs.
        # Windows are masks, too, and so is what attends to sinks.
        needs_mask = rows > 1 or shape.windows or of_family == SINKS
        masked = on_gpu and not kernels and not unmasked and (shared_prefixes or needs_mask)
        # With a mask transformers repeats heads of keys. Without one torch's only kernel for heads that share keys is
        # flash attention, for 16 bits on Ampere and later GPUs, which are those with bf16; else it takes `math`.
        older = gpu is not None and (wide or not gpu.bf16) and config.transformers_attention
        fallback = older and shape.kv_heads < shape.heads and not kernels
        unmasked_kernel = Attention.math if fallback else Attention.grouped
        sdpa = Attention.flash if not on_gpu else Attention.sdpa if masked else unmasked_kernel
        kernel = Attention.eager if of_family == EAGER else KERNELS.get(config.attention, sdpa)
        return {"rows": rows, "length": length, "masked": masked, "attention": kernel}

    dora = isinstance(adapter, DoraAdapterConfig)
    fast = not (on_gpu or full or group or stored is Weights.int8 or (dora and stored is Weights.nf4))
    fast = fast and config.fused_layers is not Switch.disabled
    packages = {block.kernel for block in shape.counts if block.kernel}
    choices = _attention_choice(plan, shape, attends=attends), layer_kernels(packages)
    settings = MemorySettings(
        **of_pass(*largest_pass(grouped, longest, shared, mean or longest, on_gpu=on_gpu, tree=tree)),
        rank=0 if full else adapter.r,
        targets=targets(adapter, shape),
        adapted_experts=adapts_experts(adapter),
        weights=stored,
        double_quant=double_quant,
        packed_experts=packs_experts(plan, shape.family),
        grouped_experts=packs_experts(plan, shape.family),
        merged_experts=packs_experts(plan, shape.family) and shape.family not in STACKED_FILES,
        upcast=wide and stored in {Weights.nf4, Weights.int8},
        autocast=not wide,
        trained=0 if full else trained_parameters(plan, shape),
        frozen=frozen_bytes(plan, shape)
        + kept_bytes(plan, shape)
        + rollouts.reserved(plan, gpu)
        + sum(choice.config.held_bytes(on_gpu=on_gpu) for choice in plan.reward.values()),
        patched=new_rows > 0,
        state_bytes=state_bytes(plan, shape, on_gpu=on_gpu),
        copies=False,  # torch's fused implementation changes the weights in place
        attention_choice="; ".join(filter(None, choices)) if on_gpu else "",
        kernels=all(map(find_spec, packages)),
        checkpointing=recomputes is Switch.enabled or (on_gpu and recomputes is Switch.auto),
        # A head of which all or some rows are trained is peft's layer, and the model is asked for its logits.
        loss=Loss.plain if HEAD_NAME in whole_modules or new_rows else Loss.learned,
        chunk=HEAD_GPU + LOGITS_GPU * (full or wide) if on_gpu else HEAD_CPU + LOGITS_CPU * wide,
        varied=on_gpu and not tree,
        dropout=on_gpu and dropout > 0,
        fused=on_gpu and fused,
        raised_inputs=not on_gpu,  # `machine/precision.py`: `rounded_once`
        magnitudes=dora,
        activation_bytes=0.0 if on_gpu else _activation_bytes(plan, shape, longest, wide=wide, fast=fast, tree=tree),
        process=0.0 if on_gpu else _process() + PRIMITIVES * (not wide),
        heap=0.0 if on_gpu else HEAP_SHARE,
        file=0.0 if on_gpu or stored is Weights.half else min(2.0 * shape.total, SHARD_BYTES),
        evaluated_rows=config.per_device_eval_batch_size if on_gpu else 0,
        evaluated_length=longest,
        evaluated_on=int(_evaluates(plan)),
        processes=group.processes if group else 1,
        sharded=group is not None and group.sharded,
        shard_size=group.shard_size if group else 0,
        offloaded_weights=group is not None and group.cpu_offload,
    )
    settings = replace(settings, merged=_merged_bytes(plan, shape, settings, on_gpu=on_gpu))
    settings = replace(settings, evaluated_on=_evaluated_on(plan, shape, settings, gpu if on_gpu else None))
    in_pass, accumulated = grouped.per_device_train_batch_size, config.gradient_accumulation_steps
    step = cut_into_trees(in_pass * accumulated, longest, shared * tree, sys.maxsize)[0]
    if not on_gpu and tree and accumulated > 1 and not config.pass_tokens and decides_passes(plan):
        larger = replace(settings, rows=1, length=min(step, CPU_PASS_TOKENS))
        if in_pass * longest < CPU_PASS_TOKENS and estimate(shape, larger).high <= cpu_room():
            return PassLimits(CPU_PASS_TOKENS), larger
    if gpu is None or not on_gpu or not decides_passes(plan):
        return PassLimits(config.pass_tokens), settings
    unit = longest * (1 if plan.cost.apart else math.ceil(group_rows))
    limit = unit if config.packing is Packing.none else config.pass_tokens or min(GPU_PASS_TOKENS, max(unit, step))

    def sized(tokens: int, *, checkpointing: bool) -> MemorySettings:
        rows = 1 if tree else math.ceil(tokens / longest)
        return replace(settings, **of_pass(rows, math.ceil(tokens / rows)), checkpointing=checkpointing)

    def fitting(*, checkpointing: bool) -> int:
        """Return the tokens of the largest pass that fits."""

        def exceeds(tokens: int) -> bool:
            return estimate(shape, sized(tokens, checkpointing=checkpointing)).high > gpu.usable

        top = max(limit, unit)
        largest = bisect_left(range(1, top + 1), x=True, key=exceeds)
        return largest if largest in {0, top} else max(1, largest - largest % PASS_STEP)

    kept_tokens = 0 if recomputes is Switch.enabled else fitting(checkpointing=False)
    if recomputes is Switch.auto and kept_tokens >= min(limit, MIN_KEPT_TOKENS):
        tokens = min(limit, config.pass_tokens or kept_tokens)
        passes = [sized(size, checkpointing=size > kept_tokens) for size in {tokens, max(unit, tokens)}]
        return PassLimits(tokens, kept_tokens), max(passes, key=lambda candidate: estimate(shape, candidate).reserved)
    again = recomputes is not Switch.disabled
    tokens = config.pass_tokens or min(limit, fitting(checkpointing=True) if again else kept_tokens) or unit
    return PassLimits(tokens), sized(max(unit, tokens), checkpointing=again)


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
    of_family = attention_of_family(shape.family)
    if of_family == EAGER:
        return "eager: transformers has no other kernel for this family"
    if config.packing is not Packing.tree:
        return f"sdpa, as trainer.packing={config.packing.value} has it"
    if config.neftune_noise_alpha:
        return "sdpa with padding, since trainer.neftune_noise_alpha keeps rows apart"
    config = plan.adapter.config
    dropout = config.lora_dropout if isinstance(config, LoraAdapterConfig) else 0.0
    padded = "padding" if dropout else "a dense mask for trees"
    on_this_machine = not plan.settings.plan.gpu
    if problem := flex_problem(requested=of_family, keeps_states=not attends, triton=None if on_this_machine else True):
        return f"sdpa with {padded}, {problem}"
    reason = f"side by side without padding, since adapter.lora_dropout={dropout:g} keeps them from sharing tokens"
    chosen = f"FlexAttention for rows {reason}" if dropout else "FlexAttention with block masks for trees"
    doubts = ["its check on the card fails", *([] if on_this_machine else ["triton is not installed there"])]
    doubts += ["the model gives its windows to masks only"] * shape.windows
    return f"{chosen}; sdpa instead if {' or '.join(doubts)}"


def _process() -> float:
    """Return the bytes of a process with all libraries, by the build of torch, which is not imported for that."""
    spec = find_spec("torch")
    folders = [] if spec is None else spec.submodule_search_locations or []
    return PROCESS_CUDA if any(any(Path(folder, "lib").glob("*torch_cuda*")) for folder in folders) else PROCESS_CPU


def _evaluated_on(plan: Plan, shape: Shape, settings: MemorySettings, gpu: Gpu | None) -> int:
    """Return the number of GPUs over which a sharded model is split while it is evaluated; 0 if it is not evaluated.

    By the longest rows that may come: the model is opened before they are known.
    """
    group = plan.launch.config.group()
    if group is None or not group.sharded or not settings.evaluated_on or group.evaluation is Evaluation.whole:
        return settings.evaluated_on
    if group.evaluation is Evaluation.auto:
        longest = plan.training.max_seq_length
        unsplit = replace(settings, evaluated_length=longest)
        memory = estimate(shape, _with_answers(plan, shape, unsplit, gpu, longest))
        added = max((memory.phases.get(name, 0) for name in ("evaluation", "answers")), default=0)
        if gpu is None or (memory.resident + added) * EVALUATION_MARGIN <= gpu.usable:
            return 1
    gpu_count: int = group.on_each_machine
    return gpu_count


def _evaluates(plan: Plan) -> bool:
    """Whether the model is run outside its training too; an export that is checked answers prompts."""
    return bool({Stage.baseline, Stage.evaluate, Stage.export} & {*plan.intended_stages})


def _with_answers(plan: Plan, shape: Shape, settings: MemorySettings, gpu: Gpu | None, longest: int) -> MemorySettings:
    """Return settings with the answers that are made at a time; by `auto` as many as fit, or add nothing to the peak.

    Args:
        plan: of the run.
        shape: of its model.
        settings: without answers.
        gpu: that it may take.
        longest: tokens of a row without the answers that are drawn to it.
    """
    if asked := plan.training.planned_answers():
        return replace(settings, answers_at_once=asked, **_answers(plan, asked, longest))
    room = cpu_room() if gpu is None or settings.process else gpu.usable
    room = max(room, estimate(shape, settings).high)
    for at_once in ANSWERS_AT_ONCE:
        answering = replace(settings, answers_at_once=at_once, **_answers(plan, at_once, longest))
        if estimate(shape, answering).high <= room:
            break
    return answering


def _answers(plan: Plan, at_once: int, longest: int) -> dict[str, Any]:
    """Return how many answers are made at a time, with the tokens of each and of their prompts."""
    cases, training = [], plan.training
    if new := math.ceil(plan.cost.rollout_tokens / plan.cost.rows) * (Stage.train in plan.intended_stages):
        length, to_each = min(longest + new, training.max_seq_length), plan.method.config.sampling(plan.seed).n
        step = to_each * training.per_device_train_batch_size * training.gradient_accumulation_steps
        rows = min(at_once, step) if plan.method.config.samples else at_once
        cases.append((rows, length, math.ceil(rows / to_each) * max(1, length - new)))
    for choice in plan.evaluator.values() if {Stage.baseline, Stage.evaluate} & {*plan.stages} else ():
        if new := choice.config.answer_tokens() or 0:
            # As many prompts as there are; the user's own, of which `asks` counts none, may be more.
            rows = min(at_once, choice.config.asks(sys.maxsize) or at_once)
            cases.append((rows, longest + new, rows * longest))
    rows, tokens, prompts = max(cases, default=(0, 0, 0), key=lambda case: case[0] * case[1])
    return {"answer_rows": rows, "answer_tokens": tokens, "prompt_tokens": prompts}


def _merged_bytes(plan: Plan, shape: Shape, settings: MemorySettings, *, on_gpu: bool) -> float:
    """Return the bytes of the weights that `generate/merged.py` makes while answers are drawn."""
    rollout, adapter = plan.rollout.config, plan.adapter.config
    plain = isinstance(adapter, LoraAdapterConfig) and not isinstance(adapter, DoraAdapterConfig)
    widths = {Weights.half: 2.0, Weights.fp32: 4.0}  # of others nothing is merged
    if not plan.cost.rollout_tokens or not isinstance(rollout, ModelRolloutConfig) or not plain:
        return 0.0
    adapted = sum(inputs * outputs for _, _, inputs, outputs in adapted_linears(adapter, shape))
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


def _cpu_has_bf16() -> bool:
    """Whether Linux reports instructions for bf16; a CPU without them computes in fp32, as a rule."""
    if fixed := fixed_dtype():
        return fixed is Dtype.bf16
    try:
        return any(name in Path("/proc/cpuinfo").read_text(encoding="ascii") for name in ("avx512_bf16", "amx_bf16"))
    except (OSError, UnicodeDecodeError):  # no Linux
        return False


def _activation_bytes(plan: Plan, shape: Shape, longest: int, *, wide: bool, fast: bool, tree: bool) -> float:
    """Return the bytes that a layer keeps of a token for the backward pass on a CPU.

    Counted with `saved_tensors_hooks` for each branch here. e: bytes of a product.

    Args:
        plan: of the run.
        shape: of the model.
        longest: tokens of its longest row.
        wide: whether products are fp32.
        fast: whether layers are replaced by those of the room `fused_layers`: it has no autocast.
        tree: whether attention goes along branches; else rows are padded, or come one by one.
    """
    adapter: Any = plan.adapter.config
    full, e, gates = isinstance(adapter, FullConfig), 4 if wide else 2, 2 if shape.gated else 1
    names = shape.linears if full else [name for name in targets(adapter, shape) if name in shape.linears]
    adapted = {name: shape.linears[name] for name in names}
    inputs, outputs = (sum(sizes[side] for sizes in adapted.values()) for side in (0, 1))
    dropout = adapter.lora_dropout if isinstance(adapter, LoraAdapterConfig) else 0.0
    dora = isinstance(adapter, DoraAdapterConfig)
    fused = fast and not dora  # `fused_layers/low_rank.py`; else the layers are peft's
    attention = shape.q + 2 * shape.kv  # queries and keys behind their rotation, and values
    if not tree and plan.trainer.config.packing is not Packing.none:
        # Where padding is masked, sdpa is given keys and values of each head, and makes a mask in their dtype.
        attention += 2 * (shape.q - shape.kv) + longest
    if ("o" in adapted and (fused or wide)) or (not tree and (fast or wide or dropout)):
        attention += shape.q  # what it gave, which sdpa keeps, and so does the next layer
    mlp = shape.intermediate * (gates if fused and set(MLP) <= adapted.keys() else gates + 1)
    # A norm keeps what it gave, or what it read in fp32; of one that is trained the quotient too.
    norms = e * 2 * shape.hidden if fast else 4 * 2 * shape.hidden * (2 if full else 1)
    total = float(norms + e * (attention + mlp))
    if fused or (wide and not dropout):  # inputs in the dtype of the layer, which are one tensor
        total += 0 if fast else e * 2 * shape.hidden
        total += e * shape.intermediate * ("down" in adapted and mlp > gates * shape.intermediate)
        total += inputs * (dropout > 0)  # masks
    else:  # each has a copy, of peft's layers in fp32 and with autocast in 16 bits, and its dropout in fp32
        total += ((4 if fast or wide else 2) + (4 if dropout else 0)) * inputs
    if not full:
        total += (4 if fast and not fused else e) * adapter.r * len(adapted)
    return total + (e + 4) * outputs * dora
