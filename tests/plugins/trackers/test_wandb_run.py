"""W&B with a server: what reaches it, and what a server that dies or never answers does to a run."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from framework import testing
from framework.run import pipeline
from tests.support.forked_program import Result, echo, execute, launch, loggers
from tests.support.program import environment
from tests.support.wandb_file import read_offline_run
from tests.support.wandb_server import WandbStandIn

KEY = "0123456789" * 4
pytestmark = pytest.mark.usefixtures("home")
BREAKS = (
    "from framework import testing; from framework.cli import main; testing.install(); "
    "from framework.testing.echo import EchoModel as Model; Model.save_tokenizer = None; main.main()"
)


@pytest.fixture
def words(rows: list[dict[str, str]], write_rows: Callable[..., Path]) -> list[str]:
    """Return overrides for a run of three steps that is asked four prompts."""
    train, prompts = write_rows(rows), write_rows(rows[:4])
    data = [f"data.path={train}", f"data.validation_path={prompts}", f"data.prompts_path={prompts}"]
    return ["logger=[wandb,html]", "logger.wandb.project=orders", "data=local_file", *data, "trainer.max_steps=3"]


def online(server: WandbStandIn, *words: str, cwd: Path) -> Result:
    return echo(*words, cwd=cwd, env={"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}, of=loggers())


def test_a_run_reaches_its_server_and_goes_on_there(words: list[str], tmp_path: Path) -> None:
    with WandbStandIn() as server:
        for stages in ("stages=[data,baseline,train]", "stages=[evaluate,report]"):
            done = online(server, *words, "logger.wandb.group=rates", stages, "run_dir=run", cwd=tmp_path)
            assert done.code == 0, done.err
            assert "offline" not in done.err
    ((name, run),) = server.runs.items()
    assert (tmp_path / "run" / "wandb.json").read_text(encoding="utf-8").startswith(f'{{"id": "{name}"')
    assert (run.about["project"], run.about["groupName"], run.about["displayName"]) == ("orders", "rates", "run-run")
    assert (run.complete, run.exit_code) == (True, 0)
    assert "RunResumeStatus" in server.operations
    steps = [line["_step"] for _, line in sorted(run.history.items())]
    assert steps == [0, 1, 2, 3, 4]
    assert [line["train/loss"] for line in run.history.values() if "train/loss" in line] == [1, 1 / 2, 1 / 3]
    assert run.history[4]["after/exact_match"] == 0.75
    assert {artifact["artifactTypeName"] for artifact in server.artifacts} == {"run_table"}


def test_a_run_that_fails_is_failed_on_its_server(words: list[str], tmp_path: Path) -> None:
    variables = {"WANDB_API_KEY": KEY}
    with WandbStandIn() as server:
        command = (sys.executable, "-c", BREAKS)
        more = ["model=echo", "trainer=echo", "run_dir=run"]
        env = {**variables, "WANDB_BASE_URL": server.url}
        done = launch(command, *more, *words, cwd=tmp_path, env=env, of=loggers())
    assert done.code == 2
    (run,) = server.runs.values()
    assert (run.complete, run.exit_code) == (True, 1)
    assert len(run.history) == 4


def test_the_command_that_is_reported_uploads_all_parts_as_one_run(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")

    def command(stages: str) -> list[str]:
        """Run a part and return the command that uploads it."""
        pipeline.run(testing.plan([*words, stages], run_dir=tmp_path / "run"))
        return shlex.split(capfd.readouterr().err.strip().splitlines()[-1].split("upload it with: wandb ")[1])

    command("stages=[data,train]")
    uploads = command("stages=[evaluate]")
    assert len(uploads) == 3
    with WandbStandIn() as server:
        variables = environment(tmp_path, WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY)
        subprocess.run(
            [sys.executable, "-m", "wandb", *uploads], cwd=tmp_path, env=variables, check=True, capture_output=True
        )
    (run,) = server.runs.values()
    assert [line["_step"] for _, line in sorted(run.history.items())] == [1, 2, 3, 4]
    assert run.exit_code == 0
    assert len(command("stages=[evaluate]")) == 2  # what is uploaded already is not told again


def test_a_server_that_takes_connections_and_never_answers_means_offline(words: list[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        start = time.monotonic()
        more = ["logger.wandb.init_timeout=1", "run_dir=run"]
        env = {"WANDB_BASE_URL": address, "WANDB_API_KEY": KEY}
        done = echo(*words, *more, cwd=tmp_path, env=env, of=loggers())
        seconds = time.monotonic() - start
    assert done.code == 0, done.err
    assert "wandb cannot log online (CommError: " in done.err
    assert f"wandb: logged offline ({address} refused the run); upload it with: wandb sync {tmp_path}" in done.err
    (file,) = tmp_path.glob("run/wandb/offline-run-*/run-*.wandb")
    assert read_offline_run(file).exit_code == 0
    assert seconds < 60


@pytest.mark.slow  # half a minute each, of waiting
@pytest.mark.parametrize("then", ["dies", "hangs"])
def test_a_server_that_goes_away_holds_no_run_up(words: list[str], tmp_path: Path, then: str) -> None:
    start = time.monotonic()
    with WandbStandIn(then) as server:
        done = online(server, *words, "logger.wandb.finish_timeout=3", "run_dir=run", cwd=tmp_path)
    assert done.code == 0, done.err
    assert time.monotonic() - start < 90
    assert "wandb: the server is gone, so tables and artifacts are left out (" in done.err
    (folder,) = tmp_path.glob("run/wandb/run-*")
    assert f"upload the rest with: wandb sync {folder}" in done.err
    assert "Traceback" not in done.err
    assert "switched off" not in done.err
    (file,) = folder.glob("run-*.wandb")
    run = read_offline_run(file)
    assert run.exit_code == 0
    assert [row["train/loss"] for row in run.history if "train/loss" in row] == [1, 1 / 2, 1 / 3]
    assert run.summary["metrics"]["exact_match"]["after"] == 0.75


KILLS = """
import psutil
from framework import testing; from framework.cli import main
from framework.testing.echo import EchoModel
testing.install()
save = EchoModel.save_tokenizer

def kill(self, folder):
    (service,) = [child for child in psutil.Process().children(recursive=True) if "wandb-core" in child.name()]
    service.kill()
    service.wait()
    save(self, folder)

EchoModel.save_tokenizer = kill
main.main()
"""


def test_a_process_of_wandb_that_is_killed_ends_no_run(words: list[str], tmp_path: Path) -> None:
    start = time.monotonic()
    command = (sys.executable, "-c", KILLS)
    done = execute(command, "model=echo", "trainer=echo", *words, "run_dir=run", cwd=tmp_path, env={"MINE": "1"})
    assert done.code == 0, done.err
    assert (tmp_path / "run" / "report.json").exists()
    assert "wandb" in done.err
    assert "Traceback" not in done.err
    assert time.monotonic() - start < 60
