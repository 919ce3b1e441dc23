"""framework/data/reader.py: batches stay small, and failures are reported with their cause and leave no files."""

from __future__ import annotations

import dataclasses
import errno
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework import FrameworkError, testing
from framework.api.protocols import Model
from framework.api.records import IGNORE, Example, Message, RawData, Row
from framework.api.selection import Selection
from framework.data import reader, writer
from framework.data.stage import load_data
from framework_plugins.hf.tokens.chat import Chat
from tests.support.examples import examples
from tests.support.families import family_tokenizer, stop_ids


class Cached(testing.EchoModel):
    """An echo model whose rows are kept; it does not know their words the next time."""

    encoding = "echo"

    def decode(self, ids: Sequence[int]) -> str:
        return f"{len(ids)} words"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 12), st.integers(1, 500))
def test_a_batch_ends_at_its_rows_or_at_its_characters(sizes: list[int], rows: int, characters: int) -> None:
    examples = [Example((Message("user", "x" * size), Message("assistant", "")), "chatml") for size in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "BATCH_ROWS", rows)
        patch.setattr(reader, "BATCH_CHARACTERS", characters)
        made = list(reader.batches(examples))
    assert [example for batch in made for example in batch] == examples
    for batch in made:
        assert 1 <= len(batch) <= rows
        assert sum(len(example.messages[0].content) for example in batch[:-1]) < characters


class Breaking:
    """A source that loses its connection."""

    def __init__(self, _: Any) -> None:
        self.rows = 0

    def load(self) -> RawData:
        return RawData(self, key="breaking")

    def __iter__(self) -> Iterator[Row]:
        yield Row({"instruction": "say", "output": "it"}, "far:1")
        raise ConnectionResetError(errno.ECONNRESET, "reset by peer")


def test_an_error_of_a_source_is_one_line_that_names_it(data_file: Path, tmp_path: Path) -> None:
    plan = testing.plan(["data=local_file", f"data.path={data_file}"], run_dir=tmp_path / "run")
    component = dataclasses.replace(plan.data.component, factory=f"{Breaking.__module__}:Breaking")
    broken = dataclasses.replace(plan, data=_Made(component, plan.data.config))
    problem = r"^data=local_file: the source failed: ConnectionResetError: .*reset by peer \(.*test_reader\.py:\d+\)$"
    with pytest.raises(FrameworkError, match=problem):
        load_data(broken, Cached(broken))


class _Made(Selection):
    def create(self) -> Any:
        return Breaking(self.config)


def test_a_full_disk_is_reported_with_the_folder(
    data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer.Writer, "add", full)
    plan = testing.plan(["data=local_file", f"data.path={data_file}"], run_dir=tmp_path / "run")
    with pytest.raises(FrameworkError, match=r"cache.* cannot be written: No space left.*Set FRAMEWORK_CACHE=FOLDER"):
        load_data(plan, Cached(plan))


def test_bad_rows_leave_no_folder_of_temporary_files(
    data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    data_file.write_text('{"question": "?"}\n', encoding="utf-8")
    plan = testing.plan(["data=local_file", f"data.path={data_file}"], run_dir=tmp_path / "run")
    with pytest.raises(FrameworkError, match="no format fits"):
        load_data(plan, testing.EchoModel(plan))
    assert not list((tmp_path / "tmp").iterdir())


def test_damaged_groups_and_findings_are_made_again(data_file: Path, tmp_path: Path, cache: Path) -> None:
    plan = testing.plan(["data=local_file", f"data.path={data_file}"], run_dir=tmp_path / "run")
    first = load_data(plan, Cached(plan)).result
    (store,) = cache.iterdir()
    made = [file for file in store.iterdir() if file.suffix == ".npy" or file.name.startswith("findings")]
    assert len(made) == 3
    for file in made:
        file.write_bytes(b"")
    again = load_data(plan, Cached(plan)).result
    assert again == dataclasses.replace(first, cached=True)
    assert all(file.stat().st_size for file in made)


def test_a_renamed_file_is_reported_by_its_new_name(data_file: Path, tmp_path: Path) -> None:
    for name in ("rows.jsonl", "other.jsonl"):
        file = data_file.rename(data_file.with_name(name))
        plan = testing.plan(["data=local_file", f"data.path={file}"], run_dir=tmp_path / "run")
        assert load_data(plan, Cached(plan)).train[0].where.startswith(f"{name}:")
        data_file = file


def test_rows_are_made_anew_for_settings_that_look_like_secrets(data_file: Path, tmp_path: Path) -> None:
    cached = []
    for word in ("alpha", "alpha", "beta"):
        words = ["data=local_file", f"data.path={data_file}", f"format.system_prompt='Say token={word}'"]
        plan = testing.plan(words, run_dir=tmp_path / "run")
        cached.append(load_data(plan, Cached(plan)).result.cached)
    assert cached == [False, True, False]


def raw(*texts: str, place: str = "a") -> RawData:
    return RawData([Row({"text": text}, f"{place}:{number}") for number, text in enumerate(texts)])


def test_the_fingerprint_is_of_the_content_in_its_order_wherever_it_stands() -> None:
    assert reader.fingerprint(raw("one", "two")) == reader.fingerprint(raw("one", "two", place="b"))
    assert reader.fingerprint(raw("one", "two")) != reader.fingerprint(raw("two", "one"))
    assert reader.fingerprint(raw("one")) != reader.fingerprint(RawData((), raw("one").train))
    bad = RawData([Row({}, "a:0", problem="no JSON")])
    assert reader.fingerprint(bad) != reader.fingerprint(RawData([Row({}, "a:0")]))


def test_a_source_that_knows_its_content_is_not_read_for_its_fingerprint() -> None:
    class Unread:
        def __iter__(self) -> None:
            pytest.fail("read")

    one, two = (RawData(Unread(), key=name) for name in ("one", "two"))  # type: ignore[arg-type]
    assert reader.fingerprint(one) == reader.fingerprint(RawData((), key="one"))
    assert reader.fingerprint(one) != reader.fingerprint(two)


class Reads:
    """The part of a model that cuts need."""

    def __init__(self, name: str) -> None:
        self.tokenizer = family_tokenizer(name)
        self.stop_ids = stop_ids(name)
        self.chat = Chat(self.tokenizer, self.stop_ids)

    def decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False))


def cut(name: str, text: str, limit: int) -> list[tuple[Example, Any]]:
    model = Reads(name)
    example = Example((), "text", "book.txt:1", text=text)
    return reader.cut(example, model.chat.encode([example])[0], limit, cast("Model", model))


@pytest.mark.parametrize("name", ["chatml", "llama3"])
@settings(max_examples=examples(60))
@given(
    text=st.text(st.sampled_from("ab äß€日😀👩\n"), min_size=30, max_size=200),
    limit=st.integers(min_value=8, max_value=40),
)
def test_the_pieces_are_the_text_and_none_ends_within_a_character(name: str, text: str, limit: int) -> None:
    made = cut(name, text, limit)
    assert all(len(row.input_ids) <= limit for _, row in made)
    assert "".join(example.text or "" for example, _ in made) == text
    assert not any(reader.HALF_CHARACTER in (example.text or "") for example, _ in made)
    learned = [label for _, row in made for label in row.labels if label != IGNORE]
    whole = Reads(name).chat.encode([Example((), "text", "book.txt:1", text=text)])[0]
    assert learned == [label for label in whole.labels if label != IGNORE]
