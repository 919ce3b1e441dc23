"""The points of a multirun, read from their folders."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from framework.sweep import best_point, read_points, show, summarize


def point(folder: Path, number: int, value: float | None, *, higher: bool = False) -> None:
    """Write what a point leaves; without a value, what a failed one leaves."""
    run = folder / str(number)
    run.mkdir()
    words = ["data=local_file", f"trainer.learning_rate={number}"]
    (run / "overrides.json").write_text(json.dumps(words), encoding="utf-8")
    if value is not None:
        objective = {"name": "score", "value": value, "higher_is_better": higher}
        report = {"objective": objective, "seconds": {"train": 1.25}}
        (run / "report.json").write_text(json.dumps(report), encoding="utf-8")


def test_points_come_in_the_order_of_their_numbers_with_what_differs_between_them(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        point(tmp_path, number, number / 10)
    (tmp_path / "multirun.yaml").touch()
    points = read_points(tmp_path)
    assert [found["name"] for found in points] == ["1", "9", "10"]
    assert [found["overrides"] for found in points] == [[f"trainer.learning_rate={number}"] for number in (1, 9, 10)]
    assert [found["seconds"] for found in points] == ["1.2"] * 3


def test_a_single_point_shows_all_its_settings(tmp_path: Path) -> None:
    point(tmp_path, 0, 1.0)
    assert read_points(tmp_path)[0]["overrides"] == ["data=local_file", "trainer.learning_rate=0"]


@pytest.mark.parametrize(("higher", "best"), [(False, "1"), (True, "2")])
def test_the_best_point_is_the_lowest_or_the_highest_as_the_objective_wants(
    tmp_path: Path, best: str, *, higher: bool
) -> None:
    for number, value in enumerate((None, 0.0, 2.0, 1.0, math.nan)):
        point(tmp_path, number, value, higher=higher)
    found = best_point(read_points(tmp_path))
    assert found is not None
    assert found["name"] == best


@pytest.mark.parametrize("points", [[], [{"objective": None}], [{"objective": {"value": None}}]])
def test_where_no_point_has_a_value_none_is_best(points: list[dict[str, Any]]) -> None:
    if points and points[0]["objective"]:
        points[0]["objective"]["higher_is_better"] = True
    assert best_point(points) is None


def test_the_table_names_failed_points_and_the_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    point(tmp_path, 0, None)
    point(tmp_path, 1, 0.5)
    show(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert cells == [["0", "trainer.learning_rate=0", "failed", ""], ["1", "trainer.learning_rate=1", "0.5", "1.2"]]
    assert lines[-1] == "best: point 1 (trainer.learning_rate=1)"


@pytest.mark.parametrize(
    ("status", "score", "told"),
    [
        ({"state": "failed", "stage": "data", "error": "ValueError: [x] boom"}, "failed", "ValueError: [x] boom"),
        ({"state": "running", "stage": "data", "error": None}, "failed", "it was killed after the stage data"),
        ({"state": "running", "stage": None, "error": None}, "failed", "it was killed after the stage plan"),
        ({"state": "finished", "stage": "train", "error": None}, "–", ""),
    ],
)
def test_a_point_without_a_report_says_why_or_has_not_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: dict[str, Any], score: str, told: str
) -> None:
    point(tmp_path, 0, None)
    (tmp_path / "0" / "status.json").write_text(json.dumps(status), encoding="utf-8")
    show(tmp_path)
    text = capsys.readouterr().out
    row = next(line for line in text.splitlines() if line.startswith("│"))
    assert row.split("│")[3].strip() == score
    assert text.splitlines()[-1] == f"point 0 failed: {told}" if told else "failed" not in text


def test_a_point_whose_stages_end_with_the_plan_has_not_failed(tmp_path: Path) -> None:
    point(tmp_path, 0, None)
    (tmp_path / "0" / "plan.json").touch()
    assert not read_points(tmp_path)[0]["failed"]


def test_without_points_or_without_a_multirun_nothing_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show(tmp_path)
    summarize()
    assert capsys.readouterr().out == ""
