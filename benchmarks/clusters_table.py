"""What training large models takes on 1 to 512 GPUs, by the arithmetic of the plan, with published runs beside it.

    .venv/bin/python -m benchmarks.clusters_table

Nothing of it was measured here. docs/explanation/scaling.md has the first, and a test compares it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from rich.console import Console
from rich.table import Table

from benchmarks.common import command_line
from framework.api.records import Traffic
from framework.memory import Estimate, Loss, MemorySettings, Shape, Weights, estimate, terms
from framework.plan.speed import flops
from framework.plan.traffic import traffic
from framework.util.gpus import CARDS, named
from framework.util.host import GIB

LENGTH, RANK, ROWS = 2048, 16, 1
FLOPS, EFFICIENCY = 989e12, 0.4
"""An H100's operations a second in bf16 without sparsity (its data sheet), and the share that a training reaches: an
assumption."""
SHAPES = {
    "8B": Shape(4096, 32, 32, 8, 128, 14336, 128256, tied=False),
    "70B": Shape(8192, 80, 64, 8, 128, 28672, 128256, tied=False),
    "405B": Shape(16384, 126, 128, 8, 128, 53248, 128256, tied=False),
}
"""Llama 3.1 (arXiv 2407.21783)."""
LORA = MemorySettings(ROWS, LENGTH, rank=RANK, autocast=True, copies=False, loss=Loss.learned)
ONE_AND_EIGHT, GPU_TOKENS = (1, 8), 1e8
GPU_METHODS = {"LoRA": LORA, "QLoRA": replace(LORA, weights=Weights.nf4, double_quant=True)}
GPU_TITLE = (
    f"GiB of each GPU, one row of {LENGTH:,} tokens in a pass, checkpointing,\n"
    f"r={RANK} on all linear layers;\n"
    f"hours for {GPU_TOKENS / 1e6:.0f} million tokens on H100s"
)
COUNTS = (8, 64, 512)
TOKENS = 1e9
IN_A_MACHINE, BETWEEN = 450e9, 50e9
"""Bytes a second and GPU in one direction: NVLink of an H100 (its data sheet), and a network card of 400 Gb/s for each
GPU, as in the machines of the published runs."""
TEXTS = {"model", "method", "fits", "limit", "run"}
"""Headings of columns with text; the others hold numbers."""
MACHINE = 8
"""GPUs of a machine."""
SHARED = 12.5e9
"""Bytes a second in one direction of one network card of 100 Gb/s that all GPUs of a machine share."""
PASSES = 8
"""Passes of a step that accumulates gradients."""
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
NETWORKS = {"8x400": (MACHINE * BETWEEN, 1), "1x100": (SHARED, 1), f"1x100/{PASSES}": (SHARED, PASSES)}
"""The network cards of a machine in Gb/s: bytes a second that enter it, and the passes of a step."""
HYBRID_TITLE = (
    f"{MACHINE**2} GPUs, shards over all and over {MACHINE} (launch.dp_shard_size={MACHINE});\n"
    "GB received in a pass from shards, in a step from replicas;\n"
    f"hours by a machine's network cards in Gb/s, /{PASSES}: in {PASSES} passes"
)


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


def _table(title: str, *headings: str) -> Table:
    made = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in headings:
        made.add_column(heading, justify="left" if heading in TEXTS else "right", no_wrap=True)
    return made


class GpuLine(Line):
    """One GPU by itself, several with FSDP2."""

    @property
    def gpu(self) -> str:
        """The smallest GPU that is known and holds it."""
        fitting = (
            name for name in sorted(CARDS, key=lambda card: CARDS[card].memory) if named(name).usable >= self.made.high
        )
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
        return GPU_TOKENS / self.settings.tokens / self.count * self.computing / 3600


def gpu_lines() -> Iterator[GpuLine]:
    """Give the lines of one GPU and of a machine."""
    for model, shape in SHAPES.items():
        for method, settings in GPU_METHODS.items():
            for count in ONE_AND_EIGHT:
                many = replace(settings, processes=count, sharded=count > 1)
                yield GpuLine(model, method, count, shape, many)


def gpus() -> Table:
    """Return the table of one GPU and of a machine."""
    sizes = ("weights", "step", "reserved", "high", "evaluated")
    made = _table(GPU_TITLE, "model", "method", "GPUs", *sizes, "fits", "hours")
    for line in gpu_lines():
        found = line.made
        weights, step = sum(found.parts.values()) - line.trained, max(found.phases.values())
        written = (f"{size / GIB:.1f}" for size in (weights, step, found.reserved, found.high, line.evaluated))
        hours = "-" if line.gpu == "-" else f"{line.hours:.1f}"
        made.add_row(line.model, line.method, str(line.count), *written, line.gpu, hours)
    return made


class ClusterLine(Line):
    """All GPUs with FSDP2."""

    @property
    def fits(self) -> bool:
        """Whether an H100 holds it."""
        return named("h100").usable >= self.made.high

    @property
    def received(self) -> Traffic:
        """What each GPU receives."""
        made = traffic(self.shape, self.settings)
        assert made is not None
        return made

    def seconds(self, network: float = MACHINE * BETWEEN, passes: int = 1) -> float:
        """Return the seconds of a step in which bytes move.

        Between machines, a ring enters each of them once: that of the shards, or one of replicas for each shard.

        Args:
            network: bytes a second that enter a machine.
            passes: of a step.
        """
        shards, of_passes = self.received.shards, self.received.in_pass * passes
        inside = of_passes / (IN_A_MACHINE if shards <= MACHINE else network)
        return max(inside, shards * self.received.in_step / network)

    def hours(self, network: float = MACHINE * BETWEEN, passes: int = 1) -> float:
        """Return the hours for the tokens, if traffic overlaps with computing."""
        steps = TOKENS / (self.settings.tokens * self.count * passes)
        return steps * max(passes * self.computing, self.seconds(network, passes)) / 3600

    @property
    def limit(self) -> str:
        """What limits it."""
        if not self.fits:
            return "memory"
        return "traffic" if self.seconds() > self.computing else "compute"


def lines() -> Iterator[ClusterLine]:
    """Give the lines of the table."""
    for model, shape in MODELS.items():
        for method, settings in METHODS.items():
            for count in COUNTS:
                yield ClusterLine(model, method, count, shape, replace(settings, processes=count, sharded=True))


def table() -> Table:
    """Return the table."""
    made = _table(TITLE, "model", "method", "GPUs", "GiB", "GB moved", "compute", "traffic", "hours", "limit")
    for line in lines():
        hours = f"{line.hours():,.1f}" if line.fits else "-"
        numbers = (f"{line.made.high / GIB:.1f}", f"{line.received.in_pass / 1e9:,.0f}", f"{line.computing:.2f}")
        made.add_row(line.model, line.method, str(line.count), *numbers, f"{line.seconds():.2f}", hours, line.limit)
    return made


def hybrid_lines() -> Iterator[ClusterLine]:
    """Give the lines of eight machines, with shards over all and within each, of what fits both ways."""
    for line in lines():
        within = replace(line, settings=replace(line.settings, shard_size=MACHINE))
        if line.count == MACHINE**2 and within.fits:
            yield from (line, within)


def hybrid() -> Table:
    """Return the table of shards within a machine."""
    made = _table(HYBRID_TITLE, "model", "method", "shards", "GiB", "pass", "step", *NETWORKS)
    for line in hybrid_lines():
        received = (f"{line.received.in_pass / 1e9:,.0f}", f"{line.received.in_step / 1e9:.2f}")
        hours = (f"{line.hours(*network):,.1f}" for network in NETWORKS.values())
        made.add_row(
            line.model, line.method, str(line.settings.pieces), f"{line.made.high / GIB:.1f}", *received, *hours
        )
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
    title = "published tokens a second of each GPU; share of the GPU's bf16"
    made = _table(title, "run", "GPUs", "tokens/s", "GiB", "share", "as told")
    for run in PUBLISHED:
        told = f"{run.told:.0%}" if run.told else "-"
        made.add_row(run.name, str(run.count), f"{run.speed:,.0f}", f"{run.gib:.1f}", f"{run.share:.0%}", told)
    return made


if __name__ == "__main__":
    command_line(__doc__).parse_args()
    for each in (gpus(), table(), hybrid(), published()):
        Console(highlight=False).print(each)
