"""What a chat template allows to train: rows of several kinds, exact, exact with settings, or refused for a reason.

The reasons are found from the texts alone, without the sentences of a refusal, and the labels of an exact row are
computed again: the prompt of each answer is tokenized by transformers, and what is learned goes from there up to the
first stop token, which must come before the opening of the next answer, and for the last answer must be the one that
the template writes once the next turn follows: the tool's after a call, else the user's. Every text, name and argument
of the answer is in between, each call in a place of its own.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from framework.api.records import IGNORE, Example, Message, ToolCall
from framework.api.schema import Learn, ModelConfig, Thoughts
from framework_plugins.hf.tokens.chat import Chat

SPECIAL = re.compile(
    r"<\|[^|<>\s]+\|>|<\|\w+>|<\w+\|>|<｜[^｜<>]+｜>|</?s>|<[be]os>|<(?:start|end)_of_\w+>|<end_\w+>|<[A-Z]+_TOKEN>"
    r"|<SPECIAL_\d+>|\[/?[A-Z][A-Z_]+\]|<seed:[a-z_:]+>|\[gMASK\]|<sop>|\]~!?b\[\]?|\[e~\[|<sep>|</assistant>"
)
PLAIN = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
STOPS = {
    "<|call|>": ("<|return|>", "<|call|>"),  # gpt-oss
    "<|observation|>": ("<|user|>", "<|observation|>"),  # GLM
    "<|eom_id|>": ("<|eot_id|>", "<|eom_id|>"),  # Llama 3.1, Functionary
    "<|tool_response>": ("<turn|>", "<|tool_response>"),  # Gemma 4
    "<|END_OF_TURN_TOKEN|>": ("<|END_OF_TURN_TOKEN|>",),  # Cohere
}
"""What ends generation in families that stop at more than the token after an answer, entered by hand: by a token that
only their templates write."""


def _tool(name: str, description: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def _calls(*calls: tuple[str, str]) -> Message:
    ids = ("abcdef123", "ghijkl456")
    tool_calls = (ToolCall(name, {"city": city}, call_id) for (name, city), call_id in zip(calls, ids, strict=False))
    return Message("assistant", "", tuple(tool_calls))


WEATHER = _tool("get_weather", "Get the weather of a city.")
TIME = _tool("get_time", "Get the time of day in a city.")
_ASK, _MORE = Message("user", "How many moons has Mars?"), Message("user", "And Jupiter?")
_TELL, _REST = Message("assistant", "Mars has two moons."), Message("assistant", "Jupiter has ninety-five known ones.")
_THOUGHT, _OTHER = "I count them: Phobos, Deimos.", "There are many of them."
_CALL, _TWO = _calls(("get_weather", "Bern")), _calls(("get_weather", "Bern"), ("get_time", "Rome"))
_SAME = _calls(("get_weather", "Bern"), ("get_weather", "Rome"))
_FOUND = Message("tool", "sunny, 21 degrees", name="get_weather", tool_call_id="abcdef123")
_HERE = Message("user", "What is the weather in Bern?")
ROWS = {
    "one answer": Example((_ASK, _TELL), "chatml", "row"),
    "system prompt": Example((Message("system", "You answer in one sentence."), _ASK, _TELL), "chatml", "row"),
    "several answers": Example((_ASK, _TELL, _MORE, _REST), "chatml", "row"),
    "thoughts": Example((_ASK, Message("assistant", _TELL.content, reasoning_content=_THOUGHT)), "chatml", "row"),
    "several thoughts": Example(
        (
            _ASK,
            Message("assistant", _TELL.content, reasoning_content=_THOUGHT),
            _MORE,
            Message("assistant", _REST.content, reasoning_content=_OTHER),
        ),
        "chatml",
        "row",
    ),
    "two answers in a row": Example((_ASK, _TELL, _REST), "chatml", "row"),
    "a tool": Example(
        (_HERE, _CALL, _FOUND, Message("assistant", "It is sunny in Bern.")), "chatml", "row", (WEATHER,)
    ),
    "ends with a call": Example((_HERE, _CALL), "chatml", "row", (WEATHER,)),
    "two calls": Example(
        (
            _HERE,
            _TWO,
            _FOUND,
            Message("tool", "half past nine", name="get_time", tool_call_id="ghijkl456"),
            Message("assistant", "It is sunny, and half past nine."),
        ),
        "chatml",
        "row",
        (WEATHER, TIME),
    ),
    "two calls of a function": Example(
        (
            _HERE,
            _SAME,
            _FOUND,
            Message("tool", "rain, 9 degrees", name="get_weather", tool_call_id="ghijkl456"),
            Message("assistant", "Sunny, and rain."),
        ),
        "chatml",
        "row",
        (WEATHER,),
    ),
}
KINDS = {
    "raises": "the template refuses the turns",
    "tools": "the template asks for tools in every conversation",
    "vision": "the template reads lists of parts, not text",
    "drops": "the template leaves a part of the row out",
    "no row": "the template's prompt for inference is not the beginning of any row that it writes",
    "no stop": "the template writes no token after an answer at which generation could stop",
    "stop inside": "the template writes a stop token within an answer",
    "joined": "the answer's first characters join the last token of the prompt",
}
"""Why a row may be refused."""


@dataclass(frozen=True)
class Outcome:
    """What became of a row: `settings` that make it exact, empty if none are needed, or the `kind` of its refusal.

    `wrong` says that labels are not those that inference needs, and `unlisted` that a refusal is of no kind.
    """

    settings: str = ""
    kind: str = ""
    problem: str = ""
    wrong: bool = False

    @property
    def unlisted(self) -> bool:
        return self.kind == "?"


def tokenizer_for(base: PreTrainedTokenizerFast, template: str) -> tuple[PreTrainedTokenizerFast, frozenset[int]]:
    """Give a tokenizer the tokens of a template, and find what ends an answer: what the template writes after one."""
    special = {*SPECIAL.findall(template), *(["<s>"] if "bos_token" in template else [])}
    special |= {"</s>"} if "eos_token" in template else set()
    base.add_tokens([AddedToken(token, special=True, normalized=False) for token in sorted(special)])
    base.add_tokens([AddedToken(token, special=False, normalized=False) for token in PLAIN if token not in special])
    base.chat_template = template
    base.bos_token = "<s>" if "bos_token" in template else None
    for example in ROWS.values():  # some put the names of tokens together
        text = _text(base, example.messages, example.tools) or ""
        special |= {*SPECIAL.findall(text)}
    base.add_tokens([AddedToken(token, special=True, normalized=False) for token in sorted(special)])
    base.eos_token = "</s>" if "eos_token" in template else next(iter(sorted(special)), "<|im_end|>")
    ends = {end for row in ("one answer", "several answers") for end in _ends(base, special, row)}
    listed = next((stops for token, stops in STOPS.items() if token in template), ())
    stops = sorted(listed or ends) or [base.eos_token]
    if base.eos_token not in stops:
        base.eos_token = stops[0]
    base.pad_token = base.eos_token
    return base, frozenset(base.convert_tokens_to_ids(stops))


def _ends(tokenizer: PreTrainedTokenizerFast, special: Iterable[str], row: str) -> list[str]:
    """Return the special token behind an answer: behind the last one, else behind one that turns follow."""
    example = ROWS[row]
    text = _text(tokenizer, example.messages, ())
    if text is None:
        return []
    is_last = row == "one answer"
    suffix = text.rpartition(_TELL.content)[2] if is_last else text.partition(_TELL.content)[2]
    if is_last and not suffix.strip():
        return []
    if not is_last and _ends(tokenizer, special, "one answer"):
        return []
    tokens = [token for token in special if suffix.lstrip().startswith(token)]
    return [max(tokens, key=len)] if tokens else []


def outcomes(tokenizer: PreTrainedTokenizerFast, stops: frozenset[int]) -> dict[str, Outcome]:
    """Encode each row, with the settings that a refusal names too."""
    return {name: _outcome(tokenizer, stops, example) for name, example in ROWS.items()}


def _outcome(tokenizer: PreTrainedTokenizerFast, stops: frozenset[int], example: Example) -> Outcome:
    row = Chat(tokenizer, stops).encode([example])[0]
    if not row.problem:
        return Outcome(wrong=not _right(tokenizer, stops, example, row.input_ids, row.labels, {}))
    advised = re.search(r": set (.+), with (?:which|either)", row.problem)
    if advised is None:
        return Outcome(kind=_kind(tokenizer, stops, example), problem=row.problem)
    ways = advised[1].split(" or ")
    return Outcome(ways[0], "", row.problem, wrong=not all(_works(tokenizer, stops, example, way) for way in ways))


def _works(tokenizer: PreTrainedTokenizerFast, stops: frozenset[int], example: Example, way: str) -> bool:
    """Whether settings that a refusal names make the row exact, and right."""
    learn, switches = Learn.assistant, dict[str, Any]()
    for word in shlex.split(way):
        name, _, value = word.partition("=")
        if name == "data.learn":
            learn = Learn(value)
        elif name == "format.thoughts":
            example = example.with_thoughts(Thoughts(value))
        elif name == "model.thinking":
            switches |= dict.fromkeys(ModelConfig.THINKING_SWITCHES, value == "on")
        else:
            switches |= dict(OmegaConf.create(f"{{value: {value}}}").value)
    rows = list(example.for_each_answer()) if learn is Learn.each else [example]
    encoded = Chat(tokenizer, stops, switches, learn=learn).encode(rows)
    return all(
        not row.problem and _right(tokenizer, stops, answered, row.input_ids, row.labels, switches, learn)
        for answered, row in zip(rows, encoded, strict=True)
    )


def _right(
    tokenizer: PreTrainedTokenizerFast,
    stops: frozenset[int],
    example: Example,
    ids: Sequence[int],
    labels: Sequence[int],
    switches: Mapping[str, Any],
    learn: Learn = Learn.assistant,
) -> bool:
    """Whether labels are those that tokenizing each prompt by itself gives, and hold the whole answer."""
    expected = [IGNORE] * len(ids)
    numbers = [n for n, turn in enumerate(example.messages) if turn.role == "assistant" and turn.learned]
    for index in numbers if learn is Learn.assistant else numbers[-1:]:
        prompt = tokenizer.apply_chat_template(
            turns(example.messages[:index]), tools=list(example.tools) or None, add_generation_prompt=True,
            tokenize=True, return_dict=False, **switches,
        )  # fmt: skip
        if list(ids[: len(prompt)]) != list(prompt):
            return False
        end = next((position for position in range(len(prompt), len(ids)) if ids[position] in stops), None)
        if end is None or not _ends_there(tokenizer, example, index, ids[: end + 1], switches):
            return False
        expected[len(prompt) : end + 1] = ids[len(prompt) : end + 1]
        decoded = tokenizer.decode(ids[len(prompt) : end])
        message = example.messages[index]
        parts = [message.content.rpartition("</think>")[2].strip(), message.reasoning_content]
        parts += [part for call in message.tool_calls for part in (call.name, "city", str(call.arguments["city"]))]
        if not all(decoded.count(part) >= parts.count(part) for part in parts) or "{'city'" in decoded:
            return False
    return list(labels) == expected


def _ends_there(
    tokenizer: PreTrainedTokenizerFast,
    example: Example,
    index: int,
    ids: Sequence[int],
    switches: Mapping[str, Any],
) -> bool:
    """Whether `ids`, a row up to a stop token, end before the next turn begins, and as the template writes it."""
    before, message = example.messages[: index + 1], example.messages[index]
    follows = next(iter(example.messages[index + 1 :]), None)
    if follows is not None and follows.role != "assistant":
        return follows.content not in tokenizer.decode(ids)
    text = _text(tokenizer, before, example.tools, prompt=follows is not None, **switches) or ""
    written = tokenizer(text, add_special_tokens=False)["input_ids"]
    if follows is not None or list(written[: len(ids)]) == list(ids):
        return len(ids) <= len(written)
    replies = [Message("tool", "a", name=call.name, tool_call_id=call.id) for call in message.tool_calls]
    text = _text(tokenizer, [*before, *(replies or [_MORE])], example.tools, **switches) or ""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"][: len(ids)]) == list(ids)


def turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the turns as a template and a file of rows have them."""
    rendered: list[dict[str, Any]] = []
    for message in messages:
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls:
            turn["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}}
                for call in message.tool_calls
            ]
        turn |= {name: getattr(message, name) for name in ("name", "tool_call_id") if getattr(message, name)}
        turn |= {"reasoning_content": message.reasoning_content} if message.reasoning_content else {}
        rendered.append(turn)
    return rendered


def _text(
    tokenizer: PreTrainedTokenizerFast,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]],
    *,
    prompt: bool = False,
    parts: bool = False,
    **switches: Any,
) -> str | None:
    rendered = turns(messages)
    if parts:
        for turn in rendered:
            turn["content"] = [{"type": "text", "text": turn["content"]}]
    try:
        return str(
            tokenizer.apply_chat_template(
                rendered, tools=list(tools) or None, tokenize=False, add_generation_prompt=prompt, **switches
            )
        )
    except Exception:  # noqa: BLE001 - a template may refuse in any way
        return None


def _kind(tokenizer: PreTrainedTokenizerFast, stops: frozenset[int], example: Example) -> str:
    """Find from the texts why a row cannot be learned, whatever the switches of the template."""
    full_text = _text(tokenizer, example.messages, example.tools)
    if full_text is None:
        with_tools = _text(tokenizer, example.messages, [WEATHER], functions="[]", datetime="today")
        return "tools" if with_tools is not None and not example.tools else "raises"
    parts = [turn.content.strip() for turn in example.messages] + [turn.reasoning_content for turn in example.messages]
    calls = [call for turn in example.messages for call in turn.tool_calls]
    parts += [part for call in calls for part in (call.name, str(call.arguments["city"]))]
    absent = [part for part in parts if part not in full_text]
    if absent and all(part in (_text(tokenizer, example.messages, example.tools, parts=True) or "") for part in parts):
        return "vision"
    called = [call.name for call in calls]
    if absent or any(full_text.count(name) <= called.count(name) for name in {*called}):
        return "drops"
    texts = []
    for switches in ({}, *(dict.fromkeys(ModelConfig.THINKING_SWITCHES, on) for on in (False, True))):
        prompt = _text(tokenizer, example.messages[:-1], example.tools, prompt=True, **switches)
        text = _text(tokenizer, example.messages, example.tools, **switches)
        texts.append((prompt, text))
    if any(prompt is None for prompt, _ in texts):
        return "raises"
    begins = [text is not None and prompt is not None and text.startswith(prompt) for prompt, text in texts]
    if not any(begins):
        return "no row"
    answers = [turn.content or "Bern" for turn in example.messages if turn.role == "assistant"]
    follows = _MORE if example.messages[-1].content else _FOUND
    longer = _text(tokenizer, [*example.messages, follows], example.tools) or ""
    behind = [full_text.rpartition(answers[-1])[2], longer.rpartition(answers[-1])[2].partition(follows.content)[0]]
    if not any(stops & {*tokenizer(suffix, add_special_tokens=False).input_ids} for suffix in behind):
        return "no stop"
    if example.messages[-2].role == "assistant":
        between = full_text.rpartition(answers[-1])[0].rpartition(answers[-2])[2]
        if not stops & {*tokenizer(between, add_special_tokens=False).input_ids}:
            return "no stop"
    inside = full_text[max(len(prompt or "") for prompt, _ in texts) :].rpartition(answers[-1])[0]
    if stops & {*tokenizer(inside, add_special_tokens=False).input_ids}:
        return "stop inside"
    joined = [
        tokenizer(text, add_special_tokens=False).input_ids[: len(ids)] != ids
        for (prompt, text), begin in zip(texts, begins, strict=True)
        if begin and (ids := tokenizer(prompt, add_special_tokens=False).input_ids)
    ]
    return "joined" if all(joined) else "?"
