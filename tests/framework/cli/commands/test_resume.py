"""`python -m framework resume`: a run continues, and only what is missing of a sweep runs again."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.support.forked_program import ECHO, MODULE, Result, begun, launch
from tests.support.program import typed
from tests.support.project import project
from tests.support.sweeps import WORDS as WORDS_OF_SWEPT
from tests.support.sweeps import points, prepare

ROWS = "".join(f'{{"instruction": "{number}?", "output": "{number}"}}\n' for number in range(12))
WORDS = ("-m", "data=local_file", "data.path=rows.jsonl", "logger=[]", "evaluator=[]", "exporter=[]", "audit=[]")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a working folder with data."""
    folder = tmp_path / "place"
    folder.mkdir()
    (folder / "rows.jsonl").write_text(ROWS, encoding="utf-8")
    return folder


def resume(*words: str, cwd: Path) -> Result:
    return launch(ECHO, "resume", *words, cwd=cwd)


def started(folder: Path) -> dict[str, int]:
    """Return when the words of each point were written: a point that is left alone keeps its time."""
    return {file.parent.name: file.stat().st_mtime_ns for file in folder.glob("*/overrides.json")}


def test_points_that_failed_or_were_killed_or_never_began_run_and_the_others_stay(place: Path) -> None:
    assert project(place).echo(*WORDS, "seed=1,2,3,4", "hydra.sweep.dir=x").code == 0
    folder = place / "x"
    before = started(folder)
    for number, state in (("1", "failed"), ("2", "running")):
        file = folder / number / "status.json"
        file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), "state": state}), encoding="utf-8")
    for file in (folder / "3").iterdir():
        if file.is_file():
            file.unlink()
    done = resume(str(folder), cwd=place.parent)
    assert done.code == 0, done.err
    assert f"runs in {place}, where it was started" in done.err
    after = started(folder)
    assert [number for number in "0123" if after[number] == before.get(number)] == ["0"]
    rows = [[cell.strip() for cell in line.split("│")[1:3]] for line in done.out.splitlines() if line[:1] == "│"]
    assert rows == [[str(number), f"seed={number + 1}"] for number in range(4)]
    saved = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    assert [trial["state"] for trial in saved["trials"]] == ["finished"] * 4


def test_a_sweep_that_is_at_work_is_refused_and_goes_on(tmp_path: Path) -> None:
    place = prepare(tmp_path / "place")
    words = ["-m", *WORDS_OF_SWEPT, "seed=1,2", "trainer.naps=60", "objective=train_loss"]
    working = begun(*words, cwd=place)
    while not (place / "x" / "0" / "status.json").exists():
        assert working.poll() is None
        time.sleep(0.1)
    before = started(place / "x")
    for again in (("resume", "x"), words):
        done = project(place).run(*again)
        assert done.code == 2
        locked = f"{place / 'x'}: locked by process {working.pid} on {socket.gethostname()}. "
        assert done.err == f"{locked}Wait for it to finish or set hydra.sweep.dir=FOLDER\n"
        assert done.out == ""
    assert started(place / "x").items() >= before.items()
    (place / "enough").touch()
    assert working.wait(60) == 0
    assert [trial["state"] for trial in points(place)] == ["finished"] * 2
    assert project(place).run("resume", "x").code == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("x", "seed=2"), "unexpected argument 'seed=2'. Usage: "),
        (("nowhere",), "nowhere: there is no such folder"),
        (("run",), "run holds no plan.json: the run was refused before it began"),
        ((".",), "it has neither a run's overrides.json nor a sweep's multirun.yaml: nothing was started here"),
        (("swept/0",), "swept/0 is a trial of a sweep: resume the sweep with "),
        (("done",), "done is finished: there is nothing to resume; use rerun to run it again"),
        (("broken",), "multirun.yaml is not a sweep's file: it has no overrides"),
    ],
)
def test_what_cannot_be_resumed_is_said_in_a_line(place: Path, words: tuple[str, ...], text: str) -> None:
    for name in ("run", "broken"):
        (place / name).mkdir()
    (place / "run" / "overrides.json").write_text("[]", encoding="utf-8")
    for name, state in (("swept/0", "failed"), ("done", "finished")):
        (place / name).mkdir(parents=True)
        for file, content in (("overrides", "[]"), ("plan", "{}"), ("status", f'{{"state": "{state}"}}')):
            (place / name / f"{file}.json").write_text(content, encoding="utf-8")
    (place / "swept" / "multirun.yaml").write_text("hydra: {}\n", encoding="utf-8")
    (place / "broken" / "multirun.yaml").write_text("x: 1\n", encoding="utf-8")
    done = project(place).run("resume", *words)
    assert done.code == 2
    assert text in done.err
    assert len(done.err.splitlines()) == 1


ENDS = """
import os, signal, sys
from pathlib import Path
from framework import testing
from framework.cli import main
from framework.testing import echo

def killed(self, *_):
    Path("trained").open("a").write("x")
    os.kill(os.getpid(), signal.SIGKILL)

if not Path("trained").exists():
    echo.EchoModel.train = killed
testing.install()
main.main()
"""


def test_a_run_is_listed_and_goes_on_in_its_folder(place: Path) -> None:
    words = ("model=echo", "trainer=echo", *WORDS[1:], "seed=7")
    assert launch((MODULE[0], "-c", ENDS), *words, cwd=place).code == -signal.SIGKILL
    (run,) = place.glob("outputs/*/*")
    status = json.loads((run / "status.json").read_text("utf-8"))
    for saved, state in ((status, "killed"), (status | {"state": "interrupted"}, "interrupted")):
        (run / "status.json").write_text(json.dumps(saved), encoding="utf-8")
        listed = project(place).run("resume").out
        assert listed == f"{typed(place)} resume {run.relative_to(place)}    # {state}\n"
    done = resume(str(run), cwd=place.parent)
    assert done.code == 0, done.err
    assert f"runs in {place}, where it was started" in done.err
    assert list(place.glob("outputs/*/*")) == [run]
    assert json.loads((run / "environment.json").read_text("utf-8"))["seed"] == 7
    assert json.loads((run / "status.json").read_text("utf-8"))["state"] == "finished"
    assert project(place).run("resume").out == "nothing to resume: no run below outputs/ was interrupted\n"
    refused = project(place).run("resume", str(run))
    assert (refused.code, refused.err) == (
        2,
        f"{run} is finished: there is nothing to resume; use rerun to run it again\n",
    )


def test_two_processes_in_the_folder_of_a_run_are_refused(tmp_path: Path) -> None:
    place = prepare(tmp_path / "place")
    words = [*WORDS_OF_SWEPT, "trainer.end=never", "run_dir=outputs/run/x"]
    words = [word for word in words if not word.startswith("hydra.sweep.dir")]
    run = place / "outputs" / "run" / "x"
    working = begun(*words, cwd=place)
    while not (run / "status.json").exists():
        assert working.poll() is None
        time.sleep(0.1)
    before = {file: file.read_bytes() for file in run.glob("*.json") if file.name != "status.json"}
    for again in (("resume", str(run)), (*words, "seed=7")):
        done = project(place).run(*again)
        assert done.code == 2
        locked = f"{run}: locked by process {working.pid} on {socket.gethostname()}. "
        assert done.err == f"{locked}Wait for it to finish or set run_dir=FOLDER\n"
    assert {file: file.read_bytes() for file in before} == before
    assert project(place).run("resume").out == "nothing to resume: no run below outputs/ was interrupted\n"
    os.kill(working.pid, signal.SIGTERM)
    assert working.wait(60) == 143
    assert not (run / ".lock").exists()
