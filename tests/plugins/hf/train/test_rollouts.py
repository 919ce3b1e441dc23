"""hf/train/rollouts.py: a training on answers that it draws itself, and the same one after an interruption."""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import GenerationMixin

from framework import FrameworkError, Plan
from framework.api import Answer, Message, Prompt, Rewards, Step, TrainResult, records
from framework.api.protocols import Launcher
from framework.api.registry import load_file as load_plugin
from framework.api.rewarding import rewarder
from framework.api.training import RolloutConfig, Sampled, SamplingParams, StepControl, TokenGroup, TokenRow, TrainRun
from framework.run.pipeline import run as run_pipeline
from framework_plugins.hf.machine.out_of_memory import Batches, OomRetry
from framework_plugins.hf.machine.world import ALONE, World
from framework_plugins.hf.settings import memory_plan
from framework_plugins.hf.train.reference import row_key
from framework_plugins.hf.train.resume.checkpoints import MANIFEST
from framework_plugins.hf.train.rollouts import Draws, Rollouts
from framework_plugins.hf.train.trainer import SupervisedTrainer
from framework_plugins.lib.group_member import Member
from framework_plugins.methods.config import GrpoConfig, ScaleRewards
from framework_plugins.methods.grpo import Grpo
from tests.support import copies
from tests.support.training import make, make_for_group, opened

SETTINGS = (
    "method=grpo", "reward=[json_valid]", "trainer.max_steps=5", "trainer.save_steps=1", "audit=[]",
    "trainer.per_device_train_batch_size=1", "trainer.gradient_accumulation_steps=2", "trainer.eval_steps=2",
    "trainer.logging_steps=1", "method.num_generations=4", "method.max_completion_length=6", "method.beta=0.1",
    "method.steps_per_generation=2", "method.temperature=0.8", "adapter.lora_dropout=0.0",
)  # fmt: skip

BATCHES = Batches(OomRetry({}, ""), "", "")


class Ended(Exception):  # noqa: N818 - not an error of the program
    """What ends a training in these tests."""


def vowels(prompts: Sequence[Prompt], answers: Sequence[Answer], **_: int) -> Rewards:
    """Reward the share of vowels."""
    share: list[float | None] = [sum(answer.text.count(each) for each in "aeiou") / 10 for answer in answers]
    assert len(prompts) == len(answers)
    return Rewards(share, {"vowels": share}, {"vowels": 1.0}, {"asked": float(len(answers))})


def equal(prompts: Sequence[Prompt], answers: Sequence[Answer], **_: int) -> Rewards:
    del prompts
    return Rewards([0.5] * len(answers), {"equal": [0.5] * len(answers)}, {"equal": 1.0})


@pytest.fixture(scope="module")
def asks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions, half of them with an answer."""
    file = tmp_path_factory.mktemp("asks") / "rows.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": f"Add {number} and 1, and say what it is."}]} for number in range(12)
    ]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


def trained(
    base: Path, asks: Path, folder: Path, *words: str, end: int = 0, reward: Any = vowels
) -> tuple[list[Step], dict[str, torch.Tensor]]:
    steps: list[Step] = []

    def on_step(step: Step) -> StepControl:
        steps.append(step)
        if step.step == end and not step.repeated:
            raise Ended
        return StepControl()

    with opened(make(base, asks, folder, *SETTINGS, *words)) as (model, data):
        run = TrainRun(folder / "checkpoint", folder / "scratch", on_step, prompts=data.train_prompts, reward=reward)
        if end:
            with pytest.raises(Ended):
                model.train(data.train_groups, data.validation_groups, run)
            return steps, {}
        model.train(data.train_groups, data.validation_groups, run)
    return steps, load_file(folder / "checkpoint" / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def uninterrupted(
    base: Path, asks: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Step], dict[str, torch.Tensor]]:
    return trained(base, asks, tmp_path_factory.mktemp("whole"))


def test_a_training_whose_reward_fails_loses_no_step(
    base: Path, asks: Path, tmp_path: Path, uninterrupted: tuple[list[Step], dict[str, torch.Tensor]]
) -> None:
    def slow(*given: Any, step: int, **_: int) -> Rewards:
        if step == 4:
            raise FrameworkError("reward=slow takes longer")
        return vowels(*given)

    words = ("trainer.save_steps=null",)
    with pytest.raises(FrameworkError, match="takes longer"):
        trained(base, asks, tmp_path, *words, reward=slow)
    resumed, weights = trained(base, asks, tmp_path, *words)
    assert [step.repeated for step in resumed] == [True, True, True, True, False]
    assert all(torch.equal(weights[name], weight) for name, weight in uninterrupted[1].items())


def test_an_interrupted_training_resumes_with_the_same_answers_bit_for_bit(
    base: Path, asks: Path, tmp_path: Path, uninterrupted: tuple[list[Step], dict[str, torch.Tensor]]
) -> None:
    """It ends after the first of two steps whose answers were drawn at once, with the weights before it."""
    whole, weights = uninterrupted
    trained(base, asks, tmp_path / "ended", end=4)
    resumed, again = trained(base, asks, tmp_path / "ended")
    assert [step.step for step in resumed] == [1, 2, 3, 4, 5]
    assert [step.repeated for step in resumed] == [True, True, True, False, False]
    assert [step.loss_metrics for step in resumed] == [step.loss_metrics for step in whole]
    assert [step.samples for step in resumed] == [step.samples for step in whole]
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[name], again[name]) for name in weights)

    first, second = (step.loss_metrics for step in whole[:2])
    assert first[Sampled.DRAW_DIFFERENCE] < 1e-5  # fp32: the draw is that of the weights, at the temperature
    assert first["asked"] == 8
    assert {"reward", "reward_std", "rewards/vowels/mean", "rewards/vowels/std", "frac_reward_zero_std"} <= {*first}
    assert 0 < first["completions/clipped_ratio"] <= 1
    assert 0 < first["entropy"] < 8
    assert first["kl"] == pytest.approx(0, abs=1e-9)  # a new adapter is its own reference
    assert whole[3].loss_metrics["kl"] > 0  # the warm-up begins with a rate of 0
    assert "reward" not in second  # drawn with the first
    (best, worst) = whole[0].samples
    assert best.prompt == worst.prompt
    assert best.scores["vowels"] > worst.scores["vowels"]


class Drawing:
    """Counts the answers of each draw; more than fit run out of memory."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.room, self.sizes, generate = 1000, list[int](), GenerationMixin.generate

        def counted(model: Any, *given: Any, **named: Any) -> Any:
            if named["generation_config"].max_new_tokens > 1:  # a prompt is read as one token
                rows = len(named["input_ids"])
                if rows > self.room:
                    raise MemoryError
                self.sizes.append(rows)
            return generate(model, *given, **named)

        patch.setattr(GenerationMixin, "generate", counted)


def test_answers_after_an_interruption_are_those_of_the_number_that_memory_was_enough_for(
    base: Path, asks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In bf16 answers depend on how many are drawn at once; a draw runs out of memory with eight, and resumes alone."""
    words, drawing = ("trainer.dtype=bf16", "trainer.answers_at_once=8"), Drawing(monkeypatch)
    drawing.room = 3
    whole, weights = trained(base, asks, tmp_path / "whole", *words)
    assert {*drawing.sizes} == {2}
    assert "drawing answers: tried again with 2 in a batch instead of 4, which draws other answers" in caplog.text
    trained(base, asks, tmp_path / "ended", *words, end=4)
    drawing.room, drawing.sizes = 1000, []
    resumed, again = trained(base, asks, tmp_path / "ended", *words)
    assert "2 answers are drawn at once, as after memory ran out before" in caplog.text
    assert {*drawing.sizes} == {2}
    assert [step.samples for step in resumed] == [step.samples for step in whole]
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_a_training_that_draws_does_not_resume_with_another_number_and_one_that_does_not_draw_may(
    base: Path, asks: Path, rows: Path, tmp_path: Path
) -> None:
    trained(base, asks, tmp_path, "trainer.answers_at_once=4", end=4)
    with pytest.raises(FrameworkError, match=r"a training with trainer.answers_at_once=4: restore that"):
        trained(base, asks, tmp_path, "trainer.answers_at_once=8")
    for manifest in tmp_path.glob(f".resume/*/{MANIFEST}"):  # of a version that did not record it
        saved = json.loads(manifest.read_text(encoding="utf-8"))
        del saved["settings"]["trainer.answers_at_once"]
        manifest.write_text(json.dumps(saved), encoding="utf-8")
    trained(base, asks, tmp_path, "trainer.answers_at_once=8")

    for number, end in ((4, 2), (8, 0)):
        plan = make(base, rows, tmp_path / "sft", "trainer.save_steps=1", f"trainer.answers_at_once={number}")
        on_step = partial(ended, end)
        with opened(plan) as (model, data), pytest.raises(Ended) if end else nullcontext():
            run = TrainRun(tmp_path / "checkpoint", tmp_path / "scratch", on_step)
            model.train(data.train_groups, data.validation_groups, run)


def ended(end: int, step: Step) -> None:
    """End a training after a step."""
    if step.step == end:
        raise Ended


VOWELS = """
from framework import reward

@reward
def vowels(completions, **kwargs):
    return [sum(each[0]["content"].count(vowel) for vowel in "aeiou") / 10 for each in completions]
"""
step_of_trainer = SupervisedTrainer.training_step


def ends(self: SupervisedTrainer, *more: Any, **named: Any) -> torch.Tensor:
    """End a training in its fourth step."""
    if self.state.global_step == 3:
        raise Ended
    return step_of_trainer(self, *more, **named)


def test_a_run_that_starts_again_draws_as_many_as_its_plan_chose_at_first(
    base: Path, asks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine with other memory the plan would choose another number."""
    file, folder = tmp_path / "vowels.py", tmp_path / "run"
    file.write_text(VOWELS, encoding="utf-8")
    load_plugin(str(file))
    words = [word for word in SETTINGS if not word.startswith("method.steps")]
    words += [f"plugins=[{file}]", "reward=[vowels]", "evaluator=[]", "exporter=[]", "stages=[data,train]"]

    def planned() -> int:
        number: int = json.loads((folder / "plan.json").read_text(encoding="utf-8"))["trainer"]["answers_at_once"]
        return number

    drawing = Drawing(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(memory_plan, "ANSWERS_AT_ONCE", (4, 2))
        patch.setattr(SupervisedTrainer, "training_step", ends)
        with pytest.raises(Ended):
            run_pipeline(make(base, asks, folder, *words))
    assert (planned(), {*drawing.sizes}) == (4, {4})
    run_pipeline(make(base, asks, folder, *words))
    assert (planned(), {*drawing.sizes}) == (4, {4})
    assert "answers_at_once" not in (folder / "overrides.json").read_text(encoding="utf-8")
    drawing.sizes = []
    run_pipeline(make(base, asks, folder, *words))  # it was finished: this is another training
    assert (planned(), {*drawing.sizes}) == (64, {8})


COOL = """
from dataclasses import dataclass, replace
from framework import Component, hookimpl
from framework_plugins.methods.config import GrpoConfig

@dataclass
class CoolConfig(GrpoConfig):
    '''GRPO that draws its answers at a temperature of its own.'''

    def sampling(self, seed):
        return replace(super().sampling(seed), temperature=0.4)

@hookimpl
def framework_components():
    yield Component("cool", CoolConfig, "framework_plugins.methods.grpo:Grpo")
"""


def test_a_method_with_a_temperature_of_its_own_is_trained_at_it(base: Path, asks: Path, tmp_path: Path) -> None:
    (tmp_path / "cool.py").write_text(COOL, encoding="utf-8")
    load_plugin(str(tmp_path / "cool.py"))
    (step,), _ = trained(base, asks, tmp_path / "run", "method=cool", "method.temperature=1.0", "trainer.max_steps=1")
    assert step.loss_metrics[Sampled.DRAW_DIFFERENCE] < 1e-5


ONE = ("trainer.device=cpu", "logger=[jsonl]")
TWO = (*ONE, "launch=ddp", "launch.processes=2", "trainer.gradient_accumulation_steps=1")


def launch(plan: Plan) -> None:
    launcher: Launcher = plan.launch.create()
    launcher.launch(plan)


@pytest.mark.slow  # in the default suite threads share the prompts of a step, and test_strangers.py has DDP
def test_two_processes_go_on_with_what_one_began_and_train_as_one(
    base: Path, asks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends after the first of two steps whose answers were drawn at once."""
    file = tmp_path / "vowels.py"
    file.write_text(VOWELS, encoding="utf-8")
    load_plugin(str(file))
    words = (f"plugins=[{file}]", "reward=[vowels]", "evaluator=[]", "exporter=[]", "stages=[data,train]")
    scores = rewarder(make(base, asks, tmp_path / "plan", *SETTINGS, *words).reward)
    whole, weights = trained(base, asks, tmp_path / "whole", *words, reward=scores)
    with monkeypatch.context() as patch:
        patch.setattr(SupervisedTrainer, "training_step", ends)
        with pytest.raises(Ended):
            launch(make(base, asks, tmp_path / "ended", *SETTINGS, *words, *ONE))
    with copies.groups(tmp_path):
        launch(make_for_group(base, asks, tmp_path / "ended", *SETTINGS, *words, *TWO))
    assert records.load(TrainResult, tmp_path / "ended/train.json").resumed == 3
    lines = [json.loads(line) for line in (tmp_path / "ended/log.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [line for line in lines if line["event"] == "step"][-len(whole) :]  # those before are of the first process
    for step, expected in zip(steps, whole, strict=True):
        assert step["loss"] == pytest.approx(expected.loss, rel=1e-4, abs=1e-6)
        assert step["grad_norm"] == pytest.approx(expected.grad_norm, rel=1e-3)
        assert step["loss_metrics"] == pytest.approx(expected.loss_metrics, rel=1e-4, abs=1e-5)
    again = load_file(tmp_path / "ended/checkpoint/adapter_model.safetensors")
    for name, weight in weights.items():
        torch.testing.assert_close(again[name], weight, atol=1e-4, rtol=0)


def test_rewards_that_tell_no_answers_apart_end_the_training(base: Path, asks: Path, tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=r"no prompt of the first 5 steps has .* \(the means are equal 0.5\)"):
        trained(base, asks, tmp_path, "method.steps_per_generation=1", "method.beta=0", reward=equal)


def test_draws_of_other_weights_are_refused_before_the_update() -> None:
    rollouts = Rollouts(None, [], None, None, RolloutConfig(), 0, 1, 1, 1, [], None, ALONE, BATCHES)  # type: ignore[arg-type] # only its check
    rollouts.check(1, {Sampled.DRAW_DIFFERENCE: 0.05})
    assert not rollouts.warned
    rollouts.check(1, {Sampled.DRAW_DIFFERENCE: 0.3})
    assert rollouts.warned
    with pytest.raises(FrameworkError, match=r"step 2: .* are 1.5 nats a token away .* drawn with other weights"):
        rollouts.check(2, {Sampled.DRAW_DIFFERENCE: 1.5})
    rollouts.config = RolloutConfig(max_logp_difference=0.01)
    with pytest.raises(FrameworkError, match=r"max_logp_difference=0.01"):
        rollouts.check(2, {Sampled.DRAW_DIFFERENCE: 0.05})


def by_dice(prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Sampled]]:
    """Answer with numbers from the dice of each answer."""

    def answer(prompt: int, number: int) -> Sampled:
        ids = np.random.default_rng([params.seed, prompt, number]).integers(3, 99, 2 + number).tolist()
        row = TokenRow([1, prompt, *ids], [-100, -100, *ids], f"rows:{prompt}")
        return Sampled("", len(ids), stopped=True, row=row, log_probs=(-0.1,) * len(ids))

    return [[answer(params.first + at, number) for number in range(params.n)] for at in range(len(prompts))]


def longer(prompts: Sequence[Prompt], answers: Sequence[Answer], **_: int) -> Rewards:
    """Compare the answers to one prompt, which therefore have to come together."""
    assert len(prompts) == len(answers) > 0
    asked = {
        id(prompt): [answer for each, answer in zip(prompts, answers, strict=True) if each is prompt]
        for prompt in prompts
    }
    assert {len(each) for each in asked.values()} == {3}
    total: list[float | None] = [float(answer.row.input_ids[2]) for answer in answers if isinstance(answer, Sampled)]
    return Rewards(
        total, {"longer": total}, {"longer": 1.0}, {"first": sum(each or 0.0 for each in total) / len(total)}
    )


def of_process(me: Member, gather: Any, scale: ScaleRewards) -> tuple[list[TokenGroup], dict[str, float], Any]:
    config = GrpoConfig(num_generations=3, scale_rewards=scale, steps_per_generation=2)
    world = World(me.rank, me.world, partial(gather, me.rank))
    rollouts = made_by(config, [range(5), range(5, 10)], 2, world)
    return [group for step in (1, 2) for group in rollouts(step)], rollouts.take_metrics(), rollouts.take_shown()


def made_by(config: GrpoConfig, asked: Sequence[Sequence[int]], steps: int, world: World) -> Rollouts:
    prompts = [Prompt((Message("user", f"{number}"),)) for number in range(10)]

    def score(groups: Sequence[TokenGroup]) -> dict[bytes, torch.Tensor]:
        return {row_key(row): torch.ones(len(row.learned)) for group in groups for row in group.rows}

    together, iterations = config.steps_per_generation, config.num_iterations
    return Rollouts(
        Grpo(config), prompts, by_dice, longer, RolloutConfig(), 7, steps, together, iterations, asked, score, world,
        BATCHES,
    )  # fmt: skip


@pytest.mark.parametrize("scale", [ScaleRewards.group, ScaleRewards.batch])
@pytest.mark.parametrize("world", [2, 3, 6])
def test_processes_share_the_prompts_of_a_step_and_have_the_groups_of_one(world: int, scale: ScaleRewards) -> None:
    """Threads in place of processes; one of six has no prompt, and two of three have two."""
    alone = of_process(Member(0, 1, 0), lambda _, mine: [mine], scale)
    meeting, had = threading.Barrier(world, timeout=60), [b""] * world

    def gather(rank: int, mine: Any) -> list[Any]:
        had[rank] = pickle.dumps(mine)
        meeting.wait()
        every = [pickle.loads(each) for each in had]  # noqa: S301 - ours
        meeting.wait()
        return every

    with ThreadPoolExecutor(world) as pool:
        made = [*pool.map(lambda rank: of_process(Member(rank, world, rank), gather, scale), range(world))]
    for groups, metrics, shown in made:
        assert [group.rows for group in groups] == [group.rows for group in alone[0]]
        assert [group.facts for group in groups] == [group.facts for group in alone[0]]
        assert [{*group.arrays} for group in groups] == [{*group.arrays} for group in alone[0]]
        assert metrics == pytest.approx(alone[1])
        assert shown == alone[2]


def test_steps_are_made_again_with_the_same_answers_as_trl_orders_them() -> None:
    """Two steps are drawn at once and made twice; the last round ends early, and what is kept resumes it."""
    config = GrpoConfig(num_generations=3, steps_per_generation=2, num_iterations=2)
    asked = [range(2), range(2, 4), range(4, 6), range(6, 8)]
    rollouts = made_by(config, asked, 7, ALONE)
    seen: list[list[str]] = []
    for step in range(1, 8):
        if step == 4:
            kept, rollouts = rollouts.state(), made_by(config, asked, 7, ALONE)
            rollouts.restore(kept)
        groups = rollouts(step)
        assert all(Sampled.OLD_LOG_PROBS in group.arrays for group in groups)
        seen.append(sorted({group.where for group in groups}))
        assert bool(rollouts.take_metrics()) == (step in {1, 5})
    assert seen[:4] == [seen[0], seen[1]] * 2
    assert seen[4:] == [seen[4], seen[5], seen[4]]
    assert rollouts.state()["waiting"] == {}


def test_what_is_logged_leaves_out_answers_without_a_reward() -> None:
    total = [None, 1.0, 0.0, None, None, None, 0.5, 0.5]
    answers = [Answer("", 3, stopped=bool(number % 2)) for number in range(8)]
    draws = Draws(
        [Prompt((Message("user", "Why?"),))] * 8, answers, 4, Rewards(total, {"it": total, "none": [None] * 8}, {})
    )
    assert draws.metrics() == {
        "reward": 0.5,
        "reward_std": pytest.approx(0.408, abs=1e-3),
        "rewards/it/mean": 0.5,
        "rewards/it/std": pytest.approx(0.408, abs=1e-3),
        "frac_reward_zero_std": 0.5,
        "completions/mean_length": 3,
        "completions/clipped_ratio": 0.5,
    }
    assert [sample.scores for sample in draws.shown()] == [{"it": 1.0}, {"it": 0.0}]
