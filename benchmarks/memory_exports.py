"""How far the plan's memory of exports is from what merging and comparing really take: the peak of a process.

    .venv/bin/python -m benchmarks.memory_exports
    .venv/bin/python -m benchmarks.memory_exports --models smollm2

Each step is a process of its own, which does it once with a tiny model before, so that libraries do not count. The
models are SmolLM2-135M and a random one with the shape of Qwen2.5-0.5B, both in bf16 with a LoRA on all linear layers.
Pages of the files that are mapped into memory count too, though Linux takes them back where memory is short.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import OUT, command_line, table_head, table_row
from framework import testing
from framework.api.plan import Plan
from framework.memory import Shape
from framework_plugins.exports.disk_and_memory import merge_memory, parity_memory

MIB = 2**20
ROWS, PROMPT, ANSWER = 12, 80, 48
SHAPES: Mapping[str, Mapping[str, int]] = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 49152},
    "qwen": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "vocab_size": 151936},
}
SAID: Mapping[str, Callable[[Shape], int]] = {
    "merge": lambda shape: merge_memory(shape, 2),
    "compare in fp32": lambda shape: parity_memory(shape, 4),
    "compare in bf16": lambda shape: parity_memory(shape, 2),
}


def plan_of(folder: Path) -> Plan:
    """Plan the export of a model folder."""
    words = ["data=local_file", "data.path=none.jsonl", "model=local", f"model.path={json.dumps(str(folder))}"]
    return testing.plan([*words, "exporter=[]"], run_dir=folder.parent / "run")


def make(folder: Path, name: str) -> None:
    """Write `base` and `adapter` below a folder."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    smollm2 = testing.plan(["model=smollm2_135m", "exporter=[]"], run_dir=folder).model.create().fetch(weights=True)
    if name == "smollm2":
        model: Any = AutoModelForCausalLM.from_pretrained(smollm2.folder, dtype=torch.bfloat16)
    else:
        heads = {"num_attention_heads": 14, "num_key_value_heads": 2} if name == "qwen" else {"num_attention_heads": 4}
        torch.set_default_dtype(torch.bfloat16)
        model = LlamaForCausalLM(LlamaConfig(**SHAPES[name], **heads, tie_word_embeddings=True))
    model.save_pretrained(folder / "base")
    AutoTokenizer.from_pretrained(smollm2.folder).save_pretrained(folder / "base")
    model.name_or_path = str(folder / "base")
    adapted = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear"))
    for weight in adapted.parameters():
        weight.data = weight.data if weight.data.any() else weight.data.normal_(std=0.01)
    adapted.save_pretrained(folder / "adapter", save_embedding_layers=False)


def do(step: str, folder: Path) -> None:
    """Merge, or compare what was merged with the trained weights."""
    import torch

    from framework_plugins.exports.merge.merging import merge
    from framework_plugins.exports.parity.agreement import compare_logits
    from framework_plugins.exports.parity.check_rows import CheckRow
    from framework_plugins.exports.parity.reference_logits import Placement, folder_logits, trained_logits

    plan, merged = plan_of(folder / "base"), folder / "merged"
    if step == "merge":
        merge(plan, folder / "adapter", merged)
        return
    held = Placement("cpu", torch.float32 if step.endswith("fp32") else torch.bfloat16)
    ids = [[(7 * row + 3 * place) % 49000 for place in range(PROMPT + ANSWER)] for row in range(ROWS)]
    rows = [CheckRow("", tuple(each[:PROMPT]), tuple(each[PROMPT:]), stopped=False) for each in ids]
    trained, *_ = trained_logits(plan, folder / "adapter", rows, held)
    compare_logits(rows, trained, folder_logits(merged, rows, held, trust=False), frozenset(), 0.02)


def measure(step: str, tiny: Path, folder: Path) -> None:
    """Print the peak of a step in bytes; for a process that does nothing else."""
    from framework_plugins.hf.machine.hardware import peak_memory

    do(step, tiny)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before = peak_memory("cpu")
    do(step, folder)
    print(f"peak {peak_memory('cpu') - before}")  # noqa: T201 - for the process that asked


def child(*words: str) -> str:
    """Run this module with some words and return what it printed.

    Raises:
        RuntimeError: it failed; the message holds the end of what it printed.
    """
    command = [sys.executable, "-m", "benchmarks.memory_exports", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-800:])
    return done.stdout


def main() -> None:
    """Print the table, or do a part of it."""
    parser = command_line(__doc__)
    parser.add_argument("--models", nargs="+", default=["smollm2", "qwen"], choices=["smollm2", "qwen"])
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        what, *rest = arguments.child
        make(Path(rest[0]), rest[1]) if what == "make" else measure(what, Path(rest[0]), Path(rest[1]))
        return
    OUT.print(table_head("model", "parameters", "step", "predicted MiB", "measured MiB", "off"))
    with tempfile.TemporaryDirectory() as top:
        tiny = Path(top) / "tiny"
        child("--child", "make", str(tiny), "tiny")
        for name in arguments.models:
            folder = Path(top) / name
            child("--child", "make", str(folder), name)
            shape = Shape.from_config(json.loads((folder / "base" / "config.json").read_text(encoding="utf-8")))
            for step, said in SAID.items():
                found = int(child("--child", step, str(tiny), str(folder)).rpartition("peak ")[2])
                off = f"{said(shape) / found - 1:+.0%}"
                sizes = f"{said(shape) / MIB:,.0f}", f"{found / MIB:,.0f}"
                OUT.print(table_row(name, f"{shape.total / 1e6:,.0f} M", step, *sizes, off))


if __name__ == "__main__":
    main()
