"""Unsloth as its notebooks have it, in 16 bits, on whatever device it finds: `python unsloth_peer.py TASK.json`."""

from __future__ import annotations

import torch
import unsloth  # noqa: F401 - it has to be imported first
from clock import clock, task, write
from datasets import Dataset
from trl import SFTConfig, SFTTrainer
from unsloth import FastLanguageModel

job = task()
rows = job.read()
dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[job.dtype]
model, tokenizer = FastLanguageModel.from_pretrained(
    job.model, max_seq_length=2048, dtype=dtype, load_in_4bit=job.four_bits
)
model = FastLanguageModel.get_peft_model(
    model,
    r=16,
    lora_alpha=32,
    lora_dropout=0,
    target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    use_gradient_checkpointing="unsloth" if job.checkpointing else False,
    random_state=job.seed,
)
timer = clock()


def collate(batch: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Pad on the right; the rows come labelled."""
    longest = max(len(row["input_ids"]) for row in batch)
    pad = tokenizer.pad_token_id
    gaps = [longest - len(row["input_ids"]) for row in batch]
    return {
        "input_ids": torch.tensor([row["input_ids"] + [pad] * gap for row, gap in zip(batch, gaps, strict=True)]),
        "attention_mask": torch.tensor([[1] * (longest - gap) + [0] * gap for gap in gaps]),
        "labels": torch.tensor([row["labels"] + [-100] * gap for row, gap in zip(batch, gaps, strict=True)]),
    }


trainer = SFTTrainer(
    model=model,
    args=SFTConfig(
        **job.arguments(),
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
    ),
    train_dataset=Dataset.from_list(rows),
    # Rows that come labelled need none on a GPU, and with one of ours Unsloth pads: without it is as its notebooks are.
    data_collator=None if torch.cuda.is_available() else collate,
    processing_class=tokenizer,
    callbacks=[timer],
)
trainer.train()
model.save_pretrained(f"{job.folder}/adapter")
write(timer, job, sum(len(row["input_ids"]) for row in rows))
