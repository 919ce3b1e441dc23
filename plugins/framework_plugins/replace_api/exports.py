"""The exports of APIs, gateways and tracers: from a line to calls.

    [*read_calls({"request": {"model": "m", "messages": […]}, "response": {"choices": […]}})]

A line is recognized by its fields; `SHAPES` has the order. Most exports wrap a request and a response of an API, which
`_of_pair` reads: chat completions, the Responses API or Anthropic's messages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from framework_plugins.replace_api.streams import assembled
from framework_plugins.replace_api.turns import (
    Fields,
    LeftOutError,
    Reason,
    Turn,
    check_request,
    decoded,
    read_tools,
    read_turns,
)

CUT = {"length", "max_tokens", "max_output_tokens", "incomplete", "model_context_window_exceeded"}
FILTERED = {"content_filter", "refusal", "content_filtered"}
OK_STATUS = range(200, 300)
NANOSECONDS, MICROSECONDS, MILLISECONDS = 1e17, 1e14, 1e11
"""A time since 1970 that is larger has this unit; seconds reach the second number in the year 5138."""
CHAT_OPERATIONS = {"chat", "generate_content", "text_completion", ""}
NUMBERED = re.compile(r"gen_ai\.(prompt|completion)\.(\d+)\.(?:tool_calls\.(\d+)\.)?(\w+)")
"""Attributes of instrumentations from before `gen_ai.input.messages`."""


@dataclass(frozen=True)
class LoggedCall:
    """A request to a model and what it answered.

    Attributes:
        shape: which export it is from.
        turns: the request, as turns of chat completions.
        answers: the choices, each a turn.
        tools: the schemas of the tools.
        model: which answered.
        time: of the request, in seconds since 1970; None if that is not known.
        seconds: until the answer was complete.
        conversation: its id; empty if that is not known.
        user: the id of who asked; empty if that is not known.
        input_tokens: as the API counted them, cached ones included.
        cached_tokens: those of them that the API had in its cache.
        output_tokens: of all choices, thoughts included.
        cost: what the export says that it cost.
    """

    shape: str
    turns: list[Turn]
    answers: list[Turn]
    tools: list[Turn]
    model: str = ""
    time: float | None = None
    seconds: float | None = None
    conversation: str = ""
    user: str = ""
    input_tokens: int | None = None
    cached_tokens: int = 0
    output_tokens: int | None = None
    cost: float | None = None


def read_calls(fields: Fields) -> Iterator[LoggedCall | Reason]:
    """Give the calls of a line, or the reason why one is left out; a trace has several.

    Raises:
        LeftOutError: the line is none of the known exports.
    """
    for name, fits, read in SHAPES:
        if fits(fields):
            for record in _records(name, fields):
                try:
                    call = replace(read(record), shape=name)
                    check_request(call.turns)
                except LeftOutError as error:
                    yield error.reason
                except (AttributeError, KeyError, TypeError, ValueError, IndexError):
                    # A field is of another type than its export documents.
                    yield Reason.unknown
                else:
                    yield call
            return
    raise LeftOutError(Reason.unknown)


def at(fields: Any, *paths: str) -> Any:
    """Return the first value that is there and not null, by its path with slashes."""
    for path in paths:
        value = fields
        for key in path.split("/"):
            value = decoded(value)
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            return value
    return None


def moment(value: Any) -> float | None:
    """Return a time in seconds since 1970, from ISO 8601 or a number of any unit."""
    if isinstance(value, str) and not re.fullmatch(r"[\d.]+", value):
        try:
            read = datetime.fromisoformat(value)
        except ValueError:
            return None
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    number = float(value)
    units = (NANOSECONDS, 1e9), (MICROSECONDS, 1e6), (MILLISECONDS, 1e3)
    return number / next((unit for least, unit in units if number > least), 1)


def _between(start: Any, end: Any) -> float | None:
    first, last = moment(start), moment(end)
    return None if first is None or last is None or last < first else last - first


def _count(value: Any) -> int | None:
    return None if value is None or isinstance(value, bool) else int(float(value))


def _number(value: Any) -> float | None:
    return None if value is None or value == "" else float(value)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


# --- a request and a response of an API ------------------------------------------------------------------------------


def _of_pair(request: Any, response: Any) -> LoggedCall:
    request, response = decoded(request), assembled(decoded(response))
    if not isinstance(request, Mapping):
        raise LeftOutError(Reason.no_request)
    if not isinstance(response, Mapping):
        raise LeftOutError(Reason.no_answer)
    if response.get("error"):
        raise LeftOutError(Reason.error)
    if request.get("previous_response_id") or request.get("conversation"):
        raise LeftOutError(Reason.stored)
    is_responses = "messages" not in request and ("output" in response or "input" in request)
    turns = read_turns(request["input"] if is_responses else request.get("messages") or request.get("prompt") or ())
    system = request.get("instructions") if is_responses else request.get("system")
    if system:
        turns = [*read_turns({"role": "system", "content": system}), *turns]
    usage = response.get("usage") or {}
    cached = at(usage, "prompt_tokens_details/cached_tokens", "input_tokens_details/cached_tokens")
    read, written = (usage.get(f"cache_{kind}_input_tokens") or 0 for kind in ("read", "creation"))
    read_in = at(usage, "prompt_tokens", "input_tokens")  # Anthropic's are without those of the cache
    return LoggedCall(
        "", turns, _answers(response), read_tools(request.get("tools")),
        model=_text(response.get("model") or request.get("model")),
        time=moment(at(response, "created", "created_at")),
        conversation=_text(at(request, "metadata/conversation_id", "metadata/session_id")),
        user=_text(at(request, "user", "metadata/user_id", "safety_identifier")),
        input_tokens=None if read_in is None else int(read_in) + read + written,
        cached_tokens=int(cached or read),
        output_tokens=_count(at(usage, "completion_tokens", "output_tokens")),
    )  # fmt: skip


def _answers(response: Fields) -> list[Turn]:
    """Return the answers of a response, whatever API gave it."""
    if "choices" in response:
        choices = response["choices"] or []
        _check_ends(choice.get("finish_reason") for choice in choices)
        return _given(
            choice.get("message") or {"role": "assistant", "content": choice.get("text")} for choice in choices
        )
    if "output" in response:
        _check_ends([at(response, "incomplete_details/reason"), response.get("status")])
        items = response["output"]
        return _given(read_turns(items) if items else ())
    _check_ends([response.get("stop_reason")])
    return _given([{"role": "assistant", "content": response.get("content")}])


def _check_ends(reasons: Any) -> None:
    for reason in map(str, reasons):
        if reason.lower() in CUT:
            raise LeftOutError(Reason.cut)
        if reason.lower() in FILTERED:
            raise LeftOutError(Reason.filtered)
        if reason.lower() in {"failed", "error", "cancelled"}:
            raise LeftOutError(Reason.error)


def _given(values: Any) -> list[Turn]:
    """Return answers as turns of the assistant; a text alone is one."""
    answers = []
    for value in values:
        text = decoded(value)
        turn = {"role": "assistant", "content": text} if isinstance(text, str) else {"role": "assistant", **text}
        turns = read_turns([turn])
        if turns[-1]["role"] != "assistant":
            raise LeftOutError(Reason.unknown)
        if turns[-1]["content"].strip() or turns[-1].get("tool_calls"):
            answers.append(turns[-1])
    if not answers:
        raise LeftOutError(Reason.no_answer)
    return answers


def _pair(fields: Fields) -> LoggedCall:
    status = at(fields, "status_code", "response/status_code", "status")
    if isinstance(status, int) and status not in OK_STATUS:
        raise LeftOutError(Reason.error)
    if fields.get("error"):
        raise LeftOutError(Reason.error)
    request = at(fields, "request/body", "request", "body") or fields
    response = at(fields, "response/body", "response", "completion") or fields
    call = _of_pair(request, response)
    return replace(
        call,
        time=moment(at(fields, "timestamp", "time", "created_at", "start_time", "request_time")) or call.time,
        seconds=_number(at(fields, "latency", "seconds", "duration")),
        conversation=_text(at(fields, "conversation_id", "session_id", "thread_id", "conversation"))
        or call.conversation,
        user=_text(at(fields, "user_id", "user")) or call.user,
    )


# --- gateways and tracers --------------------------------------------------------------------------------------------


def _helicone(fields: Fields) -> LoggedCall:
    status = fields.get("response_status")
    if isinstance(status, int) and status not in OK_STATUS:
        raise LeftOutError(Reason.error)
    call = _of_pair(fields["request_body"], fields.get("response_body"))
    properties = {**(fields.get("request_properties") or {}), **(fields.get("properties") or {})}
    delay = _number(fields.get("delay_ms"))
    return replace(
        call,
        model=call.model or _text(at(fields, "response_model", "model", "request_model")),
        time=moment(fields.get("request_created_at")),
        seconds=None if delay is None else delay / 1000,
        conversation=_text(at(properties, "Helicone-Session-Id", "session", "session_id")) or call.conversation,
        user=_text(fields.get("request_user_id")) or call.user,
        input_tokens=call.input_tokens or _count(fields.get("prompt_tokens")),
        output_tokens=call.output_tokens or _count(fields.get("completion_tokens")),
        cost=_number(at(fields, "costUSD", "cost")),
    )


def _litellm(fields: Fields) -> LoggedCall:
    fields = at(fields, "standard_logging_object") or fields
    if fields.get("status") == "failure":
        raise LeftOutError(Reason.error)
    if not str(fields.get("call_type", "completion")).endswith(("completion", "responses", "anthropic_messages")):
        raise LeftOutError(Reason.not_a_call)
    asked = decoded(fields.get("messages"))
    request = {**(fields.get("model_parameters") or {}), "messages": asked, "model": fields.get("model")}
    call = _of_pair(request, fields.get("response"))
    return replace(
        call,
        time=moment(at(fields, "startTime", "start_time")),
        seconds=_between(at(fields, "startTime", "start_time"), at(fields, "endTime", "end_time")),
        conversation=_text(at(fields, "metadata/session_id", "session_id", "trace_id")) or call.conversation,
        user=_text(at(fields, "end_user", "metadata/user_api_key_end_user_id")) or call.user,
        input_tokens=_count(fields.get("prompt_tokens")) or call.input_tokens,
        output_tokens=_count(fields.get("completion_tokens")) or call.output_tokens,
        cost=_number(at(fields, "response_cost", "spend")),
    )


def _langfuse(fields: Fields) -> LoggedCall:
    if str(fields.get("type", "GENERATION")).upper() != "GENERATION":
        raise LeftOutError(Reason.not_a_call)
    if fields.get("level") == "ERROR":
        raise LeftOutError(Reason.error)
    asked, answer = decoded(fields.get("input")), decoded(fields.get("output"))
    if not asked:
        raise LeftOutError(Reason.no_request)
    if not answer:
        raise LeftOutError(Reason.no_answer)
    turns = read_turns(at(asked, "messages") or asked)
    answers = _answers(answer) if isinstance(answer, Mapping) and "choices" in answer else _given(
        answer if isinstance(answer, list) else [answer]
    )  # fmt: skip
    usage = at(fields, "usageDetails", "usage_details", "usage") or {}
    start, end = at(fields, "startTime", "start_time"), at(fields, "endTime", "end_time")
    return LoggedCall(
        "", turns, answers, read_tools(at(asked, "tools") or at(fields, "modelParameters/tools")),
        model=_text(at(fields, "model", "providedModelName", "provided_model_name")),
        time=moment(start), seconds=_between(start, end),
        conversation=_text(at(fields, "sessionId", "session_id", "traceId", "trace_id")),
        user=_text(at(fields, "userId", "user_id")),
        input_tokens=_count(at(usage, "input", "promptTokens", "prompt_tokens")),
        cached_tokens=_count(at(usage, "input_cached_tokens", "cache_read_input_tokens")) or 0,
        output_tokens=_count(at(usage, "output", "completionTokens", "completion_tokens")),
        cost=_number(at(fields, "costDetails/total", "cost_details/total", "totalCost", "total_cost",
                        "calculatedTotalCost")),
    )  # fmt: skip


def _langsmith(fields: Fields) -> LoggedCall:
    if fields.get("run_type") != "llm":
        raise LeftOutError(Reason.not_a_call)
    if fields.get("error"):
        raise LeftOutError(Reason.error)
    asked, answer = decoded(fields.get("inputs")) or {}, decoded(fields.get("outputs")) or {}
    if not answer:
        raise LeftOutError(Reason.no_answer)
    parameters = at(fields, "extra/invocation_params") or {}
    generations = answer.get("generations")
    if generations:
        first = generations[0] if isinstance(generations[0], list) else generations
        _check_ends(at(one, "generation_info/finish_reason", "message/kwargs/response_metadata/finish_reason",
                       "message/kwargs/response_metadata/stop_reason") for one in first)  # fmt: skip
        answers = [turn for one in first for turn in read_turns([one.get("message") or _said(one.get("text"))])]
        answers = _given(answers)
    elif "choices" in answer:
        answers = _answers(answer)
    else:
        listed = at(answer, "messages", "output", "message") or answer
        answers = _given(listed if isinstance(listed, list) else [listed])
    usage = at(answer, "usage_metadata", "usage", "llm_output/token_usage") or {}
    metadata = at(fields, "extra/metadata") or {}
    return LoggedCall(
        "", read_turns(at(asked, "messages", "input", "prompt", "prompts") or ()), answers,
        read_tools(at(asked, "tools") or at(parameters, "tools")),
        model=_text(at(metadata, "ls_model_name") or at(parameters, "model", "model_name") or at(asked, "model")),
        time=moment(fields.get("start_time")), seconds=_between(fields.get("start_time"), fields.get("end_time")),
        conversation=_text(at(metadata, "session_id", "thread_id", "conversation_id") or fields.get("trace_id")),
        user=_text(at(metadata, "user_id")),
        input_tokens=_count(at(fields, "prompt_tokens") or at(usage, "input_tokens", "prompt_tokens")),
        output_tokens=_count(at(fields, "completion_tokens") or at(usage, "output_tokens", "completion_tokens")),
        cost=_number(fields.get("total_cost")),
    )  # fmt: skip


def _said(text: Any) -> Turn:
    return {"role": "assistant", "content": text}


def _opentelemetry(span: Fields) -> LoggedCall:
    attributes = _attributes(span.get("attributes"))
    if attributes.get("gen_ai.operation.name", "") not in CHAT_OPERATIONS:
        raise LeftOutError(Reason.not_a_call)
    if (
        str(at(span, "status/code", "status/status_code")) in {"2", "ERROR", "STATUS_CODE_ERROR"}
        or "error.type" in attributes
    ):
        raise LeftOutError(Reason.error)
    asked, answer = attributes.get("gen_ai.input.messages"), attributes.get("gen_ai.output.messages")
    if asked is None and answer is None:
        asked, answer = _numbered(attributes)
    if not asked:
        raise LeftOutError(Reason.no_request)
    if not answer:
        raise LeftOutError(Reason.no_answer)
    answer = decoded(answer)
    ends = decoded(attributes.get("gen_ai.response.finish_reasons")) or ()
    _check_ends([*([ends] if isinstance(ends, str) else ends), *(part.get("finish_reason") for part in answer)])
    turns = read_turns(asked)
    if system := attributes.get("gen_ai.system_instructions"):
        turns = [*read_turns({"role": "system", "parts": decoded(system)}), *turns]
    start, end = at(span, "startTimeUnixNano", "start_time"), at(span, "endTimeUnixNano", "end_time")
    return LoggedCall(
        "", turns, _given(answer), read_tools(attributes.get("gen_ai.tool.definitions")),
        model=_text(at(attributes, "gen_ai.response.model", "gen_ai.request.model")),
        time=moment(start), seconds=_between(start, end),
        conversation=_text(
            at(attributes, "gen_ai.conversation.id", "session.id") or at(span, "traceId", "context/trace_id")
        ),
        user=_text(at(attributes, "user.id", "enduser.id")),
        input_tokens=_count(at(attributes, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")),
        cached_tokens=_count(attributes.get("gen_ai.usage.cache_read.input_tokens")) or 0,
        output_tokens=_count(at(attributes, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")),
    )  # fmt: skip


def _attributes(listed: Any) -> Fields:
    """Return the attributes of a span by name; OTLP's JSON has a list of keys and typed values."""
    if isinstance(listed, Mapping):
        return listed
    return {entry["key"]: _typed(entry.get("value") or {}) for entry in listed or ()}


def _typed(value: Fields) -> Any:
    plain = next(iter(value.values()), None)
    return [*map(_typed, plain.get("values", ()))] if "arrayValue" in value and isinstance(plain, Mapping) else plain


def _numbered(attributes: Fields) -> tuple[list[Turn], list[Turn]]:
    """Return the turns that numbered attributes hold: `gen_ai.prompt.0.role`."""
    sides: dict[str, dict[int, Turn]] = {"prompt": {}, "completion": {}}
    for name, value in attributes.items():
        if match := NUMBERED.fullmatch(name):
            turn = sides[match[1]].setdefault(int(match[2]), {"role": "assistant", "content": ""})
            if match[3] is None:
                turn[match[4]] = value
            else:
                turn.setdefault("calls", {}).setdefault(int(match[3]), {})[match[4]] = value
    for turn in (turn for side in sides.values() for turn in side.values()):
        turn["tool_calls"] = [*turn.pop("calls", {}).values()]
    asked, answer = ([side[number] for number in sorted(side)] for side in sides.values())
    return asked, answer


# --- recognition -----------------------------------------------------------------------------------------------------


def _records(shape: str, fields: Fields) -> Iterator[Fields]:
    """Give the calls that a line has: a trace has several."""
    if shape == "opentelemetry" and "resourceSpans" in fields:
        for resource in fields["resourceSpans"]:
            for scope in resource.get("scopeSpans") or ():
                yield from scope.get("spans") or ()
    elif shape == "langfuse" and isinstance(fields.get("observations"), list):
        trace: Fields = fields["trace"] if isinstance(fields.get("trace"), Mapping) else fields
        context = {name: trace[name] for name in ("sessionId", "userId") if trace.get(name)}
        yield from ({**context, **one} for one in fields["observations"])
    else:
        yield fields


def _is_span(fields: Fields) -> bool:
    names = _attributes(fields.get("attributes")) if "attributes" in fields else {}
    return "resourceSpans" in fields or any(str(name).startswith("gen_ai.") for name in names)


def _is_langfuse(fields: Fields) -> bool:
    return isinstance(fields.get("observations"), list) or (
        ("traceId" in fields or "trace_id" in fields) and "input" in fields and "output" in fields
    )


def _is_litellm(fields: Fields) -> bool:
    fields = at(fields, "standard_logging_object") or fields
    return isinstance(fields, Mapping) and "call_type" in fields and "messages" in fields


def _is_pair(fields: Fields) -> bool:
    request = at(fields, "request", "body") or fields
    asked = at(request, "body/messages", "body/input", "messages", "input", "prompt")
    return asked is not None and any(name in fields for name in ("response", "completion", "choices", "error"))


SHAPES: tuple[tuple[str, Callable[[Fields], bool], Callable[[Fields], LoggedCall]], ...] = (
    ("opentelemetry", _is_span, _opentelemetry),
    ("langsmith", lambda fields: "run_type" in fields, _langsmith),
    ("helicone", lambda fields: "request_body" in fields, _helicone),
    ("litellm", _is_litellm, _litellm),
    ("langfuse", _is_langfuse, _langfuse),
    ("api", _is_pair, _pair),
)
"""The name of each shape, what recognizes a line, and what reads a call. The first that fits reads the line."""
