"""What a reasoning model writes before its answer, `<think>…</think>`, and text without it, piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from framework.api.conversations import BEGIN_THOUGHT, END_THOUGHT


def without_thought(pieces: Iterable[str]) -> Iterator[str]:
    """Give the pieces of an answer without the thought that it begins with, and the white space around that.

    While it may still be a thought an empty piece comes for each one, so that the caller sees progress. A
    thought that never ends is the answer.
    """
    pieces, held = iter(pieces), ""
    for piece in pieces:
        held += piece
        if not _may_be_thought(held):
            yield held
            break
        if rest := held.partition(END_THOUGHT)[2].lstrip():
            yield rest
            break
        yield ""
    else:
        if held and END_THOUGHT not in held:
            yield held
        return
    yield from pieces


def _may_be_thought(text: str) -> bool:
    start = text.lstrip()
    return start.startswith(BEGIN_THOUGHT) or BEGIN_THOUGHT.startswith(start)
