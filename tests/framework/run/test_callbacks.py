"""framework/run/callbacks.py: what callbacks want is done, and what they need is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from framework import FrameworkError, testing
from framework.api.component import Component, hookimpl
from framework.api.plan import Plan
from framework.api.records import Step, StepControl
from framework.api.schema import CallbackConfig
from framework.hooks.session import current
from framework.run.callbacks import Callbacks

STEP = Step(3, 10, 0.3, 1.0, 1e-4, 1.0, 10, 0.1)
NAN = float("nan")


@dataclass
class FollowerConfig(CallbackConfig):
    """Follows."""


class Follower:
    """Does what a test says."""

    on: ClassVar[Any] = lambda _: None
    kept: ClassVar[Any] = {"seen": 1}
    restored: ClassVar[Any] = None

    def __init__(self, config: FollowerConfig) -> None:
        self.config = config

    def on_step(self, step: Step) -> Any:
        return type(self).on(step)

    def state(self) -> Any:
        return self.kept

    def restore(self, state: Mapping[str, Any]) -> None:
        self.__dict__["kept"] = state if self.restored is None else self.restored


class Plugin:
    @hookimpl
    def framework_components(self) -> Iterator[Component]:
        yield Component("follower", FollowerConfig, f"{__name__}:Follower")


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[Plan]:
    plugin = Plugin()
    current().plugins.add(plugin, name="follower")
    yield testing.plan(["callback=[follower]"], run_dir=tmp_path)
    current().plugins.manager.unregister(plugin)


def test_a_run_does_what_a_callback_wants(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = {1: StepControl(rate=0.5), 2: StepControl(stop="enough")}
    monkeypatch.setattr(Follower, "on", lambda step: orders.get(step.step))
    report = testing.run(plan)
    assert report is not None
    assert report.train is not None
    assert (report.train.steps, report.train.stopped) == (2, "step 2, callback.follower: enough")


def test_steps_of_an_earlier_process_are_not_shown_again(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Step] = []
    monkeypatch.setattr(Follower, "on", seen.append)
    callbacks = Callbacks(plan.callback)
    assert callbacks.on_step(replace(STEP, repeated=True)) == callbacks.on_step(STEP) == StepControl()
    assert seen == [STEP]


@pytest.mark.parametrize(
    ("on", "told"),
    [
        (lambda _: 0.5, "callback.follower, step 3: on_step returns float, not a StepControl or None"),
        (lambda _: StepControl(rate=NAN), "callback.follower, step 3: rate=nan must be a number above 0"),
        (lambda _: StepControl(rate=0.0), "callback.follower, step 3: rate=0.0 must be a number above 0"),
        (lambda _: 1 / 0, "callback.follower, step 3: on_step fails: ZeroDivisionError"),
    ],
)
def test_what_cannot_be_obeyed_ends_the_run(plan: Plan, on: Any, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Follower, "on", on)
    with pytest.raises(FrameworkError) as caught:
        Callbacks(plan.callback).on_step(STEP)
    assert str(caught.value).startswith(told)


def test_a_state_is_given_back(plan: Plan) -> None:
    saved = Callbacks(plan.callback).state()
    Callbacks(plan.callback).restore(saved)
    assert saved == {"callback.follower": {"seen": 1}}


@pytest.mark.parametrize("kept", [None, [1], {"at": Path()}, {1: "a"}, {"pair": (1, 2)}])
def test_a_state_that_no_checkpoint_can_hold_is_refused(plan: Plan, kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Follower, "kept", kept)
    with pytest.raises(FrameworkError, match=r"^callback\.follower: its state has to map texts to numbers, "):
        Callbacks(plan.callback).state()


def test_another_state_than_was_saved_is_refused(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Follower, "restored", {"seen": 2})
    with pytest.raises(FrameworkError, match=r"the state after restore is \{'seen': 2\}, and \{'seen': 1\} was "):
        Callbacks(plan.callback).restore({"callback.follower": {"seen": 1}})
    with pytest.raises(FrameworkError, match=r"^callback\.follower: the checkpoint has no state of it$"):
        Callbacks(plan.callback).restore({})
