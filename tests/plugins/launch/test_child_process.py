"""`launch=subprocess`, with real processes: what comes back, and what a killed run leaves."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.api import records
from framework.api.protocols import Launcher
from framework.api.records import Report
from tests.support import ending
from tests.support.forked_program import launch, program
from tests.support.program import environment, typed

WORDS = [*ending.WORDS, "launch=subprocess"]


@pytest.fixture
def place(tmp_path: Path, data_file: Path) -> Path:
    """Return a working folder with data and the plugin."""
    folder = tmp_path / "place"
    folder.mkdir()
    shutil.copy(data_file, folder / "rows.jsonl")
    (folder / ending.FILE).write_text(ending.PLUGIN, encoding="utf-8")
    return folder


def status(run: Path) -> tuple[str, str | None, str | None]:
    saved = json.loads((run / "status.json").read_text(encoding="utf-8"))
    return saved["state"], saved["stage"], saved["error"]


def test_the_run_happens_in_another_process_and_its_report_comes_back(data_file: Path, tmp_path: Path) -> None:
    plan = testing.plan(["data=local_file", f"data.path={data_file}", "launch=subprocess"], run_dir=tmp_path / "run")
    launcher: Launcher = plan.launch.create()
    report = launcher.launch(plan)  # the echo components are registered here only, and go along with the plan
    assert report == records.load(Report, tmp_path / "run" / "report.json")
    assert (tmp_path / "run" / "checkpoint").is_dir()
    saved = json.loads((tmp_path / "run" / "environment.json").read_text(encoding="utf-8"))
    assert saved["options"]["launch"] == "subprocess"


def test_without_the_report_stage_there_is_none(data_file: Path, tmp_path: Path) -> None:
    words = ["data=local_file", f"data.path={data_file}", "launch=subprocess", "stages=[plan,data]"]
    plan = testing.plan(words, run_dir=tmp_path)
    assert plan.launch.create().launch(plan) is None


def test_a_mistake_is_reported_once_with_exit_code_2(place: Path) -> None:
    done = program(*WORDS, "run_dir=run", "trainer.end=mistake", cwd=place)
    assert (done.code, done.err) == (2, "first line\nsecond line\n")
    early = program(*(word.replace("rows", "missing") for word in WORDS), "run_dir=early", cwd=place)
    assert early.code == 2
    assert early.err.startswith("there is no data file missing.jsonl")
    assert not (place / "early").exists()


def test_a_failure_is_a_traceback_of_the_child_and_exit_code_1(place: Path) -> None:
    done = program(*WORDS, "run_dir=run", "trainer.end=failure", cwd=place)
    assert done.code == 1
    assert ending.FILE in done.err
    last = done.err.splitlines()[-1]
    assert last == "RuntimeError: the run in a process of its own ended with exit code 1: LookupError: lost"


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (
            signal.SIGKILL,
            "the run was killed by signal 9 (SIGKILL), most likely for lack of memory. Less is needed with ",
        ),
        pytest.param(signal.SIGSEGV, "the run was killed by signal 11 (SIGSEGV)\n", marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_is_reported_with_the_signal_and_its_folder_says_so(place: Path, number: int, told: str) -> None:
    done = program(*WORDS, "run_dir=run", f"trainer.end={int(number)}", cwd=place)
    assert done.code == 2
    assert done.err.startswith(told)
    assert len(done.err.splitlines()) == 1
    assert status(place / "run") == ("failed", "baseline", done.err.strip())


@pytest.mark.slow
def test_a_killed_point_does_not_end_a_sweep(place: Path) -> None:
    done = program("-m", *WORDS, "name=mine", "trainer.end=9,none,failure", cwd=place)
    assert done.code != 0
    rows = [[cell.strip() for cell in line.split("│")[1:4]] for line in done.out.splitlines() if line.startswith("│")]
    assert [(row[0], row[2] == "failed") for row in rows] == [("0", True), ("1", False), ("2", True)]
    assert "\ntrial 0 failed: the run was killed by signal 9 (SIGKILL), most likely for lack of memory. " in done.out
    assert "\ntrial 2 failed: LookupError: lost\n" in done.out
    assert (next(place.glob("outputs/mine/sweep_*/1")) / "report.json").exists()


def started(place: Path, *words: str) -> tuple[subprocess.Popen[str], int]:
    """Start a run that never ends, wait until it trains, and return the process and the id of its child."""
    parent = subprocess.Popen(
        [sys.executable, "-m", "framework", *WORDS, "run_dir=run", "trainer.end=never", *words],
        cwd=place,
        env=environment(place),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: (place / "run" / "status.json").exists() and status(place / "run")[1] == "baseline")
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text(encoding="utf-8").split()
    return parent, int(children[0])


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


def alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes as Linux shows them")
@pytest.mark.parametrize(
    "group",
    [
        pytest.param(False, id="the parent alone"),
        pytest.param(True, id="the group, as a terminal does", marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_reaches_the_child_and_the_parent_waits_for_it(place: Path, *, group: bool) -> None:
    parent, child = started(place)
    if group:
        os.killpg(parent.pid, signal.SIGINT)
    else:
        parent.send_signal(signal.SIGINT)
    _, err = parent.communicate(timeout=60)
    told = f"interrupted by SIGINT. Kept: data, baseline. Continue with: {typed(place)} resume run\n"
    assert (parent.returncode, err) == (130, told)
    assert not alive(child)
    assert status(place / "run") == ("interrupted", "baseline", "interrupted by SIGINT")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes as Linux shows them")
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_so_do_the_other_signals_that_ask_a_run_to_end(place: Path, number: signal.Signals) -> None:
    parent, child = started(place)
    parent.send_signal(number)
    _, err = parent.communicate(timeout=60)
    assert parent.returncode == 128 + number, err
    assert not alive(child)
    assert status(place / "run")[0] == "interrupted"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes as Linux shows them")
def test_a_child_does_not_outlive_its_parent(place: Path) -> None:
    parent, child = started(place)
    parent.kill()
    wait_for(lambda: not alive(child))
    parent.communicate()
    assert status(place / "run") == ("interrupted", "baseline", "interrupted by SIGINT")


UNREACHABLE = """
from dataclasses import dataclass
from pathlib import Path

from framework import Component, hookimpl, testing
from framework.api.schema import MetricConfig


@dataclass
class HereConfig(MetricConfig):
    '''Is in a script, which no other process imports.'''


class Here:
    @hookimpl
    def framework_components(self):
        yield Component("here", HereConfig, "framework_plugins.evals.metrics.exact_match:ExactMatch")


testing.add(Here(), name="here")
plan = testing.plan(
    ["data=local_file", "data.path=rows.jsonl", "launch=subprocess", "metric=[here]"], run_dir=Path("run")
)
plan.launch.create().launch(plan)
"""


def test_settings_that_the_child_cannot_import_are_refused_with_the_way_out(place: Path) -> None:
    done = launch((sys.executable, "-c", UNREACHABLE), cwd=place)
    assert done.code == 1
    text = "framework.util.errors.FrameworkError: launch=subprocess cannot pass on this plan (AttributeError: "
    last = done.err.splitlines()[-1]
    assert last.startswith(text)
    assert last.endswith("Put the plugin into a file and name that file, plugins=[./mine.py], or set launch=single")
    assert not (place / "run").exists()


@dataclass
class Unpicklable:
    """A setting that pickle refuses."""

    value: object


def test_settings_that_cannot_be_written_down_are_refused_too(data_file: Path, tmp_path: Path) -> None:
    plan = testing.plan(["data=local_file", f"data.path={data_file}", "launch=subprocess"], run_dir=tmp_path / "run")
    config = {**plan.config, "extra": Unpicklable(lambda: None)}
    with pytest.raises(FrameworkError, match=r"^launch=subprocess cannot pass on this plan .* or set launch=single$"):
        plan.launch.create().launch(dataclasses.replace(plan, config=config))
    assert not (tmp_path / "run").exists()


def test_a_plugin_of_one_file_goes_along_and_a_rerun_compares_the_rows_in_the_child_too(place: Path) -> None:
    done = program(*WORDS, "run_dir=run", cwd=place)
    assert (done.code, done.err) == (0, "")
    assert records.load(Report, place / "run" / "report.json").hardware["device"] == "none"
    with (place / "rows.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"instruction": "more", "output": "rows"}\n')
    done = program("rerun", "run", "run_dir=again", cwd=place)
    assert done.code == 2
    assert f"the data differ from those of {place}/run: fingerprint " in done.err
    assert not (place / "again").exists()
