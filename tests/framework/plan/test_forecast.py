"""framework/plan/forecast.py: what a run needs, before anything is loaded."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework.api.records import FitStatus, TrainResult
from framework.api.schema import UNPLANNED_ANSWERS
from framework.api.text import facts_of
from framework.hooks.session import current
from framework.plan.fit import PlanContext
from framework.plan.forecast import Planner, speed_key
from framework.plan.make import make_plan
from framework.plan.speed import FASTEST, SLOWEST
from framework.rundir.known import known_rows, remember_rows, speeds
from framework.testing import compose
from framework.util.gpus import named
from tests.framework.memory.test_shape import LLAMA, SMOLLM
from tests.support.shelf import ROWS, Shelf, first, plan, rows_of, with_rows

GIB = 2**30

pytestmark = pytest.mark.usefixtures("own_cache")
TRAINED = TrainResult(
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
FP32 = ["plan.gpu=rtx4090", "trainer.dtype=fp32", "quantization=none"]


def test_an_8b_model_in_four_bits_fits_a_gaming_gpu(tmp_path: Path, llama: Shelf) -> None:
    _, told = first(llama, plan(tmp_path, "plan.gpu=rtx4090"))
    assert told.memory is not None
    assert (told.memory.fit_status, told.memory.device) == (FitStatus.fits, "rtx4090")
    assert 6 * GIB < told.memory.allocated < told.memory.high <= told.memory.available
    assert not told.memory.rows_known
    assert told.memory.tokens > 2048 / 2
    assert (told.changes, told.work) == ([], None)


@pytest.mark.parametrize(
    ("launch", "layout", "key"),
    [
        (["launch=single"], None, ""),
        (["launch=ddp", "launch.processes=8"], (1, 8), ", 8 copies"),
        (["launch=fsdp2", "launch.processes=8"], (8, 1), ", 8 pieces"),
        (["launch=fsdp2", "launch.processes=8", "launch.dp_shard_size=4"], (4, 2), ", 4 pieces in 2 replicas"),
    ],
)
def test_a_group_has_its_traffic_and_a_speed_of_its_own(
    tmp_path: Path, llama: Shelf, launch: list[str], layout: tuple[int, int] | None, key: str
) -> None:
    run = plan(tmp_path, "plan.gpu=rtx4090", "optimizer=adamw_torch", *launch)
    told, planner = first(llama, run)[1].traffic, Planner(run, llama, current())
    assert (told and (told.shards, told.replicas)) == layout
    kind = speed_key(PlanContext(run, planner.shape, named("rtx4090"), None, current()))
    assert kind.partition("adapter")[2] == key


def test_known_rows_make_it_smaller_and_give_the_work(tmp_path: Path, llama: Shelf) -> None:
    # Otherwise passes would be as large as fit without checkpointing.
    words = plan(tmp_path, "plan.gpu=rtx4090", "trainer.gradient_checkpointing=enabled", "trainer.answers_at_once=8")
    _, before = first(llama, words)
    remember_rows(rows_of(words), ROWS)
    _, told = first(llama, words)
    assert told.memory is not None
    assert before.memory is not None
    assert told.memory.rows_known
    assert told.memory.tokens == 2 * 4 * 800
    assert told.memory.reserved < before.memory.reserved
    assert told.work is not None
    assert (told.work.steps, told.work.epochs) == (375, 3.0)


def test_a_card_that_has_trained_nothing_is_judged_by_published_speeds(tmp_path: Path, llama: Shelf) -> None:
    words = ("plan.price_per_hour=0.5", "evaluator=[prompts]", "metric=[exact_match]")
    known = dataclasses.replace(ROWS, prompts=100)
    for more, published in ((["plan.gpu=rtx4090"], True), (["plan.gpu=24GiB"], False), (FP32, False)):
        run = plan(tmp_path, *more, *words)
        work = with_rows(llama, run, known).forecast().work
        assert work is not None
        assert work.price_per_hour == 0.5
        assert (work.from_published, work.seconds_low is None) == (published, not published)
        if published:
            assert work.seconds_low is not None
            assert work.evaluation_seconds is not None
            # 2,655 tokens of such an 8B model a second would be the card's rated speed, in passes as large as fit.
            assert work.seconds_low == pytest.approx(FASTEST * 1_200_000 / 2655, rel=0.02)
            assert work.seconds_high == pytest.approx(SLOWEST / FASTEST * work.seconds_low)
            assert 30 < work.evaluation_seconds < 3600


def test_the_speed_of_a_card_is_known_before_the_rows_are(tmp_path: Path, llama: Shelf) -> None:
    run = plan(tmp_path, "plan.gpu=rtx4090")
    _, told = first(llama, run)
    assert told.speed is not None
    assert (told.speed.row_tokens, told.speed.estimated, told.speed.from_published) == (2048, False, True)
    estimated = Planner(run, llama, current()).first(dataclasses.replace(ROWS, tokens=ROWS.rows * 80))
    assert estimated.speed is not None
    assert (estimated.speed.row_tokens, estimated.speed.estimated) == (80, True)
    assert estimated.work is not None
    assert (estimated.work.estimated, estimated.work.evaluation_seconds) == (True, None)
    assert estimated.memory == told.memory  # rows that nobody has read may be as long as they may be
    assert with_rows(llama, run, ROWS).forecast().speed is None
    assert first(llama, plan(tmp_path, "plan.gpu=24GiB"))[1].speed is None


def test_answers_that_a_training_draws_take_time_and_memory(tmp_path: Path, llama: Shelf) -> None:
    words = ["plan.gpu=rtx4090", "method=grpo", "reward=[length]", "evaluator=[]", "method.max_completion_length=100"]
    seconds, learning, memory = [], [], []
    for answers in (8, 16):
        told = with_rows(llama, plan(tmp_path, *words, f"method.num_generations={answers}"), ROWS).forecast()
        assert told.work is not None
        assert told.memory is not None
        seconds.append(told.work.evaluation_seconds or 0.0)
        learning.append(told.work.seconds_low or 0.0)
        memory.append(told.memory.reserved)
        # 64 answers of at most 900 tokens at a time, in each of 32 layers 2 x 1,024 numbers in 16 bits.
        assert told.memory.phases["answers"] > 64 * 900 * 32 * 2 * 1024 * 2
    # 375 steps of eight prompts with eight answers, all at once; for each of 100 tokens 4.5 bytes a weight move, and
    # the keys and values.
    assert seconds[0] == pytest.approx(375 * 100 * 2.9 * 0.0585, rel=0.02)
    assert seconds[1] == 2 * seconds[0]
    assert learning[1] > 1.5 * learning[0] > 0
    assert memory[0] == memory[1]  # each answer may go through a pass of its own


DRAWS = (
    "method=grpo", "reward=[length]", "method.max_completion_length=512", "trainer.max_seq_length=1024",
    "trainer.gradient_accumulation_steps=32", "adapter.lora_dropout=0", "evaluator=[]",
)  # fmt: skip


@pytest.mark.parametrize(("card", "number"), [("24GiB", 64), ("16GiB", 32), ("12GiB", 16)])
def test_as_many_answers_are_made_at_once_as_fit(tmp_path: Path, llama: Shelf, card: str, number: int) -> None:
    run = plan(tmp_path, *DRAWS, f"plan.gpu={card}")
    after, told = first(llama, run)
    training: Any = after.training
    assert training.answers_at_once == after.config["trainer"]["answers_at_once"] == number
    assert after.overrides == run.overrides  # on another machine they may mean another number
    assert told.memory is not None
    assert (told.memory.answers_at_once, told.memory.fit_status) == (number, FitStatus.fits)
    (fact,) = (fact for fact in facts_of(told) if fact.name == "made up of")
    assert re.search(rf", and \d\.\d GiB for {number} answers at once$", fact.text)
    _, more = first(llama, plan(tmp_path, *DRAWS, f"plan.gpu={card}", f"trainer.answers_at_once={2 * number}"))
    assert more.memory is not None
    assert more.memory.fit_status is not FitStatus.fits
    assert [f"trainer.answers_at_once={number}"] in [change.overrides for change in more.changes]
    # The number that a run began with stays, whatever fits.
    planner = Planner(run, llama, current())
    planner.first(answers_at_once=2 * number)
    assert planner.plan.training.planned_answers() == 2 * number


def test_eight_answers_are_made_at_once_if_their_memory_is_not_known(tmp_path: Path) -> None:
    after, _ = first(Shelf(LLAMA | {"num_experts": 8}), plan(tmp_path))
    assert after.training.planned_answers() == UNPLANNED_ANSWERS == 8


def test_a_model_that_the_arithmetic_does_not_know_has_no_memory(tmp_path: Path) -> None:
    _, told = first(Shelf(LLAMA | {"num_experts": 8}), plan(tmp_path))
    assert told.memory is None
    assert "with experts" in told.why


def test_advice_does_not_depend_on_the_memory(tmp_path: Path) -> None:
    words = plan(tmp_path, "data.validation_split=0")
    _, told = first(Shelf(LLAMA | {"num_experts": 8}), words)
    assert any(sentence.startswith("data.validation_split=0") for sentence in told.advice)


def test_a_run_planned_for_another_gpu_teaches_nothing_of_this_machine(tmp_path: Path) -> None:
    words = plan(tmp_path, "plan.gpu=rtx4090")
    with_rows(Shelf(SMOLLM), words, ROWS).learn(TRAINED)
    assert not list((tmp_path / "cache").rglob("speeds.json"))


def test_a_trainer_that_does_not_tell_has_none_either(tmp_path: Path, llama: Shelf) -> None:
    _, told = first(llama, testing.plan([], run_dir=tmp_path / "run"))
    assert told.memory is None
    assert told.why == "trainer=echo does not report how it uses memory"


def test_a_gpu_that_nobody_knows_is_refused(tmp_path: Path, llama: Shelf) -> None:
    with pytest.raises(FrameworkError, match=r"plan\.gpu=rtx9999"):
        first(llama, plan(tmp_path, "plan.gpu=rtx9999"))


def test_a_training_tells_the_next_plan_how_fast_this_machine_is(tmp_path: Path) -> None:
    shelf = Shelf(SMOLLM)
    words = plan(tmp_path, "quantization=none", "trainer.device=cpu", "trainer.dtype=bf16")
    with_rows(shelf, words, ROWS).learn(TRAINED)
    (speed,) = speeds("CPU, half, adapter")
    assert speed > 0
    remembered = known_rows(rows_of(words))
    assert remembered == dataclasses.replace(ROWS, computed=0.5)
    _, told = first(shelf, words)
    assert told.work is not None
    assert told.work.seconds_low is not None
    assert told.work.seconds_high is not None
    assert told.work.seconds_low < 100 < told.work.seconds_high
    with_rows(shelf, words, ROWS).learn(dataclasses.replace(TRAINED, taken_from="../0"))
    assert speeds("CPU, half, adapter") == [speed]  # of a point that took a training nothing is learned


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["trainer.num_train_epochs=2"], True),
        (["trainer.keep_best=false"], False),
        (["trainer.num_train_epochs=1"], False),
        (["trainer.num_train_epochs=1", "trainer.eval_steps=9"], True),
    ],
)
def test_disk_counts_the_best_weights_of_a_whole_model(
    tmp_path: Path, llama: Shelf, words: list[str], *, kept: bool
) -> None:
    every = ["+experiment=llama8b_full", "data=local_file", "data.path=rows.jsonl", *words]
    _, told = first(llama, make_plan(compose(every), run_dir=tmp_path / "run"))
    assert told.disk is not None
    assert ("best weights" in told.disk.parts) == kept


def test_disk_counts_the_checkpoint_and_what_is_exported(tmp_path: Path, llama: Shelf) -> None:
    _, told = first(llama, plan(tmp_path))
    assert told.disk is not None
    assert set(told.disk.parts) == {"checkpoint", "adapter"}
    assert told.disk.needed == sum(told.disk.parts.values())
    assert told.disk.free > 0


def test_a_plan_alone_tells_what_the_whole_run_would_write(tmp_path: Path, llama: Shelf) -> None:
    _, whole = first(llama, plan(tmp_path))
    _, alone = first(llama, plan(tmp_path, "stages=[plan]"))
    _, looking = first(llama, plan(tmp_path, "stages=[data]"))
    assert whole.disk is not None
    assert alone.disk is not None
    assert (alone.disk.parts, looking.disk) == (whole.disk.parts, None)
