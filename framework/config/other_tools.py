"""The settings of Axolotl, LLaMA-Factory and TRL under their own names, and what to type here instead.

Most people meet these names first. docs/tutorial/coming-from.md shows the same tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from framework.api.fields import as_text
from framework.config.limits import check_file
from framework.util.errors import FrameworkError, summarize_error

AXOLOTL, FACTORY, TRL = "Axolotl", "LLaMA-Factory", "TRL"
REWARDS = "method=grpo learns from rewards"
SETTINGS_LISTED = 60
"""Settings of a file that are listed."""
FEWEST_NAMES = 3
"""Names of one tool that make a file one of its configs."""


@dataclass(frozen=True)
class Equivalent:
    """A setting of other tools.

    Attributes:
        tools: which of them have it.
        here: what to type, with `{}` for the value; empty if nothing does the same.
        why: what happens instead, or a remark.
    """

    tools: tuple[str, ...]
    here: str = ""
    why: str = ""

    def sentence(self, subject: str = "it", value: Any = None) -> str:
        """Say what a setting is here, with the override to type if its value is known."""
        if not self.here:
            return f"{subject} is not available: {self.why}"
        why = f" ({self.why})" if self.why else ""
        key, _, rest = self.here.partition("=")
        if rest != "{}":
            return f"{subject} is {self.typed(value)} here{why}"
        typed = f": type {self.typed(value)}" if value is not None else ""
        return f"{subject} is called {key} here{typed}{why}"

    def typed(self, value: Any = None) -> str:
        """Return the overrides to type."""
        return self.here.replace("{}", "…" if value is None else as_text(value))


def _all(*rows: tuple[tuple[str, ...], dict[str, str]]) -> dict[str, Equivalent]:
    found: dict[str, Equivalent] = {}
    for tools, names in rows:
        for name, text in names.items():
            here, _, why = text.partition(" # ")
            others = found[name].tools if name in found else ()
            found[name] = Equivalent((*others, *tools), here.strip(), why.strip())
    return found


NAMES = _all(
    ((AXOLOTL, FACTORY, TRL), {
        "learning_rate": "trainer.learning_rate={}", "max_steps": "trainer.max_steps={}",
        "gradient_accumulation_steps": "trainer.gradient_accumulation_steps={}",
        "warmup_steps": "trainer.warmup_steps={}", "warmup_ratio": "trainer.warmup_ratio={}",
        "weight_decay": "trainer.weight_decay={}", "max_grad_norm": "trainer.max_grad_norm={}",
        "logging_steps": "trainer.logging_steps={}", "save_steps": "trainer.save_steps={}",
        "eval_steps": "trainer.eval_steps={}",
        "gradient_checkpointing": "trainer.gradient_checkpointing=enabled # auto, the default, uses it if it is needed",
        "bf16": "trainer.dtype=bf16 # auto, the default, uses it if the hardware has it",
        "fp16": "trainer.dtype=fp16", "output_dir": "run_dir={}",
        "hub_model_id": "exporter=[adapter,push] exporter.push.repo_id={}",
        "lora_alpha": "adapter.lora_alpha={}", "lora_dropout": "adapter.lora_dropout={}",
        "trust_remote_code": "model.trust_remote_code={}",
        "deepspeed": "launch=fsdp2 # there is no DeepSpeed; FSDP2 shards the weights over several GPUs, too",
    }),
    ((AXOLOTL, TRL), {
        "lora_r": "adapter.r={}", "lora_target_modules": "adapter.target_modules={}",
        "fsdp": "launch=fsdp2", "fsdp_config": "launch=fsdp2",
    }),
    ((FACTORY, TRL), {
        "model_name_or_path": "model=local model.path={}",
        "per_device_train_batch_size": "trainer.per_device_train_batch_size={}",
        "per_device_eval_batch_size": "trainer.per_device_eval_batch_size={}",
        "num_train_epochs": "trainer.num_train_epochs={}", "lr_scheduler_type": "schedule={}",
        "optim": "optimizer={}", "report_to": "logger=[console,wandb] # or mlflow, tensorboard",
        "run_name": "name={}", "use_dora": "adapter=dora", "use_rslora": "adapter=rslora",
        "packing": "trainer.packing=tree # the default: prefixes that rows share are computed once",
    }),
    ((AXOLOTL,), {
        "base_model": "model=local model.path={}", "load_in_4bit": "quantization=nf4",
        "load_in_8bit": "quantization=int8", "lora_target_linear": "adapter.target_modules=[all-linear] # the default",
        "peft_use_dora": "adapter=dora", "peft_use_rslora": "adapter=rslora",
        "datasets": "data=local_file data.path=FILE # or data=hub data.path=owner/name",
        "chat_template": "model.chat_template={} # the tokenizer's own template is the default",
        "roles_to_train": "data.learn=assistant # the default", "train_on_inputs": "data.learn=everything",
        "sequence_len": "trainer.max_seq_length={}",
        "sample_packing": "trainer.packing=tree # the default: prefixes that rows share are computed once",
        "pad_to_sequence_len": " # rows are not padded to a fixed length",
        "val_set_size": "data.validation_split={}",
        "micro_batch_size": "trainer.per_device_train_batch_size={}", "num_epochs": "trainer.num_train_epochs={}",
        "optimizer": "optimizer={}", "lr_scheduler": "schedule={}",
        "flash_attention": "trainer.attention=flash_attention_2", "tf32": "trainer.dtype=fp32 # it uses TF32 on a GPU",
        "wandb_project": "logger=[console,wandb] logger.wandb.project={}", "wandb_name": "name={}",
        "early_stopping_patience": "trainer.early_stopping_patience={}", "fsdp_version": "launch=fsdp2",
        "dp_shard_size": "launch=fsdp2 launch.dp_shard_size={}",
        "dp_replicate_size": " # it is the number of processes divided by launch.dp_shard_size",
        "special_tokens": " # the roles of tokens stay as the tokenizer has them; model.new_tokens adds tokens",
        "tokens": "model.new_tokens={}", "lora_model_dir": "adapter.start={}",
        "rl": "method={} # dpo, kto, orpo or simpo", "rl_beta": "method.beta={}",
    }),
    ((FACTORY,), {
        "stage": "method={} # sft, pretrain (pt), dpo or kto; stages=[…] selects the steps of a run",
        "pref_beta": "method.beta={}", "pref_loss": "method=dpo method.loss_type=[{}]",
        "finetuning_type": "adapter={} # lora or full",
        "quantization_bit": "quantization=nf4 # or int8 for 8 bits",
        "quantization_method": " # quantization=nf4 and int8 use bitsandbytes", "lora_rank": "adapter.r={}",
        "lora_target": "adapter.target_modules=[all-linear] # the default, which is all; or a list of names",
        "dataset": "data=local_file data.path=FILE # or data=hub data.path=owner/name",
        "dataset_dir": "data=local_file data.path=FILE",
        "template": "model.chat_template={} # the tokenizer's own template is the default",
        "enable_thinking": "model.thinking=off # or on", "mask_history": "data.learn=last",
        "train_on_prompt": "data.learn=everything", "cutoff_len": "trainer.max_seq_length={}",
        "max_samples": "data.max_rows={}", "val_size": "data.validation_split={}",
        "flash_attn": "trainer.attention=flash_attention_2", "neftune_noise_alpha": "trainer.neftune_noise_alpha={}",
        "overwrite_output_dir": " # a run has a folder of its own; run_dir=FOLDER continues an earlier run",
        "preprocessing_num_workers": " # all rows are read in one process, and kept in the cache",
        "adapter_name_or_path": "adapter.start={}", "add_tokens": "model.new_tokens={}",
        "do_train": "stages=[plan,data,baseline,train,evaluate,export,report] # the default",
    }),
    ((TRL,), {
        "dataset_name": "data=hub data.path={}", "max_length": "trainer.max_seq_length={}",
        "max_seq_length": "trainer.max_seq_length={}", "attn_implementation": "trainer.attention={}",
        "use_peft": "adapter=lora", "assistant_only_loss": "data.learn=assistant # the default",
        "completion_only_loss": "data.learn=assistant # the default",
        "eval_strategy": "trainer.eval_steps={} # a number of steps",
        "callbacks": "callback=[NAME] # a function of a plugin; health stops or warns, and loggers receive each step",
        "loss_type": "method=dpo method.loss_type=[{}] # of DPOConfig; loss={} for a loss of a plugin",
        "label_smoothing": "method.label_smoothing={} # of DPOConfig", "loss_weights": "method.loss_weights={}",
        "precompute_ref_log_probs": " # the reference is always scored before the first step, and kept for other runs",
        "use_weighting": " # WPO needs the whole distribution at each token, and losses see log-probabilities only",
    }),
)  # fmt: skip
OPTIONS = {
    ("adapter", "qlora"): Equivalent((AXOLOTL,), "quantization=nf4 adapter=lora"),
    ("adapter", "freeze"): Equivalent((FACTORY,), "", "layers cannot be frozen one by one; adapter=lora or full"),
    ("schedule", "cosine_with_min_lr"): Equivalent((TRL,), "schedule=cosine schedule.min_learning_rate={}"),
    ("schedule", "cosine_warmup_with_min_lr"): Equivalent((TRL,), "schedule=cosine_warm_start"),
    ("trainer", "sft"): Equivalent((FACTORY, TRL), "trainer=hf", "the default"),
    ("trainer", "trl"): Equivalent((TRL,), "trainer=hf", "the default"),
    **{
        ("trainer", name): Equivalent((FACTORY, TRL), f"method={name}")
        for name in ("dpo", "kto", "orpo", "cpo", "simpo", "grpo")
    },
    **{("trainer", name): Equivalent((FACTORY, TRL), "", REWARDS) for name in ("ppo", "rm", "reward")},
}
"""Options that other tools have in a group of ours."""


def option_elsewhere(group: str, option: str) -> str:
    """Say what an option of another tool is here; empty if no other tool has it."""
    found = OPTIONS.get((group, option))
    return found.sentence(f"{group}={option}") if found else ""


def describe_file(path: Path) -> str:
    """Say what a YAML file is that was given instead of overrides: as a rule a config of another tool.

    Raises:
        FrameworkError: it cannot be read.
    """
    check_file(path)
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise FrameworkError(f"{path} is not valid YAML: {summarize_error(error)}") from error
    settings = settings if isinstance(settings, dict) else {}
    of = {tool: sum(tool in NAMES[key].tools for key in settings if key in NAMES) for tool in (AXOLOTL, FACTORY, TRL)}
    tool = max(of, key=of.__getitem__)
    if of[tool] < FEWEST_NAMES:
        return (
            f"{path} is a file, not an override: make it an experiment, ./conf/experiment/{path.stem}.yaml, with "
            f"'# @package _global_' as its first line, and choose it with +experiment={path.stem}"
        )
    lines = list(_equivalents(settings))
    more = [f"  and {len(lines) - SETTINGS_LISTED} more"] if len(lines) > SETTINGS_LISTED else []
    head = f"{path} is a config of {tool}, which is not read here. Its settings as overrides:"
    return "\n".join([head, *lines[:SETTINGS_LISTED], *more])


def _equivalents(settings: dict[str, Any]) -> Iterator[str]:
    unknown = [str(name) for name in settings if name not in NAMES and (name, str(settings[name])) not in OPTIONS]
    for name, value in settings.items():
        plain = None if isinstance(value, dict | list) and name != "lora_target_modules" else value
        found = OPTIONS.get((name, value)) if isinstance(value, str) else None
        if found := found or NAMES.get(name):
            here = found.typed(plain) if found.here else "not available"
            yield f"  {name}: {here}{f' ({found.why})' if found.why else ''}"
    if unknown:
        yield f"  not known: {', '.join(unknown)}"
