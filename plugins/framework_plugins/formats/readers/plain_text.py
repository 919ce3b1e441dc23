"""Plain text: a row for each line, paragraph or file."""

from __future__ import annotations

from collections.abc import Iterator

from framework.api import Row
from framework_plugins.formats.config import SampleBy
from framework_plugins.formats.encodings import not_utf8
from framework_plugins.formats.readers.find import DataFile
from framework_plugins.formats.readers.opened import Opened


def read(file: DataFile, sample_by: SampleBy) -> Iterator[Row]:
    """Read the rows `{"text": …}`; blank lines are no rows, and lie between paragraphs."""
    with Opened(file) as opened:
        for number, text in _samples(opened, sample_by):
            try:
                yield Row({"text": text.decode().replace("\r\n", "\n")}, file.where(number))
            except UnicodeDecodeError as error:
                line = number + text[: error.start].count(b"\n")
                yield Row({}, file.where(line), not_utf8(error))


def _samples(opened: Opened, sample_by: SampleBy) -> Iterator[tuple[int, bytes]]:
    """Give each sample with the number of its first line, without the white space around it at line ends."""
    if sample_by is SampleBy.line:
        yield from ((number, line.rstrip(b"\r\n")) for number, line in opened.lines() if line.strip())
        return
    first, lines, size = 0, list[bytes](), 0
    for number, line in opened.lines():
        if line.strip() or (sample_by is SampleBy.document and lines):
            first = first if lines else number
            lines.append(line)
            size += len(line)
            if size > opened.file.longest:
                raise opened.file.too_long(f"the {sample_by.value} that begins here", first)
        elif lines:
            yield first, b"".join(lines).rstrip()
            lines, size = [], 0
    if lines:
        yield first, b"".join(lines).rstrip()
