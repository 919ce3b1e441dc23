"""Asks a saved adapter in a process of its own, with peft and transformers alone: nothing of ours takes part.

A copy of `trainers()` has imported ours, too, and takes six seconds less.
"""

from __future__ import annotations

import functools
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.forks import Call, Forks

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


@functools.cache
def _peft() -> Forks:
    """Return a Python that has imported the two, which takes six seconds; one for a test process."""
    return Forks(os.environ, "peft", "transformers.models.llama.modeling_llama")


def answers(
    folder: Path,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    dtype: str,
    env: Mapping[str, str] | None = None,
    of: Forks | None = None,
) -> list[str]:
    """Return the greedy answer to each prompt, asked one by one."""
    command = ["-c", _SCRIPT, str(folder), dtype, str(max_new_tokens), *prompts]
    with tempfile.TemporaryDirectory() as place:
        out, err = Path(place, "out"), Path(place, "err")
        call = Call(command, place, env or dict(os.environ), os.devnull, str(out), str(err))
        assert (of or _peft()).run(call, timeout=600) == 0, err.read_text(encoding="utf-8")
        said: list[str] = json.loads(out.read_text(encoding="utf-8").splitlines()[-1])
    return said
