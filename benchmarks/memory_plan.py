"""How far the plan's memory is from measured peaks, beside the calculators fitcheck-llm and vramcalc on the same rows.

    pip install fitcheck-llm==0.3.1 vramcalc==0.1.2
    .venv/bin/python -m benchmarks.memory_plan
    .venv/bin/python -m benchmarks.memory_plan --rows FILE.csv

Each is compared with what it predicts: the plan against the memory that is allocated and the one that is reserved,
vramcalc against allocated, fitcheck-llm, which adds context and fragmentation, against that of the whole process. One
that is not installed, or that cannot do a row, is left out there. The band is compared with the rows of one source
after the other, and is that of all other rows.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks.common import OUT, command_line, table_head, table_row
from benchmarks.memory_rows import predict, settings_of, shape_of
from framework.memory import Attention
from framework.memory.peak import ABOVE, BELOW

GIB, BEYOND = 2**30, 1.03
PEAKS = Path(__file__).parents[1] / "tests" / "framework" / "memory" / "peaks.csv"
Row = Mapping[str, str]


def vramcalc(row: Row) -> float | None:
    """Return what vramcalc predicts as allocated, in GiB."""
    from vramcalc.arch import Arch  # type: ignore[import-not-found]
    from vramcalc.estimate import estimate  # type: ignore[import-not-found]

    settings, shape = settings_of(row), shape_of(row)
    if row["method"] == "qlora":
        return None
    arch = Arch(
        hidden_size=shape.hidden,
        num_layers=shape.layers,
        num_heads=shape.heads,
        num_kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.intermediate,
        vocab_size=shape.vocab,
        tie_word_embeddings=shape.tied,
        attention_bias=False,
        norms_per_layer=2,
    )
    made = estimate(
        arch,
        mode="train",
        dtype="fp16" if "fp16" in row["precision"] else "bf16",
        batch=settings.rows,
        seq_len=settings.length,
        lora_rank=settings.rank or None,
        grad_checkpoint=settings.checkpointing,
        precision="amp" if settings.autocast else "pure",
        attn_impl={Attention.eager: "eager", Attention.sdpa: "sdpa", Attention.flash: "flash"}[settings.attention],
    )
    return float(made.total) / GIB


def fitcheck(row: Row) -> float | None:
    """Return what fitcheck-llm predicts for the whole process, in GiB."""
    from fitcheck import ModelConfig, TrainingConfig, estimate, get_gpu  # type: ignore[import-not-found]

    settings, shape = settings_of(row), shape_of(row)
    model = ModelConfig(
        name=row["model_id"],
        num_params=shape.total,
        hidden_size=shape.hidden,
        num_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_kv_heads=shape.kv_heads,
        intermediate_size=shape.intermediate,
        vocab_size=shape.vocab,
        head_dim=shape.head_dim,
        tie_word_embeddings=shape.tied,
    )
    training = TrainingConfig(
        precision="fp16" if "fp16" in row["precision"] else "bf16",
        quantization="nf4" if row["method"] == "qlora" else "none",
        double_quant=settings.double_quant and row["method"] == "qlora",
        batch_size=settings.rows,
        seq_len=settings.length,
        lora_rank=settings.rank or None,
        lora_targets=[f"{name}_proj" for name in settings.targets],
        grad_checkpoint=settings.checkpointing,
        flash_attn=settings.attention is not Attention.eager,
    )
    names = {"Tesla T4": "t4", "RTX A6000": "a6000", "RTX 4090": "4090", "A100-40": "a100-40"}
    return float(estimate(model, training, get_gpu(names.get(row["gpu"], "a100-80"))).total_mib) / 1024


def errors(rows: Iterable[Row], column: str, predicted: Callable[[Row], float | None]) -> list[tuple[Row, float]]:
    """Return each row that has a figure in `column`, and how far from it the prediction is, as a share."""
    found = []
    for row in rows:
        if not row[column]:
            continue
        try:
            value = predicted(row)
        except ValueError as error:
            OUT.print(f"left out: {row['model_id']} {row['method']}: {error}")
            continue
        if value is not None:
            found.append((row, value / float(row[column]) - 1))
    return found


def factors(row: Row) -> tuple[float, float]:
    """Return how a measured peak is to what the ends of the band are multiples of."""
    made, measured = predict(row), float(row["measured_gib"]) * GIB
    return measured / (made.low / BELOW), measured / (made.high / ABOVE)


def band(rows: Iterable[Row]) -> tuple[float, float]:
    """Return the worst factors of rows, and a little beyond."""
    below, above = zip(*map(factors, rows), strict=True)
    return min(below) / BEYOND, max(above) * BEYOND


def summary(name: str, found: Sequence[tuple[Row, float]]) -> None:
    """Print one line of a table."""
    off = sorted(abs(error) for _, error in found)
    if not off:
        OUT.print(table_row(name, 0, "", "", ""))
        return
    ninth = off[min(len(off) - 1, math.ceil(0.9 * len(off)) - 1)]
    OUT.print(table_row(name, len(off), *(f"{error:.1%}" for error in (statistics.median(off), ninth, off[-1]))))


def grouped(found: Sequence[tuple[Row, float]], by: Callable[[Row], str]) -> dict[str, list[tuple[Row, float]]]:
    """Put rows into groups."""
    groups: dict[str, list[tuple[Row, float]]] = defaultdict(list)
    for row, error in found:
        groups[by(row)].append((row, error))
    return dict(sorted(groups.items()))


def source(row: Row) -> str:
    """Return the first words of where a row is from."""
    return " ".join(row["source"].split()[:2])


def length(row: Row) -> str:
    """Return a range of lengths."""
    tokens = int(float(row["seq_len"]))
    return next(
        name for limit, name in ((1024, "up to 1,024"), (4096, "to 4,096"), (1 << 60, "above 4,096")) if tokens <= limit
    )


def main() -> None:
    """Print the tables."""
    parser = command_line(__doc__)
    parser.add_argument("--rows", type=Path, default=PEAKS, help="a table as memory_rows.py takes")
    with parser.parse_args().rows.open(encoding="utf-8-sig") as stream:
        rows = [row for row in csv.DictReader(stream) if row.get("score", "1") == row.get("arch_sure", "1") == "1"]
    lab = [row for row in rows if row["allocated_gib"]]
    published = [row for row in rows if not row["allocated_gib"]]
    allocated = errors(lab, "allocated_gib", lambda row: predict(row).allocated / GIB)
    reserved = errors(lab, "reserved_gib", lambda row: predict(row).reserved / GIB)
    told = errors(published, "measured_gib", lambda row: _as_told(row) / GIB)
    OUT.print(table_head("predicted", "rows", "median error", "90th percentile", "worst"))
    summary("plan, allocated", allocated)
    summary("plan, reserved", reserved)
    summary("plan, published tables", told)
    for name, column, predicted in (
        ("vramcalc", "allocated_gib", vramcalc), ("fitcheck", "process_gib", fitcheck)
    ):  # fmt: skip
        if find_spec(name) is None:
            OUT.print(f"{name}: not installed, left out")
            continue
        summary(f"{name}, {column.partition('_')[0]}", errors(lab, column, predicted))
    OUT.print()
    OUT.print(table_head("left out", "rows", "band of the others", "within"))
    held = 0
    for name, mine in grouped([(row, 0.0) for row in rows], source).items():
        low, high = band([row for row in rows if source(row) != name])
        within = sum(low <= below and above <= high for row, _ in mine for below, above in (factors(row),))
        held += within
        OUT.print(table_row(name, len(mine), f"{low:.2f} to {high:.2f}", within))
    low, high = band(rows)
    OUT.print(
        f"\nwith one source left out the band holds {held} of {len(rows)}; of all rows it is {low:.2f} to {high:.2f}\n"
    )
    OUT.print(table_head("plan, by", "rows", "median error", "90th percentile", "worst"))
    for found, what in ((allocated, "allocated"), (reserved, "reserved"), (told, "published")):
        for by in (source, lambda row: row["method"], length):
            for group, some in grouped(found, by).items():
                summary(f"{what}: {group}", some)


def _as_told(row: Row) -> int:
    made = predict(row)
    return made.allocated if row["kind"] == "allocated" else made.reserved


if __name__ == "__main__":
    main()
