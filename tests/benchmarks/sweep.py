"""Eight points of the quickstart: in one process, where they share what is the same for them, and in one process each.

    OMP_NUM_THREADS=1 python tests/benchmarks/sweep.py [--points N] [WORDS…]

WORDS change what runs, `trainer.max_steps=10` for example. The results of both ways are compared byte by byte. Times
are printed and not asserted; those of the processor hold on a machine that does other things too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
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


def run(words: Sequence[str], folder: Path) -> tuple[float, float]:
    """Run the program and return its seconds by the clock and of the processor."""
    start, before = time.perf_counter(), _processor()
    command = [sys.executable, "-m", "framework", *words]
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - start, _processor() - before


def _processor() -> float:
    """Return the seconds that all processes which were waited for have computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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
        single = [
            run([*words, f"trainer.learning_rate={rate}", f"run_dir=alone{number}"], folder)
            for number, rate in enumerate(rates)
        ]
        alone = sum(seconds for seconds, _ in single), sum(seconds for _, seconds in single)
        differ = [
            f"{number}: {name}"
            for number in range(len(rates))
            for name in COMPARED
            if (folder / "shared" / str(number) / name).read_bytes() != (folder / f"alone{number}" / name).read_bytes()
        ]
        stages = json.loads((folder / "alone0" / "report.json").read_text(encoding="utf-8"))["seconds"]
    table = Table(title=f"{len(rates)} points of the quickstart")
    for heading in ("", "seconds", "of the processor"):
        table.add_column(heading)
    for name, seconds in (("one process, shared", shared), ("a process each", alone)):
        table.add_row(name, *(f"{each:.1f}" for each in seconds))
    table.add_row("times as fast", *(f"{each / other:.2f}" for each, other in zip(alone, shared, strict=True)))
    console = Console()
    console.print(table)
    console.print(f"stages of a point alone: {stages}")
    console.print(f"results that differ: {', '.join(differ) or 'none'}")


if __name__ == "__main__":
    main()
