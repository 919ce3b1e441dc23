"""Asks a saved adapter in a process of its own, with peft and transformers alone: nothing of ours takes part."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_SCRIPT = """
import json, sys, torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer
folder, dtype, length, prompts = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
model = AutoPeftModelForCausalLM.from_pretrained(folder, dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[dtype])
tokenizer = AutoTokenizer.from_pretrained(folder)
answers = []
for prompt in prompts:
    turns = [{"role": "user", "content": prompt}]
    batch = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    out = model.generate(**batch, max_new_tokens=length, do_sample=False)
    answers.append(tokenizer.decode(out[0, batch["input_ids"].shape[1]:], skip_special_tokens=True))
print(json.dumps(answers))
"""


def answers(
    folder: Path, prompts: Sequence[str], *, max_new_tokens: int, dtype: str, env: Mapping[str, str] | None = None
) -> list[str]:
    """Return the greedy answer to each prompt, asked one by one."""
    command = [sys.executable, "-c", _SCRIPT, str(folder), dtype, str(max_new_tokens), *prompts]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said: list[str] = json.loads(done.stdout.splitlines()[-1])
    return said
