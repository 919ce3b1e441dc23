"""What the doctor says of the trackers: the libraries, and where a key of W&B is."""

import socket
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from framework import testing
from framework.checkup import Found, State
from framework.plan import Plan
from framework_trackers import checkups
from framework_trackers.plugin import framework_checkups

KEY = "0123456789" * 4


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let no key of this machine take part; return where one would be saved."""
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path / "netrc"


LIBRARIES = [
    (checkups.wandb, "wandb", "wandb"),
    (checkups.tensorboard, "tensorboard", "tensorboard"),
    (checkups.mlflow, "mlflow-skinny", "mlflow"),
]


@pytest.mark.parametrize(("look", "distribution", "extra"), LIBRARIES)
def test_a_library_is_imported_and_told_with_its_version(
    look: Callable[[Plan | None], Found], distribution: str, extra: str
) -> None:
    assert look(None) == Found(State.ok, "can be imported", version(distribution)), extra


@pytest.mark.parametrize(("look", "distribution", "extra"), LIBRARIES)
def test_a_library_that_is_not_installed_is_told_with_the_command(
    monkeypatch: pytest.MonkeyPatch, look: Callable[[Plan | None], Found], distribution: str, extra: str
) -> None:
    monkeypatch.setattr(checkups, "missing", lambda names: names if names == [distribution] else [])
    found = look(None)
    assert (found.state, found.detail) == (State.missing, "not installed")
    assert found.fix.startswith("pip install ")
    assert f"[{extra}]" in found.fix


def test_without_a_key_it_logs_offline() -> None:
    assert checkups.login(None) == Found(State.off, "no key: logger=[wandb] logs offline", fix=checkups.LOGIN)


def test_a_key_in_the_environment_is_told_by_the_name_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("WANDB_BASE_URL", address)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        found = checkups.login(None)
    assert found == Found(State.ok, f"a key in WANDB_API_KEY; logger=[wandb] logs online to {address}")


def test_a_saved_login_is_told_by_its_file_and_a_dead_server_means_offline(
    monkeypatch: pytest.MonkeyPatch, nobody: Path
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    nobody.write_text(f"machine 127.0.0.1 login user password {KEY}", encoding="utf-8")
    nobody.chmod(0o600)
    found = checkups.login(None)
    assert (found.state, KEY in str(found)) == (State.off, False)
    assert found.detail == (f"a key in {nobody}, but http://127.0.0.1:9 cannot be reached: logger=[wandb] logs offline")


@pytest.mark.parametrize("name", ["wandb", "tensorboard", "mlflow"])
def test_hook_checkups_of_a_tracker_are_needed_by_its_logger_alone(tmp_path: Path, name: str) -> None:
    plan = testing.plan([f"logger=[{name}]"], run_dir=tmp_path)
    assert [each.name for each in framework_checkups() if each.needed(plan)] == [name]
    without = testing.plan(["logger=[]"], run_dir=tmp_path)
    assert not any(each.needed(without) for each in framework_checkups())
