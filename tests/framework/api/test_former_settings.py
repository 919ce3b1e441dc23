"""framework/api/former_settings.py: what earlier runs called otherwise."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.api.former_settings import renewed_words
from framework.api.run_folder import ENVIRONMENT
from framework.plan.load import saved_plan
from framework.rundir.environment import environment
from framework.rundir.folder import WritableRunFolder
from framework.rundir.read import read_run

NOW = [
    "optimizer=sgd", "optimizer.momentum=0.9", "schedule=cosine", "schedule.min_learning_rate=1e-05",
    "sampler.group_by_prefix=false",
]  # fmt: skip
FORMERLY = [
    "trainer.optim=sgd", "trainer.optim_args={momentum: 0.9}", "trainer.lr_scheduler_type=cosine",
    "trainer.min_learning_rate=1e-5", "trainer.group_by_prefix=false",
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["seed=7", *FORMERLY], ["seed=7", *NOW]),
        (["trainer.optim=ademamix", "trainer.optim_args={beta3: 0.99, alpha: 3}", "trainer.adam_beta1=0.8"],
         ["optimizer=ademamix", "optimizer.betas=[0.8,0.999,0.99]", "optimizer.alpha=3"]),
        (["trainer.adam_beta2=0.95", "trainer.adam_epsilon=1e-6"],
         ["optimizer.betas=[0.9,0.95]", "optimizer.eps=1e-06"]),
        (["trainer.optim=lion_8bit", "trainer.adam_beta2=0.95"], ["optimizer=lion_8bit", "optimizer.betas=[0.9,0.95]"]),
        (["trainer.lr_scheduler_type=cosine_with_min_lr", "trainer.lr_scheduler_kwargs.min_lr_rate=0.1"],
         ["schedule=cosine", "schedule.min_lr_ratio=0.1"]),
        (["trainer.lr_scheduler_type=polynomial", "trainer.lr_scheduler_kwargs={lr_end: 1e-5, power: 2}"],
         ["schedule=polynomial", "schedule.min_learning_rate=1e-05", "schedule.power=2"]),
        (["trainer.optim=sgd,adamw_8bit", "trainer.optim_args.momentum=0.9"],
         ["optimizer=sgd,adamw_8bit", "optimizer.momentum=0.9"]),
    ],
)  # fmt: skip
def test_overrides_of_an_earlier_run_are_read_as_what_they_are_now(before: list[str], after: list[str]) -> None:
    assert renewed_words(before) == after


def test_a_run_folder_of_an_earlier_version_is_read_as_one_of_today(tmp_path: Path) -> None:
    today = testing.plan(["seed=7", *NOW], run_dir=tmp_path / "today")
    new = {"optimizer", "schedule", "sampler", "callback", "reward"}
    former = {
        "optim": "sgd", "optim_args": {"momentum": 0.9}, "lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {},
        "min_learning_rate": 1e-5, "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8,
        "group_by_prefix": False,
    }  # fmt: skip
    config = {name: value for name, value in today.config.items() if name not in new}
    config["trainer"] = {**today.config["trainer"], **former}
    words = [word for word in today.overrides if word not in NOW]
    folder = tmp_path / "earlier"
    WritableRunFolder.create(dataclasses.replace(today, run_dir=folder, config=config, overrides=(*words, *FORMERLY)))
    known = dataclasses.asdict(environment(today.selections, words, 7, ""))
    known["options"] = {place: option for place, option in known["options"].items() if place not in new}
    (folder / ENVIRONMENT).write_text(json.dumps(known), encoding="utf-8")
    run = read_run(folder)
    assert run.config == today.config
    assert {*run.overrides} == {*today.overrides}
    assert run.options == {"optimizer": "sgd", "schedule": "cosine", "sampler": "shuffled"}
    again = saved_plan(run)
    assert [again.optimizer, again.schedule, again.sampler] == [today.optimizer, today.schedule, today.sampler]


def test_the_prompts_that_an_evaluator_asked_at_once_are_left_to_the_plan_for_an_earlier_run(tmp_path: Path) -> None:
    today = testing.plan(["evaluator=[prompts]"], run_dir=tmp_path / "today")
    evaluator = {"prompts": {**today.config["evaluator"]["prompts"], "batch_size": 4}}
    earlier = dataclasses.replace(
        today,
        run_dir=tmp_path / "earlier",
        config={**today.config, "evaluator": evaluator},
        overrides=(*today.overrides, "evaluator.prompts.batch_size=4"),
    )
    WritableRunFolder.create(earlier)
    run = read_run(tmp_path / "earlier")
    assert run.config == today.config
    assert run.overrides == today.overrides
    with pytest.raises(FrameworkError, match=r"is set elsewhere now: type trainer.answers_at_once=4"):
        testing.plan(["evaluator=[prompts]", "+evaluator.prompts.batch_size=4"], run_dir=tmp_path)
