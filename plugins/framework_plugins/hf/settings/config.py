"""Options of `model=`, `quantization=`, `adapter=` and `trainer=hf`.

The base model answers with the adapter disabled, so only the layers that an adapter replaces affect `base`; its size
does not. A training can resume from a checkpoint on another device or with another packing: it is still the same
training.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Interval, Len
from omegaconf import MISSING

from framework import FrameworkError
from framework.api import Affects, OrWord
from framework.api.training import AdapterConfig, ModelConfig, QuantizationConfig, SamplerConfig, TrainerConfig
from framework_plugins.hf.settings.layer_targets import ALL_LINEAR, LayerTargets
from framework_plugins.hf.settings.library_fields import (
    LORA_INSTEAD,
    LORA_REASONS,
    SFT_INSTEAD,
    SFT_REASONS,
    LoraArgs,
    SFTArgs,
)

CPU_DTYPE = "FRAMEWORK_CPU_DTYPE"
"""The variable that replaces the choice of `trainer.dtype=auto` on a CPU: tests run in bf16 and fp32 on any machine."""
CPU_LIMIT = 2_000_000_000
"""Parameters above which `trainer.device=auto` does not train on a CPU: a step would take minutes."""
ALL_EXPERTS = "all-experts"
"""The placeholder for the names of all parameters of experts, until the model is known."""
AUTO = "auto"
"""In place of a number that the program chooses."""
RESERVED_TEMPLATE_ARGUMENTS = frozenset(
    (
        "messages", "conversation", "conversations", "tools", "documents", "chat_template", "add_generation_prompt",
        "continue_final_message", "tokenize", "padding", "truncation", "max_length", "return_tensors", "return_dict",
        "return_assistant_tokens_mask", "tokenizer_kwargs", "sanitize_control_tokens",
    )
)  # fmt: skip
"""What the program itself gives to a chat template, or to the method that renders one."""


class Device(Enum):
    """Where to train."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Dtype(Enum):
    """The number format to compute in."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


def fixed_dtype() -> Dtype | None:
    """Return the dtype that `CPU_DTYPE` names for `trainer.dtype=auto` on a CPU; None if it is not set.

    Raises:
        FrameworkError: it names another one.
    """
    name = os.environ.get(CPU_DTYPE, "")
    if name not in {"", Dtype.fp32.value, Dtype.bf16.value}:
        raise FrameworkError(f"{CPU_DTYPE}={name}: choose fp32 or bf16, or unset it")
    return Dtype(name) if name else None


class Attention(Enum):
    """The attention kernels."""

    auto = "auto"
    sdpa = "sdpa"
    eager = "eager"
    flash_attention_2 = "flash_attention_2"


class Switch(Enum):
    """On, off, or what suits the hardware."""

    auto = "auto"
    enabled = "enabled"
    disabled = "disabled"


class Packing(Enum):
    """How rows are put into one forward pass."""

    none = "none"
    pad = "pad"
    tree = "tree"


class Bias(Enum):
    """Which biases of the base are trained."""

    none = "none"
    lora_only = "lora_only"
    all = "all"


class Experts(Enum):
    """Which experts of a mixture of experts get an adapter."""

    none = "none"
    all = "all"


class OutOfMemory(Enum):
    """What to do when memory runs out."""

    retry = "retry"
    fail = "fail"


@dataclass
class LocalModelConfig(ModelConfig):
    """A folder with safetensors, or an id of the Hugging Face Hub."""

    path: str = MISSING
    """The folder or the id, owner/name."""
    revision: str | None = None
    """A branch, tag or commit of the Hub."""

    def source(self) -> str:
        return self.path


@dataclass
class NoQuantizationConfig(QuantizationConfig):
    """Base weights in the dtype of the run."""


@dataclass
class Int8Config(QuantizationConfig):
    """LLM.int8() of bitsandbytes: one byte per weight."""

    llm_int8_threshold: Annotated[float, Ge(0)] = 6.0
    """Features of a magnitude above this are computed in 16 bits."""


@dataclass
class NF4Config(QuantizationConfig):
    """4-bit NormalFloat of bitsandbytes, the base of QLoRA."""

    double_quant: bool = True
    """Also quantize the quantization constants: 0.4 bits per weight less."""
    experts: Switch = Switch.auto
    """Also quantize the experts of a mixture. auto: if transformers computes them by one of its own functions, and no
    group of processes divides the weights."""


@dataclass
class LoraAdapterConfig(AdapterConfig):
    """LoRA: two small matrices beside each linear layer."""

    instead: ClassVar[Mapping[str, str]] = LORA_INSTEAD
    unused: ClassVar[Collection[str]] = LORA_REASONS.keys()

    start: Annotated[str | None, Len(1), ~Affects.resume] = None
    """Train on from this adapter: the folder of a run, of runs (the newest), or of an adapter, or its id on the Hub.
    Settings below that you do not set are those of the adapter, except the dropout. The verdict compares with this
    adapter first."""
    merge_first: bool = False
    """Freeze the adapter of `start` as a part of the base, and train a new one beside it. Both are saved as one
    adapter, whose rank is the sum of theirs."""
    r: Annotated[int, Gt(0), ~Affects.base] = 16
    """Rank of the matrices."""
    lora_alpha: Annotated[int, Gt(0), ~Affects.base] = 32
    """The update is scaled by lora_alpha / r."""
    lora_dropout: Annotated[float, Interval(ge=0, lt=1), ~Affects.base] = 0.0
    """Dropout before the first matrix."""
    target_modules: Annotated[list[str], Len(1)] = field(default_factory=lambda: [ALL_LINEAR])
    """Names of the layers to adapt, or regular expressions for whole names, such as `.*self_attn.(q|v)_proj`;
    all-linear takes every linear layer that reads text, except the output head and the routers of experts."""
    experts: Experts = Experts.none
    """Whether experts also get an adapter, each matrix of each expert one of rank `r`."""
    layers_to_transform: Annotated[list[Annotated[int, Ge(0)]] | None, Len(1)] = None
    """Numbers of the blocks whose layers are adapted, from 0. null: all blocks."""
    rank_pattern: Annotated[dict[str, int], ~Affects.base] = field(default_factory=dict)
    """Ranks that differ from `r`, by the end of the layer's name or by a regular expression: `{down_proj: 32}`."""
    alpha_pattern: Annotated[dict[str, int], ~Affects.base] = field(default_factory=dict)
    """The same for `lora_alpha`."""
    bias: Annotated[Bias, ~Affects.base] = Bias.none
    """Biases of the base that are also trained: none, those of adapted layers (lora_only), or all. Llama, Mistral and
    Qwen3 have none; Qwen2 has those of queries, keys and values."""
    modules_to_save: list[str] = field(default_factory=list)
    """Modules that are trained as a whole, in fp32, and saved with the adapter, such as embed_tokens and lm_head; not
    those that `quantization` stores in few bits."""
    args: LoraArgs = field(default_factory=LoraArgs)
    """Fields of peft's LoraConfig that have no setting of their own here."""

    def starts_from(self) -> str:
        return self.start or ""

    def rank(self) -> int | None:
        return self.r

    def may_change(self, weight: str) -> bool:
        layer = weight.removesuffix(".weight")
        return ALL_LINEAR in self.target_modules or (layer != weight and LayerTargets.of_settings(self).includes(layer))

    def beyond_matrices(self) -> str:
        settings = {
            "modules_to_save": self.modules_to_save,
            "rank_pattern": self.rank_pattern,
            "alpha_pattern": self.alpha_pattern,
            f"bias={self.bias.value}": self.bias is not Bias.none,
            "args.trainable_token_indices": self.args.trainable_token_indices,
            f"experts={self.experts.value}": self.experts is not Experts.none,
        }
        return next((f"adapter.{name}" for name, value in settings.items() if value), "")


@dataclass
class DoraAdapterConfig(LoraAdapterConfig):
    """DoRA: LoRA on the direction of the weights, with a learned magnitude."""


@dataclass
class RsLoraAdapterConfig(LoraAdapterConfig):
    """rsLoRA: LoRA scaled by lora_alpha / sqrt(r), for high ranks."""


@dataclass
class FullConfig(AdapterConfig):
    """No adapter: train all weights."""

    trains_all: ClassVar[bool] = True
    instead: ClassVar[Mapping[str, str]] = {
        "start": "is for adapters: adapter=full starts from a whole model, model=local model.path=FOLDER, such as the "
        "folder merged/ of a run with exporter=[merged]"
    }

    def may_change(self, weight: str) -> bool:
        del weight
        return False  # it is saved as a whole model


@dataclass
class TransformersTrainerConfig(TrainerConfig):
    """What the trainers have in common whose model transformers loads, and runs for the evaluation."""

    checkpoints_later: ClassVar[bool] = True
    """Whether gradient checkpointing can be switched on after the model is loaded."""
    transformers_attention: ClassVar[bool] = True
    """Whether attention is that of transformers; another one may have kernels that torch lacks on older GPUs."""

    device: Annotated[Device, ~Affects.resume] = Device.auto
    """Where to train; auto: a GPU, or a CPU for models that a CPU can train."""
    dtype: Dtype = Dtype.auto
    """auto: bf16 if the hardware has it; if not, fp16 on a GPU, and on a CPU fp32 or bf16, whichever is measured to be
    faster."""
    attention: Annotated[Attention, ~Affects.resume] = Attention.auto
    """auto: what transformers chooses, sdpa if the model supports it; on a GPU with FlexAttention's block masks if rows
    are in one sequence. sdpa: with dense masks there."""
    gradient_checkpointing: Annotated[Switch, ~Affects.resume] = Switch.auto
    """Recompute activations in the backward pass. auto: only on a GPU, in passes whose activations do not fit according
    to the plan."""

    answers_at_once: Annotated[int | str, OrWord(AUTO), Gt(0), ~Affects.resume] = AUTO
    """Answers made at once, of a method or an evaluation. auto: as many as fit, at most 64; 8 if the plan cannot tell.
    Another number draws other answers in 16 bits; a run that continues keeps it."""

    def may_use_gpu(self) -> bool:
        return self.device is not Device.cpu

    def planned_answers(self) -> int | None:
        return None if isinstance(self.answers_at_once, str) else self.answers_at_once

    @property
    def releases_cache(self) -> bool:
        """Whether it asks for releases of unused GPU memory."""
        return False


@dataclass
class HFTrainerConfig(TransformersTrainerConfig):
    """A loop of our own with packed steps, on accelerate."""

    instead: ClassVar[Mapping[str, str]] = SFT_INSTEAD
    unused: ClassVar[Collection[str]] = SFT_REASONS.keys()

    neftune_noise_alpha: Annotated[float | None, Gt(0), ~Affects.base] = None
    """NEFTune (arXiv 2310.05914): uniform noise on the embeddings, of this size divided by the square root of tokens
    times features. packing=tree becomes pad, since padding counts as tokens."""
    tokens_per_pass: Annotated[int | str, OrWord(AUTO), Gt(0), ~(Affects.base | Affects.resume)] = AUTO
    """Tokens of a forward and backward pass, padding included; the rows of a step stay the same. auto: on a GPU as many
    as the plan finds room for; on a CPU, with packing=tree, at least 1,024 if half of the memory holds them; otherwise
    those of `per_device_train_batch_size` of the longest rows."""
    packing: Annotated[Packing, ~Affects.resume] = Packing.tree
    """tree: a prefix that rows share is computed once, exactly; pad: rows side by side; none: rows one by one. If one
    would not be the same training, the run takes the next and says why; on a GPU, pad needs no padding if the attention
    kernels allow it."""
    fused_layers: Annotated[Switch, ~Affects.resume] = Switch.auto
    """LoRA, gated MLPs and norms as one function each, which keep less. auto: where a check finds them equal."""
    torch_compile: Annotated[Switch, ~Affects.resume] = Switch.auto
    """Compile each layer for training passes. auto: on a GPU, from 200 steps on, if a check finds it equal."""
    on_out_of_memory: Annotated[OutOfMemory, ~Affects.resume] = OutOfMemory.retry
    """retry: fewer rows in a pass, then gradient checkpointing, then the loss in small pieces; rows, schedule and loss
    stay as they were. fail: end the run."""
    dataloader_num_workers: Annotated[int, Ge(0), ~Affects.resume] = 0
    """Processes that prepare batches; 0: the training process prepares them."""
    save_seconds: Annotated[float | None, Gt(0), ~Affects.resume] = 600.0
    """Seconds of training between two checkpoints; an interrupted run resumes from the last one. Slow checkpoints are
    written less often, so that they take 2% of the training. null: none by time."""
    save_steps: Annotated[int | None, Gt(0), ~Affects.resume] = None
    """Optimizer steps between two checkpoints, in addition to those by time. null: no checkpoints by steps."""
    save_total_limit: Annotated[int, Gt(0), ~Affects.resume] = 2
    """How many of the newest checkpoints are kept, in case the newest is damaged."""
    args: SFTArgs = field(default_factory=SFTArgs)
    """Fields of TRL's SFTConfig that have no setting of their own here."""

    @property
    def releases_cache(self) -> bool:
        return self.args.torch_empty_cache_steps is not None

    @property
    def pass_tokens(self) -> int:
        """The tokens of a pass that are asked for; 0: none, the program chooses."""
        return 0 if isinstance(self.tokens_per_pass, str) else self.tokens_per_pass


@dataclass
class ShuffledConfig(SamplerConfig):
    """All rows of an epoch in a random order; rows that share a prefix are in one step, each epoch in other steps."""

    group_by_prefix: bool = True
    """Put rows with a common prefix into one step, and with packing=pad rows of similar length. Each row is seen once
    per epoch, as likely early as late."""
