"""The settings of Axolotl, LLaMA-Factory and TRL under their own names, and what to type here instead.

Most people meet these names first. docs/tutorial/coming-from.md shows the same tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.api.component import GROUPS
from framework.api.fields import as_text, fields
from framework.api.text.overrides import quoted
from framework.hooks.session import current
from framework.util.errors import names_with

AXOLOTL, FACTORY, TRL = "Axolotl", "LLaMA-Factory", "TRL"
REWARDS = "method=grpo learns from rewards"


@dataclass(frozen=True)
class Equivalent:
    """A setting of other tools.

    Attributes:
        tools: which of them have it.
        here: what to type, with `{}` for the value; empty if nothing does the same.
        why: what happens instead, or a remark.
        is_default: whether a run does it anyway.
    """

    tools: tuple[str, ...]
    here: str = ""
    why: str = ""
    is_default: bool = False

    @classmethod
    def of_text(cls, tools: tuple[str, ...], text: str) -> Equivalent:
        """Read `HERE # WHY`, or `HERE #= WHY` of what a run does anyway; an empty text is that too."""
        here, sign, why = text.partition(" #= ")
        if sign or not text:
            return cls(tools, here.strip(), why.strip() or "the default", is_default=True)
        here, _, why = text.partition(" # ")
        return cls(tools, here.strip(), why.strip())

    @property
    def takes_value(self) -> bool:
        """Whether the value is typed here too; otherwise it is a switch, which says nothing if it is off."""
        return "{}" in self.here

    def sentence(self, subject: str = "it", value: Any = None) -> str:
        """Say what a setting is here, with the override to type if its value is known."""
        if not self.here:
            return f"{subject} is not available: {self.why}"
        if value is False and not self.takes_value:
            return f"{subject} is {self.here} here if it is on: leave it out"
        why = f" ({self.why})" if self.why else ""
        key, _, template = self.here.partition("=")
        if template != "{}":
            return f"{subject} is {self.typed(value)} here{why}"
        typed = f": type {self.typed(value)}" if value is not None else ""
        return f"{subject} is called {key} here{typed}{why}"

    def typed(self, value: Any = None) -> str:
        """Return the overrides to type."""
        return self.here.replace("{}", "…" if value is None else as_text(value))

    def overrides(self, value: Any) -> list[str]:
        """Return the overrides for a value, each as one word that Hydra reads."""
        return [word.replace("{}", quoted(value)) for word in self.here.split()]


def _equivalents(*rows: tuple[tuple[str, ...], dict[str, str]]) -> dict[str, Equivalent]:
    equivalents: dict[str, Equivalent] = {}
    for tools, names in rows:
        for name, text in names.items():
            earlier_tools = equivalents[name].tools if name in equivalents else ()
            equivalents[name] = Equivalent.of_text((*earlier_tools, *tools), text)
    return equivalents


NAMES = _equivalents(
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
        "seed": "seed={}", "save_total_limit": "trainer.save_total_limit={}",
        "dataloader_num_workers": "trainer.dataloader_num_workers={}",
        "resume_from_checkpoint": " # `python -m framework resume RUN_DIR` continues a run",
        "gradient_checkpointing_kwargs": " # the trainer sets gradient checkpointing up",
        "load_best_model_at_end": "trainer.keep_best=true #= the default",
        "push_to_hub": "exporter=[adapter,push] # exporter.push.repo_id names the repository",
        "ddp_find_unused_parameters": " # launch=ddp decides it",
        "bf16_full_eval": " # a validation computes in trainer.dtype",
    }),
    ((AXOLOTL, TRL), {
        "lora_r": "adapter.r={}", "lora_target_modules": "adapter.target_modules={}",
        "fsdp": "launch=fsdp2", "fsdp_config": "launch=fsdp2",
        "datasets": "data=local_file data.path=FILE # or data=hub data.path=owner/name",
    }),
    ((FACTORY, TRL), {
        "model_name_or_path": "model=local model.path={}",
        "per_device_train_batch_size": "trainer.per_device_train_batch_size={}",
        "per_device_eval_batch_size": "trainer.per_device_eval_batch_size={}",
        "num_train_epochs": "trainer.num_train_epochs={}", "lr_scheduler_type": "schedule={}",
        "optim": "optimizer={}", "report_to": "logger=[console,wandb] # or mlflow, tensorboard",
        "run_name": "name={}", "use_dora": "adapter=dora", "use_rslora": "adapter=rslora",
        "packing": "trainer.packing=tree #= the default: prefixes that rows share are computed once",
        "adam_beta1": "optimizer.betas # a list of both", "adam_beta2": "optimizer.betas # a list of both",
        "adam_epsilon": "optimizer.eps={}", "torch_dtype": "trainer.dtype={}", "dtype": "trainer.dtype={}",
        "tf32": " # trainer.dtype=fp32 multiplies in TF32 on a GPU",
        "eval_strategy": "trainer.eval_steps # a number of steps; by default, each epoch ends with a validation",
        "save_strategy": "trainer.save_steps # a number of steps; by default, checkpoints are written by time",
        "load_in_4bit": "quantization=nf4", "load_in_8bit": "quantization=int8",
    }),
    ((AXOLOTL,), {
        "base_model": "model=local model.path={}", "load_in_4bit": "quantization=nf4",
        "load_in_8bit": "quantization=int8",
        "adapter": "adapter={} # qlora is quantization=nf4 adapter=lora",
        "lora_modules_to_save": "adapter.modules_to_save={}",
        "lora_target_linear": "adapter.target_modules=[all-linear] #= the default",
        "peft_use_dora": "adapter=dora", "peft_use_rslora": "adapter=rslora",
        "test_datasets": "data.validation_path=FILE # or data.validation_split_name, a split of the same data set",
        "pretraining_dataset": "method=pretrain data=hub data.path={}",
        "chat_template": "model.chat_template={} # the tokenizer's own template is the default",
        "chat_template_jinja": "model.chat_template={} # a file",
        "roles_to_train": "data.learn=assistant #= the default", "train_on_inputs": "data.learn=everything",
        "sequence_len": "trainer.max_seq_length={}",
        "sample_packing": "trainer.packing=tree #= the default: prefixes that rows share are computed once",
        "pad_to_sequence_len": " # rows are not padded to a fixed length",
        "val_set_size": "data.validation_split={}",
        "micro_batch_size": "trainer.per_device_train_batch_size={}", "num_epochs": "trainer.num_train_epochs={}",
        "optimizer": "optimizer={}", "lr_scheduler": "schedule={}",
        "flash_attention": "trainer.attention=flash_attention_2", "sdp_attention": "trainer.attention=sdpa",
        "eager_attention": "trainer.attention=eager", "attn_implementation": "trainer.attention={}",
        "tf32": " # trainer.dtype=fp32 multiplies in TF32 on a GPU",
        "eval_batch_size": "trainer.per_device_eval_batch_size={}",
        "evals_per_epoch": "trainer.eval_steps # a number of steps; by default, each epoch ends with a validation",
        "saves_per_epoch": "trainer.save_steps # a number of steps; by default, checkpoints are written by time",
        "wandb_project": "logger=[console,wandb] logger.wandb.project={}", "wandb_name": "name={}",
        "wandb_entity": "logger=[console,wandb] logger.wandb.entity={}", "wandb_run_id": " # each run has its own",
        "use_mlflow": "logger=[console,mlflow]", "use_tensorboard": "logger=[console,tensorboard]",
        "model_type": " # config.json names the class", "tokenizer_type": " # the tokenizer's files name the class",
        "dataset_prepared_path": " # the cache keeps the tokenized rows",
        "plugins": " # of Axolotl, such as Liger; the loss is computed in pieces here",
        "early_stopping_patience": "trainer.early_stopping_patience={}", "fsdp_version": "launch=fsdp2",
        "dp_shard_size": "launch=fsdp2 launch.dp_shard_size={}",
        "dp_replicate_size": " # it is the number of processes divided by launch.dp_shard_size",
        "special_tokens": " # the roles of tokens stay as the tokenizer has them; model.new_tokens adds tokens",
        "tokens": "model.new_tokens={}", "lora_model_dir": "adapter.start={}",
        "rl": "method={} # dpo, kto, orpo, simpo or grpo", "rl_beta": "method.beta={}",
    }),
    ((FACTORY,), {
        "stage": "method={} # sft, pretrain (pt), dpo or kto; stages=[…] selects the steps of a run",
        "pref_beta": "method.beta={}", "pref_loss": "method=dpo method.loss_type=[{}]",
        "finetuning_type": "adapter={} # lora or full",
        "quantization_bit": "quantization=nf4 # or int8 for 8 bits",
        "quantization_method": " # quantization=nf4 and int8 use bitsandbytes", "use_unsloth": "trainer=unsloth",
        "additional_target": "adapter.modules_to_save={}", "lora_rank": "adapter.r={}",
        "lora_target": "adapter.target_modules=[all-linear] #= the default, which is all; or a list of names",
        "dataset": "data=local_file data.path=FILE # or data=hub data.path=owner/name",
        "dataset_dir": "data=local_file data.path=FILE", "eval_dataset": "data.validation_path=FILE",
        "template": "model.chat_template={} # the tokenizer's own template is the default",
        "enable_thinking": "model.thinking=off # or on", "mask_history": "data.learn=last",
        "train_on_prompt": "data.learn=everything", "cutoff_len": "trainer.max_seq_length={}",
        "max_samples": "data.max_rows={}", "val_size": "data.validation_split={}",
        "flash_attn": "trainer.attention=flash_attention_2", "neftune_noise_alpha": "trainer.neftune_noise_alpha={}",
        "overwrite_output_dir": " # a run has a folder of its own; run_dir=FOLDER continues an earlier run",
        "preprocessing_num_workers": " # all rows are read in one process, and kept in the cache",
        "adapter_name_or_path": "adapter.start={}", "add_tokens": "model.new_tokens={}",
        "do_train": "stages=[plan,data,baseline,train,evaluate,export,report] #= the default",
        "plot_loss": "logger=[console,html] # the page of the run has the curves",
        "overwrite_cache": " # the cache has an entry for each content of the data",
        "ddp_timeout": " # launch=ddp has its own",
    }),
    ((TRL,), {
        "dataset_name": "data=hub data.path={}", "dataset_config": "data.name={}",
        "dataset_train_split": "data.split={}",
        "dataset_test_split": "data.validation_split_name={}", "max_length": "trainer.max_seq_length={}",
        "max_seq_length": "trainer.max_seq_length={}", "attn_implementation": "trainer.attention={}",
        "use_peft": "adapter=lora", "assistant_only_loss": "data.learn=assistant #= the default",
        "completion_only_loss": "data.learn=assistant #= the default",
        "callbacks": "callback=[NAME] # a function of a plugin; health stops or warns, and loggers receive each step",
        "loss_type": "method=dpo method.loss_type=[{}] # of DPOConfig; loss={} for a loss of a plugin",
        "label_smoothing": "method.label_smoothing={} # of DPOConfig", "loss_weights": "method.loss_weights={}",
        "precompute_ref_log_probs": " # the reference is always scored before the first step, and kept for other runs",
        "use_weighting": " # WPO needs the whole distribution at each token, and losses see log-probabilities only",
    }),
)  # fmt: skip
VALUES: dict[str, dict[str, str]] = {
    "adapter": {"qlora": "quantization=nf4 adapter=lora"},
    "attn_implementation": dict.fromkeys(
        ("flash_attention_3", "kernels-community/flash-attn"), "trainer.attention=flash_attention_2"
    ),
    "chat_template": dict.fromkeys(("tokenizer_default", "jinja"), ""),
    "eval_strategy": dict.fromkeys(("no", "epoch", "steps"), ""),
    "finetuning_type": {"freeze": " # layers cannot be frozen one by one; adapter=lora or full"},
    "flash_attn": {
        "auto": "",
        "disabled": "trainer.attention=eager",
        "sdpa": "trainer.attention=sdpa",
        "fa2": "trainer.attention=flash_attention_2",
    },
    "lora_target": {"all": ""},
    "lr_scheduler": {"one_cycle": " # there is no such schedule; cosine warms up and falls once"},
    "optim": {
        "adamw_hf": "optimizer=adamw_torch",
        "adamw_torch_8bit": "optimizer=adamw_8bit",
        "paged_adamw": "optimizer=paged_adamw_32bit",
    },
    "pref_loss": {"orpo": "method=orpo", "simpo": "method=simpo"},
    "quantization_bit": {"4": "quantization=nf4", "8": "quantization=int8", "none": ""},
    "rl": {
        "ipo": "method=dpo method.loss_type=[ipo]",
        "gdpo": "method=dpo",
        **dict.fromkeys(("reward", "bradley_terry", "prm"), f" # {REWARDS}"),
    },
    "save_strategy": dict.fromkeys(("no", "epoch", "steps"), ""),
    "stage": {"pt": "method=pretrain", **dict.fromkeys(("rm", "ppo"), f" # {REWARDS}")},
    "template": {"default": ""},
    "torch_dtype": {
        "bfloat16": "trainer.dtype=bf16",
        "float16": "trainer.dtype=fp16",
        "float32": "trainer.dtype=fp32",
        "auto": "",
    },
}
VALUES |= {
    name: VALUES[like]
    for name, like in {"optimizer": "optim", "dtype": "torch_dtype", "lr_scheduler_type": "lr_scheduler"}.items()
}
"""Values of settings that are written differently here; an empty text for the default."""
OPTIONS = {
    ("adapter", "qlora"): Equivalent((AXOLOTL,), "quantization=nf4 adapter=lora"),
    **{("quantization", name): Equivalent((), "quantization=nf4") for name in ("4bit", "bnb_4bit", "fp4", "int4", "4")},
    **{("quantization", name): Equivalent((), "quantization=int8") for name in ("8bit", "bnb_8bit", "8")},
    ("adapter", "freeze"): Equivalent((FACTORY,), "", "layers cannot be frozen one by one; adapter=lora or full"),
    ("schedule", "cosine_with_min_lr"): Equivalent((TRL,), "schedule=cosine schedule.min_learning_rate={}"),
    ("schedule", "cosine_warmup_with_min_lr"): Equivalent((TRL,), "schedule=cosine_warm_start"),
    ("trainer", "sft"): Equivalent((FACTORY, TRL), "trainer=hf", "the default", is_default=True),
    ("trainer", "trl"): Equivalent((TRL,), "trainer=hf", "the default", is_default=True),
    **{
        ("trainer", name): Equivalent((FACTORY, TRL), f"method={name}")
        for name in ("dpo", "kto", "orpo", "cpo", "simpo", "grpo")
    },
    **{("trainer", name): Equivalent((FACTORY, TRL), "", REWARDS) for name in ("ppo", "rm", "reward")},
}
"""Options that other tools have in a group of ours."""


def option_elsewhere(group: str, option: str) -> str:
    """Say what an option of another tool is here; empty if no other tool has it."""
    if equivalent := OPTIONS.get((group, option)):
        return equivalent.sentence(f"{group}={option}")
    group, _, folder = group.partition("/")
    path = "/".join(part for part in (folder, option) if part)
    if (words := path_overrides(group, path)) and (folder or "." in option):
        return f"{group}={path} is a path or an id, not an option: type {' '.join(words)}"
    return ""


def path_overrides(group: str, path: str) -> list[str]:
    """Return the overrides that choose a model or data by path or id; none for other groups."""
    if group == "model":
        return ["model=local", f"model.path={quoted(path)}"]
    if group != "data":
        return []
    is_file = Path(path).expanduser().exists() or Path(path).suffix or path.startswith((".", "/", "~"))
    return [f"data={'local_file' if is_file else 'hub'}", f"data.path={quoted(path)}"]


def equivalent_of(name: str, value: Any) -> Equivalent | None:
    """Return what a setting of another tool is here for its value; None if no other tool has it."""
    equivalent = NAMES.get(name)
    text = VALUES.get(name, {}).get(str(value).lower())
    if equivalent is None or text is None:
        return equivalent
    return Equivalent.of_text(equivalent.tools, text)


def settings_below(name: str) -> list[str]:
    """Return the settings of groups that a name at the top level means: `trainer.learning_rate` for `lr`."""
    settings = []
    for group in GROUPS.values():
        if not group.several:
            schemas = (group.base, *(component.schema for component in current().plugins.components(group).values()))
            names = dict.fromkeys(field.name for schema in schemas for field in fields(schema))
            settings += [f"{group.name}.{close}" for close in names_with(name, names)[:1]]
    return settings
