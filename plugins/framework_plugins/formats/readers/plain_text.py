"""Plain text: a row for each line, paragraph or file."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator

from framework.api import Row
from framework_plugins.formats.config import SampleBy
from framework_plugins.formats.dialogue_text import lines_problem
from framework_plugins.formats.encodings import not_utf8
from framework_plugins.formats.readers.find import DataFile
from framework_plugins.formats.readers.opened import OpenFile

HEAD_LINES = 60
"""Lines that show whether a file has a text on each line."""


def read(file: DataFile, sample_by: SampleBy) -> Iterator[Row]:
    """Read the rows `{"text": …}`; blank lines are not rows, and lie between paragraphs.

    Raises:
        FrameworkError: a line would be a row, and the lines belong together.
    """
    with OpenFile(file) as opened:
        samples = _samples(opened, sample_by)
        if sample_by is SampleBy.line:
            head = list(itertools.islice(samples, HEAD_LINES))
            lines = [line.decode(errors="replace") for _, line in head]
            if problem := lines_problem(lines, shlex.quote(str(file.path))):
                raise file.error(problem, 1)
            samples = itertools.chain(head, samples)
        for line_number, text in samples:
            try:
                yield Row({"text": text.decode().replace("\r\n", "\n")}, file.where(line_number))
            except UnicodeDecodeError as error:
                line = line_number + text[: error.start].count(b"\n")
                yield Row({}, file.where(line), not_utf8(error))


def _samples(opened: OpenFile, sample_by: SampleBy) -> Iterator[tuple[int, bytes]]:
    """Give each sample with the number of its first line, without the white space around it at line ends."""
    if sample_by is SampleBy.line:
        yield from ((line_number, line.rstrip(b"\r\n")) for line_number, line in opened.lines() if line.strip())
        return
    start, lines, size = 0, list[bytes](), 0
    for line_number, line in opened.lines():
        if line.strip() or (sample_by is SampleBy.document and lines):
            start = start if lines else line_number
            lines.append(line)
            size += len(line)
            if size > opened.file.longest:
                raise opened.file.too_long(f"the {sample_by.value} that begins here", start)
        elif lines:
            yield start, b"".join(lines).rstrip()
            lines, size = [], 0
    if lines:
        yield start, b"".join(lines).rstrip()
