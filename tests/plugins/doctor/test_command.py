"""`doctor` as a user runs it: what the machine has, whether a run can start, exit codes, and no secrets."""

import io
import json
import os
import re
import sys
from collections.abc import Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from contextvars import Context
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from framework import FrameworkError
from framework.cli.main import main, run_command
from framework_plugins.doctor import command
from framework_plugins.doctor.gather import registered
from tests.support.forked_program import MODULE, Result, execute, program
from tests.support.program import CLOSED, environment

TOKEN = "hf_" + "aB3" * 10
KEY = "0123456789" * 4
FIELDS = ["name", "topic", "state", "version", "detail", "fix", "needed", "plugin", "seconds"]
HEAVY = ("torch", "transformers", "datasets", "trl", "peft", "bitsandbytes", "wandb", "huggingface_hub")
WATCH = f"""
import atexit, sys
atexit.register(lambda: print("imported:", *sorted({{*{HEAVY}}} & sys.modules.keys()), file=sys.stderr))
from framework.cli.main import main
from framework_plugins.doctor import command, gather
registered = command.registered
command.registered, gather.run = lambda: [*registered()][:0], lambda *_: iter(())
main()
"""
"""Leaves out what happens in other processes."""
MINE = f"""
import os, signal, time

from framework import hookimpl
from framework.api.diagnostic import Diagnostic, DiagnosticResult, State


def crash(plan):
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(plan):
    time.sleep(600)


def raises(plan):
    print("noise of a library")
    raise RuntimeError("no anvil for {TOKEN}")


@hookimpl
def framework_diagnostics():
    yield Diagnostic("crash", "acme", "mine:crash", process="one")
    yield Diagnostic("raises", "acme", "mine:raises", process="one")
    yield Diagnostic("hang", "acme", "mine:hang", seconds=1)
    yield "no diagnostic"
"""


def part(told: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = [one for one in told["checks"] if one["name"] == name]
    assert list(found) == FIELDS
    return found


def in_process(*words: str, cwd: Path, env: Mapping[str, str]) -> Result:
    """Run the program here, in a session of its own."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, environment(cwd.parent, COLUMNS="200", **env), clear=True),
        mock.patch.object(sys, "argv", ["framework", *words]),
        chdir(cwd),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as end,
    ):
        Context().run(main)
    sys.modules.pop("mine", None)
    return Result(int(end.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Look at the default run with keys set, and with a plugin whose checks crash, hang and raise."""
    folder = tmp_path_factory.mktemp("doctor") / "here"
    folder.mkdir()
    (folder / "mine.py").write_text(MINE, encoding="utf-8")
    env = {"HF_TOKEN": TOKEN, "WANDB_API_KEY": KEY, "WANDB_BASE_URL": CLOSED}
    result = in_process("doctor", "plugins=[./mine.py]", "--json", cwd=folder, env=env)
    assert {each.name for each in folder.iterdir()} - {"__pycache__"} == {"mine.py"}
    return result


def test_the_quickstart_can_run_here(quickstart: Result) -> None:
    told = json.loads(quickstart.out)
    assert (quickstart.code, told["can_run"], told["reasons"]) == (0, True, [])
    assert told["overrides"] == ["+experiment=quickstart", "plugins=[./mine.py]"]
    assert "NF4" not in {check["name"] for check in told["checks"]}  # it says nothing of a run without
    assert "(LlamaForCausalLM)" in part(told, "model")["detail"]
    assert part(told, "trainer")["detail"].startswith("device ")


def test_json_stands_alone_and_every_library_has_its_version(quickstart: Result) -> None:
    told = json.loads(quickstart.out)
    topics = [
        "machine",
        "libraries",
        "tracking",
        "training",
        "hardware",
        "export",
        "data",
        "acme",
        "plugins",
        "this run",
    ]
    assert sorted({one["topic"] for one in told["checks"]}) == sorted(topics)
    assert all(one["version"] for one in told["checks"] if one["topic"] == "libraries")


def test_what_a_plugins_checks_do_ends_nothing_else(quickstart: Result) -> None:
    told = json.loads(quickstart.out)
    assert {one["plugin"] for one in told["checks"] if one["topic"] == "acme"} == {"mine"}
    assert part(told, "crash")["detail"] == "its Python process was killed by signal 11 (SIGSEGV)"
    assert part(told, "hang")["detail"] == "no answer within 1 s (slow)"
    assert part(told, "raises")["detail"].startswith("RuntimeError: no anvil for (hidden)")
    left = next(one for one in told["checks"] if one["topic"] == "plugins")
    assert "framework_diagnostics gives str, not a Diagnostic" in left["detail"]


def test_keys_are_found_and_never_printed(quickstart: Result) -> None:
    told = json.loads(quickstart.out)
    assert part(told, "Hub token")["detail"] == "one is set, in HF_TOKEN"
    assert "a key in WANDB_API_KEY" in part(told, "wandb login")["detail"]
    assert TOKEN not in quickstart.out + quickstart.err
    assert KEY not in quickstart.out + quickstart.err


def test_the_command_itself_imports_nothing_heavy(tmp_path: Path) -> None:
    result = execute((MODULE[0], "-c", WATCH), "doctor", cwd=tmp_path)
    assert result.err.splitlines()[-1] == "imported:"


def test_a_run_that_cannot_start_ends_with_1_and_each_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["+experiment=llama8b_qlora", "data=local_file", "data.path=missing.jsonl"]
    run = re.escape(" ".join(words))
    checks = [each for each in registered() if each[1].name in {"GPU", "local files"}]
    monkeypatch.setattr(command, "registered", lambda: iter(checks))
    result = in_process("doctor", *words, cwd=tmp_path, env={"CUDA_VISIBLE_DEVICES": ""})
    assert result.code == 1, result.err
    lines = [line.rstrip() for line in result.out.splitlines()]
    # The program is named as it can be typed: a machine may have no `python`.
    (first,) = (
        at for at, line in enumerate(lines) if re.fullmatch(f"cannot run here: .*python -m framework {run}", line)
    )
    end = " ".join(lines[first:])
    assert "GPU: none that torch can use" in end
    assert "local files: there is no data file missing.jsonl" in end
    assert "model: model.path=unsloth/Meta-Llama-3.1-8B-Instruct: not on this machine, and the Hub cannot be" in end
    assert list(tmp_path.iterdir()) == []


def test_options_that_cannot_work_together_are_a_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "registered", lambda: iter(()))  # the checks of plugins, which import torch
    code = run_command("doctor", ["adapter=full", "quantization=nf4", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (code, told["can_run"]) == (1, False)
    (reason,) = told["reasons"]
    assert (reason["name"], reason["topic"]) == ("config", "this run")
    assert reason["detail"].startswith("adapter=full trains all weights and quantization=nf4 freezes them")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--jsn"],
            r"unknown option '--jsn'. Did you mean '--json'\? Valid: --help, --json, -h. Usage: python -m ",
        ),
        (["-m", "seed=1,2"], r"unknown option '-m'"),
        (["quickstart"], r"'quickstart' is not an override of the form key=value. Usage: "),
        (["seed=1", "seed=2"], r"seed=1 and seed=2 set the same key: give it once"),
        (["adapter.rank=64"], r"rank is called adapter\.r here"),
        (["+trainer.lerning_rate=1"], r"unknown key 'trainer.lerning_rate'"),
        (["+experiment=llama8b_qlor"], r"Did you mean 'llama8b_qlora'"),
        (["trainer.learning_rate=5"], r"trainer.learning_rate=5.0 must be|trainer.learning_rate=5 must be"),
        (["model=local"], r"model.path has no value"),
        (["plugins=[./gone.py]"], r"there is no such Python file"),
        (["hydra.run.dir=x"], r"run_dir=FOLDER"),
    ],
)
def test_a_mistyped_word_is_refused(words: list[str], told: str) -> None:
    with pytest.raises(FrameworkError, match=told):
        run_command("doctor", words)


def test_a_mistyped_word_ends_with_exit_code_2_and_prints_no_json(tmp_path: Path) -> None:
    result = program("doctor", "adapter.rank=64", "--json", cwd=tmp_path)
    assert (result.code, result.out) == (2, "")
