"""How a chat template lays out a conversation: what it writes around each role's words, inferred from probes.

    begin | system | user's words | assistant's words | user's words | generation

Texts alone do not show where one turn ends and the next begins, and it makes no difference to a conversation of
alternating turns. The end is put behind the stop token and the line breaks after it, as a reader would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from framework.api.errors import FrameworkError
from framework.api.records import Message
from framework_plugins.exports.ollama.probe import (
    NoTemplateError,
    Probed,
    Render,
    common_end,
    common_start,
    conversation,
    mark,
    probe,
    tried,
)


class Place(Enum):
    """Where the system prompt stands."""

    nowhere = auto()
    """It is refused, or left out."""
    front = auto()
    """In a turn of its own before all others."""
    turn = auto()
    """In a turn of its own, wherever the conversation has it."""
    first_user = auto()
    """In the first turn of the user, before the user's words."""
    last_user = auto()
    """In the last turn, before the user's words."""


@dataclass(frozen=True)
class Around:
    """What is written before and after a role's words."""

    before: str
    after: str


@dataclass(frozen=True)
class Shape:
    """The layout of a conversation.

    Attributes:
        begin: stands before all turns where there is no system prompt of its own turn, a default one for example.
        system: around the system prompt; within the user's turn where that is its place.
        generation: opens the answer, after a turn of the user.
        default_system: what a conversation without a system prompt is given; empty where it is given none.
    """

    begin: str
    place: Place
    system: Around
    user: Around
    assistant: Around
    generation: str
    default_system: str = ""


def infer(render: Render, stops: Sequence[str]) -> Shape:
    """Infer the layout.

    Args:
        render: the chat template.
        stops: texts of the tokens that end an answer, as far as they are known.

    Raises:
        NoTemplateError: it has none of the forms that are known here.
    """
    one, many = _alternating(render, "u"), _alternating(render, "uau")
    if one.texts[0] != many.texts[0] or one.texts[-1] != many.texts[-1]:
        message = "it writes the first or the last turn of the user otherwise where there are more"
        raise NoTemplateError(message)
    begins, answered, asked, ends = many.texts
    opened = _opening(begins, asked, stops)
    begin = begins.removesuffix(opened)
    alone = tried(render, "au")
    user_end, answer_begin = _answer(answered, ends, asked.removesuffix(opened), _after(alone, begin))
    turns = Shape(
        begin=begin,
        place=Place.nowhere,
        system=Around("", ""),
        user=Around(opened, user_end),
        assistant=Around(answer_begin, asked.removesuffix(opened)),
        generation=ends.removeprefix(user_end),
    )
    return _with_system(render, turns)


def _rendered(render: Render, roles: str) -> Probed:
    try:
        return probe(render, roles)
    except NoTemplateError:
        raise
    except FrameworkError as error:
        raise NoTemplateError(str(error)) from error


def _alternating(render: Render, roles: str) -> Probed:
    found = _rendered(render, roles)
    if found.order != tuple(range(len(roles))):
        message = "it writes the turns in another order"
        raise NoTemplateError(message)
    return found


def _opening(begins: str, asked: str, stops: Sequence[str]) -> str:
    """Return what opens a turn of the user, given what stands before the first and before a later one."""
    shared = common_end(begins, asked)
    end = max((asked.find(stop) + len(stop) for stop in stops if stop in asked), default=0)
    rest = asked[end:].lstrip("\n") if end else shared
    return rest if shared.endswith(rest) else shared


def _after(alone: Probed | None, begin: str) -> str | None:
    """Return what opens a turn of the assistant, where a conversation may begin with one."""
    if alone is None or alone.order != (0, 1) or not alone.texts[0].startswith(begin):
        return None
    return alone.texts[0].removeprefix(begin)


def _answer(answered: str, ends: str, close: str, opening: str | None) -> tuple[str, str]:
    """Return what closes a turn of the user, and what opens one of the assistant."""
    if opening is not None and answered.endswith(opening) and ends.startswith(answered.removesuffix(opening)):
        return answered.removesuffix(opening), opening
    shared = common_start(answered, ends)
    end = close if close and shared.startswith(close) else shared
    return end, answered.removeprefix(end)


def _with_system(render: Render, turns: Shape) -> Shape:
    """Add where the system prompt goes."""
    try:
        text = render(conversation("su", mark))
    except FrameworkError:
        return turns
    if mark("system", 0) not in text:
        return turns
    one, many = _rendered(render, "su"), _rendered(render, "suau")
    opened = turns.begin + turns.user.before
    before, after, _ = one.texts
    if one.order == (0, 1) and many.order == (0, 1, 2, 3):
        if after.endswith(turns.user.before):
            return _own_turn(render, turns, Around(before, after.removesuffix(turns.user.before)))
        if before.startswith(opened):
            return replace(turns, place=Place.first_user, system=Around(before.removeprefix(opened), after))
    if one.order == (0, 1) and many.order == (1, 2, 0, 3) and before.startswith(opened):
        return replace(turns, place=Place.last_user, system=Around(before.removeprefix(opened), after))
    message = "it puts the system prompt where no rule is known for it"
    raise NoTemplateError(message)


def _own_turn(render: Render, turns: Shape, system: Around) -> Shape:
    later = tried(render, "uasu")
    between = (turns.assistant.after + system.before, system.after + turns.user.before)
    anywhere = later is not None and later.order == (0, 1, 2, 3) and later.texts[2:4] == between
    place = Place.turn if anywhere else Place.front
    return replace(turns, place=place, system=system, default_system=_default(render, turns.begin, system))


def _default(render: Render, begin: str, system: Around) -> str:
    """Return the system prompt that a conversation without one is given, if giving it makes no difference."""
    length = len(system.before) + len(system.after)
    if len(begin) <= length or not (begin.startswith(system.before) and begin.endswith(system.after)):
        return ""
    text = begin.removeprefix(system.before).removesuffix(system.after)
    asked = conversation("u", mark)
    return text if render([Message("system", text), *asked]) == render(asked) else ""
