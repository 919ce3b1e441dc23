"""Losses of held-out rows, by plain peft: `python held_out.py MODEL ROWS FOUR_BITS DTYPE ADAPTER…`.

Prints a line of JSON with the mean loss of each adapter. The base is read once, in bf16 or fp16, in NF4 if FOUR_BITS is
1.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from torch.nn import functional
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

model, rows, four_bits, number_format, *adapters = sys.argv[1:]
dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[number_format]
device = "cuda" if torch.cuda.is_available() else "cpu"
quantized = None
if four_bits == "1":
    quantized = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
base = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, quantization_config=quantized, device_map={"": device})
known = [json.loads(line) for line in Path(rows).read_text(encoding="utf-8").splitlines()]
tuned = PeftModel.from_pretrained(base, adapters[0], adapter_name="0")
losses = []
for number, adapter in enumerate(adapters):
    if number:
        tuned.load_adapter(adapter, adapter_name=str(number))
    tuned.set_adapter(str(number))
    total, count = 0.0, 0
    for row in known:
        with torch.inference_mode():
            logits = tuned(torch.tensor([row["input_ids"]], device=device)).logits[0, :-1].float()
        labels = torch.tensor(row["labels"][1:], device=device)
        total += float(functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum"))
        count += int((labels != -100).sum())
    losses.append(total / count)
sys.stdout.write(json.dumps(losses) + "\n")
