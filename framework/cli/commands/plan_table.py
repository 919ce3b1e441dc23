"""`python -m framework plan-table`: the memory that models of common sizes need."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from framework.cli.commands import PlanTableCommandConfig
from framework.memory import Estimate, Loss, MemorySettings, Shape, Weights, estimate
from framework.util.command import CommandParser
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
        1, LENGTH, rank=RANK, weights=Weights.nf4, double_quant=True, autocast=True, loss=Loss.learned
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
        """The smallest known GPU with enough memory for it."""
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
    """Prints the table."""

    def __init__(self, config: PlanTableCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Print it, as JSON with `--json`."""
        parser = CommandParser("plan-table", PlanTableCommandConfig.__doc__)
        parser.add_argument("--json", action="store_true", help="print JSON")
        found = list(lines())
        if parser.read(arguments).json:
            print(json.dumps([line.plain() for line in found], indent=1))
        else:
            Console(highlight=False).print(_table(found))
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
