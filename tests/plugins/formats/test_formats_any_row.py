"""Rows of any JSON: recognition never raises, and a format either makes a conversation or tells what is wrong."""

import copy
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from framework import FrameworkError
from framework.api.schema import FormatConfig
from framework.data.conversation_checks import check_turns
from framework_plugins.formats.formats import Auto
from framework_plugins.formats.formats.names import READS
from framework_plugins.formats.formats.turns import ROLES, SHAREGPT_ROLES

AUTO = Auto(FormatConfig())
FIELDS = sorted({name for names in READS.values() for name in names})
WORDS = st.sampled_from(
    [*ROLES, *SHAREGPT_ROLES, "text", "[]", "{}", '{"name": "f", "arguments": "{}"}', "\n\nHuman: a", ""]
)
CALL = ["tool_calls", "function_call", "function", "name", "arguments", "id"]
KEYS = st.sampled_from(["role", "content", "from", "value", "type", "text", "weight", "train", "thinking", *CALL])
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)
TURN = st.fixed_dictionaries({"role": WORDS, "content": JSON}, optional={"tool_calls": JSON, "weight": JSON}) | (
    st.fixed_dictionaries({"from": WORDS, "value": JSON}, optional={"name": JSON})
)
ROWS = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), JSON | st.lists(TURN, max_size=3), max_size=5)


@given(ROWS)
@example({"messages": [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": "[" * 100_000}]}]})
@example({"prompt": "\n\nHuman:", "chosen": "\n\nHuman:", "rejected": "\n\nHuman:\n\nAssistant:"})
@example({"prompt": [{"role": "system", "content": ""}], "chosen": {"from": "gpt", "value": ""}, "rejected": ""})
def test_any_row_is_a_conversation_or_reported_and_is_left_as_it_was(fields: dict[str, Any]) -> None:
    given_before = copy.deepcopy(fields)
    for formatter in (*AUTO.formats.values(), AUTO):
        assert formatter.matches(fields) in (True, False)
        try:
            made = formatter.example(fields)
            check_turns(made)
        except FrameworkError:
            continue
        assert (made.text is None) == bool(made.messages)
    assert repr(fields) == repr(given_before)


@given(ROWS)
def test_what_a_single_format_fits_is_what_auto_reads(fields: dict[str, Any]) -> None:
    names = AUTO.fitting(fields)
    assert AUTO.matches(fields) == (len(names) == 1) or not names  # which a shape of published data may be
    if len(names) == 1:
        assert AUTO.recognise(fields)[0] == names[0]
