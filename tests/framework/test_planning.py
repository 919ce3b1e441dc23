"""framework/planning.py: what a run needs, whether it fits, and what would make it fit."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from framework import FrameworkError, testing
from framework.compose import compose
from framework.errors import DoesNotFitError
from framework.plan import Plan, make_plan
from framework.planning import check_fits, forecast, learn, read_shape
from framework.protocols import ModelPlace
from framework.records import TrainResult, Verdict
from framework.remembered import KnownRows, known_rows, remember_rows, speeds
from tests.framework.memory.test_shape import LLAMA, SMOLLM

GIB = 2**30
ROWS = KnownRows(rows=1000, tokens=400_000, supervised_tokens=100_000, p99=700, longest=800)


class Shelf:
    """A model of which there is only the config."""

    def __init__(self, folder: Path, config: object) -> None:
        self.folder = folder
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")

    def check(self) -> str:
        """Say what it is."""
        return "a model"

    def fetch(self, *, weights: bool) -> ModelPlace:
        """Give the folder."""
        del weights
        return ModelPlace(self.folder, "shelf")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def llama(tmp_path: Path) -> Shelf:
    """Return the config of Llama 3.1 8B."""
    return Shelf(tmp_path, LLAMA)


def plan(folder: Path, *words: str) -> Plan:
    """Return a plan of `trainer=hf`."""
    every = ["+experiment=llama8b_qlora", "data=local_file", "data.path=rows.jsonl", *words]
    return make_plan(compose(every), run_dir=folder / "run", overrides=tuple(every))


def test_an_8b_model_in_four_bits_fits_a_gaming_gpu(tmp_path: Path, llama: Shelf) -> None:
    _, told = forecast(plan(tmp_path, "plan.gpu=rtx4090"), llama)
    assert told.memory is not None
    assert (told.memory.verdict, told.memory.device) == (Verdict.fits, "rtx4090")
    assert 6 * GIB < told.memory.allocated < 12 * GIB
    assert not told.memory.rows_known
    assert told.memory.tokens == 2 * 2048
    assert (told.changes, told.work) == ([], None)


def test_known_rows_make_it_smaller_and_give_the_work(tmp_path: Path, llama: Shelf) -> None:
    words = plan(tmp_path, "plan.gpu=rtx4090")
    _, before = forecast(words, llama)
    remember_rows(words, ROWS)
    _, told = forecast(words, llama)
    assert told.memory is not None
    assert before.memory is not None
    assert told.memory.rows_known
    assert told.memory.tokens == 2 * 800
    assert told.memory.reserved < before.memory.reserved
    assert told.work is not None
    assert (told.work.steps, told.work.epochs, told.work.seconds_low) == (375, 3.0, None)


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
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=4 * GIB))
    refused = plan(tmp_path, "quantization=none", "trainer.device=cpu")
    with pytest.raises(
        DoesNotFitError, match=r"does not fit: \d+\.\d and more GiB are needed, and CPU has 4.0"
    ) as error:
        check_fits(*forecast(refused, llama))
    assert "quantization=nf4" in str(error.value)


def test_a_plan_for_another_gpu_is_not_refused(tmp_path: Path, llama: Shelf) -> None:
    check_fits(*forecast(plan(tmp_path, "quantization=none", "plan.gpu=4GiB"), llama))


def test_a_model_that_the_arithmetic_does_not_know_has_no_memory(tmp_path: Path) -> None:
    _, told = forecast(plan(tmp_path), Shelf(tmp_path, LLAMA | {"num_experts": 8}))
    assert told.memory is None
    assert "has experts" in told.why


def test_a_trainer_that_does_not_tell_has_none_either(tmp_path: Path, llama: Shelf) -> None:
    _, told = forecast(testing.plan([], run_dir=tmp_path / "run"), llama)
    assert told.memory is None
    assert told.why == "trainer=echo does not tell how it uses memory"


def test_a_gpu_that_nobody_knows_is_refused(tmp_path: Path, llama: Shelf) -> None:
    with pytest.raises(FrameworkError, match=r"plan\.gpu=rtx9999"):
        forecast(plan(tmp_path, "plan.gpu=rtx9999"), llama)


def test_a_folder_without_a_config_or_with_half_of_one_is_told(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, SMOLLM)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(FrameworkError, match=r"config.json cannot be read: JSONDecodeError"):
        read_shape(shelf)
    (tmp_path / "config.json").unlink()
    with pytest.raises(FrameworkError, match=r"has no config\.json"):
        read_shape(shelf)


def test_a_training_tells_the_next_plan_how_fast_this_machine_is(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, SMOLLM)
    words = plan(tmp_path, "quantization=none", "trainer.device=cpu")
    result = TrainResult(
        steps=375,
        epochs=3.0,
        train_loss=1.0,
        last_loss=1.0,
        seconds=100.0,
        tokens=1_200_000,
        supervised_tokens=300_000,
        trainable_parameters=1,
        total_parameters=2,
        peak_memory_bytes=1,
        checkpoint="checkpoint",
        computed_tokens=600_000,
    )
    learn(words, shelf, ROWS, result)
    (speed,) = speeds("CPU")
    assert speed > 0
    remembered = known_rows(words)
    assert remembered == dataclasses.replace(ROWS, computed=0.5)
    _, told = forecast(words, shelf)
    assert told.work is not None
    assert told.work.seconds_low is not None
    assert told.work.seconds_high is not None
    assert told.work.seconds_low < 100 < told.work.seconds_high


def test_rows_of_a_file_that_changed_are_not_known(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("{}\n", encoding="utf-8")
    words = plan(tmp_path, f"data.path={file}")
    remember_rows(words, ROWS)
    assert known_rows(words) == ROWS
    file.write_text("{}\n{}\n", encoding="utf-8")
    assert known_rows(words) is None


def test_disk_counts_the_checkpoint_and_what_is_exported(tmp_path: Path, llama: Shelf) -> None:
    _, told = forecast(plan(tmp_path), llama)
    assert told.disk is not None
    assert set(told.disk.parts) == {"checkpoint", "adapter"}
    assert told.disk.needed == sum(told.disk.parts.values())
    assert told.disk.free > 0
