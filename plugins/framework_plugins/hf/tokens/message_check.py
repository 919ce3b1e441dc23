"""Whether a chat template keeps all of a conversation: some drop system prompts, reasoning or tools."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from framework import FrameworkError
from framework.api import Example, Message, ToolCall

OTHER_TEMPLATE = "take another chat template, model.chat_template=FILE.jinja"


class Remedied(str):  # a text for all but those who try whether the remedy helps, or a better one
    """The problem of a row, with its cause and the remedy: `cause: first remedy`."""

    __slots__ = ("cause", "remedy")
    cause: str
    remedy: str

    def __new__(cls, cause: str, remedy: str, first: str = "") -> Self:
        """Write the text."""
        problem = super().__new__(cls, f"{cause}: {first}{remedy}")
        problem.cause, problem.remedy = cause, remedy
        return problem

    @staticmethod
    def of(error: FrameworkError) -> str:
        """Return an error as a problem, with the remedy if there is one."""
        problem = error.args[0]
        return problem if isinstance(problem, Remedied) else str(error)


NO_CALL = Remedied("the chat template drops or changes an assistant's tool call", OTHER_TEMPLATE)
_AS_PYTHON = Remedied(
    "the chat template writes the arguments of a call as Python shows an object, with ' around text, which no server "
    "reads", OTHER_TEMPLATE, "it must write them as JSON (arguments | tojson), or ",
)  # fmt: skip
_NO_TOOLS = Remedied(
    "the chat template leaves out the tools, or the call of one, so the model would never know them "
    '("format.columns={tools: null}" leaves them out too)', OTHER_TEMPLATE,
)  # fmt: skip


def answer_end(message: Message, text: str, start: int, stop: int) -> tuple[int, str]:
    """Return the position after the content of an assistant's turn in `text[start:stop]`.

    Returns:
        The end, and a problem if a part of the turn is missing; the end is then that of the last part found.
    """
    end, part = start, ""
    for part, description in _parts(message, text[start:stop]):
        position = text.find(part, end, stop)
        if position < 0:
            return end, Remedied(f"the chat template drops or changes {description}", OTHER_TEMPLATE)
        end = position + len(part)
    if any(call.arguments and text.find(str(dict(call.arguments)), end, stop) >= 0 for call in message.tool_calls):
        return end, _AS_PYTHON
    calls_end, problem = _calls_end(message.tool_calls, text, end, stop)
    if problem and part:
        part_start = text.rfind(part, start, stop)  # Gemma 4 writes the calls first
        if not _calls_end(message.tool_calls, text, start, part_start)[1]:
            return part_start + len(part), ""
    return calls_end, problem


def _parts(message: Message, region: str) -> Iterator[tuple[str, str]]:
    """Give the parts of a turn in their order; a thought within the answer counts separately if it was moved."""
    if thought := message.reasoning_content.strip():
        yield thought, "the assistant's thoughts (reasoning_content)"
    content = message.content.strip()
    if content and Message.END_THOUGHT in content and content not in region:
        thought, content = (part.strip() for part in content.rsplit(Message.END_THOUGHT, 1))
        yield thought.removeprefix(Message.BEGIN_THOUGHT).strip(), "the assistant's thoughts (before </think>)"
    if content:
        yield content, "an assistant's turn"


def _calls_end(calls: Sequence[ToolCall], text: str, start: int, stop: int) -> tuple[int, str]:
    """Return the position after calls, which follow one another, each with its name and arguments.

    Returns:
        The end, and a problem if one is missing; then the end is that of the call before.
    """
    end = start
    for call in calls:
        # They may be in any order; a stop token within an argument does not end the turn.
        ends = [_end_of(part, text, end, stop) for part in (call.name, *_nested_strings(call.arguments))]
        if min(ends) < 0:
            return end, NO_CALL
        end = max(ends)
    return end, ""


def _nested_strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield str(name)
            yield from _nested_strings(part)
    elif isinstance(value, Sequence):
        for part in value:
            yield from _nested_strings(part)


def _end_of(part: str, text: str, start: int, stop: int) -> int:
    """Return where `part` first ends in `text`, -1 if it is missing; it may be escaped."""
    places = ((text.find(form, start, stop), len(form)) for form in {part, part.strip(), *_escaped_forms(part)})
    return min((position + length for position, length in places if position >= 0), default=-1)


def _json_content(part: str) -> str:
    return json.dumps(part, ensure_ascii=False)[1:-1]


def _escaped_forms(part: str) -> Iterator[str]:
    """Give the other forms in which a template may write an argument."""
    for ascii_only in (True, False):
        once = json.dumps(part, ensure_ascii=ascii_only)[1:-1]
        yield from (once, _json_content(once))  # arguments as JSON text within JSON
    yield html.escape(part, quote=False)
    yield html.escape(part)
    yield repr(part)[1:-1]  # within a call that is written as Python code, f(city='Bern')


def lost_text(example: Example, text: str) -> str:
    """Name the turn that is missing in the rendered text, or out of order; empty if none is.

    A system prompt may be anywhere, since some templates move it. Of an earlier answer its thought may be missing:
    where such a turn is learned, `answer_end` looks for it too. What the conversation says several times has to be
    there as often: "Be brief." within a question is not a system prompt.
    """
    position, parts = 0, []
    for message in example.messages:
        system = message.role == "system"
        part, end = _locate(message, text, 0 if system else position)
        if end < 0:
            return _dropped_text(message)
        parts.append(part)
        if message.tool_calls and (problem := _calls_lost(message, text, position, end)):
            return problem
        position = position if system else end
    # The others are one after the other: only beside a system prompt may two have been found in the same place.
    for message in example.messages:
        if message.role == "system" and (problem := _hidden_in_prompt(example, parts, message.content.strip(), text)):
            return problem
    return _lost_tools(example, parts, text)


def _calls_lost(message: Message, text: str, start: int, end: int) -> str:
    """Say that calls of a turn are neither after its content, which ends at `end`, nor before it."""
    problem = _calls_end(message.tool_calls, text, end, len(text))[1]
    return problem and _calls_end(message.tool_calls, text, start, len(text))[1]


def _dropped_text(message: Message) -> str:
    owner = "the system prompt" if message.role == "system" else f"a turn of the {message.role}"
    return Remedied(f"the chat template drops or changes {owner}, so the model would never see it", OTHER_TEMPLATE)


def _locate(message: Message, text: str, start: int) -> tuple[str, int]:
    """Return the text to find of a message, as it is written in `text`, and where it ends; -1 if it is missing."""
    content = message.content.strip()
    position = text.find(content, start)
    if position < 0 and message.role == "tool":
        content = _json_content(content)
        position = text.find(content, start)
    elif position < 0 and message.role == "assistant" and Message.END_THOUGHT in content:
        content = content.rsplit(Message.END_THOUGHT, 1)[1].strip()
        position = text.find(content, start)
    return content, position + len(content) if position >= 0 else -1


def _hidden_in_prompt(example: Example, parts: Sequence[str], prompt: str, text: str) -> str:
    """Name a turn that occurs only within a system prompt, or a system prompt only within another turn."""
    joined = Example.SEPARATOR.join(parts)
    for message, part in zip(example.messages, parts, strict=True):
        if part and part in prompt and text.count(part) < joined.count(part):
            return _dropped_text(message)
    return ""


def _lost_tools(example: Example, parts: Sequence[str], text: str) -> str:
    """Return the problem of a tool, or the call of one, that occurs only within the messages."""
    calls = [call.name for message in example.messages for call in message.tool_calls]
    tools = [_tool_name(tool) for tool in example.tools]
    spoken = Example.SEPARATOR.join(parts) if calls or tools else ""
    joined = Example.SEPARATOR.join([spoken, *calls, *tools])
    for name in filter(None, {*calls, *tools}):
        # A short name may be a part of any word.
        if text.count(name) < joined.count(name) or _count_word(name, text) <= _count_word(name, spoken):
            return _NO_TOOLS if name in tools else NO_CALL
    return ""


def _count_word(name: str, text: str) -> int:
    """Count a name as a word of its own."""
    return len(re.findall(rf"(?<!\w){re.escape(name)}(?!\w)", text))


def _tool_name(tool: Mapping[str, Any]) -> str:
    function = tool.get("function", tool)
    return str(function.get("name", "")) if isinstance(function, Mapping) else ""


def texts(message: Message) -> list[str]:
    """Return all that a message brings into the rendered text."""
    if not message.tool_calls and not message.reasoning_content:
        return [message.content]
    calls = [text for call in message.tool_calls for text in (call.name, *_nested_strings(call.arguments))]
    return [message.content, message.reasoning_content, *calls]


def all_texts(example: Example) -> Iterator[tuple[str, str]]:
    """Give each text that an example brings into the rendered text, and whose it is: a role, or `tools`."""
    for message in example.messages:
        for text in texts(message):
            yield message.role, text
    for tool in example.tools:
        for text in _nested_strings(tool):
            yield "tools", text
