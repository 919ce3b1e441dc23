"""How far the plan's memory is from that of real runs on this machine's CPU: the peak of the whole process.

    .venv/bin/python tests/benchmarks/memory_cpu.py
    .venv/bin/python tests/benchmarks/memory_cpu.py --methods lora nf4 --lengths 256 --rows 1 4

Each run is a process of its own: SmolLM2-135M, three steps on rows of random letters, all of one length and without a
common beginning. The prediction is that of `forecast.json`, which the run writes before it loads the model.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

OUT = Console(soft_wrap=True, highlight=False)
MIB = 2**20
STEPS = 3
FULL, LORA, NF4 = ["adapter=full", "trainer.learning_rate=1e-5"], ["adapter=lora"], ["quantization=nf4"]
FP32 = "trainer.dtype=fp32"
METHODS = {
    "full": FULL,
    "full fp32": [*FULL, FP32],
    "lora": LORA,
    "lora fp32": [*LORA, FP32],
    "lora pad": [*LORA, "trainer.packing=pad"],
    "lora none": [*LORA, "trainer.packing=none"],
    "nf4": NF4,
    "nf4 fp32": [*NF4, FP32],
}
ALONE = ["evaluator=[]", "stages=[data,train]"]
EVALUATED = [
    "stages=[data,baseline,train]", "metric=[]", "evaluator.prompts.count=4", "evaluator.memorization.rows=4",
    *(f"evaluator.forgetting.{name}=2" for name in ("questions", "instructions", "texts")),
]  # fmt: skip
"""A baseline before the training: its memory is a part of the peak."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def write(file: Path, rows: int, length: int) -> None:
    """Write rows of about `length` tokens: a letter with a space before it is a token."""
    draw = random.Random(length)  # noqa: S311 - which letters, not a secret
    asked, answered = (length - 40) // 2, (length - 40) // 2
    with file.open("w", encoding="utf-8") as stream:
        for _ in range(rows):
            words = [" ".join(draw.choice(LETTERS) for _ in range(count)) for count in (asked, answered)]
            stream.write(json.dumps({"instruction": words[0], "input": "", "output": words[1]}) + "\n")


def measure(
    method: str, rows: int, length: int, folder: Path, *more: str, evaluated: bool = False
) -> tuple[dict[str, float], float]:
    """Run once, with `more` overrides; return what the plan says, and what was measured, in MiB.

    Raises:
        RuntimeError: the run failed; the message holds the end of what it printed.
    """
    file, run = folder / f"{length}.jsonl", Path(tempfile.mkdtemp(dir=folder)) / "run"
    write(file, STEPS * rows + 6, length)
    words = [
        "+experiment=quickstart", "data=local_file", f"data.path={file}", "audit=[]", "exporter=[]",
        "logger=[]", f"data.validation_split={0.2 if evaluated else 0}", f"trainer.per_device_train_batch_size={rows}",
        "trainer.gradient_accumulation_steps=1", f"trainer.max_steps={STEPS}", "trainer.warmup_steps=0",
        "trainer.max_seq_length=4096", f"run_dir={run}",
        *(EVALUATED if evaluated else ALONE), *METHODS[method], *more,
    ]  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "framework", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{method} {rows} x {length} {' '.join(more)}: {done.stderr[-800:]}")
    memory: dict[str, Any] = json.loads((run / "forecast.json").read_text(encoding="utf-8"))["memory"]
    peak = json.loads((run / "train.json").read_text(encoding="utf-8"))["peak_memory_bytes"]
    return {name: memory[name] / MIB for name in ("reserved", "low", "high")}, peak / MIB


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--lengths", nargs="+", type=int, default=[128, 512, 1024])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--evaluated", action="store_true", help="measure the base model before the training")
    arguments = parser.parse_args()
    off, held = [], 0
    how = " evaluated" * arguments.evaluated
    OUT.print("| method | rows | tokens | planned MiB | band | measured | off |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for method, rows, length in itertools.product(arguments.methods, arguments.rows, arguments.lengths):
            planned, measured = measure(method, rows, length, Path(folder), evaluated=arguments.evaluated)
            off.append(planned["reserved"] / measured - 1)
            held += planned["low"] <= measured <= planned["high"]
            band = f"{planned['low']:,.0f} to {planned['high']:,.0f}"
            OUT.print(
                f"| {method}{how} | {rows} | {length} | {planned['reserved']:,.0f} | {band} | {measured:,.0f} | "
                f"{off[-1]:+.1%} |"
            )
    worst = max(off, key=abs)
    OUT.print(f"\n{len(off)} runs: median error {statistics.median(map(abs, off)):.1%}, worst {worst:+.1%}")
    OUT.print(f"the band holds {held} of {len(off)}")


if __name__ == "__main__":
    main()
