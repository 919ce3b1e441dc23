"""TRL's SFTTrainer as its documentation has it, in 16 bits: `python trl_peer.py TASK.json`."""

from __future__ import annotations

import torch
from clock import clock, task, write
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from trl import SFTConfig, SFTTrainer

job = task()
rows = [
    {"input_ids": row["input_ids"], "completion_mask": [int(label != -100) for label in row["labels"]]}
    for row in job.read()
]
timer = clock()
dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[job.dtype]
quantized = None
if job.four_bits:
    quantized = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
trainer = SFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(
        job.model,
        dtype=dtype,
        quantization_config=quantized,
        attn_implementation=job.attention or None,
        device_map={"": "cuda" if torch.cuda.is_available() else "cpu"},
    ),
    args=SFTConfig(
        **job.arguments(),
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=job.checkpointing,
        packing=job.packing > 0,
        max_length=job.packing or None,
        use_liger_kernel=job.liger,
        completion_only_loss=True,
    ),
    train_dataset=Dataset.from_list(rows),
    processing_class=AutoTokenizer.from_pretrained(job.model),
    peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    callbacks=[timer],
)
trainer.train()
trainer.save_model(f"{job.folder}/adapter")
write(timer, job, int(trainer.state.num_input_tokens_seen) or sum(len(row["input_ids"]) for row in rows))
