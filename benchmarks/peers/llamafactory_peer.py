"""LLaMA-Factory's own training stage on rows that are tokenized already: `python llamafactory_peer.py TASK.json`."""

from __future__ import annotations

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

# It imports torchaudio for audio data, and PyPI has no torchaudio for a CPU build of torch: an empty module will do.
sys.modules["torchaudio"] = ModuleType("torchaudio")
sys.modules["torchaudio"].__spec__ = ModuleSpec("torchaudio", None)

from clock import clock, task, write  # noqa: E402 - after the stand-in
from datasets import Dataset, DatasetDict  # noqa: E402
from llamafactory.train.tuner import run_exp  # noqa: E402

job = task()
rows = job.read()
tokenized = Path(job.folder, "tokenized")
columns = [
    {**row, "attention_mask": [1] * len(row["input_ids"]), "images": None, "videos": None, "audios": None}
    for row in rows
]
DatasetDict({"train": Dataset.from_list(columns)}).save_to_disk(tokenized)
Path(job.folder, "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "none.json"}}), encoding="utf-8")
made = clock()
run_exp(
    {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": job.model,
        "finetuning_type": "lora",
        "lora_rank": 16,
        "lora_alpha": 32,
        "lora_target": "all",
        "dataset": "rows",
        "dataset_dir": job.folder,
        "tokenized_path": str(tokenized),
        "template": "default",
        "output_dir": f"{job.folder}/adapter",
        "overwrite_output_dir": True,
        "per_device_train_batch_size": job.batch,
        "gradient_accumulation_steps": job.accumulation,
        "num_train_epochs": 1,
        "learning_rate": job.learning_rate,
        "warmup_steps": job.warmup_steps,
        "lr_scheduler_type": "linear",
        "weight_decay": 0.01,
        "optim": "adamw_torch",
        "bf16": True,
        "use_cpu": True,
        "disable_gradient_checkpointing": True,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": job.seed,
    },
    callbacks=[made],
)
write(made, job, sum(len(row["input_ids"]) for row in rows))
