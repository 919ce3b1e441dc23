"""`python -m framework plan-table`: what models of common sizes take.

With `--rows` it predicts every row of a table of measured runs, and writes it with four more columns; `--gpus` shows
large models on many GPUs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from framework.cli.commands import PlanTableCommandConfig, gpus_table
from framework.memory import Estimate, Loss, MemorySettings, Shape, Weights, estimate
from framework.memory.rows import predict_file
from framework.util.command import CommandParser
from framework.util.errors import FrameworkError
from framework.util.gpus import KNOWN, named
from framework.util.host import GIB

LENGTH, RANK = 2048, 16
TITLE = f"GiB; one row of {LENGTH:,} tokens, checkpointing, LoRA r={RANK} on all linear layers"
SHAPES = {
    "7B": Shape(4096, 32, 32, 32, 128, 11008, 32000, tied=False),
    "13B": Shape(5120, 40, 40, 40, 128, 13824, 32000, tied=False),
    "70B": Shape(8192, 80, 64, 8, 128, 28672, 32000, tied=False),
}
"""Llama 2 (arXiv 2307.09288), whose sizes people mean by these names."""
METHODS = {
    "full fp32": MemorySettings(1, LENGTH, weights=Weights.fp32, copies=False, loss=Loss.learned),
    "full 16-bit": MemorySettings(1, LENGTH, copies=False, loss=Loss.learned),
    "LoRA": MemorySettings(1, LENGTH, rank=RANK, autocast=True, loss=Loss.learned),
    "QLoRA": MemorySettings(
        1, LENGTH, rank=RANK, weights=Weights.nf4, double_quant=True, trained_width=2, autocast=True, loss=Loss.learned
    ),
}


@dataclass(frozen=True)
class Line:
    """A model with a method."""

    model: str
    method: str
    made: Estimate

    @property
    def trained(self) -> int:
        """Bytes of what is trained, with gradients and optimizer."""
        return sum(self.made.parts.get(name, 0) for name in ("adapter", "gradients", "optimizer"))

    @property
    def gpu(self) -> str:
        """The smallest GPU that is known and holds it."""
        fitting = (name for name in sorted(KNOWN, key=KNOWN.__getitem__) if named(name).usable >= self.made.high)
        return next(fitting, "-")

    def plain(self) -> dict[str, str | float]:
        """Return it as JSON can have it."""
        made = self.made
        sizes = {
            "weights": made.resident - self.trained,
            "trained": self.trained,
            "step": max(made.phases.values()),
            "allocated": made.allocated,
            "reserved": made.reserved,
            "low": made.low,
            "high": made.high,
        }
        return {"model": self.model, "method": self.method} | {
            f"{name}_gib": round(size / GIB, 2) for name, size in sizes.items()
        }


class PlanTableCommand:
    """Prints the table, or predicts the rows of a file."""

    def __init__(self, config: PlanTableCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Print; with `--rows` write the predictions to OUT.csv, or to standard output."""
        parser = CommandParser("plan-table", PlanTableCommandConfig.__doc__)
        instead = parser.add_mutually_exclusive_group()
        meaning = "predict the memory of measured runs, a row each; to standard output without OUT.csv"
        instead.add_argument("--rows", nargs="+", type=Path, metavar=("FILE.csv", "OUT.csv"), help=meaning)
        instead.add_argument("--gpus", action="store_true", help="large models on many GPUs")
        instead.add_argument("--json", action="store_true", help="the table as JSON")
        given = parser.read(arguments)
        if given.rows and len(given.rows) > 2:  # noqa: PLR2004 - what is read, and what is written
            parser.error(f"unexpected argument '{given.rows[2]}'")
        if given.rows:
            return self._rows(given.rows)
        if given.gpus:
            Console(highlight=False).print(gpus_table.table())
            return 0
        found = list(lines())
        if given.json:
            print(json.dumps([line.plain() for line in found], indent=1))  # noqa: T201
        else:
            Console(highlight=False).print(_table(found))
        return 0

    def _rows(self, files: Sequence[Path]) -> int:
        made = predict_file(files[0])
        if len(files) == 1:
            print(made, end="")  # noqa: T201
            return 0
        try:
            files[1].write_text(made, encoding="utf-8", newline="")
        except OSError as error:
            message = f"{files[1]} cannot be written: {error.strerror}"
            raise FrameworkError(message) from error
        return 0


def lines() -> Iterator[Line]:
    """Give the lines of the table."""
    for model, shape in SHAPES.items():
        for method, settings in METHODS.items():
            yield Line(model, method, estimate(shape, settings))


def _table(found: Sequence[Line]) -> Table:
    table = Table(title=TITLE, title_justify="left", box=None, pad_edge=False)
    for heading in ("model", "method", "weights", "trained", "step", "reserved", "low", "high", "fits"):
        table.add_column(heading, justify="left" if heading in {"model", "method", "fits"} else "right", no_wrap=True)
    for line in found:
        made = line.made
        sizes = [
            made.resident - line.trained,
            line.trained,
            max(made.phases.values()),
            made.reserved,
            made.low,
            made.high,
        ]
        table.add_row(line.model, line.method, *(f"{size / GIB:.1f}" for size in sizes), line.gpu)
    return table
