"""launch/pickled_plan.py: which runs a process that has imported something will not do for."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from framework import Component, hookimpl, testing
from framework.api.registry import plugins
from framework.api.selection import Selection
from framework.hooks.session import Session, current
from framework.hooks.validation import wrong_component
from framework.testing.echo import EchoTrainerConfig
from framework_plugins.launch.pickled_plan import first_modules, pickle_plan, stale
from framework_plugins.lib.import_order import imported_too_late

ORDER = ("acme_first", "acme_later", "acme_last")


@dataclass
class FirstConfig(EchoTrainerConfig):
    """A trainer whose library has to be imported first."""


FIRST = Component("first", FirstConfig, "framework.testing.echo:EchoBackend", import_order=ORDER)


class Acme:
    @hookimpl
    def framework_components(self) -> Iterable[Component]:
        yield FIRST


@pytest.fixture(autouse=True)
def acme() -> Iterator[None]:
    plugin = Acme()
    current().plugins.manager.register(plugin, name="acme")
    yield
    current().plugins.manager.unregister(plugin)


def chosen(trainer: str, folder: Path) -> dict[str, Selection]:
    """Return what a plan selects; the option of this test comes too late for Hydra, which has its list already."""
    made = testing.plan([], run_dir=folder).selections
    return made | {"trainer": Selection(FIRST, FirstConfig())} if trainer == "first" else made


def imported(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))


def test_a_clean_process_will_do_for_every_run(tmp_path: Path) -> None:
    for trainer in ("first", "echo"):
        assert stale(chosen(trainer, tmp_path)) == ""


def test_what_was_imported_too_early_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported(monkeypatch, "acme_later", "acme_last")
    reason = "trainer=first needs acme_first imported before acme_later and acme_last, which this process has imported"
    assert stale(chosen("first", tmp_path)) == f"{reason} already"
    assert stale(chosen("echo", tmp_path)) == ""


def test_a_process_with_the_first_is_for_its_own_runs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported(monkeypatch, *ORDER)
    assert stale(chosen("first", tmp_path)) == ""
    reason = "this process has imported acme_first, which changes acme_later and acme_last for trainer=first"
    assert stale(chosen("echo", tmp_path)) == reason


def test_without_an_order_nothing_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    imported(monkeypatch, "acme_last")
    assert imported_too_late(()) == []
    assert imported_too_late(ORDER) == ["acme_last"]


def test_a_fresh_process_is_reported_what_to_import_first(tmp_path: Path) -> None:
    assert first_modules(chosen("first", tmp_path)) == ["framework.testing.echo"]
    assert first_modules(chosen("echo", tmp_path)) == []


@pytest.mark.parametrize("order", [("alone",), ("two words", "other"), "text", (1, 2)])
def test_an_order_of_something_else_is_refused(order: object) -> None:
    component = Component("first", FirstConfig, "acme:First", import_order=order)  # type: ignore[arg-type]
    told = f"import_order={order!r} has to be two or more names of modules"
    assert wrong_component(component) == told


def test_a_plan_with_a_metric_as_a_reward_is_read_by_a_process_that_has_made_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = testing.plan(["method=best_of_n", "reward=[length]", "reward.length.weight=2"], run_dir=tmp_path)
    packed = pickle_plan(plan)
    monkeypatch.delattr(plugins().components("metric")["length"].schema, "as_reward")
    monkeypatch.setattr(sys, "path", [*sys.path])
    with Session():  # which has asked no plugin yet
        assert packed.load().reward["length"].config.weight == 2
