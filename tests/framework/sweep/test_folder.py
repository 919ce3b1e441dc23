"""The trials of a multirun, read from their folders."""

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from framework import hookimpl
from framework.api import records
from framework.api.records import Sweep, Trial
from framework.api.run_folder import FINISHED, RunFolder
from framework.hooks.session import Session, current
from framework.sweep.folder import SweepFolder, best_trial, describe_trial, finish, name_of, read_sweep, times
from framework.util.command import this_program
from framework_plugins.hf.settings.config import Device, HFTrainerConfig
from tests.framework.memory.test_shape import SMOLLM
from tests.support.forked_program import ECHO, Result, launch
from tests.support.project import project

SECRET = "open-sesame-42"  # noqa: S105 - planted
ROWS = "".join(f'{{"instruction": "{number}?", "output": "{number}"}}\n' for number in range(12))


def trial(folder: Path, number: int, value: float | None, *, higher: bool = False, name: str = "score") -> None:
    """Write what a trial leaves; without a value, what a failed one leaves."""
    run = folder / str(number)
    run.mkdir()
    words = ["data=local_file", f"trainer.learning_rate={number}"]
    (run / "overrides.json").write_text(json.dumps(words), encoding="utf-8")
    if value is not None:
        objective = {"name": name, "value": value, "higher_is_better": higher}
        verdict = {"score": 0.25, "lines": ["gained: something", "more"]}
        seconds = {"baseline": 1.0, "train": 1.25}
        report = {"objective": objective, "seconds": seconds, "peak_memory_bytes": 2**30, "verdict": verdict}
        (run / "report.json").write_text(json.dumps(report), encoding="utf-8")


def table(text: str) -> list[str]:
    """Return the lines of a sweep's table and those below it that are of its trials."""
    return text.partition("\npage: ")[0].splitlines()


def test_points_come_in_the_order_of_their_numbers_with_what_differs_between_them(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        trial(tmp_path, number, number / 10)
    (tmp_path / "multirun.yaml").touch()
    sweep = read_sweep(tmp_path)
    assert [found.number for found in sweep.trials] == [1, 9, 10]
    assert [found.overrides for found in sweep.trials] == [[f"trainer.learning_rate={number}"] for number in (1, 9, 10)]
    assert (sweep.objective, sweep.higher_is_better, sweep.best) == ("score", False, 1)
    assert sweep.trials[0] == Trial(
        1, ["trainer.learning_rate=1"], FINISHED, "", 0.1, 2.25, 1.25, 2**30, 0.25, "gained: something"
    )


def test_a_single_point_shows_all_its_settings(tmp_path: Path) -> None:
    trial(tmp_path, 0, 1.0)
    assert read_sweep(tmp_path).trials[0].overrides == ["data=local_file", "trainer.learning_rate=0"]


@pytest.mark.parametrize(("higher", "best"), [(False, 1), (True, 2)])
def test_the_best_point_is_the_lowest_or_the_highest_as_the_objective_wants(
    tmp_path: Path, best: int, *, higher: bool
) -> None:
    for number, value in enumerate((None, 0.0, 2.0, 1.0, math.nan)):
        trial(tmp_path, number, value, higher=higher)
    assert read_sweep(tmp_path).best == best


def test_where_no_point_has_a_value_none_is_best(tmp_path: Path) -> None:
    assert best_trial([], higher_is_better=True) is None
    trial(tmp_path, 0, None)
    sweep = read_sweep(tmp_path)
    assert best_trial(sweep.trials, higher_is_better=True) is None
    assert (sweep.objective, sweep.best) == (None, None)


def test_the_end_of_a_sweep_is_written_down_and_reported_to_the_plugins(tmp_path: Path) -> None:
    trial(tmp_path, 0, 0.5)
    told: list[tuple[Path, Sweep]] = []

    class Listener:
        @hookimpl
        def framework_sweep_finished(self, folder: Path, sweep: Sweep) -> None:
            told.append((folder, sweep))

    plugin = Listener()
    current().plugins.manager.register(plugin)
    try:
        finish(current(), tmp_path)
    finally:
        current().plugins.manager.unregister(plugin)
    assert told == [(tmp_path, read_sweep(tmp_path))]
    assert records.load(Sweep, tmp_path / "sweep.json") == told[0][1]


def test_no_secret_is_in_the_table_or_in_sweep_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_TOKEN", SECRET)
    monkeypatch.setenv("COLUMNS", "300")  # no line of the table is broken
    folder = tmp_path / SECRET
    folder.mkdir()
    for number, request in enumerate(("{api_key: only-here}", "{max_tokens: 16}")):
        trial(folder, number, 0.5, name=f"the score of {SECRET}")
        words = [f"name=by {SECRET} {number}", f"metric.judge.request={request}"]
        (folder / str(number) / "overrides.json").write_text(json.dumps(words), encoding="utf-8")
        told = {"state": "failed", "stage": "data", "error": f"ValueError: no {SECRET}"}
        (folder / str(number) / "status.json").write_text(json.dumps(told), encoding="utf-8")
    finish(current(), folder)
    printed, saved = capsys.readouterr().out, (folder / "sweep.json").read_text(encoding="utf-8")
    for text in (printed, saved):
        assert "name=by (hidden) 0" in text
        assert "request=(hidden)" in text
        assert "request={max_tokens: 16}" in text
        assert SECRET not in text
        assert "only-here" not in text


@pytest.mark.parametrize(
    ("state", "through"), [("finished", True), ("pruned", True), ("failed", False), ("running", False), (None, False)]
)
def test_a_point_is_through_that_finished_or_was_pruned(tmp_path: Path, state: str | None, *, through: bool) -> None:
    if state:
        (tmp_path / "status.json").write_text(json.dumps({"state": state}), encoding="utf-8")
    assert RunFolder(tmp_path).is_complete is through
    assert RunFolder(tmp_path).objective is None


def test_the_table_names_failed_points_and_the_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trial(tmp_path, 0, None)
    trial(tmp_path, 1, 0.5)
    finish(current(), tmp_path)
    lines = table(text := capsys.readouterr().out)
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert cells == [
        ["0", "learning_rate=0", "failed", "", "", ""],
        ["1", "learning_rate=1", "0.5", "2.2 s", "1.00 GiB", "0.25"],
    ]
    assert lines[-1] == "best: trial 1 (trainer.learning_rate=1)"
    page, heading, best = text.splitlines()[-3:]
    assert page == f"page: {tmp_path / 'sweep.html'}"
    assert heading == "next"
    assert best == f"  the best values: {this_program()} data=local_file trainer.learning_rate=1"


@pytest.mark.parametrize("apart", [True, False])
def test_a_trial_that_was_chosen_by_what_its_verdict_judges_is_to_be_measured_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, apart: bool
) -> None:
    for number in range(2):
        trial(tmp_path, number, 0.5 + number)
        file = tmp_path / str(number) / "report.json"
        report = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(report | {"data": {"judged_apart": apart}}), encoding="utf-8")
    finish(current(), tmp_path)
    *_, last = table(capsys.readouterr().out)
    told = "not confirmed: the best trial was chosen on the rows that its verdict is based on"
    assert last.startswith("best: trial" if apart else told)


@pytest.mark.parametrize(
    ("status", "score", "told"),
    [
        ({"state": "failed", "stage": "data", "error": "ValueError: [x] boom"}, "failed", "ValueError: [x] boom"),
        ({"state": "running", "stage": "data", "error": None}, "failed", "it was killed after the stage data"),
        ({"state": "running", "stage": None, "error": None}, "failed", "it was killed after the stage plan"),
        ({"state": "passed over", "stage": None, "error": "does not fit: 9 GiB"}, "passed over", "does not fit: 9 GiB"),
        ({"state": "pruned", "stage": "data", "error": "step 2 of 9: hopeless"}, "pruned", "step 2 of 9: hopeless"),
        ({"state": "finished", "stage": "train", "error": None}, "–", ""),
    ],
)
def test_a_point_without_a_report_says_why_or_has_not_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: dict[str, Any], score: str, told: str
) -> None:
    trial(tmp_path, 0, None)
    (tmp_path / "0" / "status.json").write_text(json.dumps(status), encoding="utf-8")
    finish(current(), tmp_path)
    text = capsys.readouterr().out
    row = next(line for line in text.splitlines() if line.startswith("│"))
    assert row.split("│")[3].strip() == score
    assert table(text)[-1] == f"trial 0 {score}: {told}" if told else "failed" not in text


def test_a_point_whose_stages_end_with_the_plan_has_not_failed(tmp_path: Path) -> None:
    trial(tmp_path, 0, None)
    (tmp_path / "0" / "plan.json").touch()
    assert read_sweep(tmp_path).trials[0].state == FINISHED


def test_without_points_nothing_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finish(current(), tmp_path)
    assert capsys.readouterr().out == ""


def test_settings_that_look_like_markup_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "[red]x[" / "]"
    folder.mkdir(parents=True)
    words = ["metric=[exact_match]", "metric=[/x]", "seed=:smile:"]
    for number, word in enumerate(words):
        trial(folder, number, number / 10)
        (folder / str(number) / "overrides.json").write_text(json.dumps([word]), encoding="utf-8")
    finish(current(), folder)
    text = capsys.readouterr().out
    assert [line.split("│")[2].strip() for line in text.splitlines() if line.startswith("│")] == words
    assert "".join(text.split("┏")[0].split()) == f"sweepin{folder}"
    assert table(text)[-1] == "best: trial 0 (metric=[exact_match])"


def test_points_of_an_earlier_sweep_into_the_folder_are_left_out(tmp_path: Path) -> None:
    for number in range(3):
        trial(tmp_path, number, 0.5)
    before = times(tmp_path)
    again = tmp_path / "1" / "overrides.json"
    again.write_text('["seed=2"]', encoding="utf-8")
    os.utime(again, ns=(before["1"] + 1, before["1"] + 1))
    assert [(found.number, found.overrides) for found in read_sweep(tmp_path, before).trials] == [(1, ["seed=2"])]
    assert read_sweep(tmp_path, times(tmp_path)).trials == []


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a working folder with data."""
    (tmp_path / "rows.jsonl").write_text(ROWS, encoding="utf-8")
    return tmp_path


def sweep(place: Path, *words: str) -> Result:
    return project(place).echo("-m", "data=local_file", "data.path=rows.jsonl", "logger=[]", *words)


def test_a_sweep_over_the_name_has_one_folder_and_a_table(place: Path) -> None:
    done = sweep(place, "name=a,b")
    assert done.code == 0, done.err
    (folder,) = place.glob("outputs/*/sweep_*")
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["0", "1"]
    names = [json.loads((folder / number / "report.json").read_text(encoding="utf-8"))["name"] for number in "01"]
    assert names == ["a", "b"]
    assert [line.split()[3] for line in done.out.splitlines() if line.startswith("│")] == ["name=a", "name=b"]


def test_a_folder_with_a_quote_and_a_space_is_one_folder_too(place: Path) -> None:
    done = sweep(place, "name=a,b", r"hydra.sweep.dir='it\'s mine/${name}'", "stages=[plan]")
    assert done.code == 0, done.err
    (folder,) = (place / "it's mine").iterdir()
    assert sorted(path.name for path in folder.glob("*/plan.json")) == ["plan.json"] * 2


BIG = """
from framework import hookimpl
from framework.memory import MemorySettings

@hookimpl
def framework_memory(plan, longest):
    yield MemorySettings(rows=1, length=longest, rank=1, process=1e18 if plan.seed == 1 else 0.0)
"""


def test_points_that_cannot_fit_are_passed_over_before_they_start_and_listed(place: Path) -> None:
    (place / "big.py").write_text(BIG, encoding="utf-8")
    model = place / "box"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(SMOLLM), encoding="utf-8")
    (model / "model.safetensors").touch()
    data = ["data=local_file", "data.path=rows.jsonl", "logger=[]"]
    words = ["plugins=[./big.py]", "model=local", "model.path=box", "trainer=echo", "seed=1,2"]
    words += ["objective=train_loss", "stages=[data,train,report]"]
    done = launch(ECHO, "-m", *data, *words, cwd=place)
    assert done.code == 0, done.err
    (cells, other) = ([cell.strip() for cell in line.split("│")] for line in done.out.splitlines() if line[:1] == "│")
    assert (cells[1:4], other[1:3]) == (["0", "seed=1", "passed over"], ["1", "seed=2"])
    assert re.search(r"trial 0 passed over: does not fit: at least \d{9}\.\d GiB are needed, and CPU has", done.out)
    (folder,) = place.glob("outputs/*/sweep_*")
    assert not (folder / "0" / "data.json").exists()
    assert (folder / "1" / "train.json").exists()


def test_in_a_folder_that_is_used_again_a_point_shows_no_earlier_result(place: Path) -> None:
    done = sweep(place, "hydra.sweep.dir=x", "seed=1,2,3")
    assert done.code == 0, done.err
    (place / "rows.jsonl").write_text('{"instruction": "say it"}\n', encoding="utf-8")
    done = sweep(place, "hydra.sweep.dir=x", "seed=4,5")
    cells = [[cell.strip() for cell in line.split("│")] for line in done.out.splitlines() if line.startswith("│")]
    assert [row[1:4] for row in cells] == [["0", "seed=4", "failed"], ["1", "seed=5", "failed"]]
    assert "best:" not in done.out
    assert "trial 0 failed: " in done.out
    assert (place / "x" / "2" / "report.json").exists()


@pytest.mark.parametrize(
    ("at_once", "device", "gpus", "left"),
    [(-1, "auto", "0,1", 2), (8, "auto", "0,1", 2), (1, "auto", "0,1", 1), (8, "cpu", "0,1", 8), (8, "auto", "", 8)],
    ids=["all cores", "more than GPUs", "fewer than GPUs", "on the CPU", "no GPU"],
)
def test_no_more_points_run_at_once_than_there_are_gpus(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at_once: int, device: str, gpus: str, left: int
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    hydra = {"sweep": {"dir": str(tmp_path)}, "launcher": {"n_jobs": at_once}, "overrides": {"hydra": []}}
    config = OmegaConf.create({"name": "run", "hydra": hydra, "trainer": HFTrainerConfig(device=Device(device))})
    with Session():
        SweepFolder().on_multirun_start(config)
    assert config.hydra.launcher.n_jobs == left


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("outputs/quickstart/sweep_2026-11-25_20-30-00", "quickstart-sweep_2026-11-25_20-30-00"),
        ("mine", "mine"),
        ("/mine", "mine"),
        ("/data/runs/mine", "runs-mine"),
    ],
)
def test_a_sweep_is_named_after_its_folder(folder: str, name: str) -> None:
    assert name_of(Path(folder)) == name


def test_points_with_several_objectives_have_no_best(tmp_path: Path) -> None:
    for number in range(2):
        trial(tmp_path, number, 1.0)
    file = tmp_path / "1" / "report.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"score", "value": 1.0', '"loss", "value": 0.5'), "utf-8")
    sweep = read_sweep(tmp_path)
    assert [found.value for found in sweep.trials] == [1.0, 0.5]
    assert (sweep.objective, sweep.best) == (None, None)


def test_a_trial_is_described_by_what_it_varies(tmp_path: Path) -> None:
    words = "[format.strip=true, 'trainer.learning_rate=1e-4,2e-4', 'adapter.r=4,8']"
    (tmp_path / "multirun.yaml").write_text(f"hydra: {{overrides: {{task: {words}}}}}\n", encoding="utf-8")
    trial = ["format.strip=True", "trainer.learning_rate=0.0001", "adapter.r=4"]
    assert describe_trial(tmp_path / "0", trial) == "0 (1 of 4): trainer.learning_rate=0.0001, adapter.r=4"
