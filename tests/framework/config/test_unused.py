"""What an experiment sets for an option can be switched off with the option; mistakes are still refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework import FrameworkError
from framework.plan.load import load_config
from tests.support.project import project

EXPERIMENT = """# @package _global_
# Support answers.
name: support
evaluator:
  prompts:
    count: 4
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with an experiment, and be in it."""
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    (folder / "support.yaml").write_text(EXPERIMENT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.usefixtures("place")
def test_an_evaluator_that_an_experiment_sets_can_be_left_out() -> None:
    assert load_config(["+experiment=support"]).evaluator.prompts.count == 4
    assert load_config(["+experiment=support", "evaluator=[]"]).evaluator == {}
    assert [*load_config(["+experiment=support", "evaluator=[forgetting]"]).evaluator] == ["forgetting"]
    assert load_config(["+experiment=support", "evaluator=[short_prompts]"]).evaluator.prompts.count == 4
    assert load_config(["+experiment=support"]).evaluator.prompts.count == 4


def test_so_can_one_of_the_experiments_that_come_with_the_framework() -> None:
    assert load_config(["+experiment=gpu_8gb", "evaluator=[]"]).evaluator == {}


def test_an_experiment_that_is_built_on_another_may_leave_it_out(place: Path) -> None:
    text = "# @package _global_\ndefaults:\n  - support\n  - override /evaluator: []\n"
    (place / "quiet.yaml").write_text(text, encoding="utf-8")
    assert load_config(["+experiment=quiet"]).evaluator == {}


@pytest.mark.usefixtures("place")
def test_what_the_command_line_sets_of_an_option_that_is_not_chosen_is_refused() -> None:
    with pytest.raises(FrameworkError) as refused:
        load_config(["+experiment=support", "evaluator=[]", "evaluator.prompts.count=3"])
    assert str(refused.value).splitlines() == [
        "evaluator.prompts.count=3: unknown key 'evaluator.prompts'. Valid in evaluator: nothing to set."
    ]


@pytest.mark.parametrize(
    ("own", "words"),
    [("evaluator: {promts: {count: 4}}", ["evaluator=[]"]), ("evaluator: {lm_eval: {tasks: [x]}}", [])],
    ids=["a name that no option has", "an option that nobody has chosen"],
)
def test_a_mistake_of_an_experiment_is_refused(place: Path, own: str, words: list[str]) -> None:
    (place / "wrong.yaml").write_text(f"# @package _global_\n{own}\n", encoding="utf-8")
    with pytest.raises(FrameworkError, match=r"conf/experiment/wrong\.yaml:2: unknown key 'evaluator\."):
        load_config(["+experiment=wrong", *words])


def test_a_run_leaves_it_out_too(place: Path) -> None:
    words = ["+experiment=support", "evaluator=[]", "stages=[plan]", "run_dir=run"]
    done = project(place.parents[1]).run(*words)
    assert done.code == 0, done.err
    assert done.err == "options of ./conf: +experiment=support\n"
