"""A row in the making: its rendered texts, then its tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from framework.api.records import Example
from framework_plugins.hf.tokens.prompt_tokens import Cut


@dataclass(slots=True)
class Turn:
    """What the renderings of a learned turn came to, in characters of the row's text; the texts are let go.

    Attributes:
        prompt: the length of its prompt; -1 where the prompt is not the beginning of the row.
        end: where ends what the turn says.
        limit: up to where the conversation that ends with this turn is written as in the row.
        complete: whether that is all of it.
        last: whether it is the last turn of the row.
        alone: that conversation, where it is needed again.
        problem: why there is no `end`, or no `prompt`.
        cut: of the prompt within the row.
    """

    prompt: int = -1
    end: int = 0
    limit: int = 0
    complete: bool = False
    last: bool = False
    alone: str = ""
    problem: str = ""
    cut: Cut | None = None


@dataclass(slots=True)
class Draft:
    """A row in the making.

    `learned` are the turns to learn, by the numbers of their messages; `spans` are their tokens: the first, and the
    stop token.
    """

    example: Example
    text: str = ""
    problem: str = ""
    learned: dict[int, Turn] = field(default_factory=dict)
    encoding: Any = None
    ids: list[int] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
