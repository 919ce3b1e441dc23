"""What is kept reacts to a setting as the mark at its field says: each key is made by the code that uses it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import pytest
from annotated_types import Gt

from framework import Component, hookimpl, testing
from framework.api.component import GROUPS
from framework.api.fields import fields
from framework.api.schema import Affects, FormatConfig, RunConfig
from framework.api.selection import Selection
from framework.data import stage
from framework.data.audit import StoredRows
from framework.data.reader import Reader
from framework.evaluate import measure
from framework.evaluate.measure import Measuring
from framework.hooks.session import current
from framework.plan.forecast import Planner
from framework.run import reuse
from framework.run.export import settings as export_settings
from framework.run.reuse import TrainingReuse
from framework.testing.echo import EchoTrainerConfig

Keys = Callable[..., dict[str, str]]


@dataclass
class Nested:
    """Settings in a setting."""

    counts: int = 1
    free: Annotated[int, Affects.nothing] = 1


@dataclass
class NewTrainerConfig(EchoTrainerConfig):
    """A third-party trainer, with settings of which the core knows nothing."""

    unmarked: int = 1
    ranged: Annotated[int, Gt(0)] = 1
    learned: Annotated[int | None, Gt(0), ~Affects.base] = None
    inner: Annotated[int, ~Affects.resume] | None = None
    twice: Annotated[Annotated[int, ~Affects.base], ~Affects.resume] = 1
    training: Annotated[int, Affects.training] = 1
    free: Annotated[int, Affects.nothing] = 1
    nested: Nested = field(default_factory=Nested)
    closed: Annotated[Nested, ~Affects.base] = field(default_factory=Nested)
    keep_best: bool = True  # redefined without a mark


@dataclass
class SubTrainerConfig(NewTrainerConfig):
    """A trainer on top of that one."""

    more: int = 1


@dataclass
class NewFormatConfig(FormatConfig):
    """A third-party format."""

    unmarked: int = 1
    free: Annotated[int, Affects.nothing] = 1
    split: Annotated[int, ~Affects.rows] = 1


class Plugin:
    """A third-party plugin."""

    @hookimpl
    def framework_components(self) -> Iterator[Component]:
        """Two trainers and a format."""
        yield Component("new_trainer", NewTrainerConfig, "framework.testing:EchoBackend")
        yield Component("sub_trainer", SubTrainerConfig, "framework.testing:EchoBackend")
        yield Component("new_format", NewFormatConfig, "framework_plugins.formats.formats.alpaca:Alpaca")


@pytest.fixture(scope="module", autouse=True)
def plugin() -> Iterator[None]:
    """Let the options be there for this module alone, whatever was composed before."""
    current().plugins.add(Plugin(), name="affects")
    yield
    current().plugins.manager.unregister(name="affects")


class Shared(testing.EchoModel):
    """A model whose base and rows are shared by the trials of a sweep."""

    encoding = "tokens"
    base_key = "base"


class NotedError(Exception):
    """The key is made: nothing more has to be done."""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    """Return what gives all keys of a plan with some overrides, by what they are of."""
    from framework_plugins.hf.load.base_cache import base_key
    from framework_plugins.hf.train.resume import checkpoints
    from framework_plugins.trackers import kept

    folder = tmp_path_factory.mktemp("keys")
    data = folder / "rows.jsonl"
    data.write_text('{"instruction": "say 1", "output": "it is 1"}\n', encoding="utf-8")
    own = ["data=local_file", f"data.path={data}", "exporter=[adapter]", "trainer=new_trainer", "format=new_format"]
    noted: list[str] = []

    def note(*parts: Any) -> None:
        noted.append(json.dumps(parts, sort_keys=True, default=str))
        raise NotedError

    def noting(make: Callable[[], Any]) -> str:
        with pytest.raises(NotedError):
            make()
        return noted[-1]

    @functools.cache
    def made(*words: str) -> dict[str, str]:
        plan = testing.plan([*own, *words], run_dir=folder / "run")
        mix = [{"data": "local_file", "path": str(data), "weight": 0.1}]
        mixed = replace(plan, data=Selection(plan.data.component, replace(plan.data.config, mix=mix)))
        model: Any = Shared(plan)
        found: Any = SimpleNamespace(result=SimpleNamespace(fingerprint="rows"))
        measuring = Measuring(plan, model, found, {}, {}, current())
        forward_plan: Any = "plain"
        one = np.zeros(1, np.int8)
        columns = dict.fromkeys(("tokens", "supervised", "system", "plain", "asks", "part", "source"), one)
        store: Any = SimpleNamespace(columns=SimpleNamespace(**columns))
        return {
            "rows": Reader(plan, model)._key("tokens"),  # noqa: SLF001 - the name under which they are kept, as below
            "mixed rows": Reader(mixed, model)._key("tokens"),  # noqa: SLF001
            "data": noting(lambda: stage.load_data(plan, model)),
            "lengths": str(Planner(plan, model, current()).rows_file),
            "audit": StoredRows(plan, store, one).key,
            "base": base_key(plan, {}, forward_plan, folder, "tokens"),
            "baseline": noting(measuring.before),
            "training": noting(lambda: TrainingReuse(measuring)),
            "resume": json.dumps(checkpoints.settings(plan), sort_keys=True),
            "tracker": kept.settings_hash(plan),
            "exports": export_settings(plan.affecting(Affects.exports), plan.exporter["adapter"]),
        }

    with pytest.MonkeyPatch.context() as patch:
        for module in (stage, measure, reuse):
            patch.setattr(module, "key_of", note)
        current().shared.open()
        yield made
        current().shared.close()


TRAINER = {"audit", "base", "training", "resume", "tracker", "exports"}
"""What a setting of a trainer can invalidate."""
FORMAT = {"rows", "mixed rows", "data", "lengths", "audit", "baseline", "training", "tracker", "exports"}


@pytest.mark.parametrize(
    ("word", "react"),
    [
        ("trainer.unmarked=2", TRAINER),
        ("trainer.ranged=2", TRAINER),
        ("trainer.learned=2", TRAINER - {"base"}),
        ("trainer.inner=2", TRAINER - {"resume", "tracker"}),
        ("trainer.twice=2", TRAINER - {"base", "resume", "tracker"}),
        ("trainer.training=2", {"training"}),
        ("trainer.free=2", set()),
        ("trainer.nested.counts=2", TRAINER),
        ("trainer.nested.free=2", set()),
        ("trainer.closed.counts=2", TRAINER - {"base"}),
        ("trainer.keep_best=false", TRAINER),
        ("trainer.learning_rate=0.1", TRAINER - {"base"}),
        ("format.unmarked=2", FORMAT),
        ("format.free=2", set()),
        ("format.split=2", FORMAT - {"rows", "mixed rows"}),
        ("seed=7", TRAINER - {"base", "audit"}),
        ("data.seed=7", FORMAT - {"rows"}),
        ("data.validation_split=0.3", FORMAT - {"rows"}),
        ("data.overflow=truncate", FORMAT - {"rows", "mixed rows"}),
        ("data.max_rows=3", FORMAT),
        ("adapter.r=3", TRAINER - {"base", "audit"}),
        ("adapter.target_modules=[q_proj]", TRAINER - {"audit"}),
        ("model.trust_remote_code=true", {"lengths", *TRAINER} - {"audit"}),
        ("trainer.max_steps=3", TRAINER - {"base"}),
        ("health.spike=ignore", {"training"}),
        ("stages=[data,train]", {"training"}),
        ("metric.exact_match.ignore_case=true", {"baseline", "training"}),
        ("evaluator.prompts.count=3", {"baseline", "training"}),
        ("exporter.adapter.folder=other", {"exports"}),
        ("name=other", {"exports"}),
        ("objective=train_loss", set()),
        ("logger=[jsonl]", set()),
    ],
)
def test_a_new_setting_invalidates_what_its_mark_says_and_everything_without_one(
    keys: Keys, word: str, react: set[str]
) -> None:
    before, after = keys(), keys(word)
    assert {name for name in before if before[name] != after[name]} == react


def test_a_schema_on_top_of_another_has_its_marks_and_is_another_option(keys: Keys) -> None:
    options = ("trainer=sub_trainer", "trainer.more=1")
    before = keys(*options)
    assert {name for name, key in keys().items() if key != before[name]} == TRAINER
    for word, react in (
        ("trainer.more=2", TRAINER),
        ("trainer.free=2", set()),
        ("trainer.learned=2", TRAINER - {"base"}),
    ):
        after = keys(options[0], *([] if word.startswith("trainer.more") else [options[1]]), word)
        assert {name for name, key in after.items() if key != before[name]} == react


def test_every_setting_of_a_run_is_in_the_plan_by_its_name(tmp_path: Path) -> None:
    assert {each.name for each in fields(RunConfig)} >= set(GROUPS)
    plan = testing.plan([], run_dir=tmp_path)
    all_of_it = plan.affecting(~Affects.nothing)
    assert set(all_of_it) == {each.name for each in fields(RunConfig) if each.affects}
    assert all(
        each.name in all_of_it
        for each in fields(RunConfig)
        if each.name not in {"exporter", "logger", "plugins", "run_dir", "objective", "grace_seconds", "store_seconds"}
    )
