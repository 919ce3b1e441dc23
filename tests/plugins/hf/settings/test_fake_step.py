"""hf/settings/memory_plan.py: the memory of a step on a GPU, beside tensors without memory that take the step."""

from dataclasses import replace

import pytest

from framework.memory import Shape, Weights, estimate
from framework.util.gpus import Gpu
from framework_plugins.hf.settings.memory_plan import footprint
from tests.plugins.hf.settings.test_kept import DROPOUT, NF4, NONE, PAD
from tests.plugins.hf.settings.test_memory_plan import plan
from tests.support.fake_step import fake_step, planned_step

SHAPE = Shape(2048, 2, 32, 8, 64, 8192, 128256, tied=True)
"""Two layers of Llama 3.2 1B: what has no memory takes no time."""
ROOM = Gpu("one with room for all", 10**13, 10**13)
KEPT, AGAIN = (f"trainer.gradient_checkpointing={switch}" for switch in ("disabled", "enabled"))


@pytest.mark.parametrize(
    "words",
    [
        (PAD, KEPT), (PAD, DROPOUT, AGAIN), (PAD, NF4, AGAIN),
        (PAD, "adapter=full", KEPT),
        (NONE, "trainer.dtype=fp32", AGAIN), (NONE, "trainer.attention=eager", KEPT),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_step_on_a_gpu_takes_what_is_planned(words: tuple[str, ...]) -> None:
    made = plan(*words)
    settings = replace(footprint(made, SHAPE, ROOM, 1024, 0), evaluated_rows=0, answer_rows=0)
    taken, planned = fake_step(made, SHAPE, settings), planned_step(SHAPE, settings)
    resident = ("weights", "adapter", "gradients", "optimizer")
    assert [planned[name] for name in resident] == pytest.approx([getattr(taken, name) for name in resident], rel=0.01)
    parts = ("kept", "loss", *(["temporary"] if settings.checkpointing else []))  # else it is that of one layer
    large = [name for name in parts if getattr(taken, name) > taken.peak / 20]
    assert [planned[name] for name in large] == pytest.approx([getattr(taken, name) for name in large], rel=0.05)
    assert estimate(SHAPE, settings).allocated == pytest.approx(taken.peak, rel=0.05)


@pytest.mark.parametrize("switch", [KEPT, AGAIN])
def test_each_product_with_a_frozen_fp32_weight_keeps_the_copy_that_autocast_made(switch: str) -> None:
    made = plan(PAD, switch)
    half = replace(footprint(made, SHAPE, ROOM, 1024, 0), evaluated_rows=0, answer_rows=0)
    settings = replace(half, weights=Weights.fp32)
    taken = fake_step(made, SHAPE, settings)
    assert estimate(SHAPE, settings).allocated == pytest.approx(taken.peak, rel=0.01)
    assert taken.kept + taken.loss > 2 * SHAPE.vocab * SHAPE.hidden + (switch == KEPT) * 2 * SHAPE.linear_parameters
