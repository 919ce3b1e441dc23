"""unsloth/instead.py: the nearest settings that work, of which each was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework.api.plan import Plan
from framework.plan.overrides import changed
from framework_plugins.unsloth import instead
from framework_plugins.unsloth.capabilities import Capabilities
from framework_plugins.unsloth.config import UnslothTrainerConfig

LLAMA = {"model_type": "llama"}
CPU = ("trainer.device=cpu", "launch.processes=2")


def plan(path: Path, *words: str) -> Plan:
    return testing.plan(["trainer=unsloth", "stages=[plan]", *words], run_dir=path / "run")


def chosen(plan: Plan, *groups: str) -> str:
    return " ".join(getattr(plan, group).component.name for group in groups)


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Plan], bool]], list[Plan]]:
    """Let a rule say which plans work; return those that were asked, in their order."""

    def set_up(rule: Callable[[Plan], bool]) -> list[Plan]:
        asked: list[Plan] = []

        def answer(plan: Plan, config: Mapping[str, Any]) -> Capabilities:
            assert config == LLAMA
            asked.append(plan)
            return Capabilities("cpu", "" if rule(plan) else "it is broken")

        monkeypatch.setattr(instead, "capabilities", answer)
        return asked

    return set_up


Works = Callable[[Callable[[Plan], bool]], list[Plan]]


def test_the_other_trainer_is_asked_first_with_the_settings_of_the_run(tmp_path: Path, works: Works) -> None:
    asked = works(lambda _: True)
    mine = plan(tmp_path, "trainer.packing=pad", "trainer.max_seq_length=77", "quantization=int8")
    assert instead.instead(mine, LLAMA) == "Set trainer=hf"
    (other,) = asked
    assert not isinstance(other.trainer.config, UnslothTrainerConfig)
    assert vars(other.trainer.config).items() <= vars(mine.trainer.config).items()
    assert other.quantization == mine.quantization


def test_where_that_fails_too_it_is_said_and_another_setting_named(tmp_path: Path, works: Works) -> None:
    works(lambda plan: plan.quantization.component.name == "none")
    told = instead.instead(plan(tmp_path, "quantization=int8", "adapter=dora"), LLAMA)
    assert told == "trainer=hf does not work either: it is broken. Set quantization=none"


def test_both_are_changed_where_one_is_not_enough(tmp_path: Path, works: Works) -> None:
    works(lambda plan: chosen(plan, "trainer", "adapter") == "hf lora")
    told = instead.instead(plan(tmp_path, "quantization=nf4", "adapter=dora"), LLAMA)
    assert told == "trainer=hf does not work either: it is broken. Set trainer=hf adapter=lora"


def test_a_group_may_be_another_group_or_none(tmp_path: Path, works: Works) -> None:
    asked = works(lambda plan: plan.launch.component.name == "single")
    assert instead.instead(plan(tmp_path, "launch=fsdp2", *CPU), LLAMA).endswith("broken. Set launch=single")
    assert [chosen(each, "trainer", "launch") for each in asked] == ["hf fsdp2", "unsloth ddp", "unsloth single"]
    assert asked[1].launch.config.processes == 2


def test_nothing_is_named_where_nothing_works(tmp_path: Path, works: Works) -> None:
    asked = works(lambda _: False)
    told = instead.instead(plan(tmp_path), LLAMA)
    assert told == "trainer=hf does not work either: it is broken. Nothing near it works here"
    assert len(asked) == 1  # of the settings that it may have there are no simpler ones


def test_settings_that_are_refused_are_not_asked_about(tmp_path: Path, works: Works) -> None:
    """What the plugins say of a plan is heard, before anything is tried."""
    asked = works(lambda _: True)
    told = instead.instead(plan(tmp_path, "launch=ddp", *CPU, "trainer.early_stopping_metric=eval_loss"), LLAMA)
    assert told == "Set trainer=hf"
    asked.clear()
    whole = changed(plan(tmp_path, "adapter=full"), {"quantization": "nf4"})
    assert "adapter=full trains all weights and quantization=nf4" in instead.instead(whole, LLAMA)
    assert [chosen(each, "adapter", "quantization") for each in asked] == ["full none"]


def test_one_that_cannot_be_asked_does_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: Any) -> Capabilities:
        message = "trainer=hf did not answer"
        raise FrameworkError(message)

    monkeypatch.setattr(instead, "capabilities", ask)
    assert instead.instead(plan(tmp_path), LLAMA).startswith("trainer=hf does not work either: trainer=hf did not answ")
