"""What to type, or to do, for a row that no format fits: by the names and the values of its own fields.

    advice({"inputs": {"question": "say"}, "outputs": {"answer": "it"}})

is `type "format.columns={instruction: inputs.question, output: outputs.answer}"`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from framework.api import count, nested_values
from framework_plugins.formats import dialogue_text
from framework_plugins.formats.formats import turns
from framework_plugins.formats.formats.names import DIALOGUE_FIELDS
from framework_plugins.formats.formats.shapes import (
    ANSWER_FIELDS,
    CONTEXT_FIELDS,
    QUESTION_FIELDS,
    TURN_LIST_FIELDS,
    who_and_what,
)
from framework_plugins.formats.formats.values import CHAT_ADVICE, FORMATTER_ADVICE, Fields, is_object, json_type, quoted

ASKS = (
    "instruction", "question", "questions", "query", "prompt", "problem", "input", "inputs", "ask", "asked", "request",
    "user", "human", "customer", "client", "frage", "pregunta", "domanda", "pergunta", "вопрос", "问题", "質問",
    "goal",
)  # fmt: skip
"""Words in the name of a field that asks, the clearest first."""
ANSWERS = (
    "output", "outputs", "response", "responses", "answer", "answers", "completion", "solution", "reply", "assistant",
    "bot", "agent", "target", "targets", "tgt", "ideal", "expected", "antwort", "respuesta", "risposta", "resposta",
    "réponse", "ответ", "回答", "答案", "generation", "reference", "correction", "annotation", "annotations", "choices",
)  # fmt: skip
"""Words in the name of a field that answers, the clearest first."""
WEAK_ASKS = ("text", "sentence", "dialogue", "document", "article", "passage", "title")
"""What asks if nothing else does: a text of which something is made."""
WEAK_ANSWERS = ("summary", "highlights", "sql", "code", "plan", "label", "labels", "category", "text", "translation")
ROLE_WORDS = {*ASKS, *ANSWERS, *WEAK_ASKS, *WEAK_ANSWERS} - {"text", "title"}
"""Words that say what a field is; a text may be anything."""
CHOICE_ENDS = ("choices.0", "options.0", "candidates.0")
NO_ANSWERS = {"accept", "reject", "ignore"}
"""What people decide on a row in an annotation tool, in a field that is called `answer`."""

CHOICE_FIELDS = ("answers", "answer", "label", "labels", "target", "cop", "class")
"""Fields that may answer by a number, a choice or a list."""
TEXT_FIELDS = ("content", "body", "raw_content", "markdown", "article", "document", "story")
DETAILS = {
    "id", "uuid", "url", "uri", "date", "time", "timestamp", "created", "updated", "at", "lang", "language", "model",
    "author", "email", "name", "version", "status", "type", "split", "license", "tag", "tags", "role", "method", "hash",
    "zeitstempel", "username", "user_id", "users", "start", "object",
}  # fmt: skip
"""Words in the name of a field that says something about a row, and is neither asked nor answered."""
ANSWER_NAMES = {*ANSWER_FIELDS, *DIALOGUE_FIELDS, "ref", "candidate", "generation"}
"""What a field of one of several answers is called, without its number."""
NUMBERED = re.compile(r"(?P<what>.*?)(?:[ _-]?[012]|[ _-][AaBb])")
"""The name of one of several answers: response1, response_0, conversation_a, human_ref_A."""
SENTENCE = re.compile(r"\s\S+\s|[.?!]$")
"""No name of a field looks so: three words, or the end of a sentence."""
WORDS = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+(?![^\W\d_A-Z])|[^\W\d_]+")
"""Words of a name in any spelling: `text_input`, `modelOutput`, `What is your question?`."""

MAX_OVERRIDES = 3
"""Overrides that a refusal shows."""
SHOWN_COLUMNS = 6
TWO = 2
UNKNOWN = 1000


def advice(fields: Fields) -> str:
    """Return the advice for a row that no format fits; empty if there is none."""
    for look in (_tree, _missing_roles, _many_answers, _overrides, _dialogue, _choice, _missing_header, _pair):
        if text := look(fields):
            return text
    return ""


def _tree(fields: Fields) -> str:
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
    return ""


def _missing_roles(fields: Fields) -> str:
    """Return the advice for turns without a role: texts, or messages with names of people."""
    for name in (*DIALOGUE_FIELDS, *TURN_LIST_FIELDS, "data"):
        value = fields.get(name)
        if isinstance(value, list) and value and all(isinstance(text, str) for text in value):
            return f"'{name}' does not say who speaks: write its turns as {{role: user, content: …}}"
        turn = turns.first_turn(fields, name)
        if turn is not None and who_and_what(turn, any_role=True) is None and name != "data":
            return (
                f"'{name}' is a list of objects with {', '.join(map(str, turn))}: write its turns as "
                "{role: user, content: …}"
            )
    chat = next((name for name, value in nested_values(fields) if _is_chat(value)), None)
    return "" if chat is None else f"'{chat}' is {CHAT_ADVICE}"


def _is_chat(value: Any) -> bool:
    """Whether a value is a list of messages with names of people, as chat programs export them."""
    if not isinstance(value, list) or not value:
        return False
    messages = [item for item in value if is_object(item)]
    spoken = [keys for item in messages if (keys := who_and_what(item, any_role=True)) is not None]
    return 2 * len(spoken) > len(value) and not any(who_and_what(item) for item in messages)


def _overrides(fields: Fields) -> str:
    """Return the overrides that would read the row, quoted for a shell."""
    lines = [quoted("format.columns", columns) for columns in readings(fields)][:MAX_OVERRIDES]
    if not lines:
        open_ended = (path for path, value in nested_values(fields) if "." in path and _is_unanswered(path, value))
        talk = next(open_ended, "")
        return f"'{talk}' ends with a question, and no field answers it: write the answer beside it" if talk else ""
    if fields.get("chosen") is None or "rejected" in fields:
        return f"type {' or '.join(lines)}"
    text_fields = (str(name) for name, value in fields.items() if isinstance(value, str) and name != "chosen")
    rejected = next((name for name in text_fields if name.lower() not in QUESTION_FIELDS and not _is_detail(name)), "")
    typed = f"type {quoted('format.columns', {'rejected': rejected})}"
    worse = typed if rejected else "write the worse answer into 'rejected'"
    return f"to learn from pairs, {worse}; to learn 'chosen' only, type method=sft {lines[0]}"


def readings(fields: Fields) -> Iterator[Mapping[str, str]]:
    """Give the values of `format.columns` that would read a row, the likeliest first."""
    for columns in _columns(fields):  # braces would be those of a template
        yield {name: path.replace("{", "{{").replace("}", "}}") for name, path in columns.items()}


def _columns(fields: Fields) -> Iterator[Mapping[str, str]]:
    names = {str(name).lower(): str(name) for name in fields}
    better = next((name for low, name in names.items() if low.startswith(("chosen", "preferred", "accepted"))), None)
    worse = next((name for low, name in names.items() if low.startswith(("rejected", "dispreferred"))), None)
    asks = [names[ask] for ask in QUESTION_FIELDS if ask in names]
    if (better, worse) == ("chosen", "rejected"):
        return
    if worse and not better and asks and (answers := _rank_paths([*names.values()], ANSWERS)):
        yield {"prompt": asks[0], "chosen": answers[0], "rejected": worse}
        return
    if better and worse:
        question = {"prompt": asks[0]} if asks and asks[0] != "prompt" else {}
        yield {"chosen": better, "rejected": worse, **question}
        return
    values = dict(nested_values(fields))
    talks = [path for path, value in values.items() if turns.first_turn({path: value}, path) and _has_speakers(value)]
    beyond = tuple(f"{path}." for path in (*talks, *DIALOGUE_FIELDS, *TURN_LIST_FIELDS))
    texts = [
        path
        for path, value in values.items()
        if isinstance(value, str) and value not in NO_ANSWERS and not path.startswith(beyond) and not _is_choice(path)
    ]
    asking, answering = _rank_paths(texts, ASKS), _rank_paths(texts, ANSWERS)
    asking = [path for path in asking if path not in answering] or (
        [] if asking else [path for path in _rank_paths(texts, WEAK_ASKS) if path not in answering]
    )
    answering = answering or [path for path in _rank_paths(texts, WEAK_ANSWERS) if path not in asking[:1]]
    if isinstance(fields.get("chosen"), str):
        answering = ["chosen"]
    spoken = [path for path in talks if _is_answer(values[path])]
    if talks and (answering or spoken) and not _ends_answered(values[talks[0]]):
        yield {"prompt": talks[0], "completion": [*spoken, *answering][0]}
    elif talks and talks[0] not in DIALOGUE_FIELDS and _ends_answered(values[talks[0]]):
        yield {"messages": talks[0]}
    elif asking and answering:
        about = next((name for name in CONTEXT_FIELDS if name in texts and name not in (asking[0], *answering)), None)
        context = {"input": about} if about else {}
        for ask in asking[:1] if len(answering) > 1 else asking:
            yield from ({"instruction": ask, **context, "output": answer} for answer in answering)
    elif pair := _guess_pair(fields, texts, asking, answering):
        yield dict(zip(("instruction", "output"), pair, strict=True))
    elif not answering and {*asking} <= {*TEXT_FIELDS}:
        yield from ({"text": names[name]} for name in TEXT_FIELDS if names.get(name) in texts)


def _guess_pair(fields: Fields, texts: list[str], asking: list[str], answering: list[str]) -> tuple[str, str] | None:
    """Return question and answer, the paths of two texts, if the name of one tells which it is."""
    candidates = [path for path in texts if not _is_detail(path)]
    if len(candidates) != TWO or len({*asking, *answering}) != 1 or _choice(fields):
        return None
    first, second = candidates
    if _rank_paths(candidates, WEAK_ASKS) and not answering:
        return None
    return (first, second) if first in asking or second in answering else (second, first)


def _rank_paths(paths: list[str], words: tuple[str, ...]) -> list[str]:
    """Return the paths that have one of the words, the clearest first; later parts of a path count more."""
    ranks = {path: rank for path in paths if (rank := _rank(path, words)) < UNKNOWN}
    return sorted(ranks, key=lambda path: (ranks[path], path.endswith(".0")))


def _rank(path: str, words: tuple[str, ...]) -> int:
    if _is_detail(path):
        return UNKNOWN
    for part in reversed(path.split(".")):
        name_words = [word.lower() for word in WORDS.findall(part)]
        if not ROLE_WORDS.isdisjoint(name_words):
            return min((words.index(word) for word in name_words if word in words), default=UNKNOWN)
    plain = _last_name(path)
    return words.index(plain) if plain in words else UNKNOWN


def _last_name(path: str) -> str:
    """Return the last name of a path, in small letters."""
    return next((part.lower() for part in reversed(path.split(".")) if not part.isdecimal()), "")


def _is_detail(path: str) -> bool:
    """Whether the name of a field says something about the row: its last word does, or one does and none asks."""
    words = [word.lower() for word in WORDS.findall(_last_name(path))]
    return not DETAILS.isdisjoint(words[-1:]) or (not DETAILS.isdisjoint(words) and ROLE_WORDS.isdisjoint(words))


def _is_choice(path: str) -> bool:
    """Whether a path is that of a choice that a question offers."""
    return path.lower().endswith(CHOICE_ENDS)


def _is_unanswered(path: str, value: Any) -> bool:
    """Whether a value is a list of turns that ends without an answer."""
    return bool(turns.first_turn({path: value}, path)) and _has_speakers(value) and not _ends_answered(value)


def _has_speakers(value: Any) -> bool:
    listed = turns.unpacked(value)
    return bool(listed) and all(turns.has_content(turn) or turns.has_value(turn) for turn in listed)


def _ends_answered(value: Any) -> bool:
    return _speaker(turns.unpacked(value)[-1]) == "assistant"


def _is_answer(value: Any) -> bool:
    """Whether all turns are the assistant's."""
    return all(_speaker(turn) == "assistant" for turn in turns.unpacked(value))


def _speaker(turn: Fields) -> str:
    return turns.ROLES.get(str(turn.get("role", turn.get("from", ""))).lower(), "")


def _dialogue(fields: Fields) -> str:
    dialogues = (
        (name, pair)
        for name, value in fields.items()
        if isinstance(value, str) and (pair := dialogue_text.speakers(value)) is not None
    )
    name = next((name for name, _ in dialogues), None)
    return "" if name is None else f"'{name}' is a whole dialogue as text: {FORMATTER_ADVICE}"


def _many_answers(fields: Fields) -> str:
    if not (candidates := _answer_fields(fields)):
        return ""
    spoken = len(candidates) > 1 and turns.first_turn(fields, candidates[0])
    layout = "the better one in 'chosen' and the other in 'rejected'"
    layout = layout if spoken else f"the question in 'prompt', {layout}"
    names = " and ".join(f"'{name}'" for name in candidates)
    subject = f"{names} are" if len(candidates) > 1 else f"{names} is a list of"
    return f"{subject} answers to the same question: write a file whose rows have {layout}"


def _choice(fields: Fields) -> str:
    answer = next(
        (name for name in fields if str(name).lower() in CHOICE_FIELDS and not isinstance(fields[name], str)), None
    )
    if answer is None or fields[answer] is None:
        return ""
    text = f"'{answer}' is {json_type(fields[answer])}, not the text of an answer: {FORMATTER_ADVICE}"
    asks = _rank_paths([name for name in fields if isinstance(fields[name], str)], ASKS)
    offered = any(f"{name}.0".endswith(CHOICE_ENDS) for name in fields)
    if asks and _last_name(answer) in ANSWERS and isinstance(fields[answer], int | float) and not offered:
        line = quoted("format.columns", {"instruction": asks[0], "output": f"{{{answer}}}"})
        text += f", or learn it as it is, {line}"
    return text


def _missing_header(fields: Fields) -> str:
    if any(SENTENCE.search(str(name)) for name in fields):
        return (
            "the field names look like a row: write a first line with names into the file, such as instruction,output"
        )
    return ""


def _pair(fields: Fields) -> str:
    """Return the override for fields with unknown names, if one of them asks and another one answers."""
    texts = [path for path, value in nested_values(fields) if isinstance(value, str) and not _is_detail(path)]
    if not texts or "rejected" in fields or texts == ["text"]:
        return ""
    field = texts[0]
    if len(texts) >= TWO:
        suffix = f", among {count(len(texts), 'text')}: {', '.join(texts[:SHOWN_COLUMNS])}" if len(texts) > TWO else ""
        line = quoted("format.columns", {"instruction": field, "output": texts[1]})
        return f"if '{field}' asks and '{texts[1]}' answers, type {line}{suffix}"
    if _rank_paths(texts, ANSWERS):
        return f"'{field}' answers, and no field asks: write the question beside it"
    if _rank_paths(texts, ASKS):
        return f"'{field}' asks, and no field answers: write the answer beside it, or let method=grpo draw answers"
    return f"only '{field}' has text: {quoted('format.columns', {'text': field})} learns it as plain text"


def _answer_fields(fields: Fields) -> list[str]:
    """Return the fields that hold several answers to one question."""
    similar: dict[str, list[str]] = {}
    for name, value in fields.items():
        numbered = NUMBERED.fullmatch(str(name))
        if numbered and numbered["what"].lower().rpartition("_")[2] in ANSWER_NAMES and isinstance(value, str | list):
            similar.setdefault(numbered["what"], []).append(str(name))
    group = next((names for names in similar.values() if len(names) > 1), [])
    return group or [str(name) for name, value in fields.items() if _is_answer_list(value)][:1]


def _is_answer_list(value: object) -> bool:
    """Whether a value is a list of objects with an answer each, and no question."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            is_object(answer) and any(isinstance(answer.get(name), str) for name in ANSWER_FIELDS) for answer in value
        )
        and not any(name in answer for answer in value for name in QUESTION_FIELDS)
    )
