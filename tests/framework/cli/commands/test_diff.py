"""`diff`: what two runs were made of, and which came out better."""

import contextlib
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework.api import records
from framework.api.records import EvalResult, Measure, MeasureKind, Point, Ranking, Report, Standing, Sweep, Trial
from framework.api.run_folder import ENVIRONMENT, OVERRIDES
from framework.cli.main import run_command
from framework.run import pipeline
from framework.rundir.environment import Commit, Environment
from framework.rundir.folder import save_overrides


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run of the echo backend, beside its rows."""
    folder = tmp_path_factory.mktemp("plain")
    rows = "".join(f'{{"instruction": "say {n}", "output": "it is {n}"}}\n' for n in range(20))
    (folder / "rows.jsonl").write_text(rows, encoding="utf-8")
    with contextlib.chdir(folder):
        return run(folder / "run", folder / "rows.jsonl")


def run(folder: Path, rows: Path, *words: str) -> Path:
    plan = testing.plan(["data=local_file", f"data.path={rows}", *words], run_dir=folder)
    pipeline.run(plan)
    return folder


@pytest.fixture
def make(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs in a folder of that name; without words, it copies the plain run."""
    monkeypatch.chdir(tmp_path)

    def make(name: str, *words: str) -> Path:
        if not words:
            return Path(shutil.copytree(plain, tmp_path / name))
        return run(tmp_path / name, plain.with_name("rows.jsonl"), *words)

    return make


def diff(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert run_command("diff", words) == 0
    return capsys.readouterr().out


def as_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(diff(capsys, "one", "two", "--json"))
    return found


def table(text: str, title: str) -> dict[str, list[str]]:
    """Return the rows of a table by their first cell."""
    part = text.partition(f"\n{title} ")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in part.splitlines()[2:]]
    return {first: rest for first, *rest in cells}


def test_equal_runs_have_no_difference_and_no_better_one(
    make: Any, plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make("one")
    monkeypatch.chdir(plain.parent)
    run(tmp_path / "two", plain.with_name("rows.jsonl"))
    monkeypatch.chdir(tmp_path)
    text = diff(capsys, "one", "two")
    assert text.startswith("A  one  (finished)\nB  two  (finished)\n")
    for part in ("config", "overrides", "versions", "commits", "data"):
        assert f"\nno difference in {part}" in text
    found = as_json(capsys)
    assert not any(found[part] for part in ("config", "overrides", "versions", "commits", "data"))
    assert {result["better"] for result in found["results"].values()} == {None}


def test_the_config_is_compared_key_by_key_and_by_option(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    make("one", "adapter=lora", "trainer.max_steps=5", "exporter=[]", "evaluator=[]")
    make("two", "adapter=dora", "trainer.max_steps=9")
    found = as_json(capsys)
    assert found["config"]["trainer.max_steps"] == {"A": 5, "B": 9}
    assert found["config"]["adapter"] == {"A": "lora", "B": "dora"}
    assert found["config"]["exporter.adapter"] == {"B": "adapter"}
    assert found["overrides"]["exporter"] == {"A": "[]"}
    text = diff(capsys, "one", "two")
    assert table(text, "config")["trainer.max_steps"] == ["5", "9"]
    assert table(text, "overrides")["exporter"] == ["[]", "–"]
    assert text.index("\noverrides ") < text.index("\nconfig ")
    settings = [key for key in found["config"] if key.startswith("evaluator.prompts.")]
    assert len(settings) > 2
    assert table(text, "config")["evaluator.prompts.*"] == ["–", f"{len(settings)} settings"]


def test_why_a_setting_was_picked_for_the_machine_is_compared_too(
    make: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    make("one")
    file = make("two") / "report.json"
    report = records.load(Report, file)
    records.save(dataclasses.replace(report, hardware={"device": "none (memory ran out)"}), file)
    assert as_json(capsys)["hardware"] == {"device": {"A": "none", "B": "none (memory ran out)"}}


def test_the_better_result_is_marked_the_way_the_metric_wants(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """With fewer steps the loss is higher and fewer answers are known."""
    make("one", "data.validation_split=0.5")
    run = Path(shutil.copytree("one", "two"))
    report = records.load(Report, run / "report.json")
    change = dataclasses.replace(report.metrics["exact_match"], after=0.5)
    records.save(dataclasses.replace(report, metrics={**report.metrics, "exact_match": change}), run / "report.json")
    for name, key, value in (("evaluate", "eval_loss", 9.0), ("evaluate", "exact_match", 0.5)):
        file = run / f"{name}.json"
        saved = json.loads(file.read_text(encoding="utf-8"))
        saved["measures"][key] |= {"value": value, "items": [], "weights": [], "where": [], "clusters": []}
        file.write_text(json.dumps(saved), encoding="utf-8")
    found = as_json(capsys)["results"]
    assert (found["eval_loss after"]["better"], found["exact_match after"]["better"]) == ("A", "B")
    assert found["eval_loss before"]["better"] is found["steps"]["better"] is None
    rows = table(diff(capsys, "one", "two"), "results")
    assert rows["exact_match after"] == ["0", "0.5", "B"]


def test_what_has_items_is_better_only_if_that_is_significant(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for name, right in (("one", 40), ("two", 44), ("three", 90)):
        items: list[float | None] = [float(number < right) for number in range(100)]
        one = Measure(right / 100, items, higher_is_better=True, kind=MeasureKind.content)
        run = make(name) if name == "one" else Path(shutil.copytree("one", name))
        records.save(EvalResult({"exact_match": one}), run / "evaluate.json")
    found = as_json(capsys)["results"]["exact_match after"]
    assert (found["better"], found["items"]) == (None, 100)
    assert found["low"] < 0.04 < found["high"]
    rows = table(diff(capsys, "one", "three"), "results")
    assert rows["exact_match after"][2:] == ["+39 to +60 points", "B"]


def test_neither_is_better_on_other_items_and_of_more_looks_the_common_ones_count(
    make: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, source, size in (("one", "a", 40), ("two", "b", 60)):
        run = make(name) if name == "one" else Path(shutil.copytree("one", name))
        losses: list[float | None] = [size / 20 + place / 99 for place in range(size)]
        rows = [f"{source}.jsonl:{place}" for place in range(size)]
        loss = Measure(size / 20, losses, kind=MeasureKind.loss, where=rows)
        scores: list[float | None] = [float(place < size // 2) for place in range(size)]
        score = Measure(0.5, scores, higher_is_better=True, kind=MeasureKind.content, look_share=0.5)
        records.save(EvalResult({"eval_loss": loss, "exact_match": score}), run / "evaluate.json")
    found = as_json(capsys)["results"]
    assert (found["eval_loss after"]["better"], found["exact_match after"]["items"]) == (None, 40)
    rows_shown = table(diff(capsys, "one", "two"), "results")
    assert rows_shown["eval_loss after"][2] == "items cannot be paired"
    assert rows_shown["exact_match after"][2].endswith(" points, 40 items")


def test_of_a_sweep_the_best_trial_is_compared_with_its_seeds(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for number, shift in enumerate((0.0, 0.6, 0.2)):
        run = make("0") if not number else Path(shutil.copytree("0", str(number)))
        losses: list[float | None] = [1 + shift + place / 99 for place in range(50)]
        one = Measure(1.25 + shift, losses, kind=MeasureKind.loss)
        records.save(EvalResult({"eval_loss": one}), run / "evaluate.json")
    trials = [Trial(number, [], "finished", "", 1.0, None, None, None, None, "") for number in range(2)]
    point = Point([0, 1], 1.0, None, None, Standing.best)
    ranking = Ranking(
        "eval_loss", "", higher_is_better=False, item="row", items=50, clusters=0, confidence=0.95, points=[point],
        leader=0, clear=False,
    )  # fmt: skip
    sweep = Sweep("x", "eval_loss", higher_is_better=False, best=1, trials=trials, ranking=ranking)
    records.save(sweep, Path("sweep.json"))
    seeds = json.loads(diff(capsys, ".", "2", "--json"))["results"]["eval_loss after"]
    alone = json.loads(diff(capsys, "1", "2", "--json"))["results"]["eval_loss after"]
    assert alone["better"] == "B"
    assert seeds["better"] is None
    assert seeds["high"] - seeds["low"] > 1
    records.save(dataclasses.replace(sweep, best=None), Path("sweep.json"))
    with pytest.raises(FrameworkError, match="no trial of the sweep has a value; give one of its trials"):
        run_command("diff", [".", "2"])


def test_training_is_compared_too(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    make("one", "trainer.max_steps=4")
    make("two")
    found = as_json(capsys)["results"]
    assert (found["steps"]["A"], found["steps"]["B"]) == (4, 18)
    assert found["train loss"]["better"] == "B"
    assert found["seconds of training"]["better"] is None  # of another length
    assert found["peak memory"] == {"A": 1, "B": 1, "better": None}
    assert found["tokens/s"]["A"] > 0


def test_of_two_trainings_of_one_length_the_quicker_is_marked(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    make("one")
    file = make("two") / "train.json"
    saved = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(saved | {"seconds": saved["seconds"] * 2}), encoding="utf-8")
    assert as_json(capsys)["results"]["seconds of training"]["better"] == "A"


def test_versions_and_commits_are_compared(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    make("one")
    run = make("two")
    made = records.load(Environment, run / ENVIRONMENT)
    other = dataclasses.replace(
        made,
        packages={**made.packages, "pluggy": "0.1"},
        plugins={"mine": "/mine.py sha256:00"},
        commit=Commit("a" * 40, dirty=True),
    )
    records.save(other, run / ENVIRONMENT)
    found = as_json(capsys)
    assert found["versions"]["pluggy"]["B"] == "0.1"
    assert found["versions"]["plugin mine"] == {"B": "/mine.py sha256:00"}
    assert found["commits"] == {"working folder": {"A": None, "B": "a" * 40 + " with changes"}}
    assert "with changes" in diff(capsys, "one", "two")


def test_other_data_are_reported_by_their_fingerprint(
    make: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    make("one")
    (tmp_path / "more.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 4, encoding="utf-8")
    make("two", "data.path=more.jsonl", "data.validation_split=0", "objective=train_loss")
    row = table(diff(capsys, "one", "two"), "data")["fingerprint"]
    assert [len(cell) for cell in row] == [13, 13]


def test_a_run_that_is_not_over_is_compared_as_far_as_it_got(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    make("one")
    run = make("two", "stages=[plan,data,train]")
    (run / "checkpoint" / "echo.json").unlink()
    with pytest.raises(FrameworkError):
        make("two", "stages=[baseline,evaluate]")
    text = diff(capsys, "one", "two")
    assert "B  two  (failed, in the stage evaluate: " in text
    rows = table(text, "results")
    assert rows["eval_loss after"][1] == "–"
    assert as_json(capsys)["runs"]["B"] == {"folder": str(run), "state": "failed", "stage": "evaluate"}


def test_runs_that_measured_nothing_say_so(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    make("one", "stages=[plan]", "run_dir=one")
    make("two", "stages=[plan]", "run_dir=two")
    text = diff(capsys, "one", "two")
    assert text.startswith("A  one  (no status.json)\n")
    assert "\nversions: unknown, A and B have no environment.json\n" in text
    assert text.endswith("\nno results in either run\n")


def test_secrets_in_the_words_are_not_shown(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    make("one")
    run = make("two")
    save_overrides(run, ["logger.wandb.api_key=abcdef"])
    assert OVERRIDES in {file.name for file in run.iterdir()}
    assert as_json(capsys)["overrides"]["logger.wandb.api_key"] == {"B": "(hidden)"}


def test_the_tables_fit_into_80_columns(
    make: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    make("one", "adapter=dora", "name=a_name_that_is_longer_than_any_other_name_would_be")
    make("two", "trainer.max_steps=9", "data.validation_split=0.3")
    assert max(map(len, diff(capsys, "one", "two").splitlines())) <= 80


def test_a_folder_that_is_not_there_is_reported(make: Any) -> None:
    make("one")
    with pytest.raises(FrameworkError, match="nowhere: there is no such folder"):
        run_command("diff", ["one", "nowhere"])


def test_control_characters_of_a_run_are_spelled_out(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    make("one")
    plan = make("two") / "plan.json"
    config = json.loads(plan.read_text(encoding="utf-8"))
    plan.write_text(json.dumps({**config, "objective": "\x1b[2Jloss"}), encoding="utf-8")
    text = diff(capsys, "one", "two")
    assert r"\x1b[2Jloss" in text
    assert "\x1b" not in text
