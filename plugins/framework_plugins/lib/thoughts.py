"""An answer as it is generated, without its thought."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from framework.api import Message


def without_thought(pieces: Iterable[str]) -> Iterator[str]:
    """Give the pieces of an answer without the thought that it begins with, and the white space around that.

    While it may still be a thought an empty piece comes for each one, so that the caller sees progress. A
    thought that never ends is the answer.
    """
    pieces, buffer = iter(pieces), ""
    for piece in pieces:
        buffer += piece
        if not _may_be_thought(buffer):
            yield buffer
            break
        if answer := buffer.partition(Message.END_THOUGHT)[2].lstrip():
            yield answer
            break
        yield ""
    else:
        if buffer and Message.END_THOUGHT not in buffer:
            yield buffer
        return
    yield from pieces


def _may_be_thought(text: str) -> bool:
    start = text.lstrip()
    return start.startswith(Message.BEGIN_THOUGHT) or Message.BEGIN_THOUGHT.startswith(start)
