"""framework/changed.py: a plan with other settings."""

from pathlib import Path

from framework import testing
from framework.changed import changed, words
from framework.schema import Optimizer


def test_settings_change_in_the_plan_its_config_and_its_words(tmp_path: Path) -> None:
    before = testing.plan(["trainer.max_seq_length=64"], run_dir=tmp_path)
    plan = changed(before, {"trainer.max_seq_length": 32, "trainer.optim": Optimizer.adamw_8bit})
    assert (plan.training.max_seq_length, before.training.max_seq_length) == (32, 64)
    assert (plan.config["trainer"]["max_seq_length"], plan.config["trainer"]["optim"]) == (32, "adamw_8bit")
    assert [word for word in plan.overrides if "max_seq_length" in word] == ["trainer.max_seq_length=32"]
    assert {**before.config, "trainer": 0} == {**plan.config, "trainer": 0}


def test_a_group_takes_another_option_with_its_defaults(tmp_path: Path) -> None:
    before = testing.plan(["adapter.r=64"], run_dir=tmp_path)
    plan = changed(before, {"quantization": "nf4", "adapter": "full"})
    assert (plan.quantization.component.name, plan.adapter.component.name) == ("nf4", "full")
    assert plan.config["quantization"] == {"double_quant": True}
    assert "adapter.r=64" not in plan.overrides
    assert plan.overrides[-2:] == ("quantization=nf4", "adapter=full")


def test_one_of_several_options_changes_alone(tmp_path: Path) -> None:
    before = testing.plan(["evaluator=[prompts]"], run_dir=tmp_path)
    plan = changed(before, {"evaluator.prompts.batch_size": 2})
    assert (plan.evaluator["prompts"].config.batch_size, before.evaluator["prompts"].config.batch_size) == (2, 16)
    assert plan.config["evaluator"]["prompts"]["batch_size"] == 2
    assert plan.overrides[-1] == "evaluator.prompts.batch_size=2"


def test_words_are_as_they_are_typed() -> None:
    assert words({"trainer.optim": Optimizer.adamw_8bit, "adapter.r": 8}) == ["trainer.optim=adamw_8bit", "adapter.r=8"]
