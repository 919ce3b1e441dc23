"""`data=local_file`: which files are read, what names their content, and what happens when they change."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError
from framework.api.records import Progress, RawData, Row
from framework.hooks.session import current
from framework_plugins.formats import files
from framework_plugins.formats.config import LocalFileConfig, SampleBy
from framework_plugins.formats.files import LocalFile
from tests.support.data_files import written


def load(path: Path | str, **more: Any) -> RawData:
    return LocalFile(LocalFileConfig(path=str(path), **more)).load()


def values(rows: Iterable[Row]) -> list[Any]:
    return [row.fields["a"] for row in rows]


def line(value: object) -> str:
    return json.dumps({"a": value}) + "\n"


def test_files_for_validation_and_prompts_are_read_where_given(tmp_path: Path) -> None:
    paths = [str(written(tmp_path, f"{number}.jsonl", line(number))) for number in range(3)]
    raw = load(paths[0])
    assert (values(raw.train), raw.validation, raw.prompts, raw.streamed) == ([0], (), (), False)
    raw = load(paths[0], validation_path=paths[1], prompts_path=paths[2])
    assert [values(rows) for rows in (raw.train, raw.validation, raw.prompts)] == [[0], [1], [2]]


def test_the_check_finds_what_is_missing_or_cannot_be_read_and_hashes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, missing = written(tmp_path, "a.jsonl", line(1)), tmp_path / "b.jsonl"

    def hashed(*_: object, **__: object) -> None:
        pytest.fail("a file may be large")

    monkeypatch.setattr(hashlib, "file_digest", hashed)
    assert values(LocalFile(LocalFileConfig(path=str(here))).check().train) == [1]
    none = str(written(tmp_path, "c.parquet", "no table"))
    with pytest.raises(FrameworkError, match=r"c\.parquet: not a valid \.parquet file"):
        LocalFile(LocalFileConfig(path=str(here), validation_path=none)).check()
    for setting in ("path", "validation_path", "prompts_path"):
        asked: dict[str, Any] = {"path": str(here), setting: str(missing)}
        with pytest.raises(FrameworkError, match=r"^there is no data file .*b\.jsonl"):
            LocalFile(LocalFileConfig(**asked)).check()


def test_rows_may_be_read_again_and_side_by_side(tmp_path: Path) -> None:
    raw = load(written(tmp_path, "a.jsonl", line(1) + line(2)))
    assert [(one.fields["a"], other.fields["a"]) for one, other in zip(raw.train, raw.train, strict=True)] == [
        (1, 1),
        (2, 2),
    ]
    assert values(raw.train) == [1, 2]


@pytest.mark.parametrize("path", [".", "**/*.jsonl*"])
def test_the_files_of_a_folder_or_glob_are_read_in_order_and_named_from_there(tmp_path: Path, path: str) -> None:
    for name, value in (("sub/b.jsonl", 3), ("a.jsonl", 1), ("c.jsonl", 2)):
        written(tmp_path, name, line(value))
    assert [row.where for row in load(tmp_path / path).train] == ["a.jsonl:1", "c.jsonl:1", "sub/b.jsonl:1"]


def test_what_is_held_out_is_left_out_of_a_folder(tmp_path: Path) -> None:
    for number, name in enumerate(("train.jsonl", "test.jsonl", "ask/one.jsonl")):
        written(tmp_path, name, line(number))
    raw = load(tmp_path, validation_path=str(tmp_path / "test.jsonl"), prompts_path=str(tmp_path / "ask"))
    assert [values(rows) for rows in (raw.train, raw.validation, raw.prompts)] == [[0], [1], [2]]
    with pytest.raises(FrameworkError, match=r"^data\.path=.*: validation_path and prompts_path take all"):
        load(tmp_path, validation_path=str(tmp_path / "*"), prompts_path=str(tmp_path / "ask"))


def test_what_is_held_out_is_left_out_however_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(("set/train.jsonl", "set/test.jsonl")):
        written(tmp_path, name, line(number))
    (tmp_path / "link").symlink_to("set")
    monkeypatch.chdir(tmp_path)
    for path, validation in (("set", str(tmp_path / "set" / "test.jsonl")), ("./set/*", "link/test.jsonl")):
        raw = load(path, validation_path=validation)
        assert (values(raw.train), values(raw.validation)) == ([0], [1])


def test_a_file_that_is_named_twice_is_read_twice(tmp_path: Path) -> None:
    file = written(tmp_path, "a.jsonl", line(1))
    raw = load(file, prompts_path=str(file))
    assert values(raw.train) == values(raw.prompts) == [1]


def test_the_hash_of_a_large_file_is_reported_while_it_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LARGE_FILE_BYTES", 20)
    large, small = written(tmp_path, "large.jsonl", line(1) * 3), written(tmp_path, "small.jsonl", line(2))
    sent: list[Progress] = []
    with current() as session:
        session.progress.send = sent.append
        load(large, validation_path=str(small))
    assert [(one.task, one.total) for one in sent if not one.done and one.total is None] == [
        ("hashing large.jsonl, 0.0 GB", None)
    ]


def test_a_missing_file_is_reported_when_the_source_is_loaded(tmp_path: Path) -> None:
    file = written(tmp_path, "a.jsonl", line(1))
    with pytest.raises(FrameworkError, match=r"there is no data file .*/b\.jsonl\. Beside it: a\.jsonl\.$"):
        load(tmp_path / "b.jsonl")
    with pytest.raises(FrameworkError, match=r"^data\.validation_path=.*/\*\.csv matches no file\."):
        load(file, validation_path=str(tmp_path / "*.csv"))


@pytest.mark.parametrize("setting", ["validation_path", "prompts_path"])
def test_held_out_files_without_rows_are_refused(tmp_path: Path, setting: str) -> None:
    empty = written(tmp_path, "empty.jsonl", "\n")
    raw = load(written(tmp_path, "a.jsonl", line(1)), **{setting: str(empty)})
    with pytest.raises(FrameworkError, match=rf"^data\.{setting}: no rows in .*empty\.jsonl$"):
        list(raw.validation if setting == "validation_path" else raw.prompts)
    assert list(load(empty).train) == []


def test_bad_rows_come_with_the_others(tmp_path: Path) -> None:
    rows = list(load(written(tmp_path, "a.jsonl", line(1) + "{\n" + line(2))).train)
    assert [(row.where, bool(row.problem)) for row in rows] == [
        ("a.jsonl:1", False),
        ("a.jsonl:2", True),
        ("a.jsonl:3", False),
    ]


def placed(raw: RawData) -> list[list[str]]:
    return [[row.where for row in rows] for rows in (raw.train, raw.validation, raw.prompts)]


class TestPlaces:
    def test_all_files_are_named_in_order_as_their_rows_tell_them(self, tmp_path: Path) -> None:
        names = ("set/b.jsonl", "set/deep/a.jsonl", "held.jsonl", "ask.jsonl")
        for number, name in enumerate(names):
            written(tmp_path, name, line(number))
        more = {"validation_path": str(tmp_path / "held.jsonl"), "prompts_path": str(tmp_path / "ask.jsonl")}
        raw = load(tmp_path / "set", **more)
        assert raw.places == ("b.jsonl", "deep/a.jsonl", "held.jsonl", "ask.jsonl")
        assert placed(raw) == [["b.jsonl:1", "deep/a.jsonl:1"], ["held.jsonl:1"], ["ask.jsonl:1"]]
        before = raw.key
        (tmp_path / "set/deep/a.jsonl").rename(tmp_path / "set/deep/z.jsonl")
        raw = load(tmp_path / "set", **more)
        assert (raw.key, raw.places[1]) == (before, "deep/z.jsonl")

    def test_two_files_of_one_name_are_distinguished_by_their_folders(self, tmp_path: Path) -> None:
        files = [str(written(tmp_path, name, line(0))) for name in ("x/one/a.jsonl", "y/one/a.jsonl", "z/a.jsonl")]
        raw = load(files[0], validation_path=files[2])
        assert placed(raw) == [["one/a.jsonl:1"], ["z/a.jsonl:1"], []]
        raw = load(files[0], validation_path=files[1], prompts_path=files[2])
        assert placed(raw) == [["x/one/a.jsonl:1"], ["y/one/a.jsonl:1"], ["z/a.jsonl:1"]]
        assert raw.places == ("x/one/a.jsonl", "y/one/a.jsonl", "z/a.jsonl")

    def test_the_other_files_of_a_folder_keep_their_names(self, tmp_path: Path) -> None:
        for name in ("x/a.jsonl", "x/b.jsonl", "y/b.jsonl"):
            written(tmp_path, name, line(0))
        raw = load(tmp_path / "x", validation_path=str(tmp_path / "y" / "b.jsonl"))
        assert raw.places == ("a.jsonl", "x/b.jsonl", "y/b.jsonl")

    def test_a_longer_name_that_another_file_has_already_gets_longer_again(self, tmp_path: Path) -> None:
        for name in ("big/x/a.jsonl", "x/a.jsonl", "y/a.jsonl"):
            written(tmp_path, name, line(0))
        held, asked = (str(tmp_path / name) for name in ("x/a.jsonl", "y/a.jsonl"))
        raw = load(tmp_path / "big", validation_path=held, prompts_path=asked)
        assert raw.places == ("big/x/a.jsonl", f"{tmp_path.name}/x/a.jsonl", "y/a.jsonl")

    def test_one_file_that_is_named_twice_keeps_its_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = written(tmp_path, "a.jsonl", line(1))
        monkeypatch.chdir(tmp_path)
        assert load(file, prompts_path="a.jsonl").places == ("a.jsonl", "a.jsonl")


class TestKey:
    def test_it_is_the_content_that_counts_not_the_place(self, tmp_path: Path) -> None:
        files = [written(tmp_path, name, line(1)) for name in ("a.jsonl", "b.jsonl", "deep/a.jsonl")]
        assert len({load(file).key for file in files}) == 1
        assert load(tmp_path / "deep").key == load(files[0]).key

    def test_every_change_makes_another_one(self, tmp_path: Path) -> None:
        one, two = (written(tmp_path, f"{number}/a.jsonl", line(number)) for number in range(2))
        text = written(tmp_path, "a.txt", line(0))
        written(tmp_path, "both/a.jsonl", line(0))
        written(tmp_path, "both/b.jsonl", line(1))
        written(tmp_path, "other/a.jsonl", line(1))
        written(tmp_path, "other/b.jsonl", line(0))
        keys = [
            load(one).key,
            load(two).key,
            load(one, validation_path=str(two)).key,
            load(one, prompts_path=str(two)).key,
            load(two, prompts_path=str(one)).key,
            load(tmp_path / "both").key,
            load(tmp_path / "other").key,
            load(text).key,
            load(text, sample_by=SampleBy.paragraph).key,
            load(written(tmp_path, "one.jsonl", line(0) + line(1))).key,
        ]
        assert len(set(keys)) == len(keys)

    def test_a_setting_that_changes_no_row_changes_no_key(self, tmp_path: Path) -> None:
        file = written(tmp_path, "a.jsonl", line(1))
        assert load(file).key == load(file, sample_by=SampleBy.document).key


class TestChange:
    @pytest.mark.parametrize("later", [line(1) + line(2) + line(3), line(1), line(8) + line(9)])
    def test_a_file_that_changed_since_it_was_hashed_is_refused(self, tmp_path: Path, later: str) -> None:
        file = written(tmp_path, "a.jsonl", line(1) + line(2))
        raw = load(file)
        _rewrite(file, later)
        with pytest.raises(FrameworkError, match=r"a\.jsonl: the file changed while it was read; wait until it is "):
            list(raw.train)

    def test_a_file_that_changes_during_a_pass_is_refused_at_its_end(self, tmp_path: Path) -> None:
        file = written(tmp_path, "a.jsonl", line(1) + line(2))
        rows = iter(load(tmp_path).train)
        assert next(rows).fields == {"a": 1}
        with file.open("a") as stream:
            stream.write(line(3))
        with pytest.raises(FrameworkError, match="the file changed while it was read"):
            list(rows)

    def test_a_file_that_looks_damaged_because_it_changes_gets_a_message(self, tmp_path: Path) -> None:
        items = ",\n".join(json.dumps({"a": "x" * 1000}) for _ in range(2000))
        file = written(tmp_path, "a.json", f"[{items}]")
        rows = iter(load(file).train)
        next(rows)
        os.truncate(file, 1_500_000)
        with pytest.raises(FrameworkError, match=r"a\.json: the file changed while it was read"):
            list(rows)

    def test_a_file_that_changes_while_it_is_hashed_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = written(tmp_path, "a.jsonl", line(1))
        opened = Path.open

        def open_and_append(path: Path, *words: Any, **more: Any) -> Any:
            stream = opened(path, *words, **more)
            _rewrite(file, line(1) + line(2))
            return stream

        monkeypatch.setattr(Path, "open", open_and_append)
        with pytest.raises(FrameworkError, match="the file changed while it was read"):
            load(file)

    @pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
    def test_a_file_that_is_gone_is_reported(self, tmp_path: Path, name: str) -> None:
        file = written(tmp_path, name, [{"a": 1}])
        raw = load(file)
        file.unlink()
        with pytest.raises(FrameworkError, match=rf"{name}: the file is gone; it was there when the run started$"):
            list(raw.train)

    def test_a_file_that_may_not_be_read_is_reported(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = written(tmp_path, "a.jsonl", line(1))

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(FrameworkError, match=r"a\.jsonl: the file cannot be read \(Permission denied\)$"):
            load(file)


def _rewrite(file: Path, content: str) -> None:
    """Write again, and in any case at another time: clocks of file systems are coarse."""
    status = file.stat()
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_TRUNC), "w") as stream:
        stream.write(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


@pytest.mark.parametrize(
    ("names", "trained"),
    [
        (
            ["data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl", "data/test-00000-of-00001.jsonl"],
            [0, 1],
        ),
        (["train.jsonl", "validation.jsonl", "notes.jsonl"], [0, 2]),
        (["train/a.jsonl", "dev/a.jsonl"], [0]),
        (["a_train.jsonl", "a_test.jsonl", "a_train_test.jsonl"], [0, 2]),
        (["test.jsonl", "latest.jsonl"], [0, 1]),
        (["en/test.jsonl", "de/test.jsonl"], [0, 1]),
    ],
)
def test_other_splits_of_a_folder_are_left_out_and_named(tmp_path: Path, names: list[str], trained: list[int]) -> None:
    for number, name in enumerate(names):
        written(tmp_path, name, line(number))
    raw = load(tmp_path)
    assert sorted(values(raw.train)) == trained
    left_out = [name for number, name in enumerate(names) if number not in trained]
    assert [bool(left_out)] == [bool(raw.notes)]
    for name in left_out:
        assert name in raw.notes[0]
        assert f"data.validation_path={tmp_path}" in raw.notes[0]
    everything = load(tmp_path / "**/*")
    assert (sorted(values(everything.train)), everything.notes) == ([*range(len(names))], ())


def test_a_split_that_is_held_out_is_not_reported_as_left_out(tmp_path: Path) -> None:
    for number, name in enumerate(("train.jsonl", "test.jsonl")):
        written(tmp_path, name, line(number))
    raw = load(tmp_path, validation_path=str(tmp_path / "test.jsonl"))
    assert (values(raw.train), values(raw.validation), raw.notes) == ([0], [1], ())
