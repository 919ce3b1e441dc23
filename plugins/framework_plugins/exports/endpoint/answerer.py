"""A model in memory that answers several requests at once: a token of each in turn, all in one thread.

The adapter is switched off while the base answers, so two answers of different models cost a switch each token. An
answer whose client has gone ends with its next token.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Self

from framework import FrameworkError
from framework.api import Model
from framework.api.training import TokenRow
from framework_plugins.exports.endpoint.requests import AnswerRequest
from framework_plugins.lib.adapter_switch import AdapterSwitch

BASE, TUNED = "base", "tuned"


@dataclass(frozen=True)
class Finished:
    """The end of an answer.

    Attributes:
        prompt_tokens: of the prompt.
        tokens: of the answer.
        reason: `stop`, or `length` if the limit ended it.
        log_probs: each token as text with its log-probability, if asked for.
    """

    prompt_tokens: int
    tokens: int
    reason: str
    log_probs: tuple[tuple[str, float], ...] = ()


Piece = str | Finished


@dataclass
class _Job:
    pieces: Iterator[Piece]
    base: bool
    loop: asyncio.AbstractEventLoop
    out: asyncio.Queue[Piece | Exception] = field(default_factory=asyncio.Queue)
    is_cancelled: bool = False

    def send(self, piece: Piece | Exception) -> None:
        self.loop.call_soon_threadsafe(self.out.put_nowait, piece)


class Answerer:
    """Answers with a model and its base. Use it as a context manager.

    Args:
        model: with its trained weights.
        names: the models that it answers as, `BASE` and `TUNED` or one of them.
    """

    def __init__(self, model: Model, names: tuple[str, ...]) -> None:
        self.model, self.names = model, names
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._stack = ExitStack()
        self._switch = AdapterSwitch(model, self._stack)
        self._thread = threading.Thread(target=self._work, name="answers", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._jobs.put(None)
        self._thread.join()
        self._stack.close()

    async def answer(self, name: str, request: AnswerRequest) -> AsyncGenerator[Piece]:
        """Yield the text of an answer as it comes, and its end.

        Raises:
            FrameworkError: the prompt is too long, or the chat template refuses it.
        """
        job = _Job(_answer(self.model, request), name == BASE, asyncio.get_running_loop())
        self._jobs.put(job)
        try:
            while True:
                piece = await job.out.get()
                if isinstance(piece, Exception):
                    raise piece
                yield piece
                if isinstance(piece, Finished):
                    return
        finally:  # the client may have gone
            job.is_cancelled = True

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.is_cancelled:
                continue
            try:
                self._switch.use(base=job.base)
                piece = next(job.pieces)
            except Exception as error:  # noqa: BLE001 - it belongs to this request, and the others continue
                self._switch.use(base=False)
                job.send(error)
                continue
            if isinstance(piece, Finished):
                self._switch.use(base=False)  # whoever waits for the end may use the model next
            else:
                self._jobs.put(job)
            job.send(piece)


def _answer(model: Model, request: AnswerRequest) -> Iterator[Piece]:
    ids = model.tokenize(request.text if request.prompt is None else model.render(request.prompt))
    limit = request.max_new_tokens
    if model.positions is not None:
        if len(ids) >= model.positions:
            raise FrameworkError(f"the prompt has {len(ids)} tokens, and the model reads {model.positions}")
        limit = min(limit, model.positions - len(ids))
    counted = _Counted(_pieces(model, request, ids, limit))
    text = ""
    at_stop = False
    for piece, at_stop in _until_stop(counted, request.stops):
        text += piece
        if piece or not at_stop:
            yield piece
    reason = "stop" if at_stop or counted.count < limit else "length"
    yield Finished(len(ids), counted.count, reason, _log_probs(model, ids, text) if request.log_probs else ())


def _pieces(model: Model, request: AnswerRequest, ids: list[int], limit: int) -> Iterator[str]:
    """Give a piece for each token."""
    if request.prompt is not None:
        yield from model.stream(
            request.prompt,
            max_new_tokens=limit,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
        )
        return
    if request.temperature:
        raise FrameworkError("completions are greedy here: set temperature=0, or use /v1/chat/completions")
    (answer,) = model.complete([ids], max_new_tokens=limit, batch_size=1)
    yield from (answer.text, *[""] * (answer.tokens - 1))


class _Counted:
    """Counts pieces, of which the model gives one for each token."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        self.count = 0

    def __iter__(self) -> Iterator[str]:
        for piece in self._pieces:
            self.count += 1
            yield piece


def _until_stop(pieces: _Counted, stops: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    """Give pieces up to the first of some texts, and whether it came; what may be its beginning is held back."""
    held = ""
    for piece in pieces:
        held += piece
        if found := [place for stop in stops if (place := held.find(stop)) >= 0]:
            yield held[: min(found)], True
            return
        ready = len(held) - max((_overlap(held, stop) for stop in stops), default=0)
        yield held[:ready], False
        held = held[ready:]
    if held:
        yield held, False


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of a text may begin a stop."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)


def _log_probs(model: Model, prompt: list[int], text: str) -> tuple[tuple[str, float], ...]:
    """Return the tokens of an answer, and the log-probability that the model gives each."""
    answer = model.tokenize(text)
    if not answer:
        return ()
    (scored,) = model.score([TokenRow([*prompt, *answer], [TokenRow.IGNORE] * len(prompt) + answer)])
    return tuple(zip(map(model.decode, ([token] for token in answer)), scored.log_probs, strict=True))
