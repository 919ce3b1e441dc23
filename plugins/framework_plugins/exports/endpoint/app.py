"""An OpenAI-compatible endpoint over HTTP: models in memory, and llama.cpp's server behind one of the names."""

from __future__ import annotations

import hmac
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from framework import FrameworkError
from framework.api import unknown
from framework_plugins.exports.endpoint.answerer import Answerer, Finished
from framework_plugins.exports.endpoint.requests import AnswerRequest, read_request

MAX_BODY_BYTES = 8 << 20
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
Handler = Callable[[Request], Awaitable[Response]]


@dataclass
class Access:
    """Who may ask.

    Attributes:
        key: the bearer token that each request needs; empty: none.
        hosts: names under which the endpoint is called; others may be those of a web page in a browser here.
        checking: the token of the endpoint's own check, which others wait for; empty once it is ready.
    """

    key: str
    hosts: list[str]
    checking: str


class EndpointError(Exception):
    """A refusal, with its status."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status

    def response(self) -> JSONResponse:
        kind = "invalid_request_error" if self.status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
        error = {"message": str(self), "type": kind, "param": None, "code": None}
        wait = {"Retry-After": "1"} if self.status is HTTPStatus.SERVICE_UNAVAILABLE else None
        return JSONResponse({"error": error}, self.status, wait)


def make_app(answerer: Answerer, servers: Mapping[str, str], access: Access) -> Starlette:
    """Return the application.

    Args:
        answerer: the models in memory.
        servers: the address of a server for each model that another process answers as.
        access: who may ask.
    """
    names = list(dict.fromkeys([*servers, *answerer.names]))
    created = int(time.time())

    async def health(_: Request) -> Response:
        status = HTTPStatus.SERVICE_UNAVAILABLE if access.checking else HTTPStatus.OK
        return JSONResponse({"status": "checking" if access.checking else "ok"}, status)

    async def models(_: Request) -> Response:
        entries = [{"id": name, "object": "model", "created": created, "owned_by": "framework"} for name in names]
        return JSONResponse({"object": "list", "data": entries})

    async def complete(request: Request) -> Response:
        body = await _json_body(request)
        name = body.get("model")
        if name not in names:
            raise EndpointError(HTTPStatus.NOT_FOUND, unknown("model", str(name), names))
        if name in servers:
            return await _forward(request.app.state.client, servers[name] + request.url.path, body)
        chat = request.url.path == CHAT
        try:
            asked = read_request(body, chat=chat)
        except FrameworkError as error:
            raise EndpointError(HTTPStatus.BAD_REQUEST, str(error)) from error
        reply = _Reply(name, chat=chat)
        if asked.stream:
            pieces = answerer.answer(name, asked)
            first = await anext(pieces)  # a refusal is an answer with its status, and not an event of a stream
            return StreamingResponse(reply.events(first, pieces, asked), media_type="text/event-stream")
        return JSONResponse(await reply.whole(answerer, asked))

    def guarded(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            try:
                _check_access(request, access)
                return await handler(request)
            except EndpointError as error:
                return error.response()
            except FrameworkError as error:
                return EndpointError(HTTPStatus.BAD_REQUEST, str(error)).response()

        return handle

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=None, trust_env=False, limits=limits) as client:  # noqa: S113 - answers take long
            app.state.client = client
            yield

    routes = [Route("/health", health), Route("/v1/models", guarded(models))]
    routes += [Route(path, guarded(complete), methods=["POST"]) for path in (CHAT, TEXT)]
    hosts = [Middleware(TrustedHostMiddleware, allowed_hosts=access.hosts)]
    return Starlette(routes=routes, middleware=hosts, lifespan=lifespan)


def _check_access(request: Request, access: Access) -> None:
    token = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
    if access.checking and not hmac.compare_digest(token, access.checking.encode()):
        raise EndpointError(
            HTTPStatus.SERVICE_UNAVAILABLE, "the endpoint compares itself with the run: ask in a moment"
        )
    if access.key and not access.checking and not hmac.compare_digest(token, access.key.encode()):
        raise EndpointError(HTTPStatus.UNAUTHORIZED, "the key is missing or wrong: Authorization: Bearer KEY")


async def _json_body(request: Request) -> dict[str, Any]:
    if (
        request.headers.get("content-type", "").partition(";")[0].strip() != "application/json"
    ):  # as a web page may send
        raise EndpointError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "set the header Content-Type: application/json")
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > MAX_BODY_BYTES:
            raise EndpointError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the request is longer than {MAX_BODY_BYTES >> 20} MiB"
            )
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise EndpointError(HTTPStatus.BAD_REQUEST, "the request is not a JSON object")
    return body


async def _forward(client: httpx.AsyncClient, url: str, body: Mapping[str, Any]) -> Response:
    """Send a request to another server, and its reply back as it comes; a client that goes ends it there too."""
    request = client.build_request("POST", url, json=body)
    try:
        reply = await client.send(request, stream=True)
    except httpx.HTTPError as error:
        raise EndpointError(HTTPStatus.BAD_GATEWAY, f"llama.cpp's server does not answer: {error}") from error

    async def parts() -> AsyncIterator[bytes]:
        try:
            async for part in reply.aiter_raw():
                yield part
        finally:
            await reply.aclose()

    return StreamingResponse(parts(), reply.status_code, media_type=reply.headers.get("content-type"))


class _Reply:
    """Writes an answer as OpenAI's API does."""

    def __init__(self, model: str, *, chat: bool) -> None:
        self._chat = chat
        self._head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model,
        }  # fmt: skip

    async def whole(self, answerer: Answerer, asked: AnswerRequest) -> dict[str, Any]:
        """Return the answer once it is complete."""
        text = ""
        async with aclosing(answerer.answer(str(self._head["model"]), asked)) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    text += piece
                else:
                    end = piece
        if self._chat:
            choice: dict[str, Any] = {"message": {"role": "assistant", "content": text}}
            tokens = [
                {"token": token, "logprob": log_prob, "bytes": [*token.encode()], "top_logprobs": []}
                for token, log_prob in end.log_probs
            ]
            choice["logprobs"] = {"content": tokens} if asked.log_probs else None
        else:
            words, values = zip(*end.log_probs, strict=True) if end.log_probs else ((), ())
            choice = {"text": text, "logprobs": None}
            if asked.log_probs:
                choice["logprobs"] = {"tokens": words, "token_logprobs": values, "top_logprobs": None}
        kind = "chat.completion" if self._chat else "text_completion"
        choices = [{"index": 0, **choice, "finish_reason": end.reason}]
        return {**self._head, "object": kind, "choices": choices, "usage": _usage(end)}

    async def events(
        self, first: str | Finished, pieces: AsyncGenerator[str | Finished], asked: AnswerRequest
    ) -> AsyncIterator[str]:
        """Give the answer as server-sent events."""
        async with aclosing(pieces):
            if self._chat:
                yield self._event({"role": "assistant", "content": ""})
            piece: str | Finished = first
            while isinstance(piece, str):
                if piece:
                    yield self._event({"content": piece} if self._chat else piece)
                piece = await anext(pieces)
            yield self._event({} if self._chat else "", piece.reason)
            if asked.with_usage:
                yield self._line({"choices": [], "usage": _usage(piece)})
            yield "data: [DONE]\n\n"

    def _event(self, change: Mapping[str, str] | str, reason: str | None = None) -> str:
        key = "delta" if self._chat else "text"
        return self._line({"choices": [{"index": 0, key: change, "finish_reason": reason}]})

    def _line(self, fields: Mapping[str, Any]) -> str:
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        return f"data: {json.dumps({**self._head, 'object': kind, **fields}, ensure_ascii=False)}\n\n"


def _usage(end: Finished) -> dict[str, int]:
    total = end.prompt_tokens + end.tokens
    return {"prompt_tokens": end.prompt_tokens, "completion_tokens": end.tokens, "total_tokens": total}
