"""The same rows are the same whatever kind of file holds them, and files of any size need little memory."""

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework_plugins.formats.config import SampleBy
from framework_plugins.formats.readers import READERS, read
from framework_plugins.formats.readers.find import KINDS
from tests.support.data_files import NAMES, data_file, rows_of, written

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=30)
ROWS = st.lists(st.fixed_dictionaries({"instruction": TEXT, "output": TEXT}), min_size=1, max_size=5)
MEGABYTE = 1_000_000


def test_every_kind_has_a_reader() -> None:
    assert {*READERS, ".txt"} == set(KINDS)


@settings(deadline=None)  # of files
@given(rows=ROWS, packing=st.sampled_from(["", ".gz", ".zst"]))
def test_the_same_rows_are_read_from_files_of_every_kind(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]], packing: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name in NAMES:
        found = rows_of(written(folder, name + packing, rows))
        assert [(row.fields, row.problem) for row in found] == [(row, "") for row in rows], name


def lines(size: int) -> Iterator[str]:
    row = json.dumps({"instruction": "say it again", "output": "again " * 200})
    return (row for _ in range(size // len(row)))


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with files of 50 MB of rows each."""
    folder = tmp_path_factory.mktemp("big")
    with (folder / "lines.jsonl").open("w") as file:
        file.writelines(f"{line}\n" for line in lines(50 * MEGABYTE))
    for name, head, tail in (("array.json", "[", "]"), ("object.json", '{"data": [', "]}")):
        with (folder / name).open("w") as file:
            file.write(head)
            file.writelines(f"{', ' if number else ''}{line}" for number, line in enumerate(lines(50 * MEGABYTE)))
            file.write(tail)
    table = pa.Table.from_pylist([json.loads(line) for line in lines(50 * MEGABYTE)])
    pq.write_table(table, folder / "rows.parquet", row_group_size=5000)
    with pa.OSFile(str(folder / "rows.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)  # all in one batch
    with (folder / "rows.csv").open("w") as file:
        file.write("instruction,output\n")
        file.writelines(f"say it again,{'again ' * 200}\n" for _ in lines(50 * MEGABYTE))
    return folder


@pytest.mark.parametrize("name", ["lines.jsonl", "array.json", "object.json", "rows.csv", "rows.parquet", "rows.arrow"])
def test_a_file_of_fifty_megabytes_is_read_with_a_few(big: Path, name: str) -> None:
    arrow = most = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        for number, row in enumerate(read(data_file(big / name), SampleBy.line)):
            assert row.fields["instruction"] == "say it again"
            if number % 1000 == 0:
                most = max(most, pa.total_allocated_bytes())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert number == len(list(lines(50 * MEGABYTE))) - 1
    assert peak < 5 * MEGABYTE
    assert most - arrow < 25 * MEGABYTE
