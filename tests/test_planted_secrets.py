"""Twelve secrets are planted where users have them, and every byte that a run leaves is searched for each of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.forked_program import echo, program
from tests.support.program import environment
from tests.support.tiny import chat_rows, tiny_llama

VARIABLES = {
    "HF_TOKEN": "hf_Aq1Zx9Lm2Wn8Er3Ty7Ui4Op6Pk5SdFgHj2",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "OPENAI_API_KEY": "sk-proj-Zz9Yy8Xx7Ww6Vv5Uu4Tt3Ss2Rr1Qq0",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIrK7MDENGbPxRfiCYzzPLANTEDKY",
    "AWS_ACCESS_KEY_ID": "AKIAZ7PLANTED9KEY0QX",
    "JUDGE_API_KEY": "judgeKEYplanted-4242-zzzz",
}
NAME, PATH, PROMPT = "hf_NaMeSeCrEtPlantedInTheRunName1234", "dpathTOKENplanted77", "hunter2PLANTEDpass"
ROW, ADDRESS, NOTES = "sk-RowPlanted00112233445566778899", "urlPASSplanted8833", "BearerPLANTEDvalue9911"
SECRETS = [*VARIABLES.values(), NAME, PATH, PROMPT, ROW, ADDRESS, NOTES]
# What a user asked to be shown as it is: the prompts and answers of a run, and the rows that it reads.
SHOWN = ("baseline.json", "evaluate.json", "report.html", "texts.arrow")
ECHO = ("words.json", "echo.json")
"""The weights of the echo backend, which are its rows."""
ASKED_FOR = {PROMPT: (*SHOWN, *ECHO), ROW: (*SHOWN, *ECHO)}
WHERE = "overrides.json"


def words(place: Path) -> list[str]:
    """Write data with a secret in a row and in its path, and return overrides with the others."""
    rows = [{"instruction": f"say {number}", "input": "", "output": f"it is {number}"} for number in range(20)]
    rows[5]["output"] = f"my key is {ROW}, keep it"
    folder = place / f"data token={PATH}"
    folder.mkdir()
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [
        "data=local_file",
        f"data.path='{folder}/rows.jsonl'",
        f'name="x{NAME}"',
        f'format.system_prompt="be brief, password={PROMPT}"',
        f"model.chat_template_kwargs={{note: 'https://user:{ADDRESS}@host/x', more: 'Authorization: Bearer {NOTES}'}}",
    ]


def found(place: Path, printed: str) -> Iterator[str]:
    """Name the places where a secret stands that nobody asked for."""
    for secret in SECRETS:
        if secret in printed:
            yield f"{secret} is printed"
        for file in place.rglob("*"):
            inner = file.relative_to(place).as_posix()
            if inner.startswith("data token="):
                continue
            if secret in inner:
                yield f"{secret} names {inner}"
            elif file.is_file() and not file.is_symlink() and secret.encode() in file.read_bytes():
                if file.name == WHERE:  # the words as they were typed, for their owner alone
                    assert file.stat().st_mode & 0o777 == 0o600
                elif file.name not in ASKED_FOR.get(secret, ()):
                    yield f"{secret} stands in {inner}"


def private(place: Path) -> dict[str, str]:
    """Return variables with the secrets, and folders for caches and temporary files below `place`."""
    (place / "tmp").mkdir()
    return {**VARIABLES, "FRAMEWORK_CACHE": str(place / "cache"), "TMPDIR": str(place / "tmp")}


def test_no_secret_is_left_or_printed(tmp_path: Path) -> None:
    env, here = private(tmp_path), tmp_path / "here"
    here.mkdir()
    done = echo(*words(tmp_path), "logger=[console,jsonl,html]", cwd=here, env=env)
    assert done.code == 0, done.err
    assert "(hidden)" in done.out
    assert "token=(hidden)" in done.out  # the command to try next
    assert list(here.glob(f"outputs/*/*/{WHERE}"))
    assert [*found(tmp_path, done.out + done.err)] == []


def test_a_sweep_leaves_none_either(tmp_path: Path) -> None:
    env, here = private(tmp_path), tmp_path / "here"
    here.mkdir()
    done = echo("-m", *words(tmp_path), "seed=1,2", "logger=[html]", "stages=[data]", cwd=here, env=env)
    assert done.code == 0, done.err
    (typed,) = here.glob("outputs/*/*/multirun.yaml")  # Hydra's own record
    assert typed.stat().st_mode & 0o777 == 0o600
    typed.unlink()
    assert [*found(tmp_path, done.out + done.err)] == []


def test_the_name_of_a_run_is_no_way_to_print_a_variable(tmp_path: Path) -> None:
    env = {"HF_TOKEN": VARIABLES["HF_TOKEN"]}
    done = program("+experiment=quickstart", "name=${oc.env:HF_TOKEN}", "stages=[plan]", cwd=tmp_path, env=env)
    assert (done.code, done.err) == (0, "")
    assert [*found(tmp_path, done.out)] == []


def test_a_mistake_is_reported_without_what_is_secret_in_it(tmp_path: Path) -> None:
    word = f"data.path='gone?token={PATH}/rows.jsonl'"
    done = program("data=local_file", word, f"trainer.lerning_rate={NAME}", "stages=[data]", cwd=tmp_path)
    assert done.code == 2
    assert [*found(tmp_path, done.out + done.err)] == []


@pytest.mark.slow  # W&B, MLflow and a child process take a minute; the loggers of this machine are tested above
@pytest.mark.parametrize("launch", ["single", "subprocess"])
def test_no_tracker_and_no_argument_of_a_child_has_one(tmp_path: Path, launch: str) -> None:
    here = tmp_path / "here"
    here.mkdir()
    model = tiny_llama(tmp_path / "model")
    typed = words(tmp_path)[:4]
    rows = [*tmp_path.glob("data*/rows.jsonl")][0]  # noqa: RUF015 - there is one
    chat = chat_rows(40)
    chat[5]["output"] = f"my key is {ROW}, keep it"
    rows.write_text("".join(json.dumps(row) + "\n" for row in chat), encoding="utf-8")
    command = [
        sys.executable, "-m", "framework", "model=local", f"model.path={model}", *typed, "trainer.device=cpu",
        "trainer.dtype=fp32", "trainer.max_steps=3", "metric=[exact_match]", "evaluator=[short_prompts]",
        "logger=[console,jsonl,html,wandb,tensorboard,mlflow]", "logger.wandb.mode=offline", f"launch={launch}",
        f"logger.wandb.notes='Authorization: Bearer {NOTES}'", f"logger.wandb.tags=['https://u:{ADDRESS}@host/x']",
        f"logger.mlflow.tags={{note: 'password={PROMPT}'}}",
    ]  # fmt: skip
    arguments: set[str] = set()
    env = environment(tmp_path, **private(tmp_path))
    with (tmp_path / "printed.txt").open("w") as out:
        process = subprocess.Popen(command, cwd=here, env=env, stdout=out, stderr=subprocess.STDOUT)
        while process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                try:
                    given = child.cmdline()
                except psutil.Error:  # it has ended meanwhile
                    continue
                if given != command:  # a fork, which tries the chat template, shows what the user has typed
                    arguments.add(" ".join(given))
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
    printed = (tmp_path / "printed.txt").read_text(encoding="utf-8")
    (tmp_path / "printed.txt").unlink()
    assert process.returncode == 0, printed
    assert arguments
    assert [*found(tmp_path, printed + "\n".join(arguments))] == []
