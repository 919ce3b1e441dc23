"""A few conversations, rows made of them by the tokenizers of families, and what is learned of a row."""

from __future__ import annotations

import itertools

from transformers import PreTrainedTokenizerFast

from framework.api.records import Example, Message, TokenRow, ToolCall
from framework.api.schema import Learn
from framework_plugins.hf.tokens.chat import Chat
from tests.support.families import family_tokenizer, stop_ids

SYSTEM = Message("system", "Be brief.")
ASK = Message("user", "How many?")
TELL = Message("assistant", "Two, I think.")
DOUBT = Message("user", "Sure?")
NO = Message("assistant", "No")
CALL = Message("assistant", "", (ToolCall("get_weather", {"city": "Bern"}, "abcdefghi"),))
RESULT = Message("tool", "sunny", name="get_weather", tool_call_id="abcdefghi")
TOOLS = (
    {
        "type": "function",
        "function": {"name": "get_weather", "description": "Weather", "parameters": {"type": "object"}},
    },
)


def encode(name: str, *messages: Message, learn: Learn = Learn.assistant, **settings: object) -> TokenRow:
    chat = Chat(family_tokenizer(name), stop_ids(name), settings, learn=learn)
    return chat.encode([Example(messages, "chatml", "rows.jsonl:7")])[0]


def with_tools(name: str, *messages: Message, learn: Learn = Learn.assistant) -> TokenRow:
    chat = Chat(family_tokenizer(name), stop_ids(name), learn=learn)
    return chat.encode([Example(messages, "chatml", tools=TOOLS)])[0]


def encode_by(tokenizer: PreTrainedTokenizerFast, *messages: Message) -> TokenRow:
    assert tokenizer.eos_token_id is not None
    return Chat(tokenizer, frozenset([tokenizer.eos_token_id])).encode([Example(messages, "chatml", "r:1")])[0]


def learned(tokenizer: PreTrainedTokenizerFast, row: TokenRow) -> list[str]:
    """Return the runs of supervised tokens as text."""
    runs = itertools.groupby(row.labels, key=lambda label: label != TokenRow.IGNORE)
    return [str(tokenizer.decode(list(run))) for is_learned, run in runs if is_learned]
