"""Whether W&B can log in, as it says itself: a key is found where it would find it, and nowhere else."""

import sys
from pathlib import Path

import pytest
import wandb

from framework_plugins.trackers.wandb_key import how_to_log_in, login_source, quiet_settings, why_no_login
from tests.support.forked_program import loggers
from tests.support.program import environment
from tests.support.terminal import Terminal
from tests.support.wandb_alone import save_key, save_settings
from tests.support.wandb_file import read_offline_run
from tests.support.wandb_server import WandbStandIn

KEY = "0123456789" * 4
NO_KEY = "no key"


def lacks() -> str:
    return why_no_login(quiet_settings())


@pytest.mark.parametrize(
    ("address", "machine", "expected"),
    [
        ("", "api.wandb.ai", ""),
        ("https://wandb.acme.org", "wandb.acme.org", ""),
        ("https://wandb.acme.org", "api.wandb.ai", NO_KEY),
        ("https://wandb.acme.org:8080", "wandb.acme.org:8080", ""),
        ("https://wandb.acme.org:8080", "wandb.acme.org", NO_KEY),
        ("https://wandb.acme.org", "wandb.acme.org:8080", NO_KEY),
    ],
)
@pytest.mark.parametrize("place", ["variable", "settings", "workspace"])
def test_a_saved_key_is_that_of_the_server_and_its_port(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, machine: str, expected: str, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if address and place == "variable":
        monkeypatch.setenv("WANDB_BASE_URL", address)
    elif address:
        folder = home if place == "settings" else tmp_path / "wandb"
        folder.mkdir(exist_ok=True)
        save_settings(folder, base_url=address)
    save_key(home, machine, KEY)
    assert lacks() == expected
    assert login_source() == "a saved key"


@pytest.mark.parametrize(
    ("env", "expected", "told"),
    [
        ({"WANDB_API_KEY": KEY}, "", "a key in WANDB_API_KEY"),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "", "a key in WANDB_API_KEY"),
        ({"WANDB_IDENTITY_TOKEN_FILE": __file__}, "", "a token in WANDB_IDENTITY_TOKEN_FILE"),
        (
            {"WANDB_API_KEY": "sesame"},
            "WANDB_API_KEY invalid: API key must have 40+ characters, has 6",
            "a key in WANDB_API_KEY",
        ),
        (
            {"WANDB_API_KEY": KEY, "WANDB_IDENTITY_TOKEN_FILE": __file__},
            "Both WANDB_API_KEY and WANDB_IDENTITY_TOKEN_FILE are set, which is not allowed",
            "a key in WANDB_API_KEY",
        ),
    ],
)
@pytest.mark.usefixtures("home")
def test_a_variable_that_is_no_key_is_reported_and_never_its_value(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], expected: str, told: str
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert lacks() == expected
    assert login_source() == told


def test_a_key_in_the_settings_file_will_do_and_a_broken_netrc_file_is_none(home: Path) -> None:
    (home / "netrc").write_text("machine", encoding="utf-8")
    assert lacks() == NO_KEY
    wandb.teardown()
    save_settings(home, api_key=KEY)
    assert lacks() == ""


@pytest.mark.usefixtures("home")
def test_looking_leaves_the_mode_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    settings = quiet_settings()
    why_no_login(settings)
    assert settings.mode == "offline"


@pytest.mark.usefixtures("home")
def test_a_server_of_ones_own_stands_in_the_command_that_logs_in(monkeypatch: pytest.MonkeyPatch) -> None:
    assert how_to_log_in(quiet_settings()) == "wandb login, or set WANDB_API_KEY"
    wandb.teardown()
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert how_to_log_in(quiet_settings()) == "wandb login --host=http://127.0.0.1:9, or set WANDB_API_KEY"


PROGRAM = "from framework import testing; from framework.cli import main; testing.install(); "
WRONG = "from framework_plugins.trackers import wandb_run; wandb_run.why_no_login = lambda settings: str(); "
LOUD = "import wandb; wandb.setup(); "


@pytest.fixture
def words(data_file: Path) -> list[str]:
    """Return overrides for a run of three steps with nothing but W&B."""
    options = ["model=echo", "trainer=echo", "logger=[wandb]", "data=local_file", f"data.path={data_file}"]
    return [*options, "trainer.max_steps=3", "run_dir=run"]


def at_a_terminal(code: str, words: list[str], here: Path, home: Path, **variables: str) -> str:
    """Run the program as somebody who sits before it, and return what was shown."""
    env = environment(here, NETRC=str(home / "netrc"), WANDB_CONFIG_DIR=str(home), **variables)
    command = [sys.executable, "-c", f"{code}main.main()", *words]
    with Terminal(command, cwd=here, env=env, columns=300, forks=loggers()) as terminal:
        code_of_exit, shown = terminal.end()
    assert code_of_exit == 0, shown
    assert "Enter your choice" not in shown
    return shown


def test_a_key_that_wandb_does_not_take_is_not_asked_for_again(words: list[str], tmp_path: Path, home: Path) -> None:
    save_key(home, "127.0.0.1", KEY)  # without the port
    with WandbStandIn() as server:
        shown = at_a_terminal(PROGRAM, words, tmp_path, home, WANDB_BASE_URL=server.url)
    assert server.runs == {}
    why = f"no key: wandb login --host={server.url}, or set WANDB_API_KEY"
    assert f"wandb: logged offline ({why}); upload it with: wandb sync {tmp_path}/run/wandb/offline-run-" in shown
    wandb.teardown()
    (file,) = tmp_path.glob("run/wandb/offline-run-*/run-*.wandb")
    assert read_offline_run(file).exit_code == 0


def test_nothing_is_asked_where_the_look_for_a_key_was_wrong_and_somebody_else_has_set_wandb_up(
    words: list[str], tmp_path: Path, home: Path
) -> None:
    with WandbStandIn() as server:
        shown = at_a_terminal(f"{LOUD}{PROGRAM}{WRONG}", words, tmp_path, home, WANDB_BASE_URL=server.url)
    assert "wandb cannot log online (UsageError: No API key configured." in shown
    assert f"wandb: logged offline ({server.url} refused the run); upload it with: wandb sync {tmp_path}" in shown


def test_a_server_that_only_the_settings_file_names_gets_the_run_without_a_new_login(
    words: list[str], tmp_path: Path, home: Path
) -> None:
    with WandbStandIn() as server:
        save_key(home, server.url.removeprefix("http://"), KEY)
        save_settings(home, base_url=server.url)
        shown = at_a_terminal(PROGRAM, words, tmp_path, home, WANDB_RELOGIN="true")
    assert "offline" not in shown
    (run,) = server.runs.values()
    assert (run.complete, run.exit_code) == (True, 0)


def test_a_token_of_an_identity_provider_will_do_for_a_key(words: list[str], tmp_path: Path, home: Path) -> None:
    token = home / "token.jwt"
    token.write_text("a.b.c", encoding="utf-8")
    with WandbStandIn() as server:
        variables = {"WANDB_BASE_URL": server.url, "WANDB_IDENTITY_TOKEN_FILE": str(token)}
        assert "offline" not in at_a_terminal(PROGRAM, words, tmp_path, home, **variables)
    (run,) = server.runs.values()
    assert (run.complete, run.exit_code) == (True, 0)


@pytest.mark.parametrize("mode", [{}, {"WANDB_MODE": "offline"}], ids=["auto", "offline"])
def test_a_token_whose_file_is_gone_means_offline(
    words: list[str], tmp_path: Path, home: Path, mode: dict[str, str]
) -> None:
    variables = {"WANDB_IDENTITY_TOKEN_FILE": str(home / "none.jwt"), **mode}
    shown = at_a_terminal(PROGRAM, words, tmp_path, home, **variables)
    login = "the file of WANDB_IDENTITY_TOKEN_FILE cannot be read: wandb login, or set WANDB_API_KEY"
    why = "WANDB_MODE=offline" if mode else login
    assert f"wandb: logged offline ({why}); upload it with: wandb sync {tmp_path}/run/wandb/offline-run-" in shown
    assert "panic" not in shown  # of W&B's own process, which looks for the file in any case
