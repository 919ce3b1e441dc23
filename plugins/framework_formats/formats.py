"""The formats: pure functions from a row to a conversation.

Alpaca(AlpacaConfig()).example({"instruction": "Add", "input": "1+1", "output": "2"})
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framework.errors import FrameworkError
from framework.plugins import components
from framework.protocols import Formatter
from framework.records import Example, Message
from framework.schema import FormatConfig

Fields = Mapping[str, Any]
SHAREGPT_ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant",
    "bing": "assistant", "bard": "assistant", "model": "assistant", "system": "system", "tool": "tool",
    "observation": "tool", "function_response": "tool",
}  # fmt: skip
ROLES = ("system", "user", "assistant", "tool")


def text(fields: Fields, name: str, kind: str) -> str:
    """Return a field that must be text.

    Raises:
        FrameworkError: names the field, and the fields that the row has.
    """
    if name not in fields:
        raise _missing(fields, name, kind)
    value = fields[name]
    if not isinstance(value, str):
        message = f"format {kind} needs text in '{name}', found {type(value).__name__}"
        raise FrameworkError(message)
    return value


def _missing(fields: Fields, name: str, kind: str) -> FrameworkError:
    found = ", ".join(map(str, fields)) or "no fields"
    return FrameworkError(f"format {kind} needs the field '{name}'; the row has {found}")


def _dialogue(fields: Fields, *names: str) -> list[Any]:
    """Return the first field of these names that holds a list of objects, else an empty list."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, list) and value and all(isinstance(turn, Mapping) for turn in value):
            return value
    return []


def _turns(fields: Fields, kind: str, *names: str) -> list[Any]:
    """Return the dialogue in one of these fields.

    Raises:
        FrameworkError: none of them is there, or it holds something else.
    """
    if turns := _dialogue(fields, *names):
        return turns
    for name in names:
        if name in fields:
            message = f"format {kind} needs a list of turns in '{name}', found {type(fields[name]).__name__}"
            raise FrameworkError(message)
    raise _missing(fields, names[0], kind)


def _role(role: object, kind: str, valid: tuple[str, ...]) -> str:
    if role not in valid:
        message = f"format {kind} knows no role {role!r}; valid: {', '.join(valid)}"
        raise FrameworkError(message)
    return str(role)


def _system(fields: Fields, kind: str) -> tuple[Message, ...]:
    return (Message("system", text(fields, "system", kind)),) if fields.get("system") else ()


def _turn(turn: Fields) -> Message:
    return Message(_role(turn.get("role"), "chatml", ROLES), text(turn, "content", "chatml"))


class Alpaca:
    """instruction / input / output."""

    def __init__(self, config: FormatConfig) -> None:
        self.config = config

    def matches(self, fields: Fields) -> bool:
        """Has instruction and output."""
        return {"instruction", "output"} <= fields.keys()

    def example(self, fields: Fields) -> Example:
        """Join instruction and input with an empty line between, as the user's turn."""
        asked = [text(fields, "instruction", "alpaca")]
        if fields.get("input"):
            asked.append(text(fields, "input", "alpaca"))
        answer = text(fields, "output", "alpaca")
        question = Message("user", "\n\n".join(asked))
        return Example((*_system(fields, "alpaca"), question, Message("assistant", answer)), "alpaca")


class ChatML:
    """messages with role and content."""

    def __init__(self, config: FormatConfig) -> None:
        self.config = config

    def matches(self, fields: Fields) -> bool:
        """Has a list of turns with role and content."""
        turns = _dialogue(fields, "messages", "conversations")
        return bool(turns) and all({"role", "content"} <= turn.keys() for turn in turns)

    def example(self, fields: Fields) -> Example:
        """Take the turns as they are."""
        turns = _turns(fields, "chatml", "messages", "conversations")
        return Example(tuple(_turn(turn) for turn in turns), "chatml")


class ShareGPT:
    """conversations with from and value."""

    def __init__(self, config: FormatConfig) -> None:
        self.config = config

    def matches(self, fields: Fields) -> bool:
        """Has a list of turns with from and value."""
        turns = _dialogue(fields, "conversations", "conversation")
        return bool(turns) and all({"from", "value"} <= turn.keys() for turn in turns)

    def example(self, fields: Fields) -> Example:
        """Translate the role names."""
        turns = _turns(fields, "sharegpt", "conversations", "conversation")
        messages = tuple(
            Message(
                SHAREGPT_ROLES[_role(turn.get("from"), "sharegpt", tuple(SHAREGPT_ROLES))],
                text(turn, "value", "sharegpt"),
            )
            for turn in turns
        )
        system = () if messages[0].role == "system" else _system(fields, "sharegpt")
        return Example((*system, *messages), "sharegpt")


class PromptCompletion:
    """prompt and completion, each as text or as messages."""

    def __init__(self, config: FormatConfig) -> None:
        self.config = config

    def matches(self, fields: Fields) -> bool:
        """Has prompt and completion."""
        return {"prompt", "completion"} <= fields.keys()

    def example(self, fields: Fields) -> Example:
        """Take messages as they are; text becomes a user's and an assistant's turn."""
        turns: list[Message] = []
        for name, role in (("prompt", "user"), ("completion", "assistant")):
            messages = _dialogue(fields, name)
            if messages:
                turns += [_turn(turn) for turn in messages]
            else:
                turns.append(Message(role, text(fields, name, "prompt_completion")))
        return Example(tuple(turns), "prompt_completion")


class Auto:
    """Asks every registered format which rows it recognises; a row that fits none or several is refused."""

    def __init__(self, config: FormatConfig) -> None:
        self.config = config
        self.formats: dict[str, Formatter] = {
            name: component.load()(component.schema())
            for name, component in components("format").items()
            if name != "auto"
        }

    def recognise(self, fields: Fields) -> str:
        """Return the name of the one format that fits.

        Raises:
            FrameworkError: none or several fit.
        """
        names = [name for name, formatter in self.formats.items() if formatter.matches(fields)]
        if len(names) == 1:
            return names[0]
        found = "no format fits" if not names else f"several formats fit ({', '.join(names)})"
        message = (
            f"{found} a row with the fields {', '.join(map(str, fields)) or '(none)'}: "
            f"set format={'|'.join(names or self.formats)}"
        )
        raise FrameworkError(message)

    def matches(self, fields: Fields) -> bool:
        """Whether exactly one format fits."""
        return sum(formatter.matches(fields) for formatter in self.formats.values()) == 1

    def example(self, fields: Fields) -> Example:
        """Let the format that fits do it."""
        return self.formats[self.recognise(fields)].example(fields)
