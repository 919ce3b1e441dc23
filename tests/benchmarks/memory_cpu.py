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

from rich.console import Console

OUT = Console(soft_wrap=True, highlight=False)
MIB = 2**20
STEPS = 3
METHODS = {
    "full": ["adapter=full", "trainer.learning_rate=1e-5"],
    "lora": ["adapter=lora"],
    "nf4": ["adapter=lora", "quantization=nf4"],
}
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
    method: str, rows: int, length: int, folder: Path, *more: str, calibrate: bool = False
) -> tuple[float, float, str]:
    """Run once, with `more` overrides; return predicted and measured MiB, and the phase that decides.

    Raises:
        RuntimeError: the run failed; the message holds the end of what it printed.
    """
    file, run = folder / f"{length}.jsonl", Path(tempfile.mkdtemp(dir=folder)) / "run"
    write(file, STEPS * rows + 2, length)
    words = [
        "+experiment=quickstart", "data=local_file", f"data.path={file}", "audit=[]", "evaluator=[]", "exporter=[]",
        "logger=[]", "data.validation_split=0", "stages=[data,train]", f"trainer.per_device_train_batch_size={rows}",
        "trainer.gradient_accumulation_steps=1", f"trainer.max_steps={STEPS}", "trainer.warmup_steps=0",
        "trainer.max_seq_length=4096", f"run_dir={run}",
        f"plan.calibrate={str(calibrate).lower()}", *METHODS[method], *more,
    ]  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "framework", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{method} {rows} x {length} {' '.join(more)}: {done.stderr[-800:]}")
    memory = json.loads((run / "forecast.json").read_text(encoding="utf-8"))["memory"]
    peak = json.loads((run / "train.json").read_text(encoding="utf-8"))["peak_memory_bytes"]
    return memory["reserved"] / MIB, peak / MIB, max(memory["phases"], key=memory["phases"].get)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--lengths", nargs="+", type=int, default=[128, 512, 1024])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--calibrate", action="store_true", help="let plan.calibrate=true measure each first")
    arguments = parser.parse_args()
    off = []
    OUT.print("| method | rows | tokens | predicted MiB | measured MiB | off | phase |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for method, rows, length in itertools.product(arguments.methods, arguments.rows, arguments.lengths):
            predicted, measured, phase = measure(method, rows, length, Path(folder), calibrate=arguments.calibrate)
            off.append(predicted / measured - 1)
            OUT.print(
                f"| {method} | {rows} | {length} | {predicted:,.0f} | {measured:,.0f} | {off[-1]:+.1%} | {phase} |"
            )
    worst = max(off, key=abs)
    OUT.print(f"\n{len(off)} runs: median error {statistics.median(map(abs, off)):.1%}, worst {worst:+.1%}")


if __name__ == "__main__":
    main()
