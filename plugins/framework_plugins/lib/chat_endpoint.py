"""An OpenAI-compatible endpoint: conversations in, replies out, several at a time. Errors never show the key.

Nothing is sent but to `base_url`: redirects are not followed, and the key is in the header of the request only.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from framework.api import HIDDEN, counting, redact, summarize_error, visible

PATH, MODELS_PATH = "/chat/completions", "/models"
MAX_FAILURES = 3
"""Requests that fail one after the other before no more are sent."""
BACKOFF_SECONDS = 0.5
"""Seconds before the second try; each later one waits twice as long."""
MAX_WAIT_SECONDS = 30.0
"""Seconds that a server may ask to wait for."""
MAX_REPLY_BYTES = 4 << 20
"""Bytes of a reply."""
MAX_ERROR_CHARS = 160
"""Characters of what a server says."""
RETRY_STATUSES = {
    HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT,
}  # fmt: skip
"""What may be otherwise in a moment."""
FATAL_STATUSES = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}
"""Errors that every other request would get too; so would a redirect."""
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class NoReplyError(Exception):
    """The reason for a missing reply; `retry`: another try may succeed, `fatal`: no other request would."""

    def __init__(self, reason: str, *, retry: bool = False, fatal: bool = False, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.retry, self.fatal, self.wait = retry, fatal, wait


class ChatEndpoint:
    """A model behind an endpoint. `name` is its address without secrets; use it as a context manager.

    Args:
        base_url: the address that OpenAI's client calls `base_url`, as a rule with `/v1` at its end.
        model: the name of the model there.
        key: sent as a bearer token; empty: none is sent.
        timeout: seconds for a whole reply.
        retries: how often a request is sent again that failed for a reason that may pass.
        request_fields: more fields of each request.
    """

    def __init__(
        self, base_url: str, model: str, *, key: str, timeout: float, retries: int, request_fields: Mapping[str, Any]
    ) -> None:
        parts = urlsplit(base_url)
        self.name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self.url = base_url.removesuffix("/").removesuffix(PATH)
        self.fields: dict[str, Any] = {"model": model, "temperature": 0, **request_fields}
        self.timeout, self.retries = timeout, retries
        self._key = key
        self._over = threading.Event()
        self._failed: NoReplyError | None = None
        self._failures = 0
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        # A proxy of the environment is for the outside: a model on this machine is asked itself.
        self._client = httpx.Client(headers=headers, timeout=timeout, trust_env=parts.hostname not in LOOPBACK)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._client.close()

    def ask_all(self, texts: Sequence[str], concurrency: int) -> list[str | NoReplyError]:
        """Send each text and return the replies in their order, with an error in place of a missing one.

        Once it is clear that nobody replies, the rest is not sent.
        """
        with ThreadPoolExecutor(concurrency) as pool:
            replies: list[str | NoReplyError] = []
            try:
                with counting(len(texts), "reply", self.name) as counter:
                    for reply in pool.map(self._reply, texts):
                        replies.append(reply)
                        counter.advance()
            except BaseException:  # Ctrl-C: those that are under way end with this try
                self._over.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return replies

    def _reply(self, text: str) -> str | NoReplyError:
        if self._over.is_set() and self._failed is not None:
            return self._failed
        try:
            reply = self._content(self.chat([{"role": "user", "content": text}]))
        except NoReplyError as error:
            self._failures += 1
            if error.fatal or self._failures >= MAX_FAILURES:
                self._failed = error
                self._over.set()
            return error
        self._failures = 0
        return reply

    def chat(self, messages: Sequence[Mapping[str, Any]], **fields: Any) -> dict[str, Any]:
        """Return the chat completion of a conversation as the endpoint sends it, with at least one choice.

        Raises:
            NoReplyError: there is none, or the reply is something else.
        """
        completion = self.request("POST", PATH, {**self.fields, **fields, "messages": list(messages)})
        choices = completion.get("choices") if isinstance(completion, dict) else None
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise NoReplyError(f"the reply is not a chat completion: {self._one_line(json.dumps(completion))}")
        if not isinstance(choices[0].get("message"), dict):
            raise NoReplyError(f"the reply is half a chat completion: {self._one_line(json.dumps(completion))}")
        return dict(completion)

    def models(self) -> list[str]:
        """Return the names of the models that the endpoint lists.

        Raises:
            NoReplyError: it lists none.
        """
        listing = self.request("GET", MODELS_PATH)
        entries = listing.get("data") if isinstance(listing, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) and "id" in entry for entry in entries):
            raise NoReplyError(f"the reply is not a list of models: {self._one_line(json.dumps(listing))}")
        return [str(entry["id"]) for entry in entries]

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON of a reply; a request that fails for a reason that may pass is sent again.

        Raises:
            NoReplyError: there is no reply, or it is not JSON.
        """
        tries = 0
        while True:
            try:
                return self._send(method, path, body)
            except NoReplyError as error:
                if not error.retry or tries == self.retries or self._over.is_set():
                    raise
                # Not `sleep`: Ctrl-C, or an endpoint that fails for all, ends the pause.
                self._over.wait(error.wait or BACKOFF_SECONDS * 2**tries)
                tries += 1

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        content = None if body is None else json.dumps(body)
        try:
            with self._client.stream(method, self.url + path, content=content) as response:
                reply = b"".join(self._read(response))
        except httpx.ConnectTimeout as error:
            raise NoReplyError(self._one_line(summarize_error(error)), retry=True, fatal=True) from None
        except httpx.TimeoutException:
            raise NoReplyError(self._timeout_text(), retry=True) from None
        except httpx.HTTPError as error:
            refused = isinstance(error, httpx.ConnectError)
            raise NoReplyError(self._one_line(summarize_error(error)), retry=True, fatal=refused) from None
        if response.status_code != HTTPStatus.OK:
            raise self._status_error(response, reply)
        try:
            return json.loads(reply)
        except (ValueError, RecursionError):
            raise NoReplyError(f"the reply is not JSON: {self._one_line(reply.decode(errors='replace'))}") from None

    def _read(self, response: httpx.Response) -> Iterator[bytes]:
        """Read the reply until the time is over: the library's own limit is for each piece."""
        end, size = time.monotonic() + self.timeout, 0
        for piece in response.iter_bytes():
            size += len(piece)
            if time.monotonic() > end:
                raise NoReplyError(self._timeout_text(), retry=True)
            if size > MAX_REPLY_BYTES:
                raise NoReplyError(f"the reply is longer than {MAX_REPLY_BYTES >> 20} MiB")
            yield piece

    def _timeout_text(self) -> str:
        return f"no reply within {self.timeout:g} s"

    def _status_error(self, response: httpx.Response, reply: bytes) -> NoReplyError:
        status = response.status_code
        reason = f"HTTP {status} {response.reason_phrase}: {self._one_line(reply.decode(errors='replace'))}"
        if response.is_redirect:
            reason = f"HTTP {status}: redirects are not followed; give the final address"
        return NoReplyError(
            reason,
            retry=status in RETRY_STATUSES,
            fatal=status in FATAL_STATUSES or response.is_redirect,
            wait=_retry_after(response),
        )

    def _content(self, completion: Mapping[str, Any]) -> str:
        content = completion["choices"][0]["message"].get("content")
        return self._redact(content) if isinstance(content, str) else ""

    def _one_line(self, text: str) -> str:
        """Return a message of the server as one short line."""
        text = visible(" ".join(self._redact(text).split()))
        return text if len(text) <= MAX_ERROR_CHARS else f"{text[:MAX_ERROR_CHARS]}…"

    def _redact(self, text: str) -> str:
        """Remove the key, which a server may send back, and other secrets."""
        redacted: str = redact(text.replace(self._key, HIDDEN) if self._key else text)
        return redacted


def _retry_after(response: httpx.Response) -> float:
    """Return how long the server asks to wait, in seconds; 0 if it does not say."""
    header = response.headers.get("Retry-After", "")
    # Only seconds: a date would need the clock of the server.
    return min(float(header), MAX_WAIT_SECONDS) if header.isdecimal() else 0.0
