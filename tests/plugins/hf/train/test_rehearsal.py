"""Retries outside of a step: validation loss, answers, and the passes that are tried before they are needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.api.records import Message, Prompt
from framework.util.errors import FrameworkError
from framework_plugins.hf.model import HFModel
from tests.support.short_memory import DROPOUT, PADDED, Pass, short_memory, trained
from tests.support.training import make, opened, train

LONG = ("schedule=constant_with_warmup", PADDED, DROPOUT)


def test_the_validation_loss_is_the_same_in_smaller_passes(base: Path, uneven_rows: Path, tmp_path: Path) -> None:
    with opened(make(base, uneven_rows, tmp_path, PADDED)) as (model, data):
        whole = model.loss(data.train)
        with short_memory(model, lambda one: one.shape[0] <= 3) as seen:
            assert model.loss(data.train) == pytest.approx(whole, rel=1e-6)
            refused = len(seen.refused)
            model.loss(data.train)
            assert len(seen.refused) == refused == 2
        fallbacks = [
            "the validation loss: 4 rows in a pass instead of 8",
            "the validation loss: 2 rows in a pass instead of 4",
        ]
        assert model.oom_retry.fallbacks == fallbacks
        assert model.facts["out of memory"] == "; ".join(fallbacks)


def test_the_longest_pass_of_the_validation_loss_is_tried_before_training(
    base: Path, uneven_rows: Path, tmp_path: Path
) -> None:
    with (
        opened(make(base, uneven_rows, tmp_path)) as (model, data),
        short_memory(model, lambda one: one.training) as seen,
    ):
        with pytest.raises(FrameworkError, match="out of memory in the validation loss"):
            train(model, data, tmp_path)
        assert not any(one.training for one in seen.passes)
    assert not (tmp_path / "checkpoint").exists()
    with opened(make(base, uneven_rows, tmp_path)) as (model, data), short_memory(model, lambda _: True) as seen:
        train(model, data, tmp_path)
        assert not seen.passes[0].training
    with opened(make(base, uneven_rows, tmp_path)) as (model, data):
        model.loss(data.validation)  # the baseline has tried it
        with short_memory(model, lambda _: True) as seen:
            train(model, data, tmp_path)
        assert seen.passes[0].training


def test_answers_are_the_same_in_smaller_batches(base: Path, uneven_rows: Path, tmp_path: Path) -> None:
    prompts = [Prompt((Message("user", f"Which number follows {number}?"),)) for number in range(7)]

    def answers(model: HFModel) -> list[str]:
        return [answer.text for answer in model.generate(prompts, max_new_tokens=8, batch_size=5)]

    with opened(make(base, uneven_rows, tmp_path)) as (model, _):
        whole = answers(model)
        with short_memory(model, lambda one: one.shape[0] <= 2) as seen:
            assert answers(model) == whole
            refused = len(seen.refused)
            assert answers(model) == whole
            assert len(seen.refused) == refused == 1
        assert model.oom_retry.fallbacks == ["answering: 2 in a batch instead of 5"]
        with (
            short_memory(model, lambda _: False),
            pytest.raises(FrameworkError, match=r"(?s)out of memory in answering: .*Lower evaluator.prompts.max_new_"),
        ):
            answers(model)


def test_a_long_run_rehearses_its_longest_row_and_is_not_changed_by_it(
    base: Path, uneven_rows: Path, tmp_path: Path
) -> None:
    short = trained(base, uneven_rows, tmp_path / "short", *LONG, "trainer.max_steps=4")
    long = trained(base, uneven_rows, tmp_path / "long", *LONG, "trainer.max_steps=40")
    assert long.losses[:4] == short.losses
    assert long.steps[3].tokens == short.result.tokens
    passes = [[one.shape for one in made.seen.passes if one.training] for made in (short, long)]
    each = 4  # of eight rows, two in a pass
    assert passes[1][each] == (1, long.longest)
    assert passes[1][:each] + passes[1][each + 1 : len(passes[0]) + 1] == passes[0]


def test_a_row_that_never_fits_ends_a_long_run_after_its_first_step(
    base: Path, uneven_rows: Path, tmp_path: Path
) -> None:
    steps: list[int] = []

    def fits(one: Pass, step: int) -> bool:
        steps.append(step)
        return one.shape[1] < 60

    with pytest.raises(FrameworkError, match="out of memory in a pass of the longest row"):
        trained(base, uneven_rows, tmp_path, *LONG, "trainer.max_steps=40", fits=fits)
    assert set(steps) == {1}  # the first step is reported after the rehearsal
