"""The hook framework_check_model: what plugins say of a plan and its model ends the run before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, hookimpl, testing
from framework.api.plan import Plan
from framework.api.problem import Problem
from framework.hooks.session import current
from framework.plan.make import check_model
from framework.run import pipeline
from tests.support.project import project

FILE = """
from framework import hookimpl

@hookimpl
def framework_check_model(plan, config):
    yield f"trainer={plan.trainer.component.name} knows no {config.get('model_type', 'model without config.json')}"
"""


class Acme:
    def __init__(self, *told: Any) -> None:
        self.problems = told
        self.seen: Mapping[str, Any] = {}

    @hookimpl
    def framework_check_model(self, plan: Plan, config: Mapping[str, Any]) -> Iterable[str]:
        self.seen = config
        assert plan.run_dir
        return self.problems


def test_hook_check_model_is_given_the_config_and_all_its_problems_are_reported(tmp_path: Path) -> None:
    acme = Acme("model.path=x is too old: take another", "trainer.packing=tree does not go with it")
    current().plugins.manager.register(acme, name="acme")
    try:
        with pytest.raises(FrameworkError) as caught:
            check_model(testing.plan([], run_dir=tmp_path), {"model_type": "llama"})
    finally:
        current().plugins.manager.unregister(acme)
    assert acme.seen == {"model_type": "llama"}
    assert all(text in str(caught.value) for text in acme.problems)


CHECK = """
from framework import hookimpl
from framework.api import Problem

@hookimpl
def framework_check_plan(plan):
    yield "seed=5 is bad luck"
    yield Problem("another seed is better", ("seed",))
    yield Problem("the rate is odd", ("trainer.learning_rate",))
    yield Problem("the machine is small", place="room 3")
"""


def test_keys_bring_the_places_a_text_alone_has_none_and_what_is_invalid_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CHECK, encoding="utf-8")
    words = ["plugins=[./mine.py]", "stages=[plan]", "run_dir=run", "seed=05", "trainer.learning_rate=-1"]
    result = project(tmp_path).run(*words)
    assert result.code == 2
    invalid, *problems = result.err.splitlines()
    assert invalid.startswith("trainer.learning_rate=-1")
    assert problems == ["seed=5 is bad luck", "seed=05: another seed is better", "room 3: the machine is small"]


def test_one_text_for_the_keys_is_refused() -> None:
    with pytest.raises(TypeError, match=r"has to be a tuple: \('seed',\)"):
        Problem("odd", "seed")  # type: ignore[arg-type]


def test_nothing_said_is_nothing_wrong(tmp_path: Path) -> None:
    acme = Acme()
    current().plugins.manager.register(acme, name="acme")
    try:
        report = pipeline.run(testing.plan([], run_dir=tmp_path / "run"))
    finally:
        current().plugins.manager.unregister(acme)
    assert report is not None


def test_a_run_ends_with_it_in_words_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE, encoding="utf-8")
    result = project(tmp_path).run("plugins=[./mine.py]", "stages=[plan]", "run_dir=run")
    assert result.code == 2
    assert "trainer=hf knows no llama" in result.err
    assert not (tmp_path / "run").exists()
