"""framework/plan/fit.py: a plan with other settings."""

from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from framework import testing
from framework.api.schema import Overflow
from framework.api.text.overrides import as_overrides
from framework.plan.fit import changed
from framework.util.errors import FrameworkError


def test_settings_change_in_the_plan_its_config_and_its_words(tmp_path: Path) -> None:
    before = testing.plan(["trainer.max_seq_length=64"], run_dir=tmp_path)
    plan = changed(before, {"trainer.max_seq_length": 32, "data.overflow": Overflow.truncate})
    assert (plan.training.max_seq_length, before.training.max_seq_length) == (32, 64)
    assert (plan.config["trainer"]["max_seq_length"], plan.config["data"]["overflow"]) == (32, "truncate")
    assert [word for word in plan.overrides if "max_seq_length" in word] == ["trainer.max_seq_length=32"]
    assert {**before.config, "trainer": 0, "data": 0} == {**plan.config, "trainer": 0, "data": 0}


def test_a_group_takes_another_option_with_its_defaults(tmp_path: Path) -> None:
    before = testing.plan(["adapter.r=64"], run_dir=tmp_path)
    plan = changed(before, {"quantization": "nf4", "adapter": "full"})
    assert (plan.quantization.component.name, plan.adapter.component.name) == ("nf4", "full")
    assert plan.config["quantization"] == {"double_quant": True, "experts": "auto"}
    assert "adapter.r=64" not in plan.overrides
    assert plan.overrides[-2:] == ("quantization=nf4", "adapter=full")


def test_one_of_several_options_changes_alone(tmp_path: Path) -> None:
    before = testing.plan(["evaluator=[prompts]"], run_dir=tmp_path)
    plan = changed(before, {"evaluator.prompts.count": 2})
    assert (plan.evaluator["prompts"].config.count, before.evaluator["prompts"].config.count) == (2, 60)
    assert plan.config["evaluator"]["prompts"]["count"] == 2
    assert plan.overrides[-1] == "evaluator.prompts.count=2"


def test_a_setting_in_a_group_of_its_own_changes_alone(tmp_path: Path) -> None:
    before = testing.plan(["exporter=[gguf]"], run_dir=tmp_path)
    plan = changed(before, {"exporter.gguf.parity.prompts": 3})
    assert plan.exporter["gguf"].config.parity.prompts == 3
    told = {**before.config["exporter"]["gguf"]["parity"], "prompts": 3}
    assert plan.config["exporter"]["gguf"] == {**before.config["exporter"]["gguf"], "parity": told}


def test_one_of_several_values_may_be_given_by_its_name(tmp_path: Path) -> None:
    plan = changed(testing.plan([], run_dir=tmp_path), {"data.overflow": "truncate"})
    assert plan.data.config.overflow is Overflow.truncate
    assert plan.overrides[-1] == "data.overflow=truncate"


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("trainr.max_seq_length", 1, "unknown config group 'trainr'. Did you mean 'trainer'?"),
        ("trainer.max_seq_lenght", 8, "unknown key 'trainer.max_seq_lenght'. Did you mean 'trainer.max_seq_length'?"),
        ("data.overflow.name", 8, "unknown key 'data.overflow.name'"),
        ("trainer.max_seq_length", "8", "trainer.max_seq_length=8 must be a whole number"),
        ("trainer.max_seq_length", True, "trainer.max_seq_length=true must be a whole number"),
        ("trainer.max_seq_length", 0, "trainer.max_seq_length=0 must be a whole number"),
        ("trainer.max_seq_length", None, "trainer.max_seq_length=null must be a whole number"),
        ("data.overflow", "cut", "data.overflow=cut must be one of"),
        ("quantization", "nf5", "unknown quantization 'nf5'. Did you mean 'nf4'?"),
        ("evaluator", "prompts", "'evaluator' is not a setting of a chosen option. Valid in evaluator: prompts."),
        ("evaluator.prompts", "prompts", "'evaluator.prompts' is not a setting of a chosen option"),
        ("evaluator.prompt.count", 1, "'evaluator.prompt.count' is not a setting of a chosen option"),
    ],
)
def test_what_cannot_be_set_is_refused(tmp_path: Path, key: str, value: Any, told: str) -> None:
    with pytest.raises(FrameworkError) as error:
        changed(testing.plan(["evaluator=[prompts]"], run_dir=tmp_path), {key: value})
    assert str(error.value).startswith(told)


def test_words_are_as_they_are_typed() -> None:
    assert as_overrides({"data.overflow": Overflow.truncate, "adapter.r": 8}) == [
        "data.overflow=truncate",
        "adapter.r=8",
    ]
    assert as_overrides({"a": None, "b": True, "c": [1, "a"], "d": 1e-5, "e": "org/a-b.c"}) == [
        "a=null", "b=true", "c=[1,a]", "d=1e-05", "e=org/a-b.c",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0.1, 1e-5, [], [1, "a,b", None], {"a": [True, "no"], "b": {}}, Overflow.truncate,
        "a", "", "a,b", "it's", "null", "True", "7", "1e3", "a b", " a", "k=v", "c:\\d",
    ],
)  # fmt: skip
def test_hydra_reads_a_word_as_the_value_that_was_set(value: Any) -> None:
    (word,) = as_overrides({"key": value})
    read = OverridesParser.create().parse_override(word)
    assert not read.is_sweep_override()
    assert read.value() == (value.name if isinstance(value, Enum) else value)
