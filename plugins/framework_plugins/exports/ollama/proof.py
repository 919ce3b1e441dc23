"""Proves that a TEMPLATE gives the same text as the chat template, on conversations of every form that Ollama makes.

Messages hold what tends to go wrong: quotes, braces, line breaks, letters beyond ASCII. Where texts differ, the first
conversation of which that is true is named, and nothing is exported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from framework.api.errors import FrameworkError
from framework.api.records import Message
from framework_plugins.exports.ollama import go
from framework_plugins.exports.ollama.probe import NoTemplateError, Render, conversation, mark, named
from framework_plugins.exports.ollama.shape import Place

TURNS = ("u", "uau", "uauau", "uauauau")
SAYINGS = (
    "{role} {number}",
    "The {role} says \"{number}\" and 'so' on: [{[1, {}]}] \\n\\ % # `code`\n\n- two\n\tthree",
    "{role}: {{ .System }} {% if x %} }} {{- end -}} <b>Zürich</b> 東京 🙂 {number}",
    '"""{role}"""\nsystem\nuser\nassistant {number}',
)
"""What is said, each in turn, with the role and the number of the turn put in."""
THOUGHT = "<think>\nFirst this.\n</think>\n\n"
ANSWER_OPENED = "</think>"


def prove(template: str, render: Render, place: Place) -> list[str]:
    """Prove a TEMPLATE.

    Args:
        template: a Go template.
        render: the chat template.
        place: of the system prompt.

    Returns:
        In what the two differ outside of what is proven, one sentence each.

    Raises:
        NoTemplateError: they differ within it.
    """
    for roles in _forms(place):
        for saying in SAYINGS:
            _same(template, render, _said(roles, saying), roles)
    return [
        *_thoughts(template, render), *_white_space(template, render, place), *_system(place), *_cut(template, render)
    ]  # fmt: skip


def _said(roles: str, saying: str) -> list[Message]:
    return conversation(roles, lambda role, number: saying.replace("{role}", role).replace("{number}", str(number)))


def written(template: str, messages: Sequence[Message]) -> str:
    """Execute a TEMPLATE as Ollama does, for a conversation whose neighbours are of different roles."""
    values = {
        "System": "\n\n".join(message.content for message in messages if message.role == "system"),
        "Messages": [{"Role": message.role, "Content": message.content} for message in messages],
    }
    return go.execute(template, values)


def _forms(place: Place) -> Iterator[str]:
    """Give the conversations that have to agree; those that the chat template refuses are passed over in `_same`."""
    yield from TURNS
    yield from ("s" + roles for roles in TURNS)
    if place is Place.turn:
        yield from ("uasu", "suasuau")


def _same(template: str, render: Render, messages: Sequence[Message], roles: str) -> None:
    try:
        expected = render(messages)
    except FrameworkError as error:
        if roles in TURNS:
            raise NoTemplateError(str(error)) from error
        return  # Ollama would send what the model never saw, and there is nothing to compare with
    if (got := written(template, messages)) != expected:
        start = next((n for n, pair in enumerate(zip(got, expected, strict=False)) if pair[0] != pair[1]), len(got))
        message = (
            f"for the turns {named(roles)} it writes {expected[start : start + 40]!r} where the rule that was found "
            f"gives {got[start : start + 40]!r}"
        )
        raise NoTemplateError(message)


def _thoughts(template: str, render: Render) -> list[str]:
    """Look at what becomes of thoughts in earlier answers: a TEMPLATE cannot take them out."""

    def words(role: str, number: int) -> str:
        return THOUGHT * (role == "assistant") + f"{role} {number}"

    messages = conversation("uau", words)
    if render(messages) == written(template, messages):
        return []
    if ANSWER_OPENED in render(conversation("u", mark)):  # the answer is asked for without a thought
        return ["Thoughts in earlier answers are left as they are; the chat template takes them out."]
    message = "it takes the thoughts out of earlier answers, which no TEMPLATE can"
    raise NoTemplateError(message)


def _white_space(template: str, render: Render, place: Place) -> list[str]:
    """Say whose words lose the white space at their ends in the chat template: a Go template has no function for it."""
    form = "uau" if place is Place.nowhere else "suau"
    trimmed = [role for role in ("system", "user", "assistant") if _trims(template, render, form, role)]
    if not trimmed:
        return []
    return [f"White space at the ends of a message stays; the chat template takes it off ({', '.join(trimmed)})."]


def _trims(template: str, render: Render, form: str, whose: str) -> bool:
    def padded(pad: Callable[[str], str]) -> list[Message]:
        return conversation(form, lambda role, number: pad(mark(role, number)) if role == whose else mark(role, number))

    messages = padded(lambda text: f" \n{text}\n ")
    return render(messages) != written(template, messages)


def _system(place: Place) -> list[str]:
    return ["The chat template takes no system prompt: one that is given is left out."] * (place is Place.nowhere)


def _cut(template: str, render: Render) -> list[str]:
    """Look at a conversation that begins with an answer: so it does where Ollama has cut off what came before."""
    messages = conversation("auau", mark)
    try:
        agrees = render(messages) == written(template, messages)
    except FrameworkError:
        agrees = True
    return [] if agrees else ["A conversation cut off before an answer begins otherwise than with the chat template."]
