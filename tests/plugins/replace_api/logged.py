"""One call of a tool, and the answer that follows, as ten exports log it. The data are made up, the shapes are real."""

from __future__ import annotations

import json
from typing import Any

SYSTEM, ASKED, RESULT, ANSWER = "Be brief.", "Weather in Oslo?", "4 degrees", "It is 4 degrees in Oslo."
ARGUMENTS = {"city": "Oslo"}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Looks it up.", "parameters": PARAMETERS}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": json.dumps(ARGUMENTS)}}
MESSAGES = [
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": ASKED},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": RESULT},
]
REQUEST = {"model": "big-1", "messages": MESSAGES, "tools": [TOOL], "user": "u1"}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
COMPLETION = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1790000000, "model": "big-1", "choices": [CHOICE],
    "usage": {"prompt_tokens": 60, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 20}},
}  # fmt: skip
RESPONSES_REQUEST = {
    "model": "big-1", "instructions": SYSTEM, "user": "u1",
    "tools": [{"type": "function", "name": "weather", "description": "Looks it up.", "parameters": PARAMETERS}],
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": ASKED}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": json.dumps(ARGUMENTS)},
        {"type": "function_call_output", "call_id": "c1", "output": RESULT},
    ],
}  # fmt: skip
RESPONSES_RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1790000000, "status": "completed", "model": "big-1",
    "output": [
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": ANSWER}]},
    ],
    "usage": {"input_tokens": 60, "output_tokens": 9, "input_tokens_details": {"cached_tokens": 20}},
}  # fmt: skip
ANTHROPIC_REQUEST = {
    "model": "big-1", "max_tokens": 100, "system": [{"type": "text", "text": SYSTEM}], "metadata": {"user_id": "u1"},
    "tools": [{"name": "weather", "description": "Looks it up.", "input_schema": PARAMETERS}],
    "messages": [
        {"role": "user", "content": ASKED},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": ARGUMENTS}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": RESULT}]},
    ],
}  # fmt: skip
ANTHROPIC_RESPONSE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "big-1", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": ANSWER}],
    "usage": {"input_tokens": 40, "cache_read_input_tokens": 20, "output_tokens": 9},
}  # fmt: skip
OTEL_ATTRIBUTES = {
    "gen_ai.operation.name": "chat", "gen_ai.response.model": "big-1", "gen_ai.conversation.id": "t1",
    "enduser.id": "u1", "gen_ai.usage.cache_read.input_tokens": 20,
    "gen_ai.system_instructions": json.dumps([{"type": "text", "content": SYSTEM}]),
    "gen_ai.tool.definitions": json.dumps([TOOL]),
    "gen_ai.input.messages": json.dumps([
        {"role": "user", "parts": [{"type": "text", "content": ASKED}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "weather", "arguments": ARGUMENTS}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": RESULT}]},
    ]),
    "gen_ai.output.messages": json.dumps(
        [{"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "stop"}]
    ),
    "gen_ai.usage.input_tokens": 60, "gen_ai.usage.output_tokens": 9,
}  # fmt: skip


def _otlp(value: Any) -> dict[str, Any]:
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


def _langchain(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", kind], "kwargs": kwargs}


START, END = "2026-09-21T14:13:20Z", "2026-09-21T14:13:22Z"
EXPORTS: dict[str, list[dict[str, Any]]] = {
    "chat completions": [{
        "timestamp": START, "latency": 2, "session_id": "t1", "request": REQUEST, "response": COMPLETION,
    }],
    "responses": [{
        "timestamp": START, "latency": 2, "session_id": "t1", "request": RESPONSES_REQUEST,
        "response": RESPONSES_RESPONSE,
    }],
    "batch": [
        {"custom_id": "r1", "method": "POST", "url": "/v1/chat/completions", "body": REQUEST},
        {"id": "b1", "custom_id": "r1", "response": {"status_code": 200, "body": COMPLETION}, "error": None},
    ],
    "anthropic": [{
        "timestamp": START, "latency": 2, "session_id": "t1", "request": ANTHROPIC_REQUEST,
        "response": ANTHROPIC_RESPONSE,
    }],
    "langfuse observation": [{
        "id": "o1", "trace_id": "x", "session_id": "t1", "user_id": "u1", "type": "GENERATION", "level": "DEFAULT",
        "start_time": "2026-09-21 14:13:20.000000", "end_time": "2026-09-21 14:13:22.000000",
        "provided_model_name": "big-1", "input": json.dumps({"messages": MESSAGES, "tools": [TOOL]}),
        "output": json.dumps({"role": "assistant", "content": ANSWER}),
        "usage_details": {"input": 60, "output": 9, "input_cached_tokens": 20}, "total_cost": 0.002,
    }],
    "langfuse trace": [{
        "trace": {"id": "x", "sessionId": "t1", "userId": "u1"},
        "observations": [{
            "id": "o1", "type": "GENERATION", "startTime": START, "endTime": END, "model": "big-1",
            "input": {"messages": MESSAGES, "tools": [TOOL]}, "output": COMPLETION,
            "usageDetails": {"input": 60, "output": 9, "input_cached_tokens": 20},
        }],
    }],
    "langsmith": [{
        "id": "run", "trace_id": "x", "run_type": "llm", "start_time": START, "end_time": END, "error": None,
        "inputs": {"messages": [[
            _langchain("SystemMessage", content=SYSTEM, type="system"),
            _langchain("HumanMessage", content=ASKED, type="human"),
            _langchain("AIMessage", content="", type="ai",
                       tool_calls=[{"name": "weather", "args": ARGUMENTS, "id": "c1", "type": "tool_call"}]),
            _langchain("ToolMessage", content=RESULT, type="tool", tool_call_id="c1"),
        ]]},
        "outputs": {"generations": [[{
            "text": ANSWER, "message": _langchain("AIMessage", content=ANSWER, type="ai"),
            "generation_info": {"finish_reason": "stop"},
        }]]},
        "extra": {"metadata": {"session_id": "t1", "user_id": "u1", "ls_model_name": "big-1"},
                  "invocation_params": {"tools": [TOOL]}},
        "prompt_tokens": 60, "completion_tokens": 9,
    }],
    "opentelemetry": [{"resourceSpans": [{"scopeSpans": [{"spans": [{
        "traceId": "x", "name": "chat big-1", "startTimeUnixNano": "1790000000000000000",
        "endTimeUnixNano": "1790000002000000000", "status": {},
        "attributes": [{"key": name, "value": _otlp(value)} for name, value in OTEL_ATTRIBUTES.items()],
    }]}]}]}],
    "litellm": [{
        "id": "l1", "trace_id": "t1", "call_type": "acompletion", "status": "success", "model": "big-1",
        "messages": MESSAGES, "model_parameters": {"tools": [TOOL]}, "response": COMPLETION, "end_user": "u1",
        "startTime": 1790000000.0, "endTime": 1790000002.0, "prompt_tokens": 60, "completion_tokens": 9,
        "response_cost": 0.002,
    }],
    "helicone": [{
        "request_id": "h1", "request_created_at": START, "request_body": REQUEST, "response_body": COMPLETION,
        "response_status": 200, "request_user_id": "u1", "delay_ms": 2000, "model": "big-1",
        "properties": {"Helicone-Session-Id": "t1"}, "prompt_tokens": 60, "completion_tokens": 9, "costUSD": 0.002,
    }],
}  # fmt: skip
