"""Which run of a tracker is resumed in a run folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from framework import testing
from framework_plugins.trackers.kept import TrackerRun, load_tracker_run, save_tracker_run, settings_hash

WORDS = ["trainer.max_steps=3", "format.system_prompt='Say token=alpha'"]


@pytest.mark.parametrize(
    ("more", "over", "place", "goes_on"),
    [
        ([], False, "here", True),
        ([], True, "here", False),
        ([], False, "elsewhere", False),
        (["trainer.max_steps=4"], False, "here", False),
        (["seed=1"], False, "here", False),
        (["adapter.r=4"], False, "here", False),
        (["adapter=rslora"], False, "here", False),
        (["format.system_prompt='Say token=beta'"], False, "here", False),
        (["trainer.per_device_train_batch_size=1", "trainer.gradient_accumulation_steps=8"], False, "here", True),
        (["name=other", "logger=[jsonl]", "metric=[]"], False, "here", True),
        (["stages=[evaluate]"], True, "here", True),
        (["stages=[evaluate]", "trainer.max_steps=4"], True, "here", True),
        (["stages=[evaluate]"], True, "elsewhere", False),
    ],
)
def test_a_run_goes_on_where_it_is_the_same_training(
    tmp_path: Path, more: list[str], place: str, *, over: bool, goes_on: bool
) -> None:
    plan = testing.plan(WORDS, run_dir=tmp_path)
    kept = TrackerRun("abc", "here", settings_hash(plan), 2, over)
    save_tracker_run(plan, "tracker", kept)
    later = testing.plan([*(word for word in WORDS if not _is_set(word, more)), *more], run_dir=tmp_path)
    assert load_tracker_run(later, "tracker", place) == (kept if goes_on else None)
    assert load_tracker_run(later, "other", place) is None
    assert [path.name for path in tmp_path.iterdir()] == ["tracker.json"]


def _is_set(word: str, more: list[str]) -> bool:
    return any(other.partition("=")[0] == word.partition("=")[0] for other in more)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": 1}', json.dumps({"id": "x", "project": "y"}), "\x00"])
def test_what_cannot_be_read_is_no_run(tmp_path: Path, text: str) -> None:
    (tmp_path / "tracker.json").write_text(text, encoding="utf-8")
    assert load_tracker_run(testing.plan(WORDS, run_dir=tmp_path), "tracker", "here") is None
