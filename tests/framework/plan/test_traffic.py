"""framework/plan/traffic.py: what the processes of a group receive from each other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from framework.api.records import Traffic
from framework.memory import MemorySettings, Weights
from framework.memory.terms import trained_parameters
from framework.plan.traffic import traffic
from tests.framework.memory.test_groups import LORA, SHAPE

TRAINED = trained_parameters(SHAPE, LORA)
BASE = 2 * SHAPE.total
FULL = replace(LORA, rank=0)
NF4 = replace(LORA, weights=Weights.nf4)
PACKED = SHAPE.linear_parameters / 2 + 2 * (SHAPE.total - SHAPE.linear_parameters)


@pytest.mark.parametrize(
    ("settings", "in_pass", "in_step"),
    [
        (LORA, 0, 2 * 4 * TRAINED * 15 / 16),
        (replace(LORA, sharded=True), (2 * BASE + 2 * TRAINED) * 15 / 16, 0),
        (replace(LORA, sharded=True, shard_size=16), (2 * BASE + 2 * TRAINED) * 15 / 16, 0),
        (replace(LORA, sharded=True, shard_size=4), (2 * BASE + 4 * TRAINED) * 3 / 4, 2 * TRAINED * 3 / 4),
        (replace(NF4, sharded=True, shard_size=4), (2 * PACKED + 4 * TRAINED) * 3 / 4, 2 * TRAINED * 3 / 4),
        (replace(FULL, sharded=True, shard_size=8), (2 * BASE + 2 * BASE) * 7 / 8, 2 * 2 * BASE / 8 / 2),
    ],
    ids=["DDP", "FSDP", "all", "HSDP", "NF4", "full"],
)
def test_shards_receive_weights_and_gradients_of_a_pass_and_replicas_gradients_of_a_step(
    settings: MemorySettings, in_pass: float, in_step: float
) -> None:
    group = replace(settings, processes=16)
    assert traffic(SHAPE, group) == Traffic(group.pieces, group.replicas, round(in_pass), round(in_step))
    assert traffic(SHAPE, settings) is None
