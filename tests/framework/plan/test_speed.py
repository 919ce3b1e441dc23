"""framework/plan/speed.py: how much a training has to do, and how long that takes."""

from dataclasses import replace

import pytest

from benchmarks.rates import ANSWERS, MARGIN, answer_factor, band, factor, published, source
from framework.memory import MemorySettings, Shape
from framework.plan.speed import ANSWER_SLOWEST, FASTEST, SLOWEST, flops, step_seconds
from framework.util.gpus import CARDS, card
from tests.framework.memory.test_shape import SMOLLM

SHAPE = Shape.from_config(SMOLLM)
WEIGHTS = SHAPE.linear_parameters
HEAD = SHAPE.hidden * SHAPE.vocab


def test_full_training_takes_six_operations_a_weight_and_token() -> None:
    settings = MemorySettings(rows=1, length=1, checkpointing=False)
    assert flops(SHAPE, settings, tokens=10, learned=4, length=0) == 10 * 6 * WEIGHTS + 4 * 6 * HEAD


def test_lora_takes_four_and_its_own_six_and_checkpointing_two_more() -> None:
    plain = MemorySettings(rows=1, length=1, rank=16, checkpointing=False)
    again = MemorySettings(rows=1, length=1, rank=16)
    adapter = SHAPE.lora_parameters(16, plain.targets)
    assert flops(SHAPE, plain, tokens=10, learned=4, length=0) == 10 * (4 * WEIGHTS + 6 * adapter) + 4 * 4 * HEAD
    more = flops(SHAPE, again, tokens=10, learned=4, length=0) - flops(SHAPE, plain, tokens=10, learned=4, length=0)
    assert more == 10 * 2 * (WEIGHTS + adapter)


def test_longer_rows_take_more_for_attention() -> None:
    settings = MemorySettings(rows=1, length=1, rank=16, checkpointing=False)
    short, long = (flops(SHAPE, settings, tokens=1, learned=0, length=length) for length in (0, 1000))
    assert long - short == pytest.approx(SHAPE.layers * 4 * SHAPE.q * 1000 / 2 * 3)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA GeForce RTX 3060", "rtx3060"),
        ("Tesla T4", "t4"),
        ("NVIDIA A100-SXM4-80GB", "a100_80"),
        ("NVIDIA A100-PCIE-40GB", "a100_40"),
        ("NVIDIA A10G", "a10g"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100pcie"),
        ("NVIDIA RTX A6000", "a6000"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx6000ada"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 4070 SUPER", None),
        ("24GiB", None),
    ],
)
def test_a_card_is_known_by_the_name_of_its_driver(name: str, known: str | None) -> None:
    assert card(name) == (CARDS[known] if known else None)


def test_the_band_holds_published_rates_that_it_was_not_made_of() -> None:
    """Of each project the band of all others, so nothing here was fitted to what it is compared with."""
    rows, held = published(), 0
    for name in {source(row) for row in rows}:
        low, high = band([row for row in rows if source(row) != name])
        held += sum(low <= factor(row) <= high for row in rows if source(row) == name)
    assert len(rows) > 10
    assert held >= 0.95 * len(rows)
    assert pytest.approx(band(rows), abs=0.01) == (FASTEST, SLOWEST)


def test_no_published_answer_took_longer_than_is_said() -> None:
    assert max(answer_factor(*each[1:]) for each in ANSWERS) * MARGIN == pytest.approx(ANSWER_SLOWEST, abs=0.05)


def test_shared_tokens_and_fewer_passes_take_less_time() -> None:
    settings = MemorySettings(rows=2, length=600, rank=16)
    packed = replace(settings, rows=1, length=1600, masked=True)

    def seconds(some: MemorySettings, tokens: float) -> float:
        return step_seconds(SHAPE, some, CARDS["rtx3060"], rows=8, tokens=tokens, learned=200, length=200)

    padded, packed_rows, tree = seconds(settings, 1600), seconds(packed, 1600), seconds(packed, 900)
    assert tree < packed_rows < padded
