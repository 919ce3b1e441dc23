"""framework/fitting.py: whether a run fits, and what would make it fit."""

from pathlib import Path

import pytest

from framework import host
from framework.errors import DoesNotFitError
from framework.fitting import check_fits
from framework.host import HostMemory
from framework.planning import forecast
from framework.records import Verdict
from tests.framework.memory.test_shape import LLAMA
from tests.support.shelf import Shelf, plan

GIB = 2**30


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def llama(tmp_path: Path) -> Shelf:
    """Return the config of Llama 3.1 8B."""
    return Shelf(tmp_path, LLAMA)


def test_what_does_not_fit_comes_with_the_cheapest_changes_that_make_it_fit(tmp_path: Path, llama: Shelf) -> None:
    _, told = forecast(plan(tmp_path, "quantization=none", "plan.gpu=12GiB"), llama)
    assert told.memory is not None
    assert told.memory.verdict is Verdict.too_large
    taken = [word for change in told.changes for word in change.words]
    assert taken[0] == "evaluator.prompts.batch_size=8"
    assert {"trainer.per_device_train_batch_size=1", "trainer.gradient_accumulation_steps=8"} <= set(taken)
    assert "quantization=nf4" in taken
    assert all(change.saves > 0 for change in told.changes)
    assert [change.verdict for change in told.changes][-1] is Verdict.fits
    assert all(change.verdict is not Verdict.fits for change in told.changes[:-1])


def test_apply_takes_them_and_the_effective_batch_stays(tmp_path: Path, llama: Shelf) -> None:
    before = plan(tmp_path, "quantization=none", "plan.gpu=12GiB", "plan.apply=true")
    after, told = forecast(before, llama)
    assert told.memory is not None
    assert told.memory.verdict is Verdict.fits
    assert "quantization=nf4" in told.applied
    assert set(told.applied) <= set(after.overrides)
    assert after.quantization.component.name == "nf4"
    batches = [
        one.training.per_device_train_batch_size * one.training.gradient_accumulation_steps for one in (before, after)
    ]
    assert batches[0] == batches[1]


def test_what_cannot_fit_is_refused_before_the_rows_are_known(
    tmp_path: Path, llama: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "memory", lambda: HostMemory(8 * GIB, 4 * GIB, limited=False))
    refused = plan(tmp_path, "quantization=none", "trainer.device=cpu")
    with pytest.raises(
        DoesNotFitError, match=r"does not fit: \d+\.\d and more GiB are needed, and CPU has 4.0"
    ) as error:
        check_fits(*forecast(refused, llama))
    assert "quantization=nf4" in str(error.value)


def test_a_plan_for_another_gpu_is_not_refused(tmp_path: Path, llama: Shelf) -> None:
    check_fits(*forecast(plan(tmp_path, "quantization=none", "plan.gpu=4GiB"), llama))
