"""`data.cut`: a plain text that is longer than its limit becomes several rows.

    cut.pieces(example, row, 512, model)

The rows of one text are about equally long, a cut falls between two tokens and never within a character, and none of
the text stands in two rows. What is not learned at its beginning, the BOS token, begins every row; the stop token
stands at the end of the last one alone.
"""

from __future__ import annotations

import dataclasses
import math

from framework.api.protocols import Model
from framework.api.records import IGNORE, Example, TokenRow

WITHIN = 3
"""Tokens by which a cut moves back at most: a character of four bytes may be four tokens."""
HALF = "\ufffd"
"""How the rest of a character that was cut decodes."""


def pieces(example: Example, row: TokenRow, limit: int, model: Model) -> list[tuple[Example, TokenRow]]:
    """Cut the row of a plain text into rows of at most `limit` tokens, `my.txt:1, part 1` and so on.

    A conversation, and a text that is no longer than that, stay as they are.
    """
    if example.text is None or len(row.input_ids) <= limit:
        return [(example, row)]
    first = next((place for place, label in enumerate(row.labels) if label != IGNORE), 0)
    begin, ids = row.input_ids[:first], row.input_ids[first:]
    room = max(1, limit - first - WITHIN)
    count = math.ceil(len(ids) / room)
    made, start = [], 0
    for number in range(1, count + 1):
        end = _whole_characters(ids, start, len(ids) * number // count, model)
        inner, where = ids[start:end], f"{example.where}, part {number}"
        text = model.decode(inner[:-1] if number == count and inner[-1] in model.stop_ids else inner)
        labels = [IGNORE] * first + row.labels[first + start : first + end]
        tokens = TokenRow([*begin, *inner], labels, where, row.problem)
        made.append((dataclasses.replace(example, text=text, where=where), tokens))
        start = end
    return made


def _whole_characters(ids: list[int], start: int, end: int, model: Model) -> int:
    """Move a cut back to where a character ends; if there is no such place nearby, it stays."""
    if end == len(ids):
        return end
    nearby = range(end, max(start, end - WITHIN - 1), -1)
    return next((place for place in nearby if not model.decode(ids[start:place]).endswith(HALF)), end)
