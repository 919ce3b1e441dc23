"""Files are unpacked as they are read; the error for damaged or binary files says what to do."""

import gzip
import io
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from framework import FrameworkError
from framework_plugins.formats.readers.opened import OpenFile
from tests.support.data_files import data_file, rows_of, written

BODY = b"".join(b'{"a": %d}\n' % (number * number) for number in range(50_000))


def read_whole(path: Path) -> bytes:
    with OpenFile(data_file(path)) as opened:
        return opened.stream.read()


@settings(deadline=None)  # of files
@given(parts=st.lists(st.binary(max_size=100_000), min_size=1, max_size=4))
def test_one_or_more_packed_parts_are_read_as_one(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name, pack in (("a.txt.gz", gzip.compress), ("a.txt.zst", zstandard.compress)):
        assert read_whole(written(folder, name, b"".join(map(pack, parts)))) == b"".join(parts)


def test_frames_without_size_with_long_windows_and_of_nothing_are_read(tmp_path: Path) -> None:
    compressor = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    )
    sink = io.BytesIO()
    with compressor.stream_writer(sink, closefd=False) as stream:
        stream.write(BODY)
    nothing = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"  # a frame that is to be passed over
    assert read_whole(written(tmp_path, "a.txt.zst", nothing + sink.getvalue() + nothing)) == BODY


@pytest.mark.parametrize(("name", "pack"), [("a.jsonl.gz", gzip.compress), ("a.jsonl.zst", zstandard.compress)])
class TestDamaged:
    def refusal(self, folder: Path, name: str, content: bytes) -> str:
        with pytest.raises(FrameworkError) as caught:
            rows_of(written(folder, name, content))
        return str(caught.value)

    @pytest.mark.parametrize("cut", [1, 5, 1000, -12])
    def test_a_file_that_ends_early_is_reported(
        self, tmp_path: Path, name: str, pack: Callable[[bytes], bytes], cut: int
    ) -> None:
        packed = pack(BODY)
        text = self.refusal(tmp_path, name, packed[: len(packed) - cut] if cut > 0 else packed[:-cut])
        assert "the file ends too early: was it copied or downloaded in part?" in text

    def test_the_line_that_was_reached_is_named(
        self, tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
    ) -> None:
        text = self.refusal(tmp_path, name, pack(BODY[:100_000]) + pack(BODY[100_000:])[:-2000])
        line = int(text.removeprefix(f"{tmp_path / name}:").split(":")[0])
        assert line > BODY[:100_000].count(b"\n")

    def test_another_file_with_this_name_is_reported(
        self, tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
    ) -> None:
        kind = {"gz": "gzip", "zst": "zstd"}[name.rpartition(".")[2]]
        assert f"{name}: not a valid {kind} file (" in self.refusal(tmp_path, name, BODY)
        broken = bytearray(pack(BODY))
        if kind == "gzip":
            broken[-8] ^= 1  # of the checksum
        else:
            broken[len(broken) // 2 :] = bytes(len(broken) // 2)
        assert f"not a valid {kind} file (" in self.refusal(tmp_path, name, bytes(broken))

    def test_an_empty_file_has_no_rows(self, tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
        assert rows_of(written(tmp_path, name, pack(b""))) == []
        assert rows_of(written(tmp_path, name, b"")) == []


def zipped() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("a.jsonl", BODY)
    return sink.getvalue()


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
@pytest.mark.parametrize(
    ("content", "text"),
    [
        (BODY.decode().encode("utf-16"), "the text is UTF-16: set data.encoding=utf-16"),
        (b"\xfe\xff" + BODY.decode().encode("utf-16-be"), "the text is UTF-16: set data.encoding=utf-16"),
        (BODY.decode().encode("utf-32"), "the text is UTF-32: set data.encoding=utf-32"),
        (gzip.compress(BODY, mtime=0), "the file is packed with gzip; give it a name that ends with .gz"),
        (zstandard.compress(BODY), "the file is packed with zstd; give it a name that ends with .zst"),
        (b"PAR1" + BODY, "the file is Parquet; give it a name that ends with .parquet"),
        (zipped(), "the file is a zip archive, or a spreadsheet"),
    ],
    ids=["UTF-16", "UTF-16 big", "UTF-32", "gzip", "zstd", "Parquet", "zip"],
)
def test_what_is_no_text_is_reported_with_what_to_do(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        rows_of(written(tmp_path, name, content))
    assert text in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_an_error_of_the_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path, "a.jsonl", BODY)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(FrameworkError, match=r"a\.jsonl: the file cannot be read \(Permission denied\)$"):
        rows_of(file)
    monkeypatch.undo()
    file.unlink()
    with pytest.raises(FrameworkError, match=r"a\.jsonl: the file is gone; it was there when the run started$"):
        rows_of(file)


def test_a_table_that_does_not_fit_unpacked_is_reported(tmp_path: Path) -> None:
    file = written(tmp_path, "r.parquet.gz", [{"a": "x" * 100}])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        with pytest.raises(FrameworkError, match=r"cannot be unpacked into .* \(File too large\); set TMPDIR=FOLDER"):
            rows_of(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_reader_that_stops_early_closes_the_file(tmp_path: Path) -> None:
    file = data_file(written(tmp_path, "a.jsonl.gz", gzip.compress(BODY)))
    with OpenFile(file) as opened:
        assert next(opened.lines()) == (1, b'{"a": 0}\n')
        stream = opened.stream
    assert stream.closed


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv.gz", "a.txt.zst", "a.parquet", "a.arrow"])
def test_what_git_lfs_left_in_place_of_the_data_is_reported(tmp_path: Path, name: str) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    with pytest.raises(FrameworkError, match=rf"{name}: the file only says where Git LFS keeps the data; fetch them"):
        rows_of(written(tmp_path, name, pointer))
