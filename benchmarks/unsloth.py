"""Bare Unsloth, our Unsloth backend, our HF backend and TRL alone: tokens per second and peak memory, the same rows.

    .venv-unsloth/bin/python -m benchmarks.unsloth

With SmolLM2-135M, on whatever device there is; gpu.py has larger models and limits of memory. All four run in the
environment that runs this file, each training in a process of its own; they take turns. TRL 1.15 trains on no CPU where
Triton is installed, so there it is left out. The last line says how far ours is from bare Unsloth; the goal is 2%.
Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import training
from benchmarks.training import BATCH, LEARNING_RATE, PEERS, SEED, WARMUP, Work, orders, prepare

OUT = Console(soft_wrap=True, highlight=False)
OURS, BARE = "framework, trainer=unsloth", "Unsloth"


@dataclass
class Measured:
    """What the repeats of one contender came to."""

    rates: list[float] = field(default_factory=list)
    mebibytes: list[float] = field(default_factory=list)


def contenders(*, on_gpu: bool) -> list[str]:
    """Return who takes part."""
    return [BARE, OURS, "framework, trainer=hf", *(["TRL"] if on_gpu else [])]


def once(who: str, folder: Path, words: Sequence[str], model: str, work: Work) -> tuple[float, float]:
    """Train once; return tokens of the rows per second after the first step, and the peak in MiB: the GPU's, if any."""
    target = Path(tempfile.mkdtemp(dir=folder))
    if who.startswith("framework"):
        command = [
            sys.executable, "-m", "framework", *words, f"plugins=[{PEERS / 'clock_logger.py'}]", "logger=[clock]",
            who.partition(", ")[2], f"run_dir={target}/run", f"trainer.per_device_train_batch_size={BATCH}",
        ]  # fmt: skip
        _, memory = training.run(command, target / "log")
        result = json.loads((target / "run" / "result.json").read_text(encoding="utf-8"))
        gpu = json.loads((target / "run" / "train.json").read_text(encoding="utf-8"))["peak_memory_bytes"]
    else:
        shape = (BATCH, 1)
        task = training_task(model, folder, target, work, shape)
        (target / "task.json").write_text(json.dumps(task), encoding="utf-8")
        script = PEERS / f"{who.lower()}_peer.py"
        _, memory = training.run([sys.executable, str(script), str(target / "task.json")], target / "log")
        result = json.loads((target / "result.json").read_text(encoding="utf-8"))
        gpu = result["gpu_bytes"]
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    a_row = sum(len(row["input_ids"]) for row in rows) / len(rows)
    steps = result["seconds"][1:]
    return BATCH * a_row * len(steps) / sum(steps), gpu / 2**20 if on_gpu() else memory


def training_task(model: str, folder: Path, target: Path, work: Work, shape: tuple[int, int]) -> dict[str, Any]:
    """Return a task of a peer's script."""
    from clock import Task  # type: ignore[import-not-found]

    made = Task(model, str(folder / "rows.jsonl"), str(target), work.steps, *shape, LEARNING_RATE, WARMUP, SEED)
    return asdict(made)


def on_gpu() -> bool:
    """Whether there is a GPU."""
    import torch

    return bool(torch.cuda.is_available())


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """Measure and print the table."""
    work = Work(orders(), arguments.steps)
    words, model = prepare(work, folder, None)
    made = {who: Measured() for who in contenders(on_gpu=on_gpu())}
    for _ in range(arguments.repeats):
        for who, mine in made.items():
            rate, mebibytes = once(who, folder, words, model, work)
            mine.rates.append(rate)
            mine.mebibytes.append(mebibytes)
            OUT.print(f"  {who}: {rate:,.0f} tokens/s, {mebibytes:,.0f} MiB")
    OUT.print(f"\n{work.steps} steps of {BATCH} rows, {arguments.repeats} repeats, median (min-max)\n")
    OUT.print("| who | tokens/s | peak MiB |\n|---|---|---|")
    for who, mine in made.items():
        OUT.print(f"| {who} | {_spread(mine.rates)} | {_spread(mine.mebibytes)} |")
    ratio = statistics.median(made[OURS].rates) / statistics.median(made[BARE].rates)
    OUT.print(f"\n{OURS}: {ratio:.3f} times bare Unsloth; the goal is 0.98\n")


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f})"


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        measure(arguments, Path(folder))


if __name__ == "__main__":
    main()
