"""A path stands for a file, for the data files below a folder, or for what a glob matches."""

import os
from pathlib import Path

import pytest

from framework import FrameworkError
from framework_plugins.formats.readers.find import find, kind_of
from tests.support.data_files import written


def names(path: Path | str) -> list[str]:
    return [file.name for file in find(str(path), "data.path")]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", (".jsonl", "")),
        ("a.b.CSV", (".csv", "")),
        ("a.parquet.gz", (".parquet", ".gz")),
        ("a.json.ZST", (".json", ".zst")),
        ("a.gz", None),
        ("a.docx", None),
        ("jsonl", None),
    ],
)
def test_the_name_says_kind_and_packing(name: str, kind: tuple[str, str] | None) -> None:
    assert kind_of(Path(name)) == kind


def test_a_folder_stands_for_all_data_files_below_it_sorted(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a/z.csv", "a.json.gz", ".hidden.jsonl", ".cache/c.jsonl", "note.md", "README.txt"):
        written(tmp_path, name, "")
    assert names(tmp_path) == ["a.json.gz", "a/z.csv", "b.jsonl"]


def test_plain_text_in_a_folder_counts_where_there_is_nothing_else(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt.gz"):
        written(tmp_path, name, "")
    assert names(tmp_path) == ["a.txt.gz", "b.txt"]


def test_what_datasets_writes_beside_its_rows_is_no_data(tmp_path: Path) -> None:
    for name in ("data-00000-of-00001.arrow", "dataset_info.json", "state.json"):
        written(tmp_path, name, "")
    assert names(tmp_path) == ["data-00000-of-00001.arrow"]


def test_a_folder_of_splits_is_refused_with_the_first(tmp_path: Path) -> None:
    for name in ("dataset_dict.json", "train/data.arrow", "test/data.arrow"):
        written(tmp_path, name, "")
    with pytest.raises(
        FrameworkError, match=r"holds splits: choose one of them, data\.path=.*/train \(there are test, train\)$"
    ):
        find(str(tmp_path), "data.path")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.jsonl", ["a.jsonl", "b.jsonl"]),
        ("**/*.jsonl", ["a.jsonl", "b.jsonl", "deep/er/c.jsonl"]),
        ("[b-z].*", ["b.jsonl", "n.txt"]),
        ("deep/*/c.*", ["er/c.jsonl"]),
        ("*", ["a.jsonl", "b.jsonl", "n.txt"]),
    ],
)
def test_a_glob_stands_for_what_it_matches_named_from_where_it_begins(
    tmp_path: Path, pattern: str, found: list[str]
) -> None:
    for name in ("a.jsonl", "b.jsonl", "deep/er/c.jsonl", "n.txt", ".d.jsonl", "e.md"):
        written(tmp_path, name, "")
    assert names(tmp_path / pattern) == found


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    assert names(written(tmp_path, "a[1].jsonl", "")) == ["a[1].jsonl"]


def test_the_tilde_is_the_home_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, "a.jsonl", "")
    assert names("~/a.jsonl") == names("~/*.jsonl") == ["a.jsonl"]


def test_a_missing_file_is_reported_with_what_lies_beside_it(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.csv", "note.md"):
        written(tmp_path, name, "")
    with pytest.raises(FrameworkError, match=r"there is no data file .*/row\.jsonl\. Beside it: b\.jsonl, a\.csv\.$"):
        names(tmp_path / "row.jsonl")
    with pytest.raises(FrameworkError, match=r"there is no data file .*/no/row\.jsonl\.$"):
        names(tmp_path / "no" / "row.jsonl")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.docx", "a.docx is not a kind of file that data=local_file reads; save its text as .txt. Data files are .j"),
        ("b.sqlite", "b.sqlite is not a kind of file that data=local_file reads; export the table as .csv. Data files"),
        ("sub", "sub: the folder holds no data file, only b.md, c.md; as plain text, give it a name that ends with .t"),
        ("empty", "empty: the folder holds no file. Data files are "),
        ("*.docx", "*.docx matches no data file, only a.docx; save its text as .txt. Data files are "),
        ("*.csv", "*.csv matches no file. Data files are "),
        ("link.jsonl", "link.jsonl is a link to nowhere.jsonl, which does not exist"),
        ("l*.jsonl", "link.jsonl is a link to nowhere.jsonl, which does not exist"),
        ("pipe.jsonl", "pipe.jsonl is neither a file nor a folder, and rows are read more than once"),
        ("pipes", "pipes/p.csv is neither a file nor a folder, and rows are read more than once"),
        ("pi*/*.csv", "pipes/p.csv is neither a file nor a folder, and rows are read more than once"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_path_without_data_is_refused_with_what_is_there(tmp_path: Path, path: str, text: str) -> None:
    for name in ("a.docx", "b.sqlite", "sub/c.md", "sub/b.md"):
        written(tmp_path, name, "")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link.jsonl").symlink_to("nowhere.jsonl")
    (tmp_path / "pipes").mkdir()
    for pipe in ("pipe.jsonl", "pipes/p.csv"):
        os.mkfifo(tmp_path / pipe)
    with pytest.raises(FrameworkError) as caught:
        names(tmp_path / path)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("path", "instead"),
    [
        ("s3://bucket/rows.jsonl", "download the file, and give its path"),
        ("https://example.org/rows.csv", "download the file, and give its path"),
        ("https://huggingface.co/datasets/acme/orders/tree/main", "set data=hub data.path=acme/orders"),
        ("file:///data/rows.csv", "write it as a path, data.path=/data/rows.csv"),
    ],
)
def test_an_address_is_no_path(path: str, instead: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        names(path)
    assert str(caught.value) == f"data.path={path} is an address, which data=local_file does not read: {instead}"


def test_a_folder_that_may_not_be_read_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(FrameworkError, match=r"^data\.path=.*: Permission denied .*; give yourself permission to read"):
        names(tmp_path)


def test_the_bytes_of_a_name_that_is_not_utf8_are_spelled_out(tmp_path: Path) -> None:
    written(tmp_path, "d/\udcff.jsonl", '{"a": "b"}\n')
    assert names(tmp_path / "d") == ["\\xff.jsonl"]
