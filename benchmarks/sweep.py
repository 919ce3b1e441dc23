"""Eight points of the quickstart: in one process, where they share what is the same for them, and in one process each.

    OMP_NUM_THREADS=1 python -m benchmarks.sweep [--grid rates|exports] [--points N] [WORDS…]

`rates` are eight learning rates, each a training of its own; `exports` two learning rates, each exported in four ways.
WORDS change what runs, `trainer.max_steps=10` for example. The results of both ways are compared byte by byte. Times
are printed and not asserted; those of the processor hold on a machine that does other things too.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import OUT, command_line, table_head, table_row

RATE, QUANTIZATION = "trainer.learning_rate", "exporter.gguf.quantizations"
GRIDS = {
    "rates": {RATE: [f"{rate}e-4" for rate in range(1, 9)]},
    "exports": {RATE: ["3e-4", "5e-4"], QUANTIZATION: ["[q4_k_m]", "[q5_k_m]", "[q6_k]", "[q8_0]"]},
}
WORDS = ["+experiment=quickstart", "logger=[]", "trainer.device=cpu"]
COMPARED = (
    "checkpoint/adapter_model.safetensors",
    "baseline.json",
    "evaluate.json",
    "gguf/*.gguf",
)


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


def differing(shared: Path, alone: Path) -> list[str]:
    """Return the files that one folder has and the other has not, or not with the same bytes."""
    both = {file.relative_to(place) for place in (shared, alone) for kind in COMPARED for file in place.glob(kind)}
    return [str(name) for name in sorted(both) if _digest(shared / name) != _digest(alone / name)]


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""


def main() -> None:
    """Measure both ways and print a table."""
    parser = command_line(__doc__)
    parser.add_argument("--grid", choices=GRIDS, default="rates")
    parser.add_argument("--points", type=int, default=8, help="the first ones of the grid, if it has one axis")
    asked, more = parser.parse_known_args()
    words = [*WORDS, *more]
    grid = GRIDS[asked.grid]
    if len(grid) == 1:
        grid = {name: values[: asked.points] for name, values in grid.items()}
    points = [
        [f"{name}={value}" for name, value in zip(grid, point, strict=True)]
        for point in itertools.product(*grid.values())
    ]
    axes = [f"{name}={','.join(values)}" for name, values in grid.items()]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run(["stages=[data]", *words, "run_dir=warm"], folder)  # the cache of rows is there for both
        shared = run(["-m", *words, *axes, "hydra.sweep.dir=shared"], folder)
        single = [run([*words, *point, f"run_dir=alone/{number}"], folder) for number, point in enumerate(points)]
        alone = tuple(sum(column) for column in zip(*single, strict=True))
        differ = [
            f"{number}: {name}"
            for number in range(len(points))
            for name in differing(folder / "shared" / str(number), folder / "alone" / str(number))
        ]
        stages = json.loads((folder / "alone" / "0" / "report.json").read_text(encoding="utf-8"))["seconds"]
    OUT.print(f"{len(points)} points of the quickstart, {' '.join(axes)}\n")
    OUT.print(table_head("", "seconds", "of the processor"))
    for name, seconds in (("one process, shared", shared), ("a process each", alone)):
        OUT.print(table_row(name, *(f"{each:.1f}" for each in seconds)))
    OUT.print(table_row("times as fast", *(f"{each / other:.2f}" for each, other in zip(alone, shared, strict=True))))
    OUT.print(f"run alone: {', '.join(f'{seconds:.1f}' for seconds, _ in single)} s")
    OUT.print(f"stages of a point alone: {stages}")
    OUT.print(f"results that differ: {', '.join(differ) or 'none'}")


if __name__ == "__main__":
    main()
