"""What large models take on one GPU and on the eight of a machine, by the arithmetic of the plan.

    .venv/bin/python -m tests.benchmarks.gpus_table

Nothing of it was measured. docs/explanation/scaling.md has the table, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from rich.console import Console
from rich.table import Table

from framework.memory import Estimate, Loss, MemorySettings, Shape, Weights, estimate, terms
from framework.plan.speed import flops
from framework.util.gpus import KNOWN, named
from framework.util.host import GIB

LENGTH, RANK, ROWS = 2048, 16, 1
TOKENS = 1e8
FLOPS, EFFICIENCY = 989e12, 0.4
"""An H100's operations a second in bf16 without sparsity (its data sheet), and the share that a training reaches: an
assumption."""
TITLE = (
    f"GiB of each GPU, one row of {LENGTH:,} tokens in a pass, checkpointing,\n"
    f"r={RANK} on all linear layers;\n"
    f"hours for {TOKENS / 1e6:.0f} million tokens on H100s"
)
SHAPES = {
    "8B": Shape(4096, 32, 32, 8, 128, 14336, 128256, tied=False),
    "70B": Shape(8192, 80, 64, 8, 128, 28672, 128256, tied=False),
    "405B": Shape(16384, 126, 128, 8, 128, 53248, 128256, tied=False),
}
"""Llama 3.1 (arXiv 2407.21783)."""
LORA = MemorySettings(ROWS, LENGTH, rank=RANK, autocast=True, copies=False, loss=Loss.learned)
METHODS = {
    "LoRA": LORA,
    "QLoRA": replace(LORA, weights=Weights.nf4, double_quant=True),
}
COUNTS = (1, 8)


@dataclass(frozen=True)
class Line:
    """A model with a method on a number of GPUs."""

    model: str
    method: str
    count: int
    shape: Shape
    settings: MemorySettings

    @property
    def made(self) -> Estimate:
        """What each GPU needs."""
        return estimate(self.shape, self.settings)

    @property
    def computing(self) -> float:
        """Seconds in which a GPU computes one pass, which is a step."""
        tokens = self.settings.tokens
        return flops(self.shape, self.settings, tokens, tokens, LENGTH) / (FLOPS * EFFICIENCY)


class GpuLine(Line):
    """One GPU by itself, several with FSDP2."""

    @property
    def gpu(self) -> str:
        """The smallest GPU that is known and holds it."""
        fitting = (name for name in sorted(KNOWN, key=KNOWN.__getitem__) if named(name).usable >= self.made.high)
        return next(fitting, "-")

    @property
    def trained(self) -> float:
        """Bytes of a piece of what is trained, with gradients and optimizer."""
        return sum(self.made.parts.get(name, 0) for name in ("adapter", "gradients", "optimizer"))

    @property
    def evaluated(self) -> float:
        """Bytes of the base on the GPU that has most of it while the model is evaluated."""
        return terms.evaluated_weights(self.shape, replace(self.settings, evaluated_on=self.count))

    @property
    def hours(self) -> float:
        """Hours for the tokens, where computing is what takes the time."""
        return TOKENS / self.settings.tokens / self.count * self.computing / 3600


def lines() -> Iterator[GpuLine]:
    """Give the lines of the table."""
    for model, shape in SHAPES.items():
        for method, settings in METHODS.items():
            for count in COUNTS:
                many = replace(settings, processes=count, sharded=count > 1)
                yield GpuLine(model, method, count, shape, many)


def table() -> Table:
    """Return the table."""
    made = Table(title=TITLE, title_justify="left", box=None, pad_edge=False)
    for heading in ("model", "method", "GPUs", "weights", "step", "reserved", "high", "evaluated", "fits", "hours"):
        left = heading in {"model", "method", "fits"}
        made.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for line in lines():
        found = line.made
        sizes = (
            sum(found.parts.values()) - line.trained,
            max(found.phases.values()),
            found.reserved,
            found.high,
            line.evaluated,
        )
        hours = "-" if line.gpu == "-" else f"{line.hours:.1f}"
        written = (f"{size / GIB:.1f}" for size in sizes)
        made.add_row(line.model, line.method, str(line.count), *written, line.gpu, hours)
    return made


if __name__ == "__main__":
    Console(highlight=False).print(table())
