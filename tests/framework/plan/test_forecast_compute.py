"""framework/plan/forecast.py: how much a training has to do."""

import pytest

from framework.memory import MemorySettings, Shape
from framework.plan.forecast import flops
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
