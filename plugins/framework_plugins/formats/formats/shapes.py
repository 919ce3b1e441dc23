"""Shapes of published data that no format has by its own names: those with one clear reading, and advice for others.

    shaped({"question": "say", "answer": "it"})

is `("prompt_completion", {"prompt": "say", "completion": "it"})`. A row that could be read in two ways has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from framework import FrameworkError
from framework_plugins.formats.formats import turns
from framework_plugins.formats.formats.names import DIALOGUE, LABELS
from framework_plugins.formats.formats.values import Fields, is_object, kind_of, parsed

ASKS = ("instruction", "question", "query", "prompt", "problem", "input")
ANSWERS = ("output", "response", "answer", "completion", "solution")
BESIDE = ("context", "input")
"""What a question is about, as Alpaca's `input` is; `input` asks where nothing else does."""
LISTS = ("items", "dialog", "dialogue", "dialogs", "turns", "chat")
"""Other names for a list of turns."""
TAKEN_ALONG = ("system", "system_prompt", "tools", "functions", *LABELS)
"""Read beside each of these shapes."""
UNCLEAR = frozenset({
    *DIALOGUE, *LISTS, "chosen", "rejected", "labels", "choices", "options", "candidates", "article", "passage",
    "passages", "document", "documents", "paragraph", "paragraphs", "contexts", "story", "premise", "hypothesis",
    "table", "schema", "history", "reasoning", "reasoning_content", "thinking", "thought", "thoughts", "rationale",
    "chain_of_thought", "cot", "explanation", "text",
})  # fmt: skip
"""With one of these a question and an answer are not all that counts: it may be needed, or be learned too."""
PAIRS = (
    *((ask, answer) for ask in ASKS for answer in ANSWERS),
    ("question", "answers"), ("question", "long_answer"),
    ("question", "ideal"), ("input", "ideal"), ("inputs", "targets"), ("input", "target"),
    ("source", "target"), ("src", "tgt"), ("input_text", "output_text"), ("input_text", "target_text"),
    ("user", "assistant"), ("human", "assistant"), ("human", "bot"), ("user", "bot"), ("prompt", "chosen"),
    ("prompt", "generation"), ("prompt", "canonical_solution"), ("prompt", "text"), ("prompt", "target"),
    ("dialogue", "summary"), ("document", "summary"), ("article", "highlights"), ("article", "summary"),
    ("text", "summary"), ("text", "target"), ("text", "code"), ("question", "sql"), ("goal", "plan"),
    ("en", "de"), ("text", "label"), ("sentence", "label"),
)  # fmt: skip
"""Fields of published data that ask and answer, in the order in which they are advised."""
TEXTS = ("content", "body", "raw_content", "markdown", "article", "document", "story")
CHOSEN = ("answers", "answer", "label", "labels", "target", "cop", "class")
"""Fields that may answer by a number, a choice or a list."""
SPOKEN_TEXT = re.compile(r"^\s*(?:USER|Human|User):[\s\S]*\n\s*(?:ASSISTANT|Assistant):")
BY_CODE = (
    "make turns of the row with a @formatter in a file of yours, plugins=[./FILE.py], docs/how-to/write-a-plugin.md"
)
SENTENCE = re.compile(r"\s\S+\s|[.?!]$")
"""No name of a field looks so: three words, or the end of a sentence."""
PLAIN_NAME = re.compile(r"[\w-]+(?: [\w-]+)*")
"""A name that Hydra reads without quotation marks."""
XLAM_TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
}
SCHEMA_TYPES = {*XLAM_TYPES.values()}
MOST = 3
"""Overrides that a refusal shows."""

Shape = tuple[str, dict[str, Any]]


def plain_names(fields: Fields) -> Fields | None:
    """Return a row with its names in small letters, `System Prompt` as `system_prompt`; None where nothing changes."""
    plain = {str(name).strip().lower().replace(" ", "_"): value for name, value in fields.items()}
    return None if len(plain) < len(fields) or list(plain) == list(fields) else plain


def shaped(fields: Fields) -> Shape | None:
    """Return the format that a row has by other names, and its fields; None if there is none, or no clear one.

    Raises:
        FrameworkError: the row has a known shape, and something in it cannot be learned.
    """
    for look in (_openai_preference, _gemini, _xlam, _langchain, _listed, _pair):
        found = look(fields)
        if found is not None:
            form, known = found
            return form, {**{name: fields[name] for name in TAKEN_ALONG if fields.get(name) is not None}, **known}
    return None


def _pair(fields: Fields) -> Shape | None:
    """A question and an answer, perhaps with a context: question/answer, prompt/response, Dolly, Orca."""
    if any(fields.get(name) is not None for name in UNCLEAR):
        return None
    about = [name for name in BESIDE if fields.get(name)]
    asks = [name for name in ASKS if fields.get(name) is not None and name not in BESIDE]
    if not asks and "input" in about:
        asks, about = ["input"], [name for name in about if name != "input"]
    answers = [name for name in ANSWERS if fields.get(name) is not None]
    if len(asks) != 1 or len(answers) != 1 or len(about) > 1:
        return None
    ask, answer = fields[asks[0]], fields[answers[0]]
    if about:
        return "alpaca", {"instruction": ask, "input": fields[about[0]], "output": answer}
    return "prompt_completion", {"prompt": ask, "completion": answer}


def _listed(fields: Fields) -> Shape | None:
    """A list of turns by another name."""
    names = [name for name in LISTS if turns.first_turn(fields, name)]
    if len(names) != 1 or any(fields.get(name) is not None for name in (*ANSWERS, "chosen", "rejected", "summary")):
        return None
    first = turns.first_turn(fields, names[0]) or {}
    form = "chatml" if turns.has_content(first) else "sharegpt" if turns.has_value(first) else ""
    return (form, {"conversations": fields[names[0]]}) if form else None


def _langchain(fields: Fields) -> Shape | None:
    """Messages as LangChain saves them: a type instead of a role, and the rest perhaps below `data`."""
    for name in (*DIALOGUE, *LISTS):
        first = turns.first_turn(fields, name)
        if first is None or "role" in first or not isinstance(first.get("type"), str):
            continue
        said = [
            {
                "role": turn.get("type"),
                **{key: value for key, value in (turn.get("data") or turn).items() if key != "type"},
            }
            for turn in turns.unpacked(fields[name])
            if is_object(turn) and is_object(turn.get("data") or turn)
        ]
        if said and all("content" in turn for turn in said):
            return "chatml", {"messages": said}
    return None


def _openai_preference(fields: Fields) -> Shape | None:
    """What OpenAI takes for its preference fine-tuning."""
    asked, chosen = fields.get("input"), fields.get("preferred_output")
    if not isinstance(asked, Mapping) or not chosen or "messages" not in asked:
        return None
    tools = asked.get("tools")
    pair = {"prompt": asked["messages"], "chosen": chosen, "rejected": fields.get("non_preferred_output")}
    return "preference", {**pair, **({"tools": tools} if tools else {})}


def _gemini(fields: Fields) -> Shape | None:
    """What Gemini takes for its tuning: contents of parts, the model's turns with the role model."""
    contents = fields.get("contents")
    if (
        not isinstance(contents, list)
        or not contents
        or not all(is_object(turn) and "parts" in turn for turn in contents)
    ):
        return None
    if fields.get("tools"):
        raise FrameworkError("has Gemini's 'contents' with 'tools', which are not read: write 'messages' with tools")
    said = [
        {"role": "assistant" if turn.get("role") == "model" else turn.get("role", "user"), "content": _parts(turn)}
        for turn in contents
    ]
    system = fields.get("systemInstruction") or fields.get("system_instruction")
    if system:
        said.insert(0, {"role": "system", "content": _parts(system) if isinstance(system, Mapping) else system})
    return "chatml", {"messages": said}


def _parts(turn: Fields) -> str:
    parts: Any = turn.get("parts")
    listed: list[Any] = parts if isinstance(parts, list) else [parts]
    others = [part for part in listed if not is_object(part) or not isinstance(part.get("text"), str)]
    if others:
        found = ", ".join(map(str, others[0])) if is_object(others[0]) else kind_of(others[0])
        raise FrameworkError(f"needs parts with text in Gemini's 'contents', found {found}")
    return "".join(part["text"] for part in listed)


def _xlam(fields: Fields) -> Shape | None:
    """A question, the calls that answer it, and tools whose parameters are no JSON schema but names with types."""
    answers, tools = fields.get("answers"), fields.get("tools")
    if not isinstance(fields.get("query"), str) or not answers or not tools:
        return None
    calls = parsed(answers, "answers") if isinstance(answers, str) else answers
    schemas = parsed(tools, "tools") if isinstance(tools, str) else tools
    if not isinstance(calls, list) or not all(is_object(call) and "arguments" in call for call in calls):
        return None
    if not isinstance(schemas, list) or not all(map(is_object, schemas)):
        return None
    said = [{"role": "user", "content": fields["query"]}, {"role": "assistant", "content": None, "tool_calls": calls}]
    return "chatml", {"messages": said, "tools": [_with_schema(schema) for schema in schemas]}


def _with_schema(tool: Fields) -> Fields:
    parameters = tool.get("parameters")
    if not isinstance(parameters, Mapping) or not all(map(is_object, parameters.values())):
        return tool  # JSON Schema has `type` beside the properties, whose value is text
    properties = {name: _property(value) for name, value in parameters.items()}
    required = [name for name, value in parameters.items() if _is_required(value)]
    return {**tool, "parameters": {"type": "object", "properties": properties, "required": required}}


def _is_required(parameter: Mapping[str, Any]) -> bool:
    return "default" not in parameter and "optional" not in str(parameter.get("type", ""))


def _property(parameter: Mapping[str, Any]) -> Mapping[str, Any]:
    kind = re.split(r"[\[,\s]", str(parameter.get("type", "")))[0].lower()
    known = XLAM_TYPES.get(kind, kind if kind in SCHEMA_TYPES else "")
    return {
        **{name: value for name, value in parameter.items() if name != "type"},
        **({"type": known} if known else {}),
    }


def advice(fields: Fields) -> str:
    """Say what to type, or to do, for a row that no format fits; empty if there is no advice."""
    if is_object(fields.get("mapping")):
        return (
            "'mapping' is a tree of messages, as ChatGPT exports it: write the path from its root to 'current_node' as "
            "one row of messages (role, content)"
        )
    prompt = fields.get("prompt")
    if isinstance(prompt, Mapping) and "replies" in prompt:
        return (
            "'prompt' is a tree of messages, as OpenAssistant has it: write each path from its first message to an "
            "answer as one row of messages (role, content)"
        )
    texts = [name for name in (*DIALOGUE, *LISTS, "data") if _is_texts(fields.get(name))]
    if texts:
        return f"'{texts[0]}' does not say who speaks: write its turns as {{role: user, content: …}}"
    lines = list(_overrides(fields))[:MOST]
    if lines:
        return f"type {' or '.join(lines)}"
    whole = next((name for name, value in fields.items() if isinstance(value, str) and SPOKEN_TEXT.search(value)), None)
    if whole is not None:
        return f"'{whole}' is a whole dialogue as text: {BY_CODE}"
    answer = next((name for name in fields if str(name).lower() in CHOSEN and not isinstance(fields[name], str)), None)
    if answer is not None:
        return f"'{answer}' is {kind_of(fields[answer])}, not the text of an answer: {BY_CODE}"
    if any(SENTENCE.search(str(name)) for name in fields):
        return (
            "the field names look like a row: write a first line with names into the file, such as instruction,output"
        )
    return ""


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def _overrides(fields: Fields) -> Iterator[str]:
    """Give the overrides that would read a row, quoted for a shell."""
    names = {str(name).lower(): str(name) for name in fields}
    better = next((name for low, name in names.items() if low.startswith(("chosen", "preferred", "accepted"))), None)
    worse = next((name for low, name in names.items() if low.startswith(("rejected", "dispreferred"))), None)
    asks = [names[ask] for ask in ASKS if ask in names]
    if better and worse:
        yield _columns(
            {"chosen": better, "rejected": worse, **({"prompt": asks[0]} if asks and asks[0] != "prompt" else {})}
        )
        return
    texts = {low: name for low, name in names.items() if isinstance(fields.get(name), str)}
    pairs = [(texts[ask], texts[answer]) for ask, answer in PAIRS if ask in texts and answer in texts]
    yield from (_columns({"instruction": ask, "output": answer}) for ask, answer in pairs)
    spoken = [names[ask] for ask in ASKS if ask in names and turns.first_turn(fields, names[ask])]
    answers = [texts[answer] for _, answer in PAIRS if answer in texts]
    if spoken and answers:
        yield _columns({"prompt": spoken[0], "completion": answers[0]})
    if not pairs:
        yield from (_columns({"text": texts[name]}) for name in TEXTS if name in texts)


def _columns(columns: Mapping[str, str]) -> str:
    """Write `format.columns` as a shell takes it."""
    quoted = (
        f"{name}: {column}" if PLAIN_NAME.fullmatch(column) else f"{name}: '{column}'"
        for name, column in columns.items()
    )
    return f'"format.columns={{{", ".join(quoted)}}}"'
