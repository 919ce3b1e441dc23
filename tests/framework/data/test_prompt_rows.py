"""Rows without an answer, if the method of a run has a use for them: from the data to what a training is given."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from framework import Component, hookimpl, testing
from framework.api.data import Data
from framework.api.protocols import Model
from framework.api.records import Example, Prompt
from framework.api.schema import MethodConfig, Role
from framework.api.text import facts_of
from framework.data.stage import load_data
from framework.hooks.session import current
from framework.monitor.checks import check_answers
from framework.util.errors import FrameworkError
from tests.support.tiny import tiny_llama
from tests.support.training import make, opened


@dataclass
class AskingConfig(MethodConfig):
    """Takes a conversation with an answer, and a prompt without."""

    roles: ClassVar[tuple[Role, ...]] = (Role.answer, Role.prompt)


class Asking:
    """The method."""

    objective = None

    def __init__(self, config: AskingConfig) -> None:
        del config

    def check(self, example: Example) -> None:
        del example

    def conversations(self, example: Example) -> Sequence[tuple[Role, Example]]:
        return ((Role.prompt if example.is_prompt else Role.answer, example),)

    def measures(self, model: Model, groups: Any) -> dict[str, Any]:
        del model, groups
        return {}


@hookimpl
def framework_components() -> list[Component]:
    return [Component("asking", AskingConfig, f"{__name__}:Asking")]


@pytest.fixture(autouse=True)
def plugin() -> Iterator[None]:
    plugins = current().plugins
    plugins.add(sys.modules[__name__], name="asking")
    yield
    plugins.manager.unregister(name="asking")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write twelve prompts, of which one is long, and as many conversations with an answer."""
    turns = [
        [{"role": "user", "content": f"Which number follows {n}?" + " Think." * (40 if n == 5 else 0)}]
        for n in range(24)
    ]
    for n in range(12, 24):
        turns[n].append({"role": "assistant", "content": f"It is {n + 1}."})
    made = tmp_path / "rows.jsonl"
    made.write_text("".join(json.dumps({"messages": each}) + "\n" for each in turns), encoding="utf-8")
    return made


WORDS = ("method=asking", "data=local_file", "data.validation_split=0.25", "trainer.max_seq_length=20")


def test_prompts_are_stored_proven_split_shown_and_audited(file: Path, tmp_path: Path, own_cache: Path) -> None:
    del own_cache

    def load(*words: str) -> Data:
        plan = testing.plan([*WORDS, f"data.path={file}", *words], run_dir=tmp_path / "run")
        return load_data(plan, testing.EchoModel(plan))

    data = load("data.overflow=truncate")
    result = data.result
    assert (result.train_rows + result.validation_rows, result.overflow_rows_left_out) == (23, 1)
    assert (result.proof.rows, result.proof.prompts, result.proof.turns, result.proof.failed) == (24, 12, 12, 0)
    assert result.proof.lowest_share > 0
    assert "; 12 rows are prompts as inference renders them" in str([*facts_of(result)])
    groups = [*data.train_groups, *data.validation_groups]
    asked = [group for group in groups if group.roles == (Role.prompt,)]
    assert [group.answer.supervised for group in asked] == [0] * 11
    answered = [*data.train, *data.validation]  # what evaluators read
    assert len(answered) == len(groups) - len(asked) == 12
    assert len(data.clusters) == len(data.validation)
    found: list[Prompt] = list(data.selection)
    assert {prompt.reference is None for prompt in found} == {True, False}
    assert all(prompt.messages[-1].role == "user" for prompt in found)
    shown = [row for row in result.view if row.where.endswith(", prompt")]
    assert shown
    assert not any(piece.learned for row in shown for piece in row.pieces)
    assert not {finding.name for finding in result.findings} & {"empty_answers", "low_supervision"}
    told = r"method=asking makes prompts without answers of \d+ of \d+ training rows, and trainer=echo learns from the"
    with pytest.raises(FrameworkError, match=told):
        check_answers("asking", "echo", data)


def test_of_prompts_alone_nothing_is_learned_whatever_the_references_of_others(file: Path, tmp_path: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    asked, answered = tmp_path / "asked.jsonl", tmp_path / "answered.jsonl"
    asked.write_text("".join(lines[:12]), encoding="utf-8")
    answered.write_text("".join(lines[12:]), encoding="utf-8")
    words = [*WORDS[:2], "data.validation_split=0", f"data.path={asked}", f"data.prompts_path={answered}"]
    plan = testing.plan(words, run_dir=tmp_path / "run")
    proof = load_data(plan, testing.EchoModel(plan)).result.proof
    assert (proof.rows, proof.prompts, proof.turns, proof.lowest_share, proof.mean_share) == (12, 12, 0, 0, 0)


def test_a_prompt_is_written_as_inference_is_given_it(file: Path, tmp_path: Path) -> None:
    words = (*WORDS[:3], "data.overflow=drop", "data.learn=everything", "audit=[]")
    with opened(make(tiny_llama(tmp_path / "model"), file, tmp_path / "run", *words)) as (model, data):
        assert data.result.proof.prompts == 12
        asked = [group.answer for group in data.train_groups if group.roles == (Role.prompt,)]
        prompts = {prompt.where: model.tokenize(model.render(prompt)) for prompt in data.selection}
        both = [group.answer for group in data.validation_groups if group.roles == (Role.prompt,)]
        assert both
        assert asked
        assert all(row.input_ids == prompts[row.where] for row in both)
        assert not any(row.supervised for row in [*asked, *both])


def test_what_a_method_raises_is_an_error_with_its_name_and_the_row(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    del own_cache
    monkeypatch.setattr(Asking, "conversations", lambda _, example: example.facts["weight"])
    plan = testing.plan([*WORDS, f"data.path={file}"], run_dir=tmp_path / "run")
    with pytest.raises(FrameworkError, match=r"rows\.jsonl:1: method=asking cannot make rows of it: KeyError"):
        load_data(plan, testing.EchoModel(plan))
