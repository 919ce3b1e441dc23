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
from framework_plugins.formats.formats.names import DIALOGUE_FIELDS, LABEL_FIELDS
from framework_plugins.formats.formats.values import Fields, is_labelled, is_object, json_type, parse_json, quoted

QUESTION_FIELDS = ("instruction", "question", "query", "prompt", "problem", "input")
ANSWER_FIELDS = ("output", "response", "answer", "completion", "solution")
ANSWER_NAMES = {*ANSWER_FIELDS, *DIALOGUE_FIELDS, "ref", "candidate", "generation"}
"""What a field of one of several answers is called, without its number."""
CONTEXT_FIELDS = ("context", "input")
"""What a question is about, as Alpaca's `input` is; `input` asks if nothing else does."""
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
PAIRS = (
    *((ask, answer) for ask in QUESTION_FIELDS for answer in ANSWER_FIELDS),
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
TEXT_FIELDS = ("content", "body", "raw_content", "markdown", "article", "document", "story")
CHOICE_FIELDS = ("answers", "answer", "label", "labels", "target", "cop", "class")
"""Fields that may answer by a number, a choice or a list."""
DIALOGUE_TEXT = re.compile(r"^\s*(?:USER|Human|User):[\s\S]*\n\s*(?:ASSISTANT|Assistant):")
FORMATTER_ADVICE = (
    "make turns of the row with a @formatter in a file of yours, plugins=[./FILE.py], docs/how-to/write-a-plugin.md"
)
NUMBERED = re.compile(r"(?P<what>.*?)(?:[ _-]?[012]|[ _-][AaBb])")
"""The name of one of several answers: response1, response_0, conversation_a, human_ref_A."""
SENTENCE = re.compile(r"\s\S+\s|[.?!]$")
"""No name of a field looks so: three words, or the end of a sentence."""
XLAM_TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
}
SCHEMA_TYPES = {*XLAM_TYPES.values()}
MAX_OVERRIDES = 3
"""Overrides that a refusal shows."""

Shape = tuple[str, dict[str, Any]]


def plain_names(fields: Fields) -> Fields | None:
    """Return a row with its names in small letters, `System Prompt` as `system_prompt`; None if nothing changes."""
    plain = {str(name).strip().lower().replace(" ", "_"): value for name, value in fields.items()}
    # Two names that become one would lose a field.
    return None if len(plain) < len(fields) or list(plain) == list(fields) else plain


def recognize_shape(fields: Fields) -> Shape | None:
    """Return the format that a row has by other names, and its fields; None if there is none, or no clear one.

    Raises:
        FrameworkError: the row has a known shape, and something in it cannot be learned.
    """
    for look in (_gemini, _xlam, _langchain, _listed, _pair):
        found = look(fields)
        if found is not None:
            form, known = found
            extra = {name: fields[name] for name in EXTRA_FIELDS if fields.get(name) is not None}
            return "unpaired" if is_labelled(extra) else form, {**extra, **known}
    return None


def _pair(fields: Fields) -> Shape | None:
    """A question and an answer, perhaps with a context: question/answer, prompt/response, Dolly, Orca."""
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
    if about:
        return "alpaca", {"instruction": ask, "input": fields[about[0]], "output": answer}
    return "prompt_completion", {"prompt": ask, "completion": answer}


def _listed(fields: Fields) -> Shape | None:
    """A list of turns by another name."""
    names = [name for name in TURN_LIST_FIELDS if turns.first_turn(fields, name)]
    if len(names) != 1 or any(
        fields.get(name) is not None for name in (*ANSWER_FIELDS, "chosen", "rejected", "summary")
    ):
        return None
    first = turns.first_turn(fields, names[0]) or {}
    form = "chatml" if turns.has_content(first) else "sharegpt" if turns.has_value(first) else ""
    return (form, {"conversations": fields[names[0]]}) if form else None


def _langchain(fields: Fields) -> Shape | None:
    """Messages as LangChain saves them: a type instead of a role, and the rest perhaps below `data`."""
    for name in (*DIALOGUE_FIELDS, *TURN_LIST_FIELDS):
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
        found = ", ".join(map(str, others[0])) if is_object(others[0]) else json_type(others[0])
        raise FrameworkError(f"needs parts with text in Gemini's 'contents', found {found}")
    return "".join(part["text"] for part in listed)


def _xlam(fields: Fields) -> Shape | None:
    """A question, the calls that answer it, and tools whose parameters are not JSON schema but names with types."""
    answers, tools = fields.get("answers"), fields.get("tools")
    if not isinstance(fields.get("query"), str) or not answers or not tools:
        return None
    calls = parse_json(answers, "answers") if isinstance(answers, str) else answers
    schemas = parse_json(tools, "tools") if isinstance(tools, str) else tools
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
    # xLAM writes `List[str], optional`.
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
    texts = [name for name in (*DIALOGUE_FIELDS, *TURN_LIST_FIELDS, "data") if _is_texts(fields.get(name))]
    if texts:
        return f"'{texts[0]}' does not say who speaks: write its turns as {{role: user, content: …}}"
    lines = list(_overrides(fields))[:MAX_OVERRIDES]
    if lines:
        return f"type {' or '.join(lines)}"
    whole = next(
        (name for name, value in fields.items() if isinstance(value, str) and DIALOGUE_TEXT.search(value)), None
    )
    if whole is not None:
        return f"'{whole}' is a whole dialogue as text: {FORMATTER_ADVICE}"
    if candidates := _candidates(fields):
        spoken = len(candidates) > 1 and turns.first_turn(fields, candidates[0])
        kept = "the better one in 'chosen' and the other in 'rejected'"
        kept = kept if spoken else f"the question in 'prompt', {kept}"
        each = " and ".join(f"'{name}'" for name in candidates)
        held = f"{each} are" if len(candidates) > 1 else f"{each} is a list of"
        return f"{held} answers to the same question: write a file whose rows have {kept}"
    answer = next(
        (name for name in fields if str(name).lower() in CHOICE_FIELDS and not isinstance(fields[name], str)), None
    )
    if answer is not None:
        return f"'{answer}' is {json_type(fields[answer])}, not the text of an answer: {FORMATTER_ADVICE}"
    if any(SENTENCE.search(str(name)) for name in fields):
        return (
            "the field names look like a row: write a first line with names into the file, such as instruction,output"
        )
    return ""


def _candidates(fields: Fields) -> list[str]:
    """Name the fields that hold several answers to one question, of which a label or a score says which is better."""
    alike: dict[str, list[str]] = {}
    for name, value in fields.items():
        numbered = NUMBERED.fullmatch(str(name))
        if numbered and numbered["what"].lower().rpartition("_")[2] in ANSWER_NAMES and isinstance(value, str | list):
            alike.setdefault(numbered["what"], []).append(str(name))
    found = next((names for names in alike.values() if len(names) > 1), [])
    return found or [str(name) for name, value in fields.items() if _is_answers(value)][:1]


def _is_answers(value: object) -> bool:
    """Whether a value is a list of objects with an answer each, and no question."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(is_object(each) and any(isinstance(each.get(name), str) for name in ANSWER_FIELDS) for each in value)
        and not any(name in each for each in value for name in QUESTION_FIELDS)
    )


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def _overrides(fields: Fields) -> Iterator[str]:
    """Give the overrides that would read a row, quoted for a shell."""
    names = {str(name).lower(): str(name) for name in fields}
    better = next((name for low, name in names.items() if low.startswith(("chosen", "preferred", "accepted"))), None)
    worse = next((name for low, name in names.items() if low.startswith(("rejected", "dispreferred"))), None)
    asks = [names[ask] for ask in QUESTION_FIELDS if ask in names]
    if better and worse:
        yield quoted(
            "format.columns",
            {"chosen": better, "rejected": worse, **({"prompt": asks[0]} if asks and asks[0] != "prompt" else {})},
        )
        return
    texts = {low: name for low, name in names.items() if isinstance(fields.get(name), str)}
    pairs = [(texts[ask], texts[answer]) for ask, answer in PAIRS if ask in texts and answer in texts]
    yield from (quoted("format.columns", {"instruction": ask, "output": answer}) for ask, answer in pairs)
    spoken = [names[ask] for ask in QUESTION_FIELDS if ask in names and turns.first_turn(fields, names[ask])]
    answers = [texts[answer] for _, answer in PAIRS if answer in texts]
    if spoken and answers:
        yield quoted("format.columns", {"prompt": spoken[0], "completion": answers[0]})
    if not pairs:
        yield from (quoted("format.columns", {"text": texts[name]}) for name in TEXT_FIELDS if name in texts)
