"""What training large models takes on 8 to 512 GPUs, by the arithmetic of the plan, with published runs beside it.

    .venv/bin/python -m tests.benchmarks.clusters_table

Nothing of it was measured here. docs/explanation/scaling.md has both tables, and a test compares them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from rich.console import Console
from rich.table import Table

from framework.memory import Loss, MemorySettings, Shape
from framework.memory.terms import trained_bytes, trained_parameters
from framework.plan.speed import flops
from framework.util.gpus import named
from framework.util.host import GIB
from tests.benchmarks.gpus_table import FLOPS, LENGTH, LORA, SHAPES, Line

COUNTS = (8, 64, 512)
TOKENS = 1e9
IN_A_MACHINE, BETWEEN = 450e9, 50e9
"""Bytes a second and GPU in one direction: NVLink of an H100 (its data sheet), and a network card of 400 Gb/s for each
GPU, as in the machines of the published runs."""
MACHINE = 8
"""GPUs of a machine."""
MIXTURE = Shape.from_config(
    {
        "model_type": "qwen3_moe", "hidden_size": 4096, "num_hidden_layers": 94, "num_attention_heads": 64,
        "num_key_value_heads": 4, "head_dim": 128, "intermediate_size": 12288, "moe_intermediate_size": 1536,
        "num_experts": 128, "num_experts_per_tok": 8, "vocab_size": 151936, "tie_word_embeddings": False,
        "decoder_sparse_step": 1, "mlp_only_layers": [],
    }
)  # fmt: skip
"""Qwen3-235B-A22B (its config.json)."""
MODELS = {**SHAPES, "235B-A22B": MIXTURE}
FULL = replace(LORA, rank=0)
METHODS = {"LoRA": LORA, "full": FULL}
TITLE = (
    f"launch=fsdp2, H100s, {MACHINE} in a machine; a row of {LENGTH:,} tokens, bf16;\n"
    f"checkpointing; seconds of a step; hours for {TOKENS / 1e9:.0f} billion tokens"
)


class ClusterLine(Line):
    """All GPUs with FSDP2."""

    @property
    def fits(self) -> bool:
        """Whether an H100 holds it."""
        return named("h100").usable >= self.made.high

    @property
    def moved(self) -> float:
        """Bytes that each GPU receives in a step.

        The weights are gathered in 16 bits in the forward and again in the backward pass, and the gradients of what is
        trained are reduced to their pieces once, each over all GPUs but its own piece.
        """
        gathered = 2 * 2 * self.shape.total
        reduced = trained_bytes(self.settings) * trained_parameters(self.shape, self.settings)
        return (gathered + reduced) * (self.count - 1) / self.count

    @property
    def traffic(self) -> float:
        """Seconds of a step in which bytes move: between machines, a ring enters each of them by all of its cards."""
        return self.moved / (IN_A_MACHINE if self.count <= MACHINE else MACHINE * BETWEEN)

    @property
    def hours(self) -> float:
        """Hours for the tokens, if traffic overlaps with computing."""
        steps = TOKENS / (self.settings.tokens * self.count)
        return steps * max(self.computing, self.traffic) / 3600

    @property
    def limit(self) -> str:
        """What limits it."""
        if not self.fits:
            return "memory"
        return "traffic" if self.traffic > self.computing else "compute"


def lines() -> Iterator[ClusterLine]:
    """Give the lines of the table."""
    for model, shape in MODELS.items():
        for method, settings in METHODS.items():
            for count in COUNTS:
                yield ClusterLine(model, method, count, shape, replace(settings, processes=count, sharded=True))


def table() -> Table:
    """Return the table."""
    made = Table(title=TITLE, title_justify="left", box=None, pad_edge=False)
    for heading in ("model", "method", "GPUs", "GiB", "GB moved", "compute", "traffic", "hours", "limit"):
        left = heading in {"model", "method", "limit"}
        made.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for line in lines():
        hours = f"{line.hours:,.1f}" if line.fits else "-"
        numbers = (f"{line.made.high / GIB:.1f}", f"{line.moved / 1e9:,.0f}", f"{line.computing:.2f}")
        made.add_row(line.model, line.method, str(line.count), *numbers, f"{line.traffic:.2f}", hours, line.limit)
    return made


@dataclass(frozen=True)
class Published:
    """A run that somebody measured: tokens a second on each GPU, and GiB of each GPU.

    Attributes:
        again: whether all activations were computed again in the backward pass.
        told: the share of the GPU's operations that the authors give; None if they give none.
    """

    name: str
    shape: Shape
    count: int
    length: int
    rows: int
    again: bool
    speed: float
    gib: float
    told: float | None = None

    @property
    def settings(self) -> MemorySettings:
        """The settings of the arithmetic; all of these trained all weights, and computed the whole loss."""
        return replace(
            FULL, rows=self.rows, length=self.length, checkpointing=self.again, processes=self.count, sharded=True,
            loss=Loss.plain,
        )  # fmt: skip

    @property
    def share(self) -> float:
        """The share of an H100's operations in bf16 that the speed is, by the formula of the plan."""
        return self.speed * flops(self.shape, self.settings, 1, 1, self.length) / FLOPS


PUBLISHED = [
    Published("8B, FSDP2", SHAPES["8B"], 8, 8192, 2, again=False, speed=5762, gib=82.4, told=0.33),
    Published("8B, FSDP2, compiled", SHAPES["8B"], 8, 8192, 2, again=False, speed=6667, gib=77.0, told=0.39),
    Published("8B, FSDP2", SHAPES["8B"], 128, 8192, 2, again=False, speed=5605, gib=67.0, told=0.33),
    Published("70B, FSDP2 and tensors, fp8", SHAPES["70B"], 256, 8192, 16, again=True, speed=829, gib=71.9),
    Published("405B, three ways, fp8", SHAPES["405B"], 512, 8192, 32, again=True, speed=128, gib=72.7),
]
"""torchtitan's measurements of December 2024 on H100s with 96 GB at 500 W, and 400 Gb/s for each:
https://github.com/pytorch/torchtitan/blob/31a17bf/benchmarks/llama3_h100_202412_torchtitan.md"""


def published() -> Table:
    """Return the table of published runs."""
    made = Table(title="published tokens a second of each GPU; share of the GPU's bf16", box=None)
    made.title_justify, made.pad_edge = "left", False
    for heading in ("run", "GPUs", "tokens/s", "GiB", "share", "as told"):
        made.add_column(heading, justify="left" if heading == "run" else "right", no_wrap=True)
    for run in PUBLISHED:
        told = f"{run.told:.0%}" if run.told else "-"
        made.add_row(run.name, str(run.count), f"{run.speed:,.0f}", f"{run.gib:.1f}", f"{run.share:.0%}", told)
    return made


if __name__ == "__main__":
    console = Console(highlight=False)
    console.print(table())
    console.print(published())
