"""framework/testing/suites: one component for each suite breaks a rule, and its test says what is wrong.

That the suites pass on what is in order is shown by tests/plugins/test_conformance.py and by the documentation. The
suites of methods, losses and rollouts have files of their own.
"""

# ruff: noqa: ARG002 - arguments have the names that a protocol gives them

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from framework import Component, FrameworkError, hookimpl, testing
from framework.api import schema
from framework.api.events import Event, RunStarted
from framework.api.protocols import Logger
from framework.api.records import Artifact, Example, Message, RawData, Row, StepControl, TokenRow
from framework.hooks.session import current
from framework.testing import EchoBackend, EchoModel

NAME = "broken_components"


class Configured:
    """What all of them are made of."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.calls = 0


class Counts(Configured):
    """A metric that scores an answer otherwise each time."""

    higher_is_better, needs_reference = True, False

    def score(self, answer: str, reference: str | None) -> float:
        self.calls += 1
        return float(self.calls)


class Greedy(Configured):
    """A format that changes the row."""

    def matches(self, fields: Mapping[str, Any]) -> bool:
        return "ask" in fields

    def example(self, fields: dict[str, Any]) -> Example:
        fields.pop("more", None)
        return Example((Message("user", fields["ask"]), Message("assistant", fields["say"])), "greedy")


class Missing(Configured):
    """An exporter that names a file which it does not write."""

    def export(self, model: Any, context: Any) -> list[Artifact]:
        return [Artifact("text", "made.txt", 4)]


class ReadOnce(Configured):
    """A source whose rows can be read once."""

    def load(self) -> RawData:
        rows = (Row({"instruction": "Say 1", "output": "it is 1"}, f"rows:{number}") for number in range(3))
        return RawData(rows)


class Leaks(Logger):
    """A logger that writes the secrets of a config."""

    def __init__(self, config: Any) -> None:
        self.file: Path | None = None

    def log(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            event.plan.run_dir.joinpath("log.txt").write_text(str(event.plan.data.config), encoding="utf-8")


class Overlooks(Configured):
    """A rule that finds nothing."""

    def audit(self, data: Any) -> Iterable[Any]:
        return ()


class Shifted(EchoModel):
    """A model whose rows have one label less."""

    def encode(self, examples: Sequence[Example]) -> list[TokenRow]:
        return [dataclasses.replace(row, labels=row.labels[1:]) for row in super().encode(examples)]


class ShiftedBackend(EchoBackend):
    """The backend that opens it."""

    def open(self, plan: Any) -> Any:
        from contextlib import nullcontext

        return nullcontext(Shifted(plan))


class Forgets(Configured):
    """An optimizer of one group of weights."""

    def state_bytes(self, weights: Any, *, on_gpu: bool) -> None:
        return None

    def create(self, groups: Sequence[Any], rate: float, warmup: int) -> Any:
        return torch.optim.SGD([groups[0].for_torch()], lr=rate)


class Whimsical(Configured):
    """A schedule that depends on how often it is asked."""

    def factor(self, step: int, steps: int, warmup: int, rate: float) -> float:
        self.calls += 1
        return 1 / self.calls


class Scant(Configured):
    """A sampler whose steps have too few rows."""

    def order(self, lengths: Sequence[int], batch: int, steps: int, seed: int) -> list[list[int]]:
        return [[0]] * steps


class Lost(Configured):
    """A callback that does not continue from its state."""

    def on_step(self, step: Any) -> StepControl | None:
        self.calls += 1
        return StepControl(rate=0.5) if self.calls == 3 else None

    def state(self) -> dict[str, int]:
        return {"seen": self.calls}

    def restore(self, state: Any) -> None:
        """Forget it."""


ALPACA = {"overrides": ["format=alpaca"]}  # the broken format claims what is not its own
WRONG = [("wrong", [{"instruction": f"Say {number}", "output": "wrong"} for number in range(3)])]
CLEAN = [{"instruction": f"Say {number}", "output": f"it is {number}"} for number in range(3)]
ASKED = {"ask": "Capital of Peru?", "say": "Lima", "more": "1"}
BROKEN: list[tuple[str, type, str, str, str, dict[str, Any]]] = [
    ("MetricSuite", Counts, "MetricConfig", "the_same_answer_has_the_same_score", r"scores 1.0 and \d.0",
     {"answers": [("yes", None, 1.0), ("no", None, 0.0)]}),
    ("FormatterSuite", Greedy, "FormatConfig", "a_row_is_not_changed", "the row was", {"rows": [ASKED]}),
    ("ExporterSuite", Missing, "ExporterConfig", "every_artifact_that_it_names_exists", "is not there", {}),
    ("SourceSuite", ReadOnce, "DataConfig", "its_rows_are_the_same_each_time", "gives other rows the second time",
     {"count": 1}),
    ("LoggerSuite", Leaks, "LoggerConfig", "no_secret_is_written", "log.txt holds a secret", {}),
    ("AuditSuite", Overlooks, "AuditConfig", "what_is_wrong_is_found", "'wrong' is not found in .* but nothing",
     {"faulty": WRONG, "clean": CLEAN}),
    ("BackendSuite", ShiftedBackend, "TrainerConfig", "the_rows_are_labelled_where_the_assistant_speaks",
     "row 0: ids and labels differ in length", {}),
    ("OptimizerSuite", Forgets, "OptimizerConfig", "each_weight_is_in_one_group_with_its_rate_and_its_decay",
     "weights are missing", {"torch": torch}),
    ("ScheduleSuite", Whimsical, "ScheduleConfig", "it_is_pure", "are others when they are asked again", {}),
    ("SamplerSuite", Scant, "SamplerConfig", "the_steps_have_the_right_size_and_rows_that_exist",
     "step 0 of 7 rows has 1 rows, not 2", {}),
    ("CallbackSuite", Lost, "CallbackConfig", "it_goes_on_from_its_state", r"and \{'seen': 1\} was saved",
     {"losses": [1.0] * 5}),
]  # fmt: skip
OTHER_FILES = {"LossSuite", "MethodSuite", "RolloutSuite"}


@hookimpl
def framework_components() -> Iterator[Component]:
    """The components."""
    for _, kind, base, *_ in BROKEN:
        made = make_dataclass(f"{kind.__name__}Config", (), bases=(getattr(schema, base),), namespace={"__doc__": "D."})
        made.__module__ = __name__
        globals()[made.__name__] = made
        yield Component(kind.__name__.lower(), made, f"{__name__}:{kind.__name__}")


@pytest.fixture(autouse=True, scope="module")
def plugin() -> Iterator[None]:
    """Add them for the tests of this file."""
    plugins = current().plugins
    plugins.add(sys.modules[__name__], name=NAME)
    yield
    plugins.manager.unregister(name=NAME)


@pytest.mark.parametrize(("suite", "kind", "_", "rule", "message", "details"), BROKEN, ids=[case[0] for case in BROKEN])
def test_a_broken_component_fails_and_is_reported_why(
    request: pytest.FixtureRequest, suite: str, kind: type, _: str, rule: str, message: str, details: dict[str, Any]
) -> None:
    own_rows = suite == "FormatterSuite"
    members = {"option": kind.__name__.lower(), **({} if own_rows else ALPACA), **details}
    broken = type("Broken", (getattr(testing, suite),), members)()
    test = getattr(broken, f"test_{rule}")
    with pytest.raises((AssertionError, FrameworkError), match=message):
        test(**{name: request.getfixturevalue(name) for name in inspect.signature(test).parameters})


def test_every_suite_is_seen_to_fail() -> None:
    suites = {name for name in testing.__all__ if name.endswith("Suite")}
    assert {suite for suite, *_ in BROKEN} | OTHER_FILES == suites


def test_the_kit_is_imported_without_pytest(tmp_path: Path) -> None:
    code = "import sys, framework.testing; sys.exit('pytest' in sys.modules or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
