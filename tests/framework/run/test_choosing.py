"""framework/run/choosing.py: the best answers are learned, and a random choice beside them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, Plan, testing
from framework.api.data import Data
from framework.api.protocols import Model, TrainRun
from framework.api.records import Answer, Prompt, Report, TokenGroup, TrainResult
from framework.api.schema import SamplingParams
from framework.run import pipeline
from framework.testing.echo import EchoModel
from framework_plugins.evals.metrics.exact_match import ExactMatch

ROWS = [{"instruction": f"Say {n}", "output": f"number {n}"} for n in range(24)]
WORDS = (
    "method=best_of_n", "method.num_generations=3", "reward=[exact_match]", "metric=[exact_match]", "audit=[]",
    "data=local_file", "data.path=rows.jsonl", "data.prompts_path=rows.jsonl", "data.validation_split=0",
)  # fmt: skip


def sample(_: EchoModel, prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Answer]]:
    """Draw the reference, and others that are wrong; the last one is cut off."""
    texts = [f"number {99 + number}" for number in range(params.n - 1)]
    return [
        [*(Answer(t, 2, stopped=True) for t in [*texts[:1], p.reference or ""]), Answer("cut", 1, stopped=False)]
        for p in prompts
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(EchoModel, "sample", sample, raising=False)
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    return tmp_path


def run(folder: Path, *words: str) -> Report:
    report = testing.run(testing.plan([*WORDS, *words], run_dir=folder / "run"))
    assert report is not None
    return report


def test_the_best_answers_are_learned_and_compared_with_a_random_choice(folder: Path) -> None:
    report = run(folder)
    known = json.loads((folder / "run" / "answers.json").read_text(encoding="utf-8"))["prompts"]
    assert [one["chosen"] for one in known] == [1] * 24
    by_chance = [one["control"] for one in known]
    assert {*by_chance} == {0, 1}  # the answer that was cut off is none of them
    change = report.metrics["exact_match_vs_random"]
    assert change.before == pytest.approx(sum(by_chance) / 24)
    assert change.after == 1.0
    assert change.low is not None
    assert change.low > 0
    assert report.metrics["exact_match"].before == 0
    said = " ".join(report.verdict.more if report.verdict else [])
    assert "choosing by the reward brought +27 to +74 points: exact_match is 100% after the best of 3 answers" in said
    assert "and 46% after a random choice of as many" in said


def test_another_trainer_is_given_the_answers_that_are_learned_and_then_those_of_the_control(folder: Path) -> None:
    """As `launch=ddp` is."""
    given: list[list[TokenGroup]] = []

    def train(_: Plan, model: Model, data: Data, run: TrainRun) -> TrainResult:
        assert not data.validation_groups
        given.append([*data.train_groups])
        return model.train(data.train_groups, data.validation_groups, run)

    report = pipeline.run(testing.plan([*WORDS], run_dir=folder / "run"), train)
    assert report is not None
    assert [len(rows) for rows in given] == [24, 24]
    assert given[0] != given[1]
    assert report.metrics["exact_match_vs_random"].after == 1.0


def test_without_a_control_the_training_happens_once(folder: Path) -> None:
    assert "exact_match_vs_random" not in run(folder, "method.control=false").metrics


def test_answers_with_one_reward_leave_nothing_to_choose(folder: Path) -> None:
    with pytest.raises(FrameworkError, match="no prompt of 24 has two answers that can be learned with diff"):
        run(folder, "reward=[json_valid]")


def test_answers_are_drawn_one_by_one_from_a_model_that_cannot_draw_several(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws: list[int | None] = []

    def stream(_: EchoModel, prompt: Prompt, *, seed: int | None, **__: Any) -> Iterator[str]:
        draws.append(seed)
        yield f"number {prompt.messages[-1].content[4:] if len(draws) % 2 else 'none'}"

    monkeypatch.delattr(EchoModel, "sample")
    monkeypatch.setattr(EchoModel, "stream", stream)
    assert run(folder, "method.control=false").metrics["exact_match"].after == 1.0
    assert len({*draws}) == len(draws) == 72


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("method=best_of_n", "reward=[]"), "method=best_of_n learns from the model's own answers and needs something"),
        (("method=sft", "reward=[exact_match]"), "reward=[exact_match] has no effect with method=sft"),
    ],
)
def test_a_method_without_rewards_and_rewards_without_a_method_are_refused(
    folder: Path, words: tuple[str, ...], told: str
) -> None:
    with pytest.raises(FrameworkError) as caught:
        testing.plan([*WORDS[5:], "data.validation_split=0.1", *words], run_dir=folder / "run")
    assert told in str(caught.value)


def test_a_reward_that_fails_ends_the_data_stage(folder: Path) -> None:
    # Without references no answer has a number.
    (folder / "rows.jsonl").write_text("\n".join(json.dumps({"prompt": row["instruction"]}) for row in ROWS))
    with pytest.raises(FrameworkError, match="reward_none: reward=exact_match has no number for any of"):
        run(folder)
    assert not (folder / "run").exists()


def test_answers_that_are_drawn_are_kept_if_a_reward_fails_or_the_draw_hangs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def counted(model: EchoModel, prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Answer]]:
        if asked == [16]:
            asked.append(0)
            time.sleep(60)
        asked.append(len(prompts))
        return sample(model, prompts, params)

    def hangs(_: ExactMatch, answer: str, reference: str | None) -> float:
        if answer == "cut":  # which no answer of the audit is
            time.sleep(60)
        return float(answer == reference)

    monkeypatch.setattr(EchoModel, "sample", counted)
    with pytest.raises(FrameworkError, match=r"answers to rows.jsonl:17 and 7 more .*method.max_draw_seconds=1"):
        run(folder, "method.max_draw_seconds=1")
    with monkeypatch.context() as patched:
        patched.setattr(ExactMatch, "score", hangs)
        with pytest.raises(FrameworkError, match=r"reward.exact_match.max_seconds=1 for the answers to rows.jsonl:1: "):
            run(folder, "reward.exact_match.max_seconds=1")
    assert asked == [16, 0, 8]
    run(folder)
    assert asked == [16, 0, 8]
    assert not (folder / "run" / ".resume").exists()
