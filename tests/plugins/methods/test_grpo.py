"""methods/grpo.py: advantages, loss and gradients are those of the installed TRL on the same answers, in fp32."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from trl import GRPOConfig, GRPOTrainer

from framework.api.records import IGNORE, GroupedRows, Message, Prompt, Rewards, Sampled, TokenGroup, TokenRow
from framework.api.training import ImportanceSampling, RolloutConfig
from framework_plugins.hf.loss.loss import Losses
from framework_plugins.hf.machine.out_of_memory import Batches, OomRetry
from framework_plugins.hf.machine.world import ALONE, World
from framework_plugins.hf.packing.parts import Packer
from framework_plugins.hf.settings.config import Packing
from framework_plugins.hf.train.reference import row_key
from framework_plugins.hf.train.rollouts import Rollouts
from framework_plugins.hf.train.step import CheckedObjective, OptimizerStep
from framework_plugins.hf.train.step_runner import Collator
from framework_plugins.methods.config import GrpoConfig, GrpoLoss, ImportanceLevel, ScaleRewards
from framework_plugins.methods.grpo import Grpo, advantages, answer_groups
from tests.plugins.hf.train.test_step import Made, adapted, by_step
from tests.plugins.methods.test_exact import EXACT, adapted_llama, by_trl, same
from tests.support.examples import examples
from tests.support.tiny import tiny_llama

STOP = 2
NONE = math.nan


class Stored(GRPOTrainer):
    """TRL's trainer on answers and rewards that are given."""

    answers: Sequence[Sampled]
    prompts: Sequence[list[int]]
    rewards: NDArray[np.float64]

    def _generate(self, prompts: list[Any]) -> Any:
        begins = [len(self.prompts[number // self.num_generations]) for number in range(len(prompts))]
        pairs = [*zip(self.answers, begins, strict=True)]
        ids = [answer.row.input_ids[begin:] for answer, begin in pairs]
        tools = [[int(label != IGNORE) for label in answer.row.labels[begin:]] for answer, begin in pairs]
        given = [self.prompts[number // self.num_generations] for number in range(len(prompts))]
        sampled = [[*answer.log_probs] for answer in self.answers] if self.use_vllm else None
        return given, ids, tools, ["" for _ in ids], sampled, {}, None, None

    def _calculate_rewards(self, *_: Any) -> torch.Tensor:
        return torch.tensor(self.rewards.reshape(-1, 1), dtype=torch.float32)


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    model, tokenizer = adapted_llama(tmp_path_factory.mktemp("tiny"))
    rows = Dataset.from_list([{"prompt": "Add"}] * 2)
    with warnings.catch_warnings():  # of TRL about its own settings
        warnings.simplefilter("ignore")
        args = GRPOConfig(
            output_dir=str(tmp_path_factory.mktemp("grpo")), use_cpu=True, bf16=False, report_to=[],
            per_device_train_batch_size=6, num_generations=3, num_generations_eval=3, max_completion_length=9,
            gradient_checkpointing=False,
        )  # fmt: skip
        made = Stored(model, lambda **_: [], args, rows, processing_class=tokenizer)
    made.eos_token_ids = [STOP]
    if "ref" in model.peft_config:
        model.delete_adapter("ref")
        model.set_adapter("default")
    return made


def drawn(seed: int) -> tuple[list[list[int]], list[list[Sampled]]]:
    """Return two prompts and three answers to each: some cut, some with the output of a tool."""
    draw = np.random.default_rng(seed)
    prompts = [draw.integers(5, 300, 4 + 40 * number).tolist() for number in range(2)]
    answers = []
    for number in range(6):
        prompt, ids = prompts[number // 3], draw.integers(5, 300, int(draw.integers(1, 8))).tolist()
        stopped = bool(draw.random() < 0.7)
        ids += [STOP] * stopped
        labels = ids[:1] + [IGNORE] * 2 + ids[3:] if number % 3 == 1 and len(ids) > 3 else ids
        row = TokenRow(prompt + ids, [IGNORE] * len(prompt) + labels, "rows:1")
        answers.append(Sampled("", len(ids), stopped, row=row, log_probs=(0.0,) * len(row.learned)))
    return prompts, [answers[:3], answers[3:]]


def with_old(groups: Sequence[TokenGroup], old: Sequence[Sequence[float]]) -> list[TokenGroup]:
    return [
        GroupedRows(
            group.rows,
            group.roles,
            group.facts,
            {**group.arrays, Sampled.OLD_LOG_PROBS: (np.array(each, np.float32)[:, None],)},
        )
        for group, each in zip(groups, old, strict=True)
    ]


def ours(trainer: Any, config: GrpoConfig, groups: Sequence[TokenGroup], packing: Packing, rows: int) -> Made:
    objective = CheckedObjective(Grpo(config), "method=grpo", 1000, plain=False)
    return by_step(trainer.model, objective, groups, Packer(packing, rows, 0, dense_mask=True, together=True))


def of_trl(trainer: Stored, config: GrpoConfig, old: torch.Tensor | None) -> tuple[Made, NDArray[Any]]:
    trainer.loss_type = config.loss_type.value
    trainer.importance_sampling_level = config.importance_sampling_level.value
    trainer.epsilon_low = config.epsilon
    trainer.epsilon_high = config.epsilon if config.epsilon_high is None else config.epsilon_high
    trainer.beta, trainer.scale_rewards = config.beta, config.scale_rewards.value
    trainer.mask_truncated_completions = config.mask_truncated_completions
    trainer.model.eval()
    inputs = trainer._generate_and_score_completions([{"prompt": "Add"}] * 6)  # noqa: SLF001 - TRL has no public name
    if old is not None:
        inputs["old_per_token_logps"] = old[:, : inputs["completion_ids"].shape[1]]

    def call() -> tuple[torch.Tensor, dict[str, float]]:
        trainer._metrics["eval"].clear()  # noqa: SLF001
        loss = trainer._compute_loss(trainer.model, inputs)  # noqa: SLF001
        return loss, {name: values[-1] for name, values in trainer._metrics["eval"].items()}  # noqa: SLF001

    return by_trl(trainer, call), inputs["advantages"].numpy()


rewards = st.lists(st.sampled_from([0.0, 0.5, 1.0, NONE]), min_size=6, max_size=6)
configs = st.builds(
    GrpoConfig,
    num_generations=st.just(3),
    max_completion_length=st.just(9),
    loss_type=st.sampled_from(GrpoLoss),
    importance_sampling_level=st.sampled_from(ImportanceLevel),
    epsilon=st.sampled_from([0.2, 0.05]),
    epsilon_high=st.sampled_from([None, 0.28]),
    beta=st.sampled_from([0.0, 0.04, 1.0]),
    scale_rewards=st.sampled_from(ScaleRewards),
    mask_truncated_completions=st.booleans(),
)


@settings(max_examples=examples(100))
@given(
    config=configs,
    values=rewards,
    seed=st.integers(0, 1000),
    off_policy=st.integers(0, 1),
    packing=st.sampled_from(Packing),
    rows=st.sampled_from([1, 6]),
)
def test_it_is_grpo_of_trl(
    trainer: Stored, config: GrpoConfig, values: list[float], seed: int, off_policy: int, packing: Packing, rows: int
) -> None:
    prompts, answers = drawn(seed)
    trainer.prompts, trainer.answers = prompts, [*itertools.chain(*answers)]
    trainer.rewards = np.array(values).reshape(2, 3)
    now = -torch.rand(6, 9, generator=torch.Generator().manual_seed(seed)) - 5.4
    expected, by_answer = of_trl(trainer, config, now if off_policy else None)

    assert advantages(trainer.rewards, config.scale_rewards).ravel() == pytest.approx(by_answer, abs=EXACT)
    groups = answer_groups(answers, trainer.rewards, config)
    if off_policy:
        places = {id(answer.row): number for number, answer in enumerate(trainer.answers)}
        numbers = [places[id(group.rows[0])] for group in groups]
        begins = [len(prompts[number // 3]) for number in numbers]
        old = [
            now[number][torch.tensor(group.rows[0].labels[begin:] + [IGNORE] * 9)[:9] != IGNORE].tolist()
            for number, group, begin in zip(numbers, groups, begins, strict=True)
        ]
        groups = with_old(groups, old)
    made = ours(trainer, config, groups, packing, rows)
    same((*made[:2], {}), expected)


@pytest.mark.parametrize("mode", [each for each in ImportanceSampling if each is not ImportanceSampling.none])
def test_a_draw_with_other_log_probabilities_is_corrected_as_by_trl(
    trainer: Stored, monkeypatch: pytest.MonkeyPatch, mode: ImportanceSampling
) -> None:
    """Some ratios are beyond the limits."""
    prompts, answers = drawn(5)
    draw, known = np.random.default_rng(0), itertools.chain(*answers)
    told = [replace(each, row=plain(each.row), log_probs=tuple(draw.normal(-5.7, 0.3, each.tokens))) for each in known]
    config, rollout = GrpoConfig(num_generations=3, max_completion_length=9, beta=0.1), RolloutConfig(mode, 1.3, 0.7)
    trainer.prompts, trainer.answers, trainer.rewards = prompts, told, np.array([[0.0, 0.5, 1.0], [1.0, 0.2, 0.4]])
    for name, value in (("correction", True), ("mode", mode.value), ("clip_max", 1.3), ("clip_min", 0.7)):
        monkeypatch.setattr(trainer, f"vllm_importance_sampling_{name}", value)
    monkeypatch.setattr(trainer, "use_vllm", True)
    expected, _ = of_trl(trainer, config, None)
    rollouts = Rollouts(
        Grpo(config), [Prompt((Message("user", "Add"),))] * 2, lambda *_, **__: [told[:3], told[3:]],
        lambda *_, **__: Rewards([*trainer.rewards.ravel().tolist()], {}, {}), rollout, 0, 1, 1, 1, [[0, 1]],
        partial(scored, trainer.model, Packer(Packing.pad, 6, 0, dense_mask=True, together=True)), ALONE,
        Batches(OomRetry({}, ""), "", ""),
    )  # fmt: skip
    groups = rollouts(1)
    ratios = np.concatenate([group.arrays[Sampled.IMPORTANCE_RATIO][0] for group in groups])
    assert ratios.min() == (0 if mode.value.endswith("mask") else np.float32(0.7))
    assert rollouts.take_metrics()["importance_sampling_ratio/max"] == pytest.approx(ratios.max())
    made = ours(trainer, config, groups, Packing.pad, 6)
    same((*made[:2], {}), expected)


def plain(row: TokenRow) -> TokenRow:
    """Return an answer without the output of a tool."""
    begin = next(place for place, label in enumerate(row.labels) if label != IGNORE)
    return TokenRow(row.input_ids, [IGNORE] * begin + row.input_ids[begin:])


def test_two_iterations_on_the_same_answers_train_as_those_of_trl(trainer: Stored, tmp_path: Path) -> None:
    """Four steps on two draws, with rates at which ratios are clipped."""
    prompts, answers = drawn(11)
    config = GrpoConfig(num_generations=3, max_completion_length=9, num_iterations=2, epsilon=0.02)
    rewards = np.array([[0.0, 0.5, 1.0], [1.0, 0.2, 0.4]])
    model = trainer.model
    before = {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}
    with warnings.catch_warnings():  # of TRL about its own settings
        warnings.simplefilter("ignore")
        args = GRPOConfig(
            output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to=[], per_device_train_batch_size=6,
            num_generations=3, num_generations_eval=3, max_completion_length=9, gradient_checkpointing=False,
            num_iterations=2, epsilon=0.02, max_steps=4, learning_rate=0.01, lr_scheduler_type="constant",
            max_grad_norm=0.0, logging_steps=1, save_strategy="no", disable_tqdm=True, beta=0.0,
        )  # fmt: skip
        rows = Dataset.from_list([{"prompt": "Add"}] * 4)
        theirs = Stored(model, lambda **_: [], args, rows, processing_class=trainer.processing_class)
    theirs.eos_token_ids, theirs.prompts, theirs.rewards = [STOP], prompts, rewards
    theirs.answers = [*itertools.chain(*answers)]
    theirs.train()
    after = {name: weight.detach().clone() for name, weight in model.named_parameters() if name in before}
    clipped = [line["clip_ratio/region_mean"] for line in theirs.state.log_history if "clip_ratio/region_mean" in line]
    for name, weight in model.named_parameters():
        if name in before:
            weight.data.copy_(before[name])

    packer = Packer(Packing.pad, 6, 0, dense_mask=True, together=True)
    made = Rollouts(
        Grpo(config), [Prompt((Message("user", "Add"),))] * 2, lambda *_, **__: answers,
        lambda *_, **__: Rewards(rewards.ravel().tolist(), {}, {}), RolloutConfig(), 0, 4, 1, 2, [[0, 1]] * 2,
        partial(scored, model, packer), ALONE, Batches(OomRetry({}, ""), "", ""),
    )  # fmt: skip
    optimizer = torch.optim.AdamW([model.get_parameter(name) for name in before], lr=0.01, weight_decay=0.0)
    found = []
    for step in range(1, 5):
        _, gradients, metrics = ours(trainer, config, made(step), Packing.pad, 6)
        for name in before:
            model.get_parameter(name).grad = gradients[name]
        optimizer.step()
        found.append(metrics["clip_ratio/low_mean"] + metrics["clip_ratio/high_mean"])
    assert clipped[0] == found[0] == 0
    assert clipped[1] > 0
    assert found == pytest.approx(clipped, abs=1e-3)
    for name, weight in after.items():
        torch.testing.assert_close(model.get_parameter(name).detach(), weight, atol=EXACT, rtol=EXACT)
        model.get_parameter(name).data.copy_(before[name])


@torch.no_grad()
def scored(model: Any, packer: Packer, groups: Sequence[TokenGroup]) -> dict[bytes, torch.Tensor]:
    objective = CheckedObjective(Grpo(GrpoConfig()), "method=grpo", 1000, plain=False)
    step = OptimizerStep(objective, Losses(model, packer.packing, dense_mask=packer.dense_mask), model.disable_adapter)
    parts, rows = Collator(groups, packer, objective).pack(groups)
    return {row_key(row): found for row, found in step.score(parts, rows, lambda part, compute: compute(part))}


@pytest.mark.parametrize("loss_type", GrpoLoss)
def test_a_step_is_the_same_however_its_answers_are_divided(tmp_path: Path, loss_type: GrpoLoss) -> None:
    """Into passes of any size, with the answers of a group apart too, and over processes."""
    model = adapted(tiny_llama(tmp_path))
    config = GrpoConfig(beta=0.1, loss_type=loss_type)
    _, answers = drawn(7)
    groups = answer_groups(answers, np.array([[0.0, 0.5, 1.0], [1.0, 0.2, 0.4]]), config)
    objective = CheckedObjective(Grpo(config), "method=grpo", 1000, plain=False)
    expected = by_step(model, objective, groups, Packer(Packing.pad, 100, 0, together=True))
    for packing, rows in itertools.product(Packing, (1, 2, 4)):
        made = by_step(model, objective, groups, Packer(packing, rows, 0, dense_mask=True, together=True))
        same(made, expected, 1e-6)
    for world in (2, 3):  # gradients of processes are averaged
        parts = [
            by_step(
                model,
                objective,
                groups,
                Packer(Packing.pad, 2, 0, together=True),
                World(rank, world, lambda mine: [mine]),
            )
            for rank in range(world)
        ]
        gradients = {
            name: torch.stack([part[1].get(name, torch.zeros_like(one)) for part in parts]).mean(0)
            for name, one in expected[1].items()
        }
        same((sum(part[0] for part in parts) / world, gradients, {}), expected, 1e-6)
