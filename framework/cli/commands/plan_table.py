"""`python -m framework plan-table [GPU]`: the memory that models of common sizes need, or what fits a GPU."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from framework.api.records import FitStatus
from framework.cli.commands import PlanTableCommandConfig
from framework.hooks.session import current
from framework.memory import Estimate, Loss, MemorySettings, Shape, Weights, estimate
from framework.plan.fit import PlanContext, changed, preset_shapes
from framework.plan.load import load_plan
from framework.util.command import CommandParser, this_program
from framework.util.gpus import CARDS, named, size_notice
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
SETTINGS = (
    "trainer.per_device_train_batch_size=1",
    "trainer.per_device_eval_batch_size=1",
    "trainer.gradient_checkpointing=enabled",
)
WAYS: dict[str, dict[str, str]] = {
    "quantization=nf4": {"quantization": "nf4", "adapter": "lora"},
    "adapter=lora": {"quantization": "none", "adapter": "lora"},
    "adapter=full": {"quantization": "none", "adapter": "full"},
}
"""The ways to train of the table for a GPU, by the setting that chooses each."""
LENGTHS = (512, 1024, 2048, 4096, 8192, 16384, 32768)


@dataclass(frozen=True)
class Line:
    """A model with a method."""

    model: str
    method: str
    memory: Estimate

    @property
    def trained(self) -> int:
        """Bytes of what is trained, with gradients and optimizer."""
        return sum(self.memory.parts.get(name, 0) for name in ("adapter", "gradients", "optimizer"))

    @property
    def gpu(self) -> str:
        """The smallest known GPU with enough memory for it."""
        ordered = sorted(CARDS, key=lambda name: CARDS[name].memory)
        return next((name for name in ordered if named(name).usable >= self.memory.high), "-")

    def plain(self) -> dict[str, str | float]:
        """Return it as JSON can have it."""
        memory = self.memory
        sizes = {
            "weights": memory.resident - self.trained,
            "trained": self.trained,
            "step": max(memory.phases.values()),
            "allocated": memory.allocated,
            "reserved": memory.reserved,
            "low": memory.low,
            "high": memory.high,
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
        parser.add_argument(
            "gpu", nargs="?", metavar="GPU", help="a GPU, rtx3060, or a size, 24GiB: show what fits it instead"
        )
        parser.add_argument("--json", action="store_true", help="print JSON")
        options = parser.read(arguments)
        if options.gpu is not None:
            _show_fitting(options.gpu, json_too=options.json)
            return 0
        rows = list(lines())
        if options.json:
            print(json.dumps([line.plain() for line in rows], indent=1))
        else:
            Console(highlight=False).print(_table(rows))
        return 0


@dataclass(frozen=True)
class Fitting:
    """A model preset on a GPU: the longest rows that fit, in tokens, for each way to train; 0 if none do."""

    model: str
    billions: float
    longest: dict[str, int]


def fitting(gpu: str) -> list[Fitting]:
    """Return what the plan says of every model preset on a GPU, the largest model first.

    Raises:
        FrameworkError: there is no such GPU.
    """
    session, card = current(), named(gpu)
    words = ["data=local_file", "data.path=rows.jsonl", f"plan.gpu={gpu}", "stages=[plan]", *SETTINGS]
    plan = load_plan(["model=local", "model.path=preset", *words])
    ways = {way: changed(plan, settings) for way, settings in WAYS.items()}
    rows = []
    for name, shape in preset_shapes(session.plugins):
        longest = {}
        for way, variant in ways.items():
            longest[way] = 0
            for length in LENGTHS:
                context = PlanContext(changed(variant, {"trainer.max_seq_length": length}), shape, card, None, session)
                if context.fit_status(context.estimate()) is not FitStatus.fits:
                    break
                longest[way] = length
        rows.append(Fitting(name, round(shape.total / 1e9, 1), longest))
    return sorted(rows, key=lambda row: -row.billions)


def _show_fitting(gpu: str, *, json_too: bool) -> None:
    rows = fitting(gpu)
    if json_too:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("model")
    for heading in ("billions", *WAYS):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        lengths = [f"{length:,}" if length else "-" for length in row.longest.values()]
        table.add_row(row.model, f"{row.billions:.1f}", *lengths)
    console = Console(highlight=False, markup=False)
    card = named(gpu)
    console.print(
        f"the longest rows, in tokens, that fit {card.name}, {card.usable / GIB:.1f} GiB free", soft_wrap=True
    )
    if notice := size_notice(gpu):
        console.print(notice, soft_wrap=True)
    console.print(f"with {' '.join(SETTINGS)}", soft_wrap=True)
    console.print(table)
    command = f"{this_program()} model=NAME data=local_file data.path=FILE stages=[plan] plan.gpu={gpu} …"
    console.print(f"to plan one: {command}", soft_wrap=True)


def lines() -> Iterator[Line]:
    """Give the lines of the table."""
    for model, shape in SHAPES.items():
        for method, settings in METHODS.items():
            yield Line(model, method, estimate(shape, settings))


def _table(rows: Sequence[Line]) -> Table:
    table = Table(title=TITLE, title_justify="left", box=None, pad_edge=False)
    for heading in ("model", "method", "weights", "trained", "step", "reserved", "low", "high", "fits"):
        table.add_column(heading, justify="left" if heading in {"model", "method", "fits"} else "right", no_wrap=True)
    for line in rows:
        memory = line.memory
        sizes = [
            memory.resident - line.trained,
            line.trained,
            max(memory.phases.values()),
            memory.reserved,
            memory.low,
            memory.high,
        ]
        table.add_row(line.model, line.method, *(f"{size / GIB:.1f}" for size in sizes), line.gpu)
    return table
