"""How far the plan's memory is from that of real runs on this machine's CPU: the peak of the whole process.

    .venv/bin/python -m benchmarks.memory_cpu
    .venv/bin/python -m benchmarks.memory_cpu --kinds lora.pad dora

Each run is a process of its own: SmolLM2-135M, or a random model of another shape with its tokenizer. The prediction is
that of `forecast.json`, which the run writes before it loads the model. Kinds marked * were known while the terms
were set.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import OUT, command_line, table_head, table_row
from framework import testing

MIB = 2**20
ORDERS = 0
"""As a length: the rows of the quickstart."""
FEW = [
    "evaluator.prompts.count=8", "evaluator.memorization.rows=6",
    *(f"evaluator.forgetting.{name}=1" for name in ("questions", "instructions", "texts")),
]  # fmt: skip
"""Evaluators that take seconds, for all kinds but the quickstart."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"
LLAMA = {"model_type": "llama", "vocab_size": 49152, "tie_word_embeddings": True}
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "llama30m": {
        **LLAMA, "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 6,
        "num_key_value_heads": 2,
    },
    "llama360m": {
        **LLAMA, "hidden_size": 960, "intermediate_size": 2560, "num_hidden_layers": 32, "num_attention_heads": 15,
        "num_key_value_heads": 5,
    },
    "qwen2": {
        "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 512, "intermediate_size": 2048,
        "num_hidden_layers": 12, "num_attention_heads": 8, "num_key_value_heads": 2, "tie_word_embeddings": True,
    },
    "qwen3": {
        "model_type": "qwen3", "vocab_size": 49152, "hidden_size": 640, "intermediate_size": 1920, "head_dim": 64,
        "num_hidden_layers": 16, "num_attention_heads": 10, "num_key_value_heads": 5, "tie_word_embeddings": False,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A kind of run.

    Attributes:
        rows: in a step.
        length: tokens of the longest row.
        words: overrides, with a space between them.
        steps: of training.
        varied: whether rows are a fifth to all of that long, else all of one length.
        measured: whether the base is measured before the training, as the quickstart does.
        model: a name of `SHAPES`; empty for SmolLM2-135M.
        seen: whether its peak was known while terms were set.
    """

    rows: int
    length: int
    words: str = ""
    steps: int = 4
    varied: bool = False
    measured: bool = False
    model: str = ""
    seen: bool = False


FULL, PAD, FP32 = "adapter=full trainer.learning_rate=1e-5", "trainer.packing=pad", "trainer.dtype=fp32"
KINDS = {
    "quickstart": Kind(8, ORDERS, steps=40, measured=True, seen=True),
    "quickstart.alone": Kind(8, ORDERS, steps=6, seen=True),
    "defaults": Kind(2, 300, "trainer.gradient_accumulation_steps=4", 6, varied=True, measured=True, seen=True),
    "accumulated": Kind(1, 1024, "trainer.gradient_accumulation_steps=4", 2, varied=True),
    "lora.even": Kind(4, 768),
    "lora.long": Kind(1, 2048, steps=3, varied=True),
    "lora.varied": Kind(16, 256, steps=3, varied=True, measured=True, seen=True),
    "lora.pad": Kind(8, 256, PAD, varied=True, measured=True),
    "lora.none": Kind(4, 400, "trainer.packing=none", 3, varied=True, measured=True),
    "lora.r64": Kind(8, 160, "adapter.r=64 adapter.lora_alpha=64", measured=True),
    "lora.dropout": Kind(4, 256, "adapter.lora_dropout=0.05", varied=True, measured=True),
    "lora.qv": Kind(4, 320, "adapter.target_modules=[q_proj,v_proj]", measured=True),
    "lora.checkpointing": Kind(4, 640, "trainer.gradient_checkpointing=enabled", 3),
    "lora.fp32": Kind(4, 300, FP32, 3, varied=True, measured=True, seen=True),
    "lora.8bit": Kind(4, 384, "optimizer=adamw_8bit"),
    "dora": Kind(4, 200, "adapter=dora", 3, measured=True),
    "full": Kind(4, 384, FULL, 3, varied=True, measured=True, seen=True),
    "full.even": Kind(4, 384, FULL, 3, measured=True),
    "full.fp32": Kind(2, 320, f"{FULL} {FP32}", 3, measured=True),
    "nf4": Kind(4, 320, "quantization=nf4", 3, varied=True, measured=True),
    "int8": Kind(2, 200, "quantization=int8", 3, measured=True),
    "llama30m.lora": Kind(8, 384, steps=6, measured=True, model="llama30m"),
    "llama30m.full": Kind(8, 256, FULL, 6, measured=True, model="llama30m"),
    "llama360m.lora": Kind(2, 320, steps=3, measured=True, model="llama360m"),
    "llama360m.fp32": Kind(1, 256, FP32, 3, model="llama360m"),
    "qwen2.lora": Kind(4, 320, steps=4, varied=True, measured=True, model="qwen2"),
    "qwen2.full": Kind(2, 256, FULL, 3, measured=True, model="qwen2"),
    "qwen3.lora": Kind(4, 512, steps=3, varied=True, measured=True, model="qwen3", seen=True),
    "qwen3.nf4": Kind(4, 256, f"quantization=nf4 {PAD}", 3, measured=True, model="qwen3"),
    "lora.wide": Kind(32, 140, steps=3, varied=True, measured=True),
    "lora.many": Kind(2, 400, "trainer.gradient_accumulation_steps=4", 10, varied=True, measured=True),
    "lora.none.long": Kind(2, 1400, "trainer.packing=none", 3, varied=True),
    "dora.varied": Kind(2, 400, "adapter=dora trainer.gradient_accumulation_steps=2", 3, varied=True, measured=True),
    "qwen2.varied": Kind(12, 260, steps=4, varied=True, measured=True, model="qwen2"),
}  # fmt: skip


def write(file: Path, kind: Kind, count: int) -> None:
    """Write rows of about as many tokens: a letter with a space before it is a token."""
    draw = random.Random(kind.length)  # noqa: S311 - which letters, not a secret
    with file.open("w", encoding="utf-8") as stream:
        for number in range(count):
            length = kind.length * (draw.uniform(0.2, 1) if kind.varied and number else 1)
            words = [" ".join(draw.choice(LETTERS) for _ in range(max(4, int(length) // 2 - 20))) for _ in range(2)]
            stream.write(json.dumps({"instruction": words[0], "input": "", "output": words[1]}) + "\n")


def make(name: str, folder: Path) -> None:
    """Write a random model of a shape in 16 bits, with the tokenizer of SmolLM2."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    base = testing.plan(["model=smollm2_135m", "exporter=[]"], run_dir=folder).model.create().fetch(weights=False)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(**SHAPES[name]), dtype=torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base.folder).save_pretrained(folder)


def measure(kind: Kind, folder: Path, *more: str) -> tuple[dict[str, float], float]:
    """Run once, with `more` overrides; return what the plan says, and what was measured, in MiB.

    Raises:
        RuntimeError: the run failed; the message holds the end of what it printed.
    """
    run = Path(tempfile.mkdtemp(dir=folder)) / "run"
    words = [
        "+experiment=quickstart", "exporter=[]", "logger=[]", f"trainer.per_device_train_batch_size={kind.rows}",
        f"trainer.max_steps={kind.steps}", f"run_dir={run}",
        *(["stages=[data,baseline,train]"] if kind.measured else ["stages=[data,train]", "evaluator=[]"]),
    ]  # fmt: skip
    if kind.length != ORDERS:
        file, step = run.parent / "rows.jsonl", kind.rows * (4 if "accumulation" in kind.words else 1)
        write(file, kind, round(1.25 * kind.steps * step) + 16)
        words += ["data=local_file", f"data.path={file}", "data.validation_split=0.2", "trainer.max_seq_length=4096"]
        words += ["metric=[]", "audit=[]", *(FEW if kind.measured else [])]
    if kind.model:
        model = folder / kind.model
        if not model.is_dir():
            _run("-c", f"import benchmarks.memory_cpu as it; it.make({kind.model!r}, it.Path({str(model)!r}))")
        words += ["model=local", f"model.path={model}"]
    _run("-m", "framework", *words, *kind.words.split(), *more)
    memory: dict[str, Any] = json.loads((run / "forecast.json").read_text(encoding="utf-8"))["memory"]
    peak = json.loads((run / "train.json").read_text(encoding="utf-8"))["peak_memory_bytes"]
    sizes = {name: memory[name] / MIB for name in ("reserved", "low", "high")}
    return sizes | {"tokens": memory["tokens"]}, peak / MIB


def _run(*words: str) -> None:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr[-800:]}")


def main() -> None:
    """Print the table."""
    parser = command_line(__doc__)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    kinds = parser.parse_args().kinds
    off: dict[bool, list[tuple[float, bool]]] = {True: [], False: []}
    columns = "kind", "rows", "length", "steps", "tokens in a pass", "planned MiB", "band", "measured MiB", "off"
    OUT.print(table_head(*columns))
    with tempfile.TemporaryDirectory() as folder:
        for name in kinds:
            kind = KINDS[name]
            planned, measured = measure(kind, Path(folder))
            held = planned["low"] <= measured <= planned["high"]
            off[kind.seen].append((planned["reserved"] / measured - 1, held))
            length = f"{'up to ' * kind.varied}{kind.length}" if kind.length else "orders"
            error = f"{off[kind.seen][-1][0]:+.1%}{'' if held else ', outside'}"
            sizes = f"{planned['tokens']:,}", f"{planned['reserved']:,.0f}"
            band = f"{planned['low']:,.0f} to {planned['high']:,.0f}"
            shape = f"{name}{' *' * kind.seen}", kind.rows, length, kind.steps
            OUT.print(table_row(*shape, *sizes, band, f"{measured:,.0f}", error))
    for seen, found in off.items():
        if found:
            errors, within = [error for error, _ in found], sum(held for _, held in found)
            far = f"median error {statistics.median(map(abs, errors)):.1%}, worst {max(errors, key=abs):+.1%}"
            which = "known while terms were set" if seen else "not known"
            OUT.print(f"\n{which}: the band holds {within} of {len(found)}; {far}")


if __name__ == "__main__":
    main()
