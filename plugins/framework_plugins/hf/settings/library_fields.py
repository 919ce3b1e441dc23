"""Fields of TRL's SFTConfig and peft's LoraConfig: which are accepted as they are, and why the others are not.

`trainer.args` and `adapter.args` take the fields of the dataclasses below. A test reads the fields of the installed
libraries and checks that each is accepted, is a setting of ours, or has a reason why not. Each accepted field has a
test that shows its effect.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt

from framework.api import Affects

# Most fields would be accepted and change nothing: this loop has its own loss, packing and checkpoints.
SFT_SETTINGS = {
    "output_dir": "run_dir", "per_device_train_batch_size": "trainer.per_device_train_batch_size",
    "num_train_epochs": "trainer.num_train_epochs", "max_steps": "trainer.max_steps",
    "learning_rate": "trainer.learning_rate", "lr_scheduler_type": "schedule",
    "lr_scheduler_kwargs": "schedule", "warmup_steps": "trainer.warmup_steps",
    "optim": "optimizer", "optim_args": "optimizer", "weight_decay": "trainer.weight_decay",
    "adam_beta1": "optimizer.betas", "adam_beta2": "optimizer.betas", "adam_epsilon": "optimizer.eps",
    "gradient_accumulation_steps": "trainer.gradient_accumulation_steps", "max_grad_norm": "trainer.max_grad_norm",
    "bf16": "trainer.dtype=bf16", "fp16": "trainer.dtype=fp16", "bf16_full_eval": "trainer.dtype",
    "fp16_full_eval": "trainer.dtype", "tf32": "trainer.dtype=fp32, which multiplies in TF32 on a GPU,",
    "activation_checkpointing": "trainer.gradient_checkpointing",
    "gradient_checkpointing": "trainer.gradient_checkpointing",
    "torch_compile": "trainer.torch_compile",
    "neftune_noise_alpha": "trainer.neftune_noise_alpha", "auto_find_batch_size": "trainer.on_out_of_memory=retry",
    "logging_strategy": "trainer.logging_steps", "logging_steps": "trainer.logging_steps",
    "disable_tqdm": "logger=[jsonl], without the console", "report_to": "logger, such as logger=[console,wandb]",
    "run_name": "name", "project": "logger.wandb.project", "eval_strategy": "trainer.eval_steps",
    "eval_steps": "trainer.eval_steps", "per_device_eval_batch_size": "trainer.per_device_eval_batch_size",
    "save_strategy": "trainer.save_steps and trainer.save_seconds", "save_steps": "trainer.save_steps",
    "save_total_limit": "trainer.save_total_limit", "push_to_hub": "exporter=[adapter,push]",
    "hub_model_id": "exporter.push.repo_id", "hub_private_repo": "exporter.push.private",
    "load_best_model_at_end": "trainer.keep_best", "metric_for_best_model": "trainer.early_stopping_metric",
    "seed": "seed", "data_seed": "seed", "use_cpu": "trainer.device=cpu",
    "dataloader_num_workers": "trainer.dataloader_num_workers",
    "train_sampling_strategy": "sampler.group_by_prefix", "fsdp": "launch=fsdp2", "fsdp_config": "launch=fsdp2",
    "deepspeed": "launch=fsdp2, which also shards the weights,", "do_train": "stages", "do_eval": "stages",
    "do_predict": "stages", "resume_from_checkpoint": "run_dir, or python -m framework resume",
    "model_init_kwargs": "trainer.dtype, trainer.attention and quantization",
    "trust_remote_code": "model.trust_remote_code", "chat_template_path": "model.chat_template",
    "dataset_text_field": "format.columns", "max_length": "trainer.max_seq_length", "truncation_mode": "data.overflow",
    "packing": "trainer.packing", "packing_strategy": "trainer.packing", "padding_free": "trainer.packing",
    "eval_packing": "trainer.packing",
}  # fmt: skip
"""Fields of SFTConfig that settings of ours are."""
ONLY_HF = frozenset({
    "auto_find_batch_size", "dataloader_num_workers", "eval_packing", "neftune_noise_alpha", "packing",
    "packing_strategy", "padding_free", "save_steps", "save_strategy", "save_total_limit", "torch_compile",
    "train_sampling_strategy",
})  # fmt: skip
"""Those whose settings `trainer=trl` does not have: it takes the fields themselves."""
VALIDATION = "this program validates in its own way: trainer.eval_steps"
CHECKPOINTS = "this program writes checkpoints in its own way: trainer.save_steps, trainer.save_seconds"
LOGS = "steps go to the loggers of the run: logger"
LOSS = "the loss is computed from the learned tokens only, without the model's own forward pass and TRL's loss"
ROWS = "rows are read, tokenized and masked by this program: data, format"
BATCHES = "a batch is an optimizer step here, which trainer.packing splits into passes"
GROUP = "it has not been tried with the process groups of launch=ddp"
OPTIMIZERS = "the optimizers that read it, GaLore and APOLLO, are not offered"
GPU = "it works only on a GPU, and no test shows its effect"
HUB = "nothing is pushed while a training runs: exporter=[adapter,push]"
LEARNED = "the tokens of the answers are learned; data.learn=everything learns the questions too"
SFT_REASONS = {
    **dict.fromkeys(
        ("eval_delay", "prediction_loss_only", "eval_on_start", "eval_do_concat_batches", "eval_use_gather_object",
         "eval_accumulation_steps", "include_for_metrics", "batch_eval_metrics", "greater_is_better", "label_names"),
        VALIDATION,
    ),
    **dict.fromkeys(
        ("save_only_model", "save_on_each_node", "enable_jit_checkpoint", "ignore_data_skip",
         "restore_callback_states_from_checkpoint"),
        CHECKPOINTS,
    ),
    **dict.fromkeys(
        ("logging_first_step", "log_on_each_node", "logging_nan_inf_filter", "include_num_input_tokens_seen",
         "log_level", "log_level_replica", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id",
         "skip_memory_metrics"),
        LOGS,
    ),
    **dict.fromkeys(
        ("label_smoothing_factor", "loss_type", "average_tokens_across_devices", "torch_compile_backend",
          "torch_compile_mode"),
        LOSS,
    ),
    **dict.fromkeys(
        ("dataset_kwargs", "dataset_num_proc", "eos_token", "pad_token", "shuffle_dataset", "remove_unused_columns",
         "length_column_name"),
        ROWS,
    ),
    **dict.fromkeys(("pad_to_multiple_of", "dataloader_drop_last", "accelerator_config"), BATCHES),
    **dict.fromkeys(
        ("ddp_find_unused_parameters", "ddp_bucket_cap_mb", "ddp_broadcast_buffers", "ddp_static_graph", "ddp_backend",
         "ddp_timeout", "parallelism_config", "local_rank"),
        GROUP,
    ),
    **dict.fromkeys(("use_liger_kernel", "liger_kernel_config", "activation_offloading"), GPU),
    **dict.fromkeys(("hub_token", "hub_strategy", "hub_always_push", "hub_revision"), HUB),
    **dict.fromkeys(("completion_only_loss", "assistant_only_loss"), LEARNED),
    **dict.fromkeys(
        ("activation_checkpointing_kwargs", "gradient_checkpointing_kwargs"),
        "no test shows its effect; trainer.gradient_checkpointing switches checkpointing on or off",
    ),
    **dict.fromkeys(
        ("dataloader_pin_memory", "dataloader_multiprocessing_context", "dataloader_in_order"),
        "this program sets it from the device and the order of the rows",
    ),
    "optim_target_modules": OPTIMIZERS,
    "use_cache": "a training never uses the cache",
    "router_aux_loss_coef": "a mixture of experts uses the coefficient in its config.json",
    "full_determinism": "it applies to the whole process, including other runs in it",
    "debug": "health decides what happens if a loss is not a number",
}  # fmt: skip
"""Fields of SFTConfig that are not used here, and why."""
NO_EFFECT = {
    name: "it trains in one process" if reason == GROUP else reason
    for name, reason in SFT_REASONS.items()
    if reason in {VALIDATION, GROUP, OPTIMIZERS}
}
"""Those that would change nothing with `trainer=trl` either, and why."""
SFT_OLDER = {
    "max_seq_length": "trainer.max_seq_length", "warmup_ratio": "trainer.warmup_ratio",
    "evaluation_strategy": "trainer.eval_steps", "group_by_length": "sampler.group_by_prefix",
    "no_cuda": "trainer.device=cpu", "logging_dir": "logger=[tensorboard]",
}  # fmt: skip
"""Fields that SFTConfig had before 1.15, as many tutorials name them, and settings of ours are."""
LORA_SETTINGS = {
    "base_model_name_or_path": "model.path", "revision": "model.revision", "r": "adapter.r",
    "lora_alpha": "adapter.lora_alpha", "lora_dropout": "adapter.lora_dropout",
    "target_modules": "adapter.target_modules", "bias": "adapter.bias", "use_rslora": "adapter=rslora",
    "use_dora": "adapter=dora", "modules_to_save": "adapter.modules_to_save",
    "layers_to_transform": "adapter.layers_to_transform", "rank_pattern": "adapter.rank_pattern",
    "alpha_pattern": "adapter.alpha_pattern", "target_parameters": "adapter.experts",
}  # fmt: skip
"""Fields of LoraConfig that settings of ours are."""
CHANGES_BASE = "it changes the base that the verdict and the exports compare with"
CANNOT_MERGE = "no exporter can merge an adapter with it"
LORA_REASONS = {
    **dict.fromkeys(("loftq_config", "corda_config", "lora_ga_config", "layer_replication"), CHANGES_BASE),
    **dict.fromkeys(
        ("lora_bias", "use_qalora", "qalora_group_size", "alora_invocation_tokens", "use_bdlora", "arrow_config",
         "kasa_config", "velora_config", "monteclora_config"),
        CANNOT_MERGE,
    ),
    **dict.fromkeys(
        ("task_type", "peft_type", "auto_mapping", "peft_version", "inference_mode", "runtime_config"),
        "this program tells peft what the adapter is for",
    ),
    **dict.fromkeys(("megatron_config", "megatron_core"), "Megatron is not used"),
    "eva_config": "adapter.args.init_lora_weights=eva keeps all ranks as they are set",
    "fan_in_fan_out": "peft reads it from the layer",
    "layers_pattern": "the number of a block is the first number in the name of a layer",
    "ensure_weight_tying": "no test shows its effect",
}  # fmt: skip
"""Fields of LoraConfig that are not used here, and why."""


def refusals(
    settings: Mapping[str, str], reasons: Mapping[str, str], section: str = "", admitted: Iterable[str] = ()
) -> dict[str, str]:
    """Return what each field of a library is here that is not a setting under its own name.

    Args:
        settings: fields that settings of ours are.
        reasons: why other fields are not used.
        section: the settings that have the `args`, such as `trainer`.
        admitted: fields that the `args` accept.
    """
    return {
        **{name: f"is called {section}.args.{name} here" for name in admitted},
        **{name: f"is {'' if '=' in key else 'called '}{key} here" for name, key in settings.items()},
        **{name: f"is not used here: {reason}" for name, reason in reasons.items()},
    }


def sft_refusals(older: Mapping[str, str], section: str = "", admitted: Iterable[str] = ()) -> dict[str, str]:
    """Return what fields of SFTConfig are here, and for those that only `trainer=trl` has, what they are there."""
    of_trl = ONLY_HF | (SFT_REASONS.keys() - NO_EFFECT.keys())
    return {
        name: answer + (f"; trainer=trl has it as trainer.args.{name}" if name in of_trl else "")
        for name, answer in refusals({**SFT_SETTINGS, **older}, SFT_REASONS, section, admitted).items()
    }


@dataclass
class SFTArgs:
    """Fields of TRL's SFTConfig under their own names. None of them changes the model's memory, resuming or exports."""

    instead: ClassVar[Mapping[str, str]] = sft_refusals(SFT_OLDER)
    unused: ClassVar[Collection[str]] = SFT_REASONS.keys()

    dataloader_persistent_workers: Annotated[bool, ~(Affects.base | Affects.resume)] = False
    """Keep the processes of `dataloader_num_workers` between epochs. They also keep their memory."""
    dataloader_prefetch_factor: Annotated[int | None, Gt(0), ~(Affects.base | Affects.resume)] = None
    """Batches (optimizer steps) that each process of `dataloader_num_workers` prepares ahead. null: torch's default,
    2."""
    torch_empty_cache_steps: Annotated[int | None, Gt(0), ~(Affects.base | Affects.resume)] = None
    """Optimizer steps between two releases of unused GPU memory, for other programs; slower, and not in the plan. null:
    never."""


@dataclass
class LoraArgs:
    """Fields of peft's LoraConfig under their own names."""

    instead: ClassVar[Mapping[str, str]] = refusals(LORA_SETTINGS, LORA_REASONS)
    unused: ClassVar[Collection[str]] = LORA_REASONS.keys()

    exclude_modules: list[str] = field(default_factory=list)
    """Layers that are left out of `target_modules`: names, or regular expressions for whole names."""
    init_lora_weights: Annotated[Any, ~Affects.base] = True
    """How the matrices begin. true: A by Kaiming, B zero; gaussian: A normal, B zero; orthogonal, for an even `r`;
    pissa, pissa_niter_N or olora: a part of the weights, which a second, frozen adapter subtracts (needs
    `quantization=none`; saved with twice the rank); eva: A from the rows, B zero; false: both random, so the training
    does not begin at the base."""
    trainable_token_indices: Annotated[list[Annotated[int, Ge(0)]], ~Affects.base] = field(default_factory=list)
    """Ids of tokens whose embeddings are also trained, and saved with the adapter. Not for exporter=gguf_adapter."""


SFT_INSTEAD = sft_refusals(
    {name: key for name, key in SFT_OLDER.items() if key != f"trainer.{name}"},
    "trainer",
    [each.name for each in fields(SFTArgs)],
)
LORA_INSTEAD = refusals(
    {**LORA_SETTINGS, "rank": "adapter.r"}, LORA_REASONS, "adapter", [each.name for each in fields(LoraArgs)]
)
"""The same for names beside our own settings, where a user may try them first."""
EVA = "eva"
INIT_LORA_WEIGHTS = (True, False, "gaussian", "orthogonal", EVA)
"""What `init_lora_weights` may be."""
WITHIN_WEIGHTS = re.compile(r"pissa(_niter_[1-9]\d*)?|olora")
"""Initializations that begin with a part of the weights, which they take from the base."""
NOT_STARTS = {
    "loftq": "fits the adapter to the error of weights in four bits, so it is right on these weights only: on the base "
    "of 16 bits, which the exports are merged into, that error would count twice",
    "corda": "reads rows before the training, and no test shows its effect",
    "lora_ga": "reads rows before the training, and no test shows its effect",
}
"""Initializations that are not used here, and why."""


def non_default(args: Any) -> dict[str, Any]:
    """Return the fields that are not as the library has them by default."""
    plain = type(args)()
    pairs = ((argument.name, getattr(args, argument.name), getattr(plain, argument.name)) for argument in fields(args))
    return {name: value for name, value, default in pairs if value != default}
