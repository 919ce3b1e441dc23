"""Logs of an API that never was: a rule-based teacher turns orders into JSON, and five exports log its answers.

    python -m benchmarks.api_logs orders.jsonl                   1,500 calls, each export in turn
    python -m benchmarks.api_logs orders.jsonl --calls 400       fewer

The teacher is `framework_plugins.quickstart.make_orders`, which draws an order and knows its JSON. One call in 40
fails, one in 50 is cut, one in 25 is asked again; the times run through eight weeks.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.common import command_line
from framework_plugins.quickstart import make_orders as teacher

Call = dict[str, Any]
MODEL = "rules-1"
START = datetime(2026, 9, 1, 8, tzinfo=UTC)
SEED = 67
FAILED, CUT, AGAIN = 40, 50, 25
"""One call in N."""
INPUT_RATE, OUTPUT_RATE = 0.0003, 0.02
"""Seconds of the made-up API for a token."""


def calls(count: int) -> Iterator[Call]:
    """Give calls of the teacher: messages, the answer, times, ids, and what went wrong."""
    draw = random.Random(SEED)  # noqa: S311 - a data set, not a secret
    names = teacher.TRAIN_FIRST_NAMES, teacher.TRAIN_LAST_NAMES
    rows = teacher.orders(draw, count, teacher.TRAIN_PATTERNS, names, teacher.TRAIN_CITIES)
    moment, again = START, None
    for number, row in enumerate(rows):
        moment += timedelta(seconds=draw.expovariate(count / (56 * 86400)))
        asked = again if again is not None and number % AGAIN == 0 else row
        again = row
        answer = asked["output"]
        tokens = len(asked["instruction"] + asked["input"]) // 4, len(answer) // 4
        yield {
            "id": f"call-{number}",
            "messages": [
                {"role": "system", "content": asked["instruction"]},
                {"role": "user", "content": asked["input"]},
            ],
            "answer": answer[: len(answer) // 2] if number % CUT == 7 else answer,
            "finish": "length" if number % CUT == 7 else "stop",
            "failed": number % FAILED == 11,
            "start": moment,
            "end": moment + timedelta(seconds=0.4 + INPUT_RATE * tokens[0] + OUTPUT_RATE * tokens[1]),
            "conversation": f"talk-{number * 2 // 3}",
            "user": f"user-{number % 97}",
            "tokens": tokens,
        }


def _completion(call: Call) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": call["finish"], "message": {"role": "assistant", "content": call["answer"]}}
    usage = {"prompt_tokens": call["tokens"][0], "completion_tokens": call["tokens"][1]}
    return {"id": call["id"], "object": "chat.completion", "model": MODEL, "choices": [choice], "usage": usage}


def openai(call: Call) -> dict[str, Any]:
    """Return the request and the response of chat completions, as a proxy logs them."""
    error = {"error": {"message": "overloaded", "type": "server_error"}}
    return {
        "timestamp": call["start"].isoformat(), "latency": (call["end"] - call["start"]).total_seconds(),
        "session_id": call["conversation"], "user_id": call["user"],
        "request": {"model": MODEL, "messages": call["messages"], "temperature": 0},
        "response": error if call["failed"] else _completion(call),
    }  # fmt: skip


def anthropic(call: Call) -> dict[str, Any]:
    """Return the request and the response of Anthropic's messages."""
    message = {
        "id": call["id"], "type": "message", "role": "assistant", "model": MODEL,
        "content": [{"type": "text", "text": call["answer"]}],
        "stop_reason": "max_tokens" if call["finish"] == "length" else "end_turn",
        "usage": {"input_tokens": call["tokens"][0], "output_tokens": call["tokens"][1]},
    }  # fmt: skip
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    return {
        "timestamp": call["start"].isoformat(), "latency": (call["end"] - call["start"]).total_seconds(),
        "session_id": call["conversation"], "user_id": call["user"],
        "request": {
            "model": MODEL, "max_tokens": 256, "system": call["messages"][0]["content"],
            "messages": call["messages"][1:],
        },
        "response": error if call["failed"] else message,
    }  # fmt: skip


def langfuse(call: Call) -> dict[str, Any]:
    """Return an enriched observation of Langfuse's export to a bucket, whose input and output are text."""
    output = None if call["failed"] else json.dumps(_completion(call))
    return {
        "id": call["id"], "trace_id": f"trace-{call['id']}", "type": "GENERATION", "name": "orders",
        "start_time": call["start"].strftime("%Y-%m-%d %H:%M:%S.%f"),
        "end_time": call["end"].strftime("%Y-%m-%d %H:%M:%S.%f"),
        "level": "ERROR" if call["failed"] else "DEFAULT", "provided_model_name": MODEL,
        "session_id": call["conversation"], "user_id": call["user"], "input": json.dumps(call["messages"]),
        "output": output, "usage_details": {"input": call["tokens"][0], "output": call["tokens"][1]},
    }  # fmt: skip


def opentelemetry(call: Call) -> dict[str, Any]:
    """Return a span of the conventions for generative AI, as a collector writes OTLP in JSON."""
    system, *asked = call["messages"]
    part = {
        "role": "assistant",
        "parts": [{"type": "text", "content": call["answer"]}],
        "finish_reason": call["finish"],
    }
    values = {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": MODEL, "gen_ai.response.model": MODEL,
        "gen_ai.conversation.id": call["conversation"], "user.id": call["user"],
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": system["content"]}]),
        "gen_ai.input.messages": json.dumps(
            [{"role": turn["role"], "parts": [{"type": "text", "content": turn["content"]}]} for turn in asked]
        ),
        **({"error.type": "503"} if call["failed"] else {"gen_ai.output.messages": json.dumps([part])}),
    }  # fmt: skip
    attributes = [{"key": name, "value": {"stringValue": value}} for name, value in values.items()]
    for name, tokens in zip(("input", "output"), call["tokens"], strict=True):
        attributes.append({"key": f"gen_ai.usage.{name}_tokens", "value": {"intValue": str(tokens)}})
    span = {
        "traceId": call["id"], "spanId": call["id"], "name": f"chat {MODEL}", "kind": 3, "attributes": attributes,
        "startTimeUnixNano": str(int(call["start"].timestamp() * 1e9)),
        "endTimeUnixNano": str(int(call["end"].timestamp() * 1e9)), "status": {"code": 2 if call["failed"] else 0},
    }  # fmt: skip
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "gen_ai"}, "spans": [span]}]}]}


def litellm(call: Call) -> dict[str, Any]:
    """Return LiteLLM's standard logging payload."""
    return {
        "id": call["id"], "trace_id": call["conversation"], "call_type": "acompletion", "stream": False,
        "status": "failure" if call["failed"] else "success", "model": MODEL, "messages": call["messages"],
        "response": {} if call["failed"] else _completion(call), "startTime": call["start"].timestamp(),
        "endTime": call["end"].timestamp(), "prompt_tokens": call["tokens"][0],
        "completion_tokens": call["tokens"][1], "end_user": call["user"], "metadata": {}, "model_parameters": {},
    }  # fmt: skip


EXPORTS: tuple[Callable[[Call], dict[str, Any]], ...] = (openai, anthropic, langfuse, opentelemetry, litellm)


def write(file: Path, count: int) -> None:
    """Write a line for each call, in the export whose turn it is."""
    lines = [json.dumps(EXPORTS[number % len(EXPORTS)](call)) for number, call in enumerate(calls(count))]
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def main() -> None:
    """Write the logs."""
    parser = command_line(__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--calls", type=int, default=1500)
    given = parser.parse_args()
    write(given.file, given.calls)


if __name__ == "__main__":
    main()
