"""Shapes of published data that no format has by its own names and that have one clear reading.

    shaped({"question": "say", "answer": "it"})

is `("prompt_completion", {"prompt": "say", "completion": "it"})`. A row that could be read in two ways has none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from framework import FrameworkError
from framework_plugins.formats.formats import turns
from framework_plugins.formats.formats.names import DIALOGUE_FIELDS, LABEL_FIELDS
from framework_plugins.formats.formats.values import (
    FORMATTER_ADVICE,
    Fields,
    is_labelled,
    is_object,
    json_type,
    parse_json,
)

QUESTION_FIELDS = ("instruction", "question", "query", "prompt", "problem", "input")
ANSWER_FIELDS = ("output", "response", "answer", "completion", "solution")
CONTEXT_FIELDS = ("context", "input")
"""What a question is about, as Alpaca's `input` is; `input` asks if nothing else does."""
WHO_KEYS = ("role", "from", "author", "speaker", "sender", "user", "username", "type")
WHAT_KEYS = ("content", "text", "value", "message", "utterance", "body")
"""Keys of a turn that say who speaks and what, in the field's names and in others."""
TURN_LIST_FIELDS = ("items", "dialog", "dialogue", "dialogs", "turns", "chat")
"""Other names for a list of turns."""
EXTRA_FIELDS = ("system", "system_prompt", "tools", "functions", *LABEL_FIELDS)
"""Read beside each of these shapes."""
AMBIGUOUS_FIELDS = frozenset({
    *DIALOGUE_FIELDS, *TURN_LIST_FIELDS, "chosen", "rejected", "labels", "choices", "options", "candidates",
    "article", "passage", "passages", "document", "documents", "paragraph", "paragraphs", "contexts", "story",
    "premise", "hypothesis", "table", "schema", "history", "reasoning", "reasoning_content", "thinking", "thought",
    "thoughts", "rationale", "chain_of_thought", "cot", "explanation", "text",
})  # fmt: skip
"""With one of these a question and an answer are not all that counts: it may be needed, or be learned too."""
XLAM_TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
}
SCHEMA_TYPES = {*XLAM_TYPES.values()}
Shape = tuple[str, dict[str, Any]]


def plain_names(fields: Fields) -> Fields | None:
    """Return a row with its names in small letters, `System Prompt` as `system_prompt`; None if nothing changes."""
    plain = {str(name).strip().lower().replace(" ", "_"): value for name, value in fields.items()}
    # Two names that become one would lose a field.
    return None if len(plain) < len(fields) or list(plain) == list(fields) else plain


def recognize_shape(fields: Fields) -> Shape | None:
    """Return the format and the fields of a row with other field names; None if no format fits clearly.

    Raises:
        FrameworkError: the row has a known shape, and something in it cannot be learned.
    """
    for look in (_gemini, _xlam, _renamed_turns, _turn_list, _question_and_answer):
        shape = look(fields)
        if shape is not None:
            form, main_fields = shape
            side_fields = {name: fields[name] for name in EXTRA_FIELDS if fields.get(name) is not None}
            return "unpaired" if is_labelled(side_fields) else form, {**side_fields, **main_fields}
    return None


def _question_and_answer(fields: Fields) -> Shape | None:
    """Recognize a question and an answer, perhaps with a context: question/answer, prompt/response, Dolly, Orca."""
    if any(fields.get(name) is not None for name in AMBIGUOUS_FIELDS):
        return None
    about = [name for name in CONTEXT_FIELDS if fields.get(name)]
    asks = [name for name in QUESTION_FIELDS if fields.get(name) is not None and name not in CONTEXT_FIELDS]
    if not asks and "input" in about:
        asks, about = ["input"], [name for name in about if name != "input"]
    answers = [name for name in ANSWER_FIELDS if fields.get(name) is not None]
    if len(asks) != 1 or len(answers) != 1 or len(about) > 1:
        return None
    ask, answer = fields[asks[0]], fields[answers[0]]
    if not isinstance(answer, str) and turns.first_turn(fields, answers[0]) is None:
        return None  # the advice names the field, and what is in it
    if about:
        return "alpaca", {"instruction": ask, "input": fields[about[0]], "output": answer}
    return "prompt_completion", {"prompt": ask, "completion": answer}


def _turn_list(fields: Fields) -> Shape | None:
    """Recognize a list of turns in a field with another name."""
    names = [name for name in TURN_LIST_FIELDS if turns.first_turn(fields, name)]
    if len(names) != 1 or any(
        fields.get(name) is not None for name in (*ANSWER_FIELDS, "chosen", "rejected", "summary")
    ):
        return None
    turn = turns.first_turn(fields, names[0]) or {}
    form = "chatml" if turns.has_content(turn) else "sharegpt" if turns.has_value(turn) else ""
    return (form, {"conversations": fields[names[0]]}) if form else None


def who_and_what(turn: Fields, *, any_role: bool = False) -> tuple[str, str] | None:
    """Return the keys of the speaker and of the content in a turn; None if there are none.

    `any_role`: whoever speaks counts, not only a known role.
    """
    content_key = next((key for key in WHAT_KEYS if isinstance(turn.get(key), str | list)), None)
    content_key = content_key or ("content" if "content" in turn and turn.get("tool_calls") else None)
    speaker_key = next((key for key in WHO_KEYS if key != content_key and turn.get(key)), None)
    if content_key is None or speaker_key is None:
        return None
    has_known_role = isinstance(turn[speaker_key], str) and turn[speaker_key].lower() in turns.ROLES
    return (speaker_key, content_key) if has_known_role or any_role else None


def _renamed_turns(fields: Fields) -> Shape | None:
    """Recognize turns with other keys: author and content (Vertex), role and text, LangChain's type and `data`."""
    for name in (*DIALOGUE_FIELDS, *TURN_LIST_FIELDS):
        turn = turns.first_turn(fields, name)
        if turn is None or turns.has_content(turn) or turns.has_value(turn):
            continue
        flat_turns = [
            {**turn, **turn["data"], "type": turn.get("type")} if is_object(turn.get("data")) else turn
            for turn in turns.unpacked(fields[name])
            if is_object(turn)
        ]
        keys = {who_and_what(turn) for turn in flat_turns}
        if len(keys) != 1 or (pair := keys.pop()) is None:
            continue
        speaker_key, content_key = pair
        messages = [
            {"role": turn[speaker_key], "content": turn[content_key],
             **{key: value for key, value in turn.items() if key not in (speaker_key, content_key, "data", "type")}}
            for turn in flat_turns
        ]  # fmt: skip
        about = fields.get("context")
        before = (
            [{"role": "system", "content": about}]
            if speaker_key == "author" and isinstance(about, str) and about
            else []
        )
        return "chatml", {"messages": [*before, *messages]}
    return None


def _gemini(fields: Fields) -> Shape | None:
    """Recognize Gemini's form for tuning: contents of parts, the model's turns with the role model."""
    contents = fields.get("contents")
    if (
        not isinstance(contents, list)
        or not contents
        or not all(is_object(turn) and "parts" in turn for turn in contents)
    ):
        return None
    if fields.get("tools"):
        raise FrameworkError("has Gemini's 'contents' with 'tools', which are not read: write 'messages' with tools")
    messages = [
        {"role": "assistant" if turn.get("role") == "model" else turn.get("role", "user"), "content": _parts(turn)}
        for turn in contents
    ]
    system = fields.get("systemInstruction") or fields.get("system_instruction")
    if system:
        messages.insert(0, {"role": "system", "content": _parts(system) if isinstance(system, Mapping) else system})
    return "chatml", {"messages": messages}


def _parts(turn: Fields) -> str:
    parts: Any = turn.get("parts")
    listed: list[Any] = parts if isinstance(parts, list) else [parts]
    non_text = [part for part in listed if not is_object(part) or not isinstance(part.get("text"), str)]
    if non_text:
        description = ", ".join(map(str, non_text[0])) if is_object(non_text[0]) else json_type(non_text[0])
        raise FrameworkError(f"needs parts with text in Gemini's 'contents', found {description}: {FORMATTER_ADVICE}")
    return "".join(part["text"] for part in listed)


def _xlam(fields: Fields) -> Shape | None:
    """Recognize a question, its calls, and tools whose parameters are names with types instead of JSON Schema."""
    answers, tools = fields.get("answers"), fields.get("tools")
    if not isinstance(fields.get("query"), str) or not answers or not tools:
        return None
    calls = parse_json(answers, "answers") if isinstance(answers, str) else answers
    schemas = parse_json(tools, "tools") if isinstance(tools, str) else tools
    if not isinstance(calls, list) or not all(is_object(call) and "arguments" in call for call in calls):
        return None
    if not isinstance(schemas, list) or not all(map(is_object, schemas)):
        return None
    messages = [
        {"role": "user", "content": fields["query"]},
        {"role": "assistant", "content": None, "tool_calls": calls},
    ]
    return "chatml", {"messages": messages, "tools": [_add_schema(schema) for schema in schemas]}


def _add_schema(tool: Fields) -> Fields:
    parameters = tool.get("parameters")
    if not isinstance(parameters, Mapping) or not all(map(is_object, parameters.values())):
        return tool  # JSON Schema has `type` beside the properties, whose value is text
    properties = {name: _property(value) for name, value in parameters.items()}
    required = [name for name, value in parameters.items() if _is_required(value)]
    return {**tool, "parameters": {"type": "object", "properties": properties, "required": required}}


def _is_required(parameter: Mapping[str, Any]) -> bool:
    return "default" not in parameter and "optional" not in str(parameter.get("type", ""))


def _property(parameter: Mapping[str, Any]) -> Mapping[str, Any]:
    # xLAM writes `List[str], optional`.
    kind = re.split(r"[\[,\s]", str(parameter.get("type", "")))[0].lower()
    schema_type = XLAM_TYPES.get(kind, kind if kind in SCHEMA_TYPES else "")
    return {
        **{name: value for name, value in parameter.items() if name != "type"},
        **({"type": schema_type} if schema_type else {}),
    }
