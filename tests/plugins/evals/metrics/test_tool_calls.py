"""Calls of tools are compared by names and arguments, however the answer writes them."""

from __future__ import annotations

import pytest

from framework.api import ToolCall
from framework.api.records.rows import call_text
from framework_plugins.evals.config import ToolCallsConfig
from framework_plugins.evals.metrics.tool_calls import ToolCalls

ROME = ToolCall("weather", {"city": "Rome, Italy", "days": 3})
NOW = ToolCall("time.now", {})
JSON = '{"name": "weather", "arguments": {"city": "Rome, Italy", "days": 3}}'


def score(answer: str, *calls: ToolCall) -> float:
    return ToolCalls(ToolCallsConfig()).score(answer, call_text(calls))


@pytest.mark.parametrize(
    "answer",
    [
        f"<tool_call>\n{JSON}\n</tool_call>",
        JSON.replace("arguments", "parameters"),
        f"Let me look.\n```json\n[{JSON}]\n```",
        f'{{"tool_calls": [{{"type": "function", "function": {JSON}}}]}}',
        '{"arguments": "{\\"days\\": 3.0, \\"city\\": \\"Rome, Italy\\"}", "name": "weather"}',
        'weather(days=3, city="Rome, Italy")',
        "<function_calls>[weather(city='Rome, Italy', days=3)]</function_calls>",
    ],
)
def test_a_call_is_read_in_every_notation(answer: str) -> None:
    assert score(answer, ROME) == 1


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "It is sunny in Rome, Italy.",
        JSON.replace("weather", "climate"),
        JSON.replace("3", "4"),
        JSON.replace("3", '"3"'),
        JSON.replace(', "days": 3', ""),
        JSON.replace("3", '3, "hour": 1'),
        JSON[:-1],
        f"{JSON} {JSON}",
        "weather('Rome, Italy', 3)",
        "weather(city={[]: 3})",
    ],
)
def test_another_name_another_argument_or_another_number_of_calls_is_wrong(answer: str) -> None:
    assert score(answer, ROME) == 0


def test_several_calls_count_in_any_order_and_only_together() -> None:
    both = call_text([NOW, ROME])
    assert score(both, ROME, NOW) == score('[time.now(), weather(city="Rome, Italy", days=3)]', ROME, NOW) == 1
    assert score(JSON, ROME, NOW) == score(both, ROME) == 0


def test_true_is_not_one() -> None:
    assert score(call_text([ToolCall("set", {"on": True})]), ToolCall("set", {"on": 1})) == 0


def test_a_reference_without_a_call_is_a_text() -> None:
    metric = ToolCalls(ToolCallsConfig())
    assert metric.score(" Lima\n", "Lima") == 1
    assert metric.score(JSON, "Lima") == metric.score("", "Lima") == 0
    code = 'send({"name": "x", "arguments": 1})'
    assert metric.score(code, code) == 1
    assert metric.score("send()", code) == 0
    # A tag around what no parser reads does not make silence right.
    assert metric.score("", "<tool_call><function=now></function></tool_call>") == 0
