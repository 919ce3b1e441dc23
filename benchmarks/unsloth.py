"""Bare Unsloth, our Unsloth backend, our HF backend and TRL alone: tokens per second and peak memory, the same rows.

    .venv-unsloth/bin/python -m benchmarks.unsloth

With SmolLM2-135M, on whatever device there is; `bench-gpu` has larger models and limits of memory. All four run in the
environment that runs this file, each training in a process of its own; they take turns. TRL 1.15 trains on no CPU where
Triton is installed, so there it is left out. The last line says how far ours is from bare Unsloth; the goal is 2%.
Nothing is asserted.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import training
from benchmarks.common import OUT, command_line, spread, table_head, table_row
from benchmarks.training import BATCH, Work, orders, prepare

STEPS = 10
OURS, BARE = "framework, trainer=unsloth", "Unsloth"


@dataclass
class Measured:
    """What the repeats of one contender came to."""

    rates: list[float] = field(default_factory=list)
    mebibytes: list[float] = field(default_factory=list)


def contenders() -> list[training.Contender]:
    """Return who takes part."""
    peers = [training.Contender("TRL", "trl")] if on_gpu() else []
    return [
        training.Contender(BARE, "unsloth"),
        training.Contender(OURS, "framework", words=("trainer=unsloth",)),
        training.Contender("framework, trainer=hf", "framework", words=("trainer=hf",)),
        *peers,
    ]


def on_gpu() -> bool:
    """Whether there is a GPU."""
    import torch

    return bool(torch.cuda.is_available())


def measure(repeats: int, folder: Path) -> None:
    """Measure and print the table."""
    work = Work(orders(), STEPS)
    words, model = prepare(work, folder, None)
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    tokens = BATCH * sum(len(tokens["input_ids"]) for tokens in rows) / len(rows)
    measured = {contender: Measured() for contender in contenders()}
    for _ in range(repeats):
        for contender, mine in measured.items():
            trained = training.once(contender, work, folder, words, model)
            steps = trained.seconds[1:]
            mine.rates.append(tokens * len(steps) / sum(steps))
            mine.mebibytes.append(trained.gpu_bytes / 2**20 if on_gpu() else trained.memory)
            OUT.print(f"  {contender.name}: {mine.rates[-1]:,.0f} tokens/s, {mine.mebibytes[-1]:,.0f} MiB")
    OUT.print(f"\n{work.steps} steps of {BATCH} rows, {repeats} repeats, median (min-max)\n")
    OUT.print(table_head("who", "tokens/s", "peak MiB"))
    for contender, mine in measured.items():
        OUT.print(table_row(contender.name, spread(mine.rates), spread(mine.mebibytes)))
    rates = {contender.name: statistics.median(mine.rates) for contender, mine in measured.items()}
    OUT.print(f"\n{OURS}: {rates[OURS] / rates[BARE]:.3f} times bare Unsloth; the goal is 0.98\n")


def main() -> None:
    """Measure what is asked for."""
    parser = command_line(__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        measure(repeats, Path(folder))


if __name__ == "__main__":
    main()
