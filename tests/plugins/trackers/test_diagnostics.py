"""What the doctor says of the trackers: the libraries, and where a key of W&B is."""

import socket
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from framework import testing
from framework.api.diagnostic import DiagnosticResult, State
from framework.api.plan import Plan
from framework_plugins.trackers import diagnostics
from framework_plugins.trackers.plugin import framework_diagnostics
from tests.support.wandb_alone import save_key, save_settings

KEY = "0123456789" * 4


LIBRARIES = [
    (diagnostics.wandb, "wandb", "wandb"),
    (diagnostics.tensorboard, "tensorboard", "tensorboard"),
    (diagnostics.mlflow, "mlflow-skinny", "mlflow"),
]


@pytest.mark.parametrize(("look", "distribution", "extra"), LIBRARIES)
def test_a_library_is_imported_and_reported_with_its_version(
    tmp_path: Path, look: Callable[[Plan | None], DiagnosticResult], distribution: str, extra: str
) -> None:
    assert look(None) == DiagnosticResult(State.ok, "can be imported", version(distribution)), extra
    assert look(testing.plan([], run_dir=tmp_path)).detail == f"installed; logger=[{extra}] imports it"


@pytest.mark.parametrize(("look", "distribution", "extra"), LIBRARIES)
def test_a_library_that_is_not_installed_is_reported_with_the_command(
    monkeypatch: pytest.MonkeyPatch, look: Callable[[Plan | None], DiagnosticResult], distribution: str, extra: str
) -> None:
    monkeypatch.setattr(diagnostics, "installed", lambda name: None if name == distribution else "1.0")
    found = look(None)
    assert (found.state, found.detail) == (State.missing, "not installed")
    assert found.fix.startswith("pip install ")
    assert f"[{extra}]" in found.fix


@pytest.mark.usefixtures("home")
def test_without_a_key_it_logs_offline() -> None:
    fix = "wandb login, or set WANDB_API_KEY"
    assert diagnostics.login(None) == DiagnosticResult(State.off, "no key: logger=[wandb] logs offline", fix=fix)


@pytest.mark.usefixtures("home")
def test_a_key_in_the_environment_is_reported_by_the_name_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("WANDB_BASE_URL", address)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        found = diagnostics.login(None)
    assert found == DiagnosticResult(State.ok, f"a key in WANDB_API_KEY; logger=[wandb] logs online to {address}")


def test_a_login_to_a_server_of_ones_own_is_found_where_wandb_saves_it(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        save_settings(home, base_url=f"http://127.0.0.1:{port}")
        save_key(home, f"127.0.0.1:{port}", KEY)
        found = diagnostics.login(None)
    assert found == DiagnosticResult(State.ok, f"a saved key; logger=[wandb] logs online to http://127.0.0.1:{port}")


def test_a_server_that_is_gone_means_offline(home: Path) -> None:
    save_settings(home, base_url="http://127.0.0.1:9")
    save_key(home, "127.0.0.1:9", KEY)
    detail = "a saved key, but http://127.0.0.1:9 cannot be reached: logger=[wandb] logs offline"
    assert diagnostics.login(None) == DiagnosticResult(State.off, detail, fix=diagnostics.SYNC_LATER)


@pytest.mark.usefixtures("home")
def test_wandb_that_is_disabled_logs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert diagnostics.login(None) == DiagnosticResult(State.off, "WANDB_MODE=disabled: logger=[wandb] logs nothing")


def test_of_a_login_nothing_is_said_where_wandb_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "missing", lambda names: names)
    assert diagnostics.login(None) is None


@pytest.mark.parametrize("name", ["wandb", "tensorboard", "mlflow"])
def test_hook_checkups_of_a_tracker_are_needed_by_its_logger_alone(tmp_path: Path, name: str) -> None:
    plan = testing.plan([f"logger=[{name}]"], run_dir=tmp_path)
    assert [each.name for each in framework_diagnostics() if each.needed(plan)] == [name]
    without = testing.plan(["logger=[]"], run_dir=tmp_path)
    assert not any(each.needed(without) for each in framework_diagnostics())
