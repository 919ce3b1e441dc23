"""framework/memory: what each process of a group takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.memory import Loss, MemorySettings, Shape, Weights, estimate, terms
from tests.framework.memory.test_shape import EXPERTS

SHAPE = Shape(4096, 32, 32, 8, 128, 14336, 128256, tied=False)
FULL = MemorySettings(rows=1, length=2048, weights=Weights.fp32, autocast=True, copies=False)
LORA = MemorySettings(rows=1, length=2048, rank=16, autocast=True, copies=False)
CUT = ("linear layers", "embeddings, head, norms", "adapter", "gradients", "optimizer")


@pytest.mark.parametrize("settings", [FULL, LORA, replace(LORA, weights=Weights.nf4, double_quant=True)])
@pytest.mark.parametrize("processes", [2, 8, 64])
def test_pieces_divide_weights_gradients_and_states(settings: MemorySettings, processes: int) -> None:
    alone = estimate(SHAPE, settings)
    each = estimate(SHAPE, replace(settings, processes=processes, sharded=True))
    assert each.parts.keys() == alone.parts.keys()
    for name, size in each.parts.items():
        assert size == pytest.approx(alone.parts[name] / processes, abs=1)
    assert set(CUT) & set(each.parts)


def test_a_full_training_of_8b_takes_a_piece_of_sixteen_bytes_a_parameter() -> None:
    each = estimate(SHAPE, replace(FULL, processes=8, sharded=True))
    assert each.resident == pytest.approx(16 * SHAPE.total / 8, rel=1e-6)


def test_two_layers_and_the_head_are_whole_for_a_while() -> None:
    layer, head = SHAPE.linear_parameters / SHAPE.layers, SHAPE.vocab * SHAPE.hidden
    sharded = replace(LORA, processes=8, sharded=True)
    assert terms.gathered(SHAPE, sharded) == pytest.approx(2 * (2 * layer + head))
    quantized = replace(sharded, weights=Weights.nf4)
    assert terms.gathered(SHAPE, quantized) == pytest.approx(layer + 2 * head)
    full = replace(FULL, processes=8, sharded=True)
    assert terms.gathered(SHAPE, full) == pytest.approx(2 * (2 * layer + head) + 4 * (layer + head))
    chunks = replace(full, loss=Loss.learned)  # the head's gradient is summed in fp32, and multiplied once
    assert terms.gathered(SHAPE, chunks) - terms.gathered(SHAPE, full) == pytest.approx((4 + 4 - 2) * head)
    assert terms.gathered(SHAPE, LORA) == 0
    phases = [estimate(SHAPE, settings).phases for settings in (LORA, sharded)]
    copied = {"forward": terms.cast_weights(SHAPE, LORA)}  # pieces come in the dtype of products
    for name in ("forward", "loss", "backward"):
        more = terms.gathered(SHAPE, sharded) - copied.get(name, 0)
        assert phases[1][name] - phases[0][name] == pytest.approx(more, abs=2)


@pytest.mark.parametrize("settings", [LORA, FULL])
def test_replicas_of_shards_take_what_as_many_processes_take_as_there_are_shards(settings: MemorySettings) -> None:
    few = replace(settings, processes=8, sharded=True)
    many = replace(few, processes=64, shard_size=8)
    assert (many.pieces, many.replicas) == (8, 8)
    alone, each = estimate(SHAPE, few), estimate(SHAPE, many)
    assert each.parts == alone.parts
    layer, head = SHAPE.linear_parameters / SHAPE.layers, SHAPE.vocab * SHAPE.hidden
    more = 2 * (layer + head) if settings.full else 0  # replicas reduce gradients in fp32
    assert each.phases["loss"] - alone.phases["loss"] == pytest.approx(more, abs=2)


def test_with_ddp_each_has_all_and_the_buckets_besides() -> None:
    alone, each = (estimate(SHAPE, replace(LORA, processes=count)) for count in (1, 4))
    assert each.parts == {**alone.parts, "buckets": alone.parts["gradients"]}
    assert each.phases == alone.phases


def test_what_is_offloaded_is_not_on_the_gpu() -> None:
    offloaded = replace(FULL, processes=2, sharded=True, offloaded_weights=True)
    assert estimate(SHAPE, offloaded).resident == 0
    assert estimate(SHAPE, offloaded).allocated > terms.gathered(SHAPE, offloaded)


def test_answers_are_made_by_one_process_that_has_the_whole_model() -> None:
    asked = replace(LORA, answer_rows=4, answer_tokens=512)
    alone, each = (estimate(SHAPE, replace(asked, processes=count, sharded=True)) for count in (1, 64))
    base = sum(terms.base_weights(SHAPE, asked).values())
    added = terms.kv_cache(SHAPE, asked) + terms.next_tokens(SHAPE, asked)
    assert each.allocated >= base
    assert each.resident + each.phases["answers"] == pytest.approx(base + added, abs=2)
    assert alone.allocated >= base


@pytest.mark.parametrize("weights", [Weights.half, Weights.nf4])
@pytest.mark.parametrize("devices", [2, 8])
def test_a_split_model_takes_a_share_and_at_most_a_layer_more(weights: Weights, devices: int) -> None:
    asked = replace(LORA, weights=weights, processes=8, sharded=True)
    asked = replace(asked, answer_rows=4, answer_tokens=512, evaluated_rows=2)
    total = sum(terms.base_weights(SHAPE, asked).values())
    split = replace(asked, evaluated_on=devices)
    held = terms.evaluated_weights(SHAPE, split)
    ends = terms.base_weights(SHAPE, asked)["embeddings, head, norms"]  # in one place, with a layer
    assert total / devices <= held <= max(total / devices, ends) + total / SHAPE.layers
    whole, shared, none = (estimate(SHAPE, replace(asked, evaluated_on=count)).phases for count in (1, devices, 0))
    less = total - held + terms.kv_cache(SHAPE, asked) * (1 - 1 / devices)
    assert whole["answers"] - shared["answers"] == pytest.approx(less, abs=2)
    assert whole["evaluation"] > shared["evaluation"] >= none["evaluation"]
    experts = Shape.from_config(EXPERTS, 8_030_261_248)
    total = sum(terms.base_weights(experts, asked).values())
    assert total / devices <= terms.evaluated_weights(experts, split) <= max(total / devices, ends) + total / 32


@given(st.sampled_from([FULL, LORA]), st.integers(2, 500))
def test_more_processes_never_need_more(settings: MemorySettings, processes: int) -> None:
    few, many = (
        estimate(SHAPE, replace(settings, processes=count, sharded=True, loss=Loss.learned)).reserved
        for count in (processes, 2 * processes)
    )
    assert many <= few
