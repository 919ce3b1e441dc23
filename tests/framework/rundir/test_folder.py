"""The run folder: asked before anything is made, and read again by a later run."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.api.records import Artifact, ExportResult
from framework.api.run_folder import RunFolder
from framework.api.schema import Stage
from framework.rundir.folder import WritableRunFolder, check_writable, save_overrides, saved_overrides


@pytest.mark.parametrize("place", ["run", "a/b/c", ".", "a/../b", "a/../../x/b"])
def test_asking_whether_a_folder_can_be_written_leaves_nothing(tmp_path: Path, place: str) -> None:
    base = tmp_path / "base"
    base.mkdir()
    check_writable(base / place)
    assert list(tmp_path.rglob("*")) == [base]


@pytest.mark.parametrize("place", ["file", "file/run", "file/a/b"])
def test_a_path_at_or_below_a_file_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(FrameworkError, match=rf"^the run cannot write to {tmp_path / place}: .*Set run_dir=FOLDER$"):
        check_writable(tmp_path / place)
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("make", "place", "told"),
    [
        (os.mkfifo, "checkpoint/weights", "weights is neither a file nor a folder: remove it"),
        (os.mkfifo, "log.jsonl", "log.jsonl is neither a file nor a folder: remove it"),
        (os.mkdir, "train.json", "train.json is a folder, not a file: remove it"),
        (Path.touch, "checkpoint", "checkpoint is a file, not a folder: remove it"),
        (Path.touch, ".trainer.part", ".trainer.part is a file, not a folder: remove it"),
    ],
)
def test_what_no_run_makes_in_its_folder_is_refused(
    tmp_path: Path, make: Callable[[Path], None], place: str, told: str
) -> None:
    WritableRunFolder.create(testing.plan([], run_dir=tmp_path))
    (tmp_path / place).parent.mkdir(exist_ok=True)
    make(tmp_path / place)
    with pytest.raises(FrameworkError, match=f"^{tmp_path}/.*{told}, or set another run_dir$"):
        check_writable(tmp_path)


def test_a_new_folder_keeps_the_config_and_what_made_it(tmp_path: Path) -> None:
    plan = testing.plan(["seed=7"], run_dir=tmp_path / "run")
    WritableRunFolder.create(plan)
    assert saved_overrides(str(tmp_path / "run")) == list(plan.overrides)
    assert '"seed": 7' in (tmp_path / "run" / "plan.json").read_text(encoding="utf-8")


def test_a_run_without_the_plan_stage_leaves_the_first_plan_in_place(tmp_path: Path) -> None:
    WritableRunFolder.create(testing.plan(["seed=7"], run_dir=tmp_path))
    before = (tmp_path / "plan.json").read_bytes()
    WritableRunFolder.create(testing.plan(["seed=8", "stages=[report]"], run_dir=tmp_path))
    assert (tmp_path / "plan.json").read_bytes() == before
    WritableRunFolder.create(testing.plan(["seed=8"], run_dir=tmp_path))
    assert (tmp_path / "plan.json").read_bytes() != before


@pytest.mark.parametrize(
    ("stages", "completed", "dropped"),
    [
        ("data,train", [], {"train", "evaluate", "export", "report"}),
        ("train,evaluate,export", [Stage.train, Stage.evaluate], {"report"}),
        ("evaluate,report", [], {"evaluate", "report"}),
        ("export", [], {"report"}),
    ],
)
def test_results_that_a_start_makes_out_of_date_are_dropped(
    tmp_path: Path, stages: str, completed: list[Stage], dropped: set[str]
) -> None:
    given = [] if "train" in stages else [f"checkpoint={tmp_path}"]
    plan = testing.plan([f"stages=[{stages}]", *given], run_dir=tmp_path / "run")
    folder = WritableRunFolder.create(plan)
    for stage in Stage:
        folder.file(stage.value).write_text("{}", encoding="utf-8")
    WritableRunFolder.create(plan, completed)
    assert {stage.value for stage in Stage if not folder.file(stage.value).exists()} == dropped


def test_results_of_an_earlier_run_are_found(tmp_path: Path) -> None:
    folder = WritableRunFolder(tmp_path)
    assert folder.load_result(Stage.export, ExportResult) is None
    saved = folder.save(Stage.export, ExportResult([Artifact("adapter", "adapter", 1)]))
    assert folder.load_result(Stage.export, ExportResult) == saved


def test_a_damaged_result_is_reported_with_its_file_and_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text("{", encoding="utf-8")
    with pytest.raises(
        FrameworkError, match=r"export\.json does not match ExportResult of this version. Restore it, or delete it"
    ):
        RunFolder(tmp_path).load_result(Stage.export, ExportResult)


def test_a_folder_without_overrides_has_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert saved_overrides(str(tmp_path)) == saved_overrides(str(tmp_path / "file" / "below")) == []


def test_damaged_overrides_are_reported(tmp_path: Path) -> None:
    save_overrides(tmp_path, ["a=1"])
    (tmp_path / "overrides.json").write_text("[", encoding="utf-8")
    with pytest.raises(FrameworkError, match=r"overrides\.json is not valid JSON \(.*\): restore the run's overrides"):
        saved_overrides(str(tmp_path))


@pytest.mark.parametrize("text", ["3", "null", '"seed=1"', '{"seed": 1}', '["seed=1", 2]'])
def test_overrides_that_are_no_list_of_texts_are_reported(tmp_path: Path, text: str) -> None:
    file = tmp_path / "overrides.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(FrameworkError) as refused:
        saved_overrides(str(tmp_path))
    head = f"{file} is not what a run writes: it is not a list of overrides."
    assert str(refused.value) == f"{head} Restore the run's overrides, or give another folder"


def test_a_folder_with_other_peoples_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FrameworkError, match="holds other files"):
        check_writable(tmp_path)
    assert (tmp_path / "checkpoint" / "thesis.txt").read_text(encoding="utf-8") == "mine"
    save_overrides(tmp_path, [])
    check_writable(tmp_path)


def test_a_link_that_leads_to_itself_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "again").symlink_to(tmp_path / "again")
    with pytest.raises(FrameworkError, match=r"the run cannot write to .*again"):
        check_writable(tmp_path / "again")
