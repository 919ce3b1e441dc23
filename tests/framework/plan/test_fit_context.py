"""framework/plan/fit.py: a plan with its model, data and hardware facts."""

import dataclasses
from pathlib import Path

import pytest

from framework.api.records import FitStatus
from framework.hooks.session import current
from framework.memory import Shape
from framework.plan.fit import CPU, PlanContext
from framework.util import host
from framework.util.gpus import named
from framework.util.host import HostMemory
from tests.framework.memory.test_shape import LLAMA
from tests.support.shelf import ROWS, plan

GIB = 2**30
SHAPE = Shape.from_config(LLAMA)

pytestmark = pytest.mark.usefixtures("own_cache")


def context(folder: Path, *words: str, gpu: str = "24GiB") -> PlanContext:
    return PlanContext(plan(folder, *words), SHAPE, named(gpu), ROWS, current())


def test_rows_are_as_long_as_the_longest_and_never_longer_than_the_limit(tmp_path: Path) -> None:
    assert context(tmp_path).longest == ROWS.longest
    assert context(tmp_path, "trainer.max_seq_length=512").longest == 512
    unknown = dataclasses.replace(context(tmp_path), known=None)
    assert unknown.longest == unknown.mean == 2048
    assert context(tmp_path).mean == -(-ROWS.tokens // ROWS.rows) < ROWS.longest


def test_a_trainer_that_takes_the_cpu_has_its_memory_whatever_gpu_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "memory", lambda: HostMemory(8 * GIB, 4 * GIB, limited=False))
    monkeypatch.setattr(host, "own", lambda: GIB)
    on_cpu = context(tmp_path, "trainer.device=cpu")
    assert (on_cpu.device, on_cpu.available) == (CPU, 5 * GIB)
    on_gpu = context(tmp_path)
    assert (on_gpu.device, on_gpu.available) == ("24GiB", named("24GiB").usable)


def test_the_verdict_is_by_the_whole_band(tmp_path: Path) -> None:
    some = context(tmp_path)
    made = some.estimate()
    free = [
        (made.high, FitStatus.fits),
        (made.high - 1, FitStatus.tight),
        (made.low, FitStatus.tight),
        (made.low - 1, FitStatus.too_large),
    ]
    for size, fit_status in free:
        gpu = dataclasses.replace(named("24GiB"), free=size + GIB // 2)
        assert dataclasses.replace(some, gpu=gpu).fit_status(made) is fit_status


@pytest.mark.parametrize(("words", "wider"), [(["trainer.device=cpu"], True), ([], False)], ids=["cpu", "gpu"])
def test_on_a_cpu_the_band_goes_down_to_that_of_average_rows(tmp_path: Path, words: list[str], *, wider: bool) -> None:
    varied = context(tmp_path, *words)
    even = dataclasses.replace(varied, known=dataclasses.replace(ROWS, tokens=ROWS.rows * ROWS.longest))
    low, other = varied.estimate(), even.estimate()
    assert (low.low < other.low) is wider
    assert (varied.least() == low.low) is wider
    assert dataclasses.replace(low, low=other.low) == other


def test_the_least_is_that_of_the_smallest_passes(tmp_path: Path) -> None:
    some = context(tmp_path, "trainer.per_device_train_batch_size=16", "trainer.answers_at_once=64")
    made = some.estimate()
    assert made.resident < some.least() < made.low
