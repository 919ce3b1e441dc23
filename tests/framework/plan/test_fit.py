"""framework/plan/fit.py: whether a run fits, and what would make it fit."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from framework import hookimpl
from framework.api.plan import Plan
from framework.api.records import FitStatus, MemoryReduction
from framework.api.text import facts_of
from framework.hooks.session import current
from framework.plan.fit import remedy
from framework.plan.forecast import Planner
from framework.rundir.known import remember_rows
from framework.util import gpus, host
from framework.util.errors import DoesNotFitError
from framework.util.gpus import Gpu
from framework.util.host import HostMemory
from tests.support.shelf import ROWS, Shelf, first, plan, rows_of, with_rows

GIB = 2**30

EIGHT = "trainer.answers_at_once=8"
pytestmark = pytest.mark.usefixtures("own_cache")


def check(model: Shelf, run: Plan) -> None:
    planner = Planner(run, model, current())
    planner.check_fits(planner.first())


def test_what_does_not_fit_comes_with_the_cheapest_changes_that_make_it_fit(tmp_path: Path, llama: Shelf) -> None:
    _, told = first(llama, plan(tmp_path, "quantization=none", "plan.gpu=12GiB"))
    assert told.memory is not None
    assert told.memory.fit_status is FitStatus.too_large
    taken = [word for change in told.changes for word in change.overrides]
    assert taken[0] == "trainer.per_device_eval_batch_size=1"
    assert "quantization=nf4" in taken
    assert all(change.saves > 0 for change in told.changes)
    assert [change.fit_status for change in told.changes][-1] is FitStatus.fits
    assert all(change.fit_status is not FitStatus.fits for change in told.changes[:-1])


def test_apply_takes_them_and_the_effective_batch_stays(tmp_path: Path, llama: Shelf) -> None:
    before = plan(tmp_path, "quantization=none", "plan.gpu=12GiB", "plan.apply=true")
    remember_rows(rows_of(before), ROWS)
    after, told = first(llama, before)
    assert told.memory is not None
    assert told.memory.fit_status is FitStatus.fits
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
    monkeypatch.setattr(host, "own", lambda: 0)
    monkeypatch.setattr(host, "memory", lambda: HostMemory(8 * GIB, 4 * GIB, limited=False))
    refused = plan(tmp_path, "quantization=none", "trainer.device=cpu")
    with pytest.raises(DoesNotFitError, match=r"at least \d+\.\d GiB are needed, and CPU has 4\.0") as error:
        check(llama, refused)
    assert "quantization=nf4" in str(error.value)


def test_a_gpu_with_memory_for_the_weights_and_for_no_row_is_refused(
    tmp_path: Path, llama: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts once rows are known is a pass of one row with checkpointing; weights and optimizer alone before."""
    run = plan(tmp_path, "quantization=nf4")

    def card(free: int) -> None:
        monkeypatch.setattr(gpus, "here", lambda: Gpu("NVIDIA GeForce RTX 3060", 12 * GIB, free))

    card(12 * GIB)
    before, after = first(llama, run)[1].memory, with_rows(llama, run, ROWS).forecast().memory
    assert before is not None
    assert after is not None
    assert before.least < after.least
    card((before.least + after.least) // 2 + round(gpus.CONTEXT * GIB))
    check(llama, run)
    planner = with_rows(llama, run, ROWS)
    told = planner.forecast()
    with pytest.raises(
        DoesNotFitError, match=r"at least \d\.\d GiB are needed, and NVIDIA GeForce RTX 3060 has \d\.\d"
    ):
        planner.check_fits(told)


def test_until_the_rows_are_known_apply_takes_what_costs_nothing(tmp_path: Path, llama: Shelf) -> None:
    after, told = first(llama, plan(tmp_path, "quantization=none", "plan.gpu=12GiB", "plan.apply=true"))
    assert "trainer.per_device_eval_batch_size=1" in told.applied
    assert after.quantization.component.name == "none"
    assert after.training.max_seq_length == 2048
    (fact,) = (fact for fact in facts_of(told) if fact.name == "would fit with")
    assert fact.text.endswith("plan.apply=true applies them after stages=[data], which reads the rows")
    planner = with_rows(llama, plan(tmp_path, "quantization=none", "plan.gpu=12GiB", "plan.apply=true"), ROWS)
    assert remedy(planner.forecast()).endswith("plan.apply=true applies them in another run, which knows the rows")


def test_what_was_applied_is_reported_again_with_the_rows(tmp_path: Path, llama: Shelf) -> None:
    planner = Planner(plan(tmp_path, "quantization=none", "plan.gpu=12GiB", "plan.apply=true"), llama, current())
    told, planner.rows = planner.first(), ROWS
    assert planner.forecast().applied == told.applied != []


def test_a_run_that_goes_on_from_a_trained_one_is_not_changed(tmp_path: Path, llama: Shelf) -> None:
    before = plan(tmp_path, "quantization=none", "plan.gpu=12GiB", "plan.apply=true", "stages=[evaluate]", EIGHT)
    assert first(llama, before)[0] == before


def test_a_plan_for_another_gpu_is_not_refused(tmp_path: Path, llama: Shelf) -> None:
    check(llama, plan(tmp_path, "quantization=none", "plan.gpu=4GiB"))


class Hasty:
    """A third-party plugin."""

    def __init__(self, reduction: Any) -> None:
        self.reduction = reduction

    @hookimpl
    def framework_memory_reductions(self, plan: Plan) -> Iterable[MemoryReduction]:
        """Give what it was made with."""
        del plan
        yield self.reduction


@pytest.mark.parametrize(
    ("reduction", "told"),
    [
        (MemoryReduction({"seed": 1}, "nothing", 0), "unknown config group 'seed'"),
        (
            MemoryReduction({"evaluator.lm_eval.samples": 1}, "nothing", 0),
            "'evaluator.lm_eval.samples' is not a setting",
        ),
        (MemoryReduction({"trainer.max_length": 64}, "nothing", 0), "unknown key 'trainer.max_length'"),
        (
            MemoryReduction({"trainer.max_seq_length": "64"}, "nothing", 0),
            "trainer.max_seq_length=64 must be a whole number",
        ),
        (MemoryReduction(["adapter.r=1"], "nothing", 0), "AttributeError: "),  # type: ignore[arg-type]
        ({"adapter.r": 1}, "it gives dict, not MemoryReduction"),
    ],
)
def test_a_saving_that_cannot_be_set_is_named_and_left_out(
    tmp_path: Path, llama: Shelf, monkeypatch: pytest.MonkeyPatch, reduction: Any, told: str
) -> None:
    monkeypatch.setattr(current().plugins, "_skipped", {})
    planned = plan(tmp_path, "quantization=none", "plan.gpu=12GiB")
    without = first(llama, planned)[1].changes
    hasty = Hasty(reduction)
    current().plugins.manager.register(hasty, name="hasty")
    try:
        assert first(llama, planned)[1].changes == without
    finally:
        current().plugins.manager.unregister(hasty)
    (left,) = current().plugins.skipped_plugins()
    assert (left.plugin, left.what) == ("hasty", "framework_memory_reductions")
    assert left.reason.startswith(told)


def test_a_saving_for_which_nothing_is_left_is_passed_over(tmp_path: Path, llama: Shelf) -> None:
    """A third-party one whose quantization is replaced before its own setting is tried."""
    planned = plan(tmp_path, "quantization=int8", "plan.gpu=6GiB")
    hasty, other = (
        Hasty(MemoryReduction({"quantization": "nf4"}, "little", 0)),
        Hasty(MemoryReduction({"quantization.llm_int8_threshold": 3.0}, "little", 2)),
    )
    current().plugins.manager.register(hasty, name="hasty")
    current().plugins.manager.register(other, name="other")
    try:
        taken = [word for change in first(llama, planned)[1].changes for word in change.overrides]
    finally:
        current().plugins.manager.unregister(hasty)
        current().plugins.manager.unregister(other)
    assert "quantization=nf4" in taken
    assert "quantization.llm_int8_threshold=3" not in taken


def test_rows_are_cut_to_the_longest_of_a_hundred_before_they_are_halved(tmp_path: Path, llama: Shelf) -> None:
    rows = dataclasses.replace(ROWS, longest=2048)
    told = with_rows(llama, plan(tmp_path, "quantization=none", "plan.gpu=4GiB"), rows).forecast()
    cuts = [(change.overrides, change.costs) for change in told.changes if "max_seq_length" in change.overrides[0]]
    assert cuts == [
        (["trainer.max_seq_length=704"], "the longest row in a hundred"),
        (["trainer.max_seq_length=352"], "the rows that are longer"),
    ]


@pytest.mark.parametrize(
    ("gpu", "text"),
    [("12GiB", "These make it fit, the cheapest first: "), ("2GiB", "It does not fit even with all of these: ")],
)
def test_what_would_make_a_run_fit_is_one_line(tmp_path: Path, llama: Shelf, gpu: str, text: str) -> None:
    run = plan(tmp_path, "quantization=none", f"plan.gpu={gpu}")
    line = remedy(with_rows(llama, run, dataclasses.replace(ROWS, longest=2048)).forecast())
    assert line.startswith(text)
    words = line.partition(": ")[2].partition(". ")[0].split()
    keys = [word.partition("=")[0] for word in words]
    assert len(set(keys)) == len(keys)  # a key that is changed twice has its last value
