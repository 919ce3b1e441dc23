"""A run folder read back, and the ways in which it cannot be."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework.api.records import DataResult
from framework.rundir.folder import WritableRunFolder, save_overrides, saved_overrides
from framework.rundir.read import ABSENT, differences, flat, read_run, runs_below


def test_a_run_is_read_with_its_config_and_words(tmp_path: Path) -> None:
    plan = testing.plan(["seed=7"], run_dir=tmp_path)
    WritableRunFolder.create(plan)
    run = read_run(str(tmp_path))
    assert (run.config["seed"], run.overrides) == (7, plan.overrides)
    assert run.record(DataResult, "data.json") is None


def test_a_setting_that_is_gone_is_left_out_of_a_run_that_was_made_with_it(tmp_path: Path) -> None:
    plan = testing.plan(["seed=7"], run_dir=tmp_path)
    before = {**plan.config, "plan": {**plan.config["plan"], "calibrate": True}}
    WritableRunFolder.create(dataclasses.replace(plan, config=before, overrides=("seed=7", "plan.calibrate=true")))
    run = read_run(tmp_path)
    assert (run.config["plan"], run.overrides) == (plan.config["plan"], ("seed=7",))
    assert saved_overrides(str(tmp_path)) == ["seed=7"]


def mangle(folder: Path, name: str, text: str) -> None:
    WritableRunFolder.create(testing.plan([], run_dir=folder))
    (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("plan.json", "{", "plan.json is not valid JSON ("),
        ("plan.json", "[]", "plan.json is not what a run writes: it holds a list, not a dict"),
        ("overrides.json", "{}", "overrides.json is not what a run writes: it is not a list of overrides. "),
        ("overrides.json", '["runs"]', "overrides.json is not what a run writes: it is not a list of overrides. "),
        ("overrides.json", "[1]", "overrides.json is not what a run writes: it is not a list of overrides. "),
        ("overrides.json", '["--help"]', "overrides.json is not what a run writes: it is not a list of overrides. "),
        ("overrides.json", "\0", "overrides.json is not valid JSON ("),
    ],
)
def test_a_damaged_file_is_reported_in_one_line(tmp_path: Path, name: str, text: str, told: str) -> None:
    mangle(tmp_path, name, text)
    with pytest.raises(FrameworkError) as refused:
        read_run(tmp_path)
    assert str(refused.value).startswith(str(tmp_path / told))
    assert "\n" not in str(refused.value)


def test_a_damaged_record_is_reported_when_it_is_asked_for(tmp_path: Path) -> None:
    mangle(tmp_path, "data.json", "{}")
    run = read_run(tmp_path)
    with pytest.raises(FrameworkError, match=r"data\.json does not match DataResult of this version\. Restore"):
        run.record(DataResult, "data.json")


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    mangle(tmp_path, "unused.json", "")
    (tmp_path / "plan.json").unlink()
    (tmp_path / "plan.json").mkdir()
    with pytest.raises(FrameworkError, match=r"plan\.json cannot be read: it is not a regular file\. Restore"):
        read_run(tmp_path)


def test_a_folder_that_is_no_run_is_reported_with_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=rf"^{tmp_path}/new: there is no such folder$"):
        read_run(tmp_path / "new")
    with pytest.raises(FrameworkError, match=r"holds no plan\.json: no run wrote it$"):
        read_run(tmp_path)
    (tmp_path / "1").mkdir()
    save_overrides(tmp_path / "1", ["seed=1"])
    with pytest.raises(FrameworkError, match=rf"it is a sweep; give one of its trials: {tmp_path}/1$"):
        read_run(tmp_path)
    with pytest.raises(FrameworkError, match=r"holds no plan\.json: the run was refused before it began$"):
        read_run(tmp_path / "1")


def test_nested_mappings_become_dotted_keys_and_lists_stay() -> None:
    assert flat({"a": {"b": [1], "c": {}}, "d": None}) == {"a.b": [1], "a.c": {}, "d": None}


def test_a_key_that_is_absent_is_distinguished_from_null() -> None:
    assert differences({"a": None, "b": 1}, {"b": 1, "c": 2}) == {"a": (None, ABSENT), "c": (ABSENT, 2)}
    assert json.loads(json.dumps({"shown": repr(ABSENT)})) == {"shown": "(absent)"}


def test_runs_are_found_beside_folders_that_vanish_and_a_link_is_no_second_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("b/run", "gone"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "b" / "run" / "status.json").write_text("{}", encoding="utf-8")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "up").symlink_to(tmp_path)
    scan = os.scandir

    def without_one(place: Path) -> Any:
        if place.name == "gone":
            raise FileNotFoundError(place)
        return scan(place)

    monkeypatch.setattr(os, "scandir", without_one)
    assert runs_below(tmp_path) == [tmp_path / "b" / "run"]
