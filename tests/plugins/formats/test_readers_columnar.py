"""Parquet and Arrow are read in batches; values that JSON has no word for become text, bytes make a bad row."""

import datetime as dt
import gzip
import io
import re
import struct
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from framework import FrameworkError
from framework.api.records import Row
from framework_plugins.formats.config import LocalFileConfig
from framework_plugins.formats.files import LocalFile
from framework_plugins.formats.readers import columnar
from framework_plugins.formats.readers.columnar import BATCH_ROWS
from framework_plugins.formats.readers.find import DataFile
from tests.support.data_files import content, rows_of, written

NAMES = ["r.parquet", "file.arrow", "stream.arrow", "r.feather"]


def saved(folder: Path, table: pa.Table, name: str = "r.parquet") -> Path:
    sink = io.BytesIO()
    if name.endswith(".parquet"):
        pq.write_table(table, sink)
    else:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return written(folder, name, sink.getvalue())


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_numbered_over_the_batches(tmp_path: Path, name: str) -> None:
    rows = rows_of(written(tmp_path, name, [{"a": number} for number in range(2 * BATCH_ROWS + 3)]))
    assert [row.fields["a"] for row in rows] == list(range(2 * BATCH_ROWS + 3))
    assert rows[BATCH_ROWS] == Row({"a": BATCH_ROWS}, f"{name}:row {BATCH_ROWS + 1}")


def test_what_datasets_saves_is_read(tmp_path: Path) -> None:
    messages = [[{"role": "user", "content": str(number)}] for number in range(2500)]
    Dataset.from_dict({"messages": messages, "n": [None] * 2500}).save_to_disk(tmp_path / "saved", num_shards=1)
    (file,) = (tmp_path / "saved").glob("*.arrow")
    rows = rows_of(file)
    assert [row.fields for row in rows] == [{"messages": turns, "n": None} for turns in messages]


@pytest.mark.parametrize("name", ["r.parquet", "stream.arrow"])
def test_points_in_time_and_exact_numbers_become_text(tmp_path: Path, name: str) -> None:
    moment = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    table = pa.table({
        "moment": pa.array([moment, None], pa.timestamp("us", "UTC")),
        "fine": pa.array([moment.replace(tzinfo=None), None], pa.timestamp("ns")),
        "day": [moment.date(), None],
        "time": [moment.time(), None],
        "price": [Decimal("1.10"), None],
        "inside": [[{"day": moment.date(), "text": "x"}], None],
        "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        "kind": pa.array(["x", None]).dictionary_encode(),
        "share": [0.5, None],
    })  # fmt: skip
    first, second = rows_of(saved(tmp_path, table, name))
    assert first.fields == {
        "moment": "2024-01-02T03:04:05+00:00",
        "fine": "2024-01-02T03:04:05",
        "day": "2024-01-02",
        "time": "03:04:05",
        "price": "1.10",
        "inside": [{"day": "2024-01-02", "text": "x"}],
        "map": [["k", 1]],
        "kind": "x",
        "share": 0.5,
    }
    assert set(second.fields.values()) == {None}
    assert not first.problem
    assert not second.problem


def test_bytes_make_a_bad_row_that_names_the_column(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b", "c"], "image": [{"bytes": b"x"}, None, {"bytes": None}]})
    assert rows_of(saved(tmp_path, table)) == [
        Row({}, "r.parquet:row 1", "the column 'image' holds bytes, which is not text"),
        Row({"text": "b", "image": None}, "r.parquet:row 2"),
        Row({"text": "c", "image": {"bytes": None}}, "r.parquet:row 3"),
    ]


@pytest.mark.parametrize("name", ["r.parquet", "stream.arrow"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, name: str) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(FrameworkError, match=rf"{name}: two columns are called 'a': give each a name of its own$"):
        rows_of(saved(tmp_path, table, name))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["empty", "rubbish", "begun", "half"])
def test_a_damaged_file_is_reported(tmp_path: Path, name: str, damage: str) -> None:
    whole = content(name, [{"a": "x" * 1000, "b": number} for number in range(5000)])
    broken = {"empty": b"", "rubbish": b"x" * 5000, "begun": whole[:6] + b"x" * 5000, "half": whole[: len(whole) // 2]}
    with pytest.raises(FrameworkError) as caught:
        rows_of(written(tmp_path, name, broken[damage]))
    assert f"{name}: not a valid .{name.partition('.')[2]} file (" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damage_behind_the_first_rows_is_reported_with_the_row(tmp_path: Path) -> None:
    sink = io.BytesIO()
    batch = pa.record_batch({"a": [f"{number}" * 100 for number in range(1000)]})
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
        writer.write_batch(batch)
    with pytest.raises(FrameworkError, match=r"s\.arrow:row 1001: not a valid \.arrow file"):
        rows_of(written(tmp_path, "s.arrow", sink.getvalue()[:-100_000]))


@pytest.mark.parametrize("name", ["file.arrow", "stream.arrow"])
@pytest.mark.parametrize(("slot", "offset"), [(1, 1 << 30), (1, -64), (2, 4 * 8 + 8)])
def test_an_offset_that_leads_out_of_its_column_is_reported(tmp_path: Path, name: str, slot: int, offset: int) -> None:
    whole = bytearray(content(name, [{"a": "x" * 16, "b": number} for number in range(2)]))
    (at,) = (found.start() for found in re.finditer(re.escape(struct.pack("<3i", 0, 16, 32)), whole))
    struct.pack_into("<i", whole, at + 4 * slot, offset)
    with pytest.raises(FrameworkError, match=rf"{name}: not a valid \.arrow file \(In column 0: Invalid: Offset"):
        rows_of(written(tmp_path, name, bytes(whole)))


def test_the_first_version_of_feather_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match="the first version of Feather"):
        rows_of(written(tmp_path, "r.feather", b"FEA1" + bytes(100)))


def test_a_file_without_rows_has_none(tmp_path: Path) -> None:
    table = pa.table({"a": pa.array([], pa.string())})
    assert rows_of(saved(tmp_path, table)) == rows_of(saved(tmp_path, table, "s.arrow")) == []


def compressed(folder: Path, table: pa.Table, name: str) -> Path:
    sink = io.BytesIO()
    if name.endswith("parquet"):
        pq.write_table(table, sink, compression="zstd", use_dictionary=False)
        return written(folder, name, sink.getvalue())
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    new = pa.ipc.new_stream if "stream" in name else pa.ipc.new_file
    with new(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    made = sink.getvalue()
    return written(folder, name, gzip.compress(made) if name.endswith(".gz") else made)


@pytest.mark.parametrize("name", ["r.parquet", "file.arrow", "stream.arrow", "file.arrow.gz"])
def test_a_small_file_that_unpacks_to_large_rows_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "one").mkdir()
    huge = pa.table({"a": ["x" * 60_000_000]})
    with pytest.raises(FrameworkError, match=r"(row group|batch) 1.*: a row is longer than 41,048,576 bytes"):
        list(LocalFile(LocalFileConfig(path=str(compressed(tmp_path / "one", huge, name)))).load().train)
    monkeypatch.setattr(columnar, "MIN_UNPACKED_BYTES", 1_000_000)
    among = pa.table({"a": [*["y"] * 99, "x" * 2_000_000]})
    with pytest.raises(FrameworkError, match=r"unpacks from [\d,]+ to 2,000,\d+ bytes, which no rows of text do"):
        rows_of(compressed(tmp_path, among, name))


def test_a_text_that_parquet_stores_once_counts_as_often_as_rows_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columnar, "MIN_UNPACKED_BYTES", 1_000_000)
    packed, text = tmp_path / "packed.parquet", "".join(map(chr, np.random.default_rng(0).integers(65, 123, 100_000)))
    pq.write_table(pa.table({"a": ["x" * 100_000] * 20}), packed, compression="zstd")
    with pytest.raises(FrameworkError, match=r"column 'a': unpacks from \d\d to 2,000,080 bytes"):
        rows_of(packed)
    whole = tmp_path / "whole.parquet"
    pq.write_table(pa.table({"a": [text] * 20}), whole, compression="zstd")
    with pq.ParquetFile(whole) as parquet, pa.OSFile(str(whole)) as source:
        file = DataFile(whole, "whole", ".parquet", "")
        assert columnar.rows_at_once(file, parquet.metadata, source) == 9
    assert [row.fields["a"] for row in rows_of(whole)] == [text] * 20


@pytest.mark.parametrize("name", ["r.parquet", "file.arrow", "stream.arrow", "file.arrow.gz"])
def test_large_rows_are_made_values_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    texts = [str(number) * 1000 for number in range(300)]
    monkeypatch.setattr(columnar, "SLICE_BYTES", 10_000)
    assert [row.fields["a"] for row in rows_of(compressed(tmp_path, pa.table({"a": texts}), name))] == texts
    batch = pa.RecordBatch.from_pydict({"a": texts})
    assert max(part.nbytes for part in columnar.slices(batch, 256)) <= 10_000
