"""Eight points of the quickstart: in one process, where they share what is the same for them, and in one process each.

    OMP_NUM_THREADS=1 python tests/benchmarks/sweep.py [--points N] [WORDS…]

WORDS change what runs, `trainer.max_steps=10` for example. The results of both ways are compared byte by byte; times
are printed and not asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

RATES = [f"{rate:g}e-4" for rate in (1, 2, 3, 4, 5, 6, 7, 8)]
WORDS = ["+experiment=quickstart", "logger=[]", "trainer.device=cpu"]
COMPARED = ("checkpoint/adapter_model.safetensors", "baseline.json", "evaluate.json", "null.json")


def run(words: Sequence[str], folder: Path) -> float:
    """Run the program and return its wall time in seconds."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "framework", *words]
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - start


def main() -> None:
    """Measure both ways and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=len(RATES))
    asked, more = parser.parse_known_args()
    rates = RATES[: asked.points]
    words = [*WORDS, *more]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run(["stages=[data]", *words, "run_dir=warm"], folder)  # the cache of rows is there for both
        shared = run(["-m", *words, f"trainer.learning_rate={','.join(rates)}", "hydra.sweep.dir=shared"], folder)
        alone = 0.0
        for number, rate in enumerate(rates):
            alone += run([*words, f"trainer.learning_rate={rate}", f"run_dir=alone{number}"], folder)
        differ = [
            f"{number}: {name}"
            for number in range(len(rates))
            for name in COMPARED
            if (folder / "shared" / str(number) / name).read_bytes() != (folder / f"alone{number}" / name).read_bytes()
        ]
        stages = json.loads((folder / "alone0" / "report.json").read_text(encoding="utf-8"))["seconds"]
    table = Table(title=f"{len(rates)} points of the quickstart")
    for heading in ("", "seconds", "seconds a point"):
        table.add_column(heading)
    for name, seconds in (("one process, shared", shared), ("a process each", alone)):
        table.add_row(name, f"{seconds:.1f}", f"{seconds / len(rates):.1f}")
    console = Console()
    console.print(table)
    console.print(f"{alone / shared:.2f} times as fast; stages of a point alone: {stages}")
    console.print(f"results that differ: {', '.join(differ) or 'none'}")


if __name__ == "__main__":
    main()
