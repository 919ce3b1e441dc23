"""Secrets are planted where users have them, and every byte that a run leaves or prints is searched for them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from framework import FrameworkError, testing
from framework.api.component import GROUPS, UNCONFIGURED
from framework.api.fields import Type
from framework.api.plan import Plan
from framework.api.schema import RunConfig
from framework.api.text.overrides import quoted
from framework.config import catalog
from framework.config.catalog import options
from framework.run import pipeline
from tests.support.forked_program import echo, loggers
from tests.support.program import environment
from tests.support.project import project
from tests.support.tiny import chat_rows, tiny_llama

BODY = "MIIEvQIBADANBgkqhkiGPLANTEDBODY9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7"
VARIABLES = {
    "HF_TOKEN": "hf_Aq1Zx9Lm2Wn8Er3Ty7Ui4Op6Pk5SdFgHj2",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "OPENAI_API_KEY": "sk-proj-Zz9Yy8Xx7Ww6Vv5Uu4Tt3Ss2Rr1Qq0",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIrK7MDENGbPxRfiCYzzPLANTEDKY",
    "JUDGE_API_KEY": 'judgeKEY "planted" 4242 words',
    "PGPASSWORD": "correct horse battery planted",
    "DB_PWD": "dbPWDplanted",
    "SERVICE_KEY": "servicePLANTED",
    "SIGNING_PEM": "first line planted\nsecond line planted",
    "SHORT_TOKEN": "pl4nt3d",
    "GH_PAT": "gitPATplanted",
    "DATABASE_URL": "postgres://joe:urlPLANTEDpass@host/x",
}
"""Each is put into settings by `${oc.env:NAME}`, and raised by a plugin."""
KINDS = {
    "hf_NaMeSeCrEtPlantedInTheRunName1234": "{}",
    "sk-proj-Kk1Jj2Hh3Gg4Ff5Dd6Ss7Aa8": "key {}",
    "AKIAZ7PLANTED9KEY0QX": "{}",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a": "{}",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJQTEFOVEVEIn0.c2lnUExBTlRFRA": "{}",
    "glpat-PLANTEDxyz1234567": "{}",
    "AIzaSyPLANTEDa1b2c3d4e5f6g7h8i9j0k1l2": "{}",
    "npm_PLANTEDa1b2c3d4e5f6g7h8i9j0k1l2m3n4": "{}",
    "sk_live_51PLANTEDabcd": "{}",
    "rk_live_51PLANTEDabcd": "{}",
    "xoxb-1234567890-PLANTED": "{}",
    BODY: "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----",
    "hostTOKENplanted": "https://{}@host/x",
    "lowBEARERplanted": "authorization: bearer {}",
    "xAPIKEYplanted": "x-api-key: {}",
    "jsonPLANTEDkey": '{{"api_key": "{}"}}',
    "sasPLANTEDsig": "https://host/x?sv=1&sig={}",
    "BearerPLANTEDvalue9911": "Authorization: Bearer {}",
}
"""Secrets that no variable holds, and the text around each."""
OF_HUB, OF_GITLAB = (secret for secret in KINDS if secret.startswith(("hf_", "glpat-")))
TEXTS = [text.format(secret) for secret, text in KINDS.items()]
PATH, PROMPT, ROW = "dpathTOKENplanted77", "hunter2PLANTEDpass", "sk-RowPlanted00112233445566778899"
PARTS = {part for value in (*VARIABLES.values(), "urlPLANTEDpass") for part in (value, *value.split("\n"))}
SECRETS = {*PARTS, *KINDS, PATH, PROMPT, ROW}
# What a user asked to be shown as it is: the prompts and answers of a run, and the rows that it reads.
SHOWN = ("baseline.json", "evaluate.json", "report.html", "texts.arrow")
ECHO = ("words.json", "echo.json")
"""The weights of the echo backend, which are its rows."""
ASKED_FOR = {PROMPT: (*SHOWN, *ECHO), ROW: (*SHOWN, *ECHO)}
WHERE = ("overrides.json", "multirun.yaml")
"""What holds the overrides as they were typed, for their owner alone."""
TYPED = "conf/"
"""The folder of the user's own config."""
PLUGIN = '''
"""Whatever this plugin is asked, it raises an error with all secrets."""
import json, os
from dataclasses import dataclass
from framework import Component, exporter, formatter, hookimpl, metric
from framework.api.schema import DataConfig, LoggerConfig
from framework.api.events import RunFinished

def fail():
    raise RuntimeError("cannot reach " + "; ".join(json.loads(os.environ["TEXTS"])).replace("\\n", " "))

@dataclass
class BadData(DataConfig):
    """Rows that cannot be read."""

class Source:
    def __init__(self, config): ...
    def load(self): fail()

@dataclass
class BadLogger(LoggerConfig):
    """A log that cannot be written."""

class Logger:
    def __init__(self, config): ...
    def log(self, event):
        if isinstance(event, RunFinished): fail()
    def close(self): ...

@hookimpl
def framework_components():
    yield Component("bad", BadData, "bad:Source")
    yield Component("bad", BadLogger, "bad:Logger")

@hookimpl
def framework_run_started(plan):
    fail()

@metric
def bad_metric(answer):
    """Cannot score."""
    fail()

@formatter("instruction")
def bad_format(row):
    """Cannot read."""
    fail()

@exporter
def bad_exporter(model, context):
    """Cannot export."""
    fail()
'''


def settings(place: Path) -> list[str]:
    """Write data with a secret in a row and in its path, and an experiment with the others; return overrides."""
    rows = chat_rows(40)
    rows[5]["output"] = f"my key is {ROW}, keep it"
    folder = place / f"data token={PATH}"
    folder.mkdir()
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    texts = [*TEXTS, *(f"${{oc.env:{name}}}" for name in VARIABLES)]
    log = {
        "wandb": {"mode": "offline", "notes": "; ".join(texts), "tags": [text for text in texts if len(text) < 60]},
        "mlflow": {"tags": {f"note{number}": text for number, text in enumerate(texts)}},
    }
    here = place / "here"
    (here / "conf/experiment").mkdir(parents=True)
    text = f"# @package _global_\n{yaml.safe_dump({'logger': log})}"
    (here / "conf/experiment/planted.yaml").write_text(text, encoding="utf-8")
    return [
        *("+experiment=planted", "data=local_file", f"data.path='{folder}/rows.jsonl'"),
        *(f'name="x{OF_HUB}-{OF_GITLAB}"', f'format.system_prompt="be brief, password={PROMPT}"'),
    ]


def found(place: Path, printed: str) -> Iterator[str]:
    """Name the places where a secret is that nobody asked for."""
    for secret in SECRETS:
        if secret in printed:
            yield f"{secret} is printed"
    for file in place.rglob("*"):
        inner = file.relative_to(place).as_posix()
        if inner.startswith(("data token=", f"here/{TYPED}", "bad.py")):
            continue
        content = file.read_bytes() if file.is_file() and not file.is_symlink() else b""
        for secret in SECRETS:
            if secret in inner:
                yield f"{secret} names {inner}"
            # In JSON, quotes and line breaks have a backslash.
            elif any(form in content for form in (secret.encode(), json.dumps(secret)[1:-1].encode())):
                if file.name in WHERE:
                    assert file.stat().st_mode & 0o777 == 0o600
                elif file.name not in ASKED_FOR.get(secret, ()):
                    yield f"{secret} is in {inner}"


def private(place: Path) -> dict[str, str]:
    """Return variables with the secrets, and folders for caches and temporary files below `place`."""
    (place / "tmp").mkdir()
    return {**VARIABLES, "FRAMEWORK_CACHE": str(place / "cache"), "TMPDIR": str(place / "tmp")}


def test_no_secret_is_left_or_printed(tmp_path: Path) -> None:
    env, words = private(tmp_path), settings(tmp_path)
    more = ["logger=[console,jsonl,html,wandb]", "exporter=[model_card]"]
    done = echo(*words, *more, cwd=tmp_path / "here", env=env, of=loggers())
    assert done.code == 0, done.err
    assert "(hidden)" in done.out
    assert "token=(hidden)" in done.out  # the command to try next
    assert list(tmp_path.glob(f"here/outputs/*/*/{WHERE[0]}"))
    assert [*found(tmp_path, done.out + done.err)] == []


def test_a_sweep_leaves_none_either(tmp_path: Path) -> None:
    env, words = private(tmp_path), settings(tmp_path)
    done = echo("-m", *words, "seed=1,2", "logger=[html]", "stages=[data]", cwd=tmp_path / "here", env=env)
    assert done.code == 0, done.err
    assert list(tmp_path.glob(f"here/outputs/*/*/{WHERE[1]}"))
    assert [*found(tmp_path, done.out + done.err)] == []


@pytest.mark.parametrize(
    ("what", "code"),
    [
        (["metric=[bad_metric]", "logger=[bad,console,jsonl,html]", "format=alpaca"], 0),
        (["exporter=[bad_exporter]", "evaluator=[]", "logger=[jsonl,html]", "format=alpaca"], 2),
        (["exporter=[bad_exporter]", "evaluator=[]", "logger=[html]", "format=alpaca", "seed=1,2"], 2),
        (["format=bad_format", "stages=[data]", "logger=[html]"], 2),
        (["data=bad", "stages=[data]", "logger=[html]"], 2),
    ],
    ids=["metric, logger and hook", "exporter", "sweep", "format", "source"],
)
def test_no_error_of_a_plugin_has_one(tmp_path: Path, what: Sequence[str], code: int) -> None:
    texts = [*TEXTS, *VARIABLES.values()]
    env, words = {**private(tmp_path), "TEXTS": json.dumps(texts)}, settings(tmp_path)
    (tmp_path / "bad.py").write_text(PLUGIN, encoding="utf-8")
    words = [word for word in words if not (word.startswith("data") and what[0] == "data=bad")]
    options = ["-m"] if "seed=1,2" in what else []
    done = echo(*options, *words, "plugins=[../bad.py]", *what, cwd=tmp_path / "here", env=env)
    assert done.code == code, done.err
    assert "cannot reach" in done.out + done.err
    assert [*found(tmp_path, done.out + done.err)] == []


def test_the_name_of_a_run_is_no_way_to_print_a_variable(tmp_path: Path) -> None:
    env = {"HF_TOKEN": VARIABLES["HF_TOKEN"]}
    done = project(tmp_path, env=env).run("+experiment=quickstart", "name=${oc.env:HF_TOKEN}", "stages=[plan]")
    assert (done.code, done.err) == (0, "")
    assert [*found(tmp_path, done.out)] == []


def test_a_mistake_is_reported_without_what_is_secret_in_it(tmp_path: Path) -> None:
    word = f"data.path='gone?token={PATH}/rows.jsonl'"
    done = project(tmp_path).run("data=local_file", word, f"trainer.lerning_rate={OF_HUB}", "stages=[data]")
    assert done.code == 2
    assert [*found(tmp_path, done.out + done.err)] == []


def run(command: Sequence[str], here: Path, env: Mapping[str, str], printed: Path) -> tuple[int, set[str]]:
    """Run a command, and return its exit code and the arguments of its children."""
    arguments: set[str] = set()
    with printed.open("w") as out:
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
    return process.returncode, arguments


@pytest.mark.slow  # W&B, MLflow, the exports and a child process take a minute
@pytest.mark.parametrize("launch", ["single", "subprocess"])
def test_no_tracker_no_export_and_no_argument_of_a_child_has_one(tmp_path: Path, launch: str) -> None:
    env, words = environment(tmp_path, **private(tmp_path)), settings(tmp_path)
    model = tiny_llama(tmp_path / "model")
    command = [
        sys.executable, "-m", "framework", "model=local", f"model.path={model}", *words, "trainer.device=cpu",
        "trainer.dtype=fp32", "trainer.max_steps=3", "metric=[exact_match]", "evaluator=[short_prompts]",
        "logger=[console,jsonl,html,wandb,tensorboard,mlflow]", f"launch={launch}",
        "exporter=[adapter,merged,gguf,gguf_adapter,ollama,model_card]", "exporter.gguf.quantizations=[f16]",
        "exporter.gguf.parity.check=false", "exporter.merged.parity.check=false",
    ]  # fmt: skip
    code, arguments = run(command, tmp_path / "here", env, tmp_path / "printed.txt")
    printed = (tmp_path / "printed.txt").read_text(encoding="utf-8")
    (tmp_path / "printed.txt").unlink()
    assert code == 0, printed
    assert arguments
    assert list(tmp_path.glob("here/outputs/*/*/gguf/*.gguf"))
    assert [*found(tmp_path, printed + "\n".join(arguments))] == []


@pytest.mark.parametrize("text", ["https://user:urlPASSplanted@host/x", "${oc.env:SERVICE_KEY}"])
def test_a_value_of_the_chat_template_may_not_be_one(tmp_path: Path, text: str) -> None:
    env = {"SERVICE_KEY": VARIABLES["SERVICE_KEY"]}
    done = project(tmp_path, env=env).echo(f"model.chat_template_kwargs={{note: '{text}'}}", "stages=[plan]")
    assert done.code == 2
    assert "model.chat_template_kwargs.note=(hidden) is a secret" in done.err
    assert "planted" not in done.err.lower()
    assert not list(tmp_path.iterdir())


TOKEN = VARIABLES["HF_TOKEN"]
NEEDED = {"path": "rows.jsonl", "base_url": "http://127.0.0.1:9/v1", "model": "m", "repo_id": "owner/name"}
"""What settings need that have no default."""
PROMPTS = ("format.system_prompt", "evaluator.prompts.prompts", "evaluator.lm_eval.system_instruction")
"""Shown in answers, and by the echo backend in its weights."""
PLACES = ("run_dir", "logger.mlflow.tracking_uri")
"""Folders that the user asks for."""
SLOW = {"evaluator.lm_eval.tasks"}
"""To list the tasks of lm-eval takes seconds; its message is that of any unknown name."""


def text_for(kind: Type) -> Any:
    """Return the token in the form that a setting of a type takes; None if it takes no text."""
    inner = text_for(kind.items) if kind.items else TOKEN
    if kind.base in (list, dict):
        return inner and ([inner] if kind.base is list else {"note": inner})
    forms = (TOKEN, f"{TOKEN}.jsonl", f"owner/{TOKEN}")
    return next(filter(kind.holds, forms), TOKEN) if kind.base in (str, Path, Any) else None


def planted() -> Iterator[tuple[list[str], dict[str, str]]]:
    """Give the words that choose an option, and its settings that take text, each with the word that plants a token.

    A setting that options share is given once. Those of a model and a trainer, which the echo backend replaces,
    and of what needs a library of its own are only planned.
    """
    yield [], {name: word for name, word in words_of("", RunConfig) if name.partition(".")[0] not in GROUPS}
    seen = set[tuple[str, type]]()
    for group in (each for each in GROUPS.values() if each.name not in UNCONFIGURED):
        for option, found in options(group).items():
            schema = found.component.schema
            place = f"{group.name}.{option}." if group.several else f"{group.name}."
            chosen = f"{group.name}=[{option}]" if group.several else f"{group.name}={option}"
            planned = found.component.extras or group.name in {"model", "trainer", "adapter", "exporter"}
            only = ["stages=[plan]"] if planned and option not in {"adapter", "model_card"} else []
            words = {}
            for name, word in words_of(place, schema):
                field = name.removeprefix(place).partition(".")[0]
                owner = next(each for each in schema.__mro__ if field in vars(each).get("__annotations__", ()))
                if (name.rpartition(".")[2], owner) not in seen:
                    seen.add((name.rpartition(".")[2], owner))
                    words[name] = word
            required = [each.name for each in catalog.settings(schema) if each.required]
            needed = [f"{place}{name}={NEEDED.get(name, 'x')}" for name in required]
            yield [chosen, *only, *needed], words


def words_of(place: str, schema: type) -> Iterator[tuple[str, str]]:
    """Give the settings of a schema that take text, each with the word that plants a token there."""
    for each in catalog.settings(schema):
        if (value := text_for(each.field.type)) is not None and "[]" not in each.name:
            yield f"{place}{each.name}", f"{place}{each.name}={quoted(value)}"


def test_a_secret_in_any_setting_is_refused_or_left_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sleep = time.sleep  # the Hub is asked five times, with seconds in between
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
    wrong, tried = [], set[str]()
    usual = ["data=local_file", "data.path=rows.jsonl", "logger=[jsonl,html,console]", "audit=[]", "run_dir=run"]

    def key(word: str) -> str:
        return word.partition("=")[0]

    def refused(here: Path, chosen: list[str], words: dict[str, str], run: Callable[[Plan], object]) -> str:
        """Plan, or run, with these words; note where the token is, and return why it was refused."""
        here.mkdir()
        monkeypatch.chdir(here)
        (here / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chat_rows(12)), encoding="utf-8")
        keys = {*words, *map(key, chosen), *(["data.path"] if "data=" in " ".join(chosen) else [])}
        given = [
            *(word for word in usual if key(word) not in keys),
            *(each for each in chosen if key(each) not in words),
        ]
        why = ""
        try:
            run(testing.plan([*given, *words.values()], run_dir=here))
        except FrameworkError as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001 - told with all others
            wrong.append(f"{[*words]}: {type(error).__name__}: {error}")
        shown = capsys.readouterr()
        if TOKEN in why + shown.out + shown.err:
            wrong.append(f"one of {[*words]} is printed")
        for file in here.rglob("*"):
            if TOKEN in file.name and not {*words} & {*PLACES}:
                wrong.append(f"one of {[*words]} names {file.name}")
            asked = (*SHOWN, *ECHO) if {*words} & {*PROMPTS} else ()
            if file.is_file() and file.name not in (*WHERE, *asked) and TOKEN.encode() in file.read_bytes():
                wrong.append(f"one of {[*words]} is in {file.name}")
        return why

    for number, (chosen, found) in enumerate(planted()):
        words = {name: word for name, word in found.items() if name not in SLOW}
        tried |= {*words}
        # Those that the user asks to be shown run by themselves: beside them, a leak of another could not be seen.
        alone = [name for name in words if name in (*PROMPTS, *PLACES)]
        left = {name: word for name, word in words.items() if name not in alone}
        while left:
            why, before = refused(tmp_path / f"{number} {len(left)}", chosen, left, pipeline.run), len(wrong)
            named = {name for name in left if re.search(rf"(?<![\w.]){name}[=:.]", why)}
            if len(left) > 1 and (wrong[before:] or (why and not named)):  # which one, or whether the others are right
                alone += [name for name in left if name not in named]
                break
            left = {name: word for name, word in left.items() if name not in named} if named else {}
        for name in alone:
            refused(tmp_path / f"{number} {name}", chosen, {name: words[name]}, pipeline.run)
    assert wrong == []
    assert len(tried) > 60
