"""The seconds of a step that the plan works out, beside the rates that others publish.

    python -m benchmarks.rates

`rates.csv` has the rates with their sources, and the columns of `memory_rows.py`. The factor is between a published
training and the plan's least time. The band of each source is that of all other sources.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.common import OUT, command_line, table_head, table_row
from benchmarks.memory_rows import settings_of, shape_of
from framework.memory import Loss, MemorySettings, Shape, Weights
from framework.plan.speed import ANSWER_SLOWEST, FASTEST, SLOWEST, step_seconds, token_seconds
from framework.util.gpus import CARDS

MARGIN = 1.1
"""How far the band goes beyond the factors that were seen."""
ANSWERS = (
    ("QwenLM/Qwen README.md@03cd81f5", "a100_80", "Qwen-1.8B", Weights.half, 54.09),
    ("QwenLM/Qwen README.md@03cd81f5", "a100_80", "Qwen-7B", Weights.half, 40.93),
    ("QwenLM/Qwen README.md@03cd81f5", "a100_80", "Qwen-14B", Weights.half, 32.22),
    ("Lightning-AI/litgpt tutorials/resource-tables.md@4839345a", "a100_40", "Llama-2-7B", Weights.half, 30.97),
    ("Lightning-AI/litgpt tutorials/resource-tables.md@4839345a", "a100_40", "Llama-2-7B", Weights.nf4, 19.98),
    ("Lightning-AI/litgpt tutorials/resource-tables.md@4839345a", "a100_40", "Llama-2-13B", Weights.half, 24.82),
    ("Lightning-AI/litgpt tutorials/resource-tables.md@4839345a", "a100_40", "Llama-2-13B", Weights.nf4, 16.73),
    ("Lightning-AI/litgpt tutorials/resource-tables.md@4839345a", "a100_40", "phi-1.5", Weights.half, 42.56),
)
"""Tokens of a single answer a second, without an adapter."""
ANSWERING = {
    "Qwen-1.8B": Shape(2048, 24, 16, 16, 128, 5504, 151936, tied=False),
    "Qwen-7B": Shape(4096, 32, 32, 32, 128, 11008, 151936, tied=False),
    "Qwen-14B": Shape(5120, 40, 40, 40, 128, 13696, 152064, tied=False),
    "Llama-2-7B": Shape(4096, 32, 32, 32, 128, 11008, 32000, tied=False),
    "Llama-2-13B": Shape(5120, 40, 40, 40, 128, 13824, 32000, tied=False),
    "phi-1.5": Shape(2048, 24, 32, 32, 64, 8192, 51200, tied=False, gated=False),
}
SLOW_CARD = 2e14
"""Operations a second between those of gaming cards and those of an A100."""
ROWS, MEAN, SHARED = 8, 216, 100
"""The step of the last table: rows of an optimizer step, their tokens on average, and those that all begin with."""
Row = Mapping[str, str]


def published() -> list[dict[str, str]]:
    """Return the rates."""
    return list(csv.DictReader(Path(__file__).with_name("rates.csv").read_text(encoding="utf-8").splitlines()))


def worked_out(row: Row) -> float:
    """Return the tokens a second that the plan works out at most."""
    settings = settings_of(row)
    tokens = float(settings.tokens)
    seconds = step_seconds(
        shape_of(row), settings, CARDS[row["gpu"]], rows=settings.rows, tokens=tokens, learned=tokens,
        length=settings.length,
    )  # fmt: skip
    return tokens / seconds


def factor(row: Row) -> float:
    """Return how much longer a published training took than what is worked out."""
    return worked_out(row) / float(row["tokens_per_second"])


def answer_factor(gpu: str, model: str, weights: Weights, rate: float) -> float:
    """Return how much longer a token of a published answer took than what is worked out."""
    bare = MemorySettings(rows=1, length=1, weights=weights)
    return 1 / rate / token_seconds(ANSWERING[model], bare, CARDS[gpu])


def steps() -> None:
    """Print what a step of llama8b_qlora takes, by the way in which its rows go through the model."""
    from framework_plugins.hf.load.preset_configs import CONFIGS

    shape = Shape.from_config(CONFIGS["unsloth/Meta-Llama-3.1-8B-Instruct"])
    padded = MemorySettings(
        rows=2, length=MEAN, rank=32, weights=Weights.nf4, double_quant=True, autocast=True, masked=True,
        loss=Loss.learned,
    )  # fmt: skip
    packed = replace(padded, rows=1, length=ROWS * MEAN)
    shared = ROWS * MEAN - (ROWS - 1) * SHARED
    OUT.print()
    OUT.print(table_head("card", "padded, 4 passes", "packed, 1 pass", "packed, kept", "tree, kept"))
    for name in ("rtx3060", "rtx4090", "a100_80", "h100"):
        told = []
        for settings, tokens in (
            (padded, ROWS * MEAN), (packed, ROWS * MEAN), (replace(packed, checkpointing=False), ROWS * MEAN),
            (replace(packed, checkpointing=False), shared),
        ):  # fmt: skip
            least = step_seconds(
                shape, settings, CARDS[name], rows=ROWS, tokens=tokens, learned=ROWS * MEAN / 2, length=MEAN
            )
            told.append(f"{least * FASTEST:.2f} to {least * SLOWEST:.2f}")
        OUT.print(table_row(name, *told))


def source(row: Row) -> str:
    """Return the project that published a rate."""
    return row["source"].split()[0]


def band(rows: Sequence[Row]) -> tuple[float, float]:
    """Return the worst factors of rates, and a margin."""
    factors = [factor(row) for row in rows]
    return min(factors) / MARGIN, max(factors) * MARGIN


def left_out(label: str, rows: Sequence[Row]) -> None:
    """Print whether the band of all other sources holds the rates of each source."""
    OUT.print(f"\n{label}: {band(rows)[0]:.2f} to {band(rows)[1]:.2f}\n")
    OUT.print(table_head("left out", "rows", "band of the others", "within"))
    for name in sorted({source(row) for row in rows}):
        low, high = band([row for row in rows if source(row) != name])
        mine = [row for row in rows if source(row) == name]
        held = sum(low <= factor(row) <= high for row in mine)
        OUT.print(table_row(name, len(mine), f"{low:.2f} to {high:.2f}", held))


def main() -> None:
    """Print all rates, and whether the band of the others holds those of each source."""
    command_line(__doc__).parse_args()
    rows = published()
    OUT.print(table_head("source", "card", "training", "published tokens/s", "at most", "factor"))
    for rate in rows:
        kind = f"{rate['model_id']} {rate['method']}, {rate['micro_batch']} x {rate['seq_len']}"
        kind += "" if rate["grad_ckpt"] == "1" else ", kept"
        told = f"{float(rate['tokens_per_second']):,.0f}", f"{worked_out(rate):,.0f}", f"{factor(rate):.2f}"
        OUT.print(table_row(source(rate), rate["gpu"], kind, *told))
    left_out("all cards", rows)
    slow = [rate for rate in rows if CARDS[rate["gpu"]].operations <= SLOW_CARD]
    left_out("cards of up to 200 TFLOPS", slow)
    left_out("faster cards", [rate for rate in rows if rate not in slow])
    OUT.print()
    OUT.print(table_head("source", "card", "answers of", "published tokens/s", "factor"))
    for authors, gpu, model, weights, speed in ANSWERS:
        answered = f"{answer_factor(gpu, model, weights, speed):.2f}"
        OUT.print(table_row(authors.split()[0], gpu, f"{model}, {weights.value}", f"{speed:.0f}", answered))
    OUT.print(f"\nat most {ANSWER_SLOWEST:.1f} is taken")
    steps()


if __name__ == "__main__":
    main()
