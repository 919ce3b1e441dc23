"""What llama.cpp's server makes of conversations: their text by the chat template in a GGUF file, and its token ids.

Ollama runs the same server. The library `xllamacpp` carries it, with llama.cpp's own Jinja; `llama-cpp-py-sync` has
neither. `serve` runs in a process of its own (`llama.process`), which a failed assertion of llama.cpp ends; it is
killed afterwards.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

PACKAGE = "xllamacpp"
LOG_ERRORS = 1
"""The log level of errors."""
TIMEOUT = 60
"""For an answer, which takes milliseconds."""
N_CTX, N_BATCH = 256, 32
"""Tokens of the context and of a pass, the smallest that work well: nothing is generated."""

ANSWER_BATCH = 256
"""Tokens of a pass of a server that answers."""


class ServedPrompt(NamedTuple):
    """A conversation as the server reads it; `refusal` says why it does not."""

    text: str = ""
    ids: tuple[int, ...] = ()
    refusal: str = ""


def serve(file: str, requests: Sequence[Mapping[str, Any]], threads: int) -> tuple[list[ServedPrompt], tuple[int, ...]]:
    """Start a server on loopback, and ask it for the prompt of each conversation.

    The weights are mapped into memory; the server reads each of them once when it starts, as for one token.

    Args:
        file: a GGUF file.
        requests: conversations as OpenAI's API has them, `messages` and perhaps `tools`.
        threads: how many to compute with.

    Returns:
        The prompt that the server gives to the model for each, and the ids that it puts before a text by itself.

    Raises:
        RuntimeError: llama.cpp cannot open the file.
    """
    server = _start_server(file, threads)
    connection = HTTPConnection(urlsplit(server.listening_address).netloc, timeout=TIMEOUT)  # asks no proxy
    try:
        served = [_serve_prompt(connection, request) for request in requests]
        return served, _tokenize(connection, "")
    finally:
        connection.close()


def start_to_answer(file: str, threads: int, context: int, parallel: int, **parameters: Any) -> str:
    """Start a server on loopback that answers conversations for as long as this process lives; return its address.

    Args:
        file: a GGUF file.
        threads: how many to compute with.
        context: tokens of a conversation.
        parallel: conversations that are answered at once.
        parameters: more of llama.cpp's, by their names in `xllamacpp.CommonParams`.

    Raises:
        RuntimeError: llama.cpp cannot open the file.
    """
    sizes = {"n_ctx": context * parallel, "n_batch": ANSWER_BATCH, "n_ubatch": ANSWER_BATCH, "n_parallel": parallel}
    return str(_start_server(file, threads, **sizes, **parameters).listening_address)


@functools.cache  # one that is deleted joins the thread that accepts connections, now and then for ever
def _start_server(file: str, threads: int, **options: Any) -> Any:
    import xllamacpp  # noqa: PLC0415 - may be missing

    parameters = xllamacpp.CommonParams()
    parameters.model.path = file
    parameters.use_jinja = True
    sizes = {"n_ctx": N_CTX, "n_batch": N_BATCH, "n_ubatch": N_BATCH, "n_parallel": 1}
    for name, value in (sizes | options).items():
        setattr(parameters, name, value)
    parameters.n_gpu_layers = 0
    parameters.warmup = parameters.fit_params = parameters.ui = False
    parameters.no_extra_bufts = True  # else the weights are copied into another layout
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.verbosity = LOG_ERRORS
    return xllamacpp.Server(parameters)


def _serve_prompt(connection: HTTPConnection, request: Mapping[str, Any]) -> ServedPrompt:
    answer = _post(connection, "/apply-template", request)
    if "prompt" not in answer:
        return ServedPrompt(refusal=str(answer.get("error", {}).get("message", answer)))
    return ServedPrompt(answer["prompt"], _tokenize(connection, answer["prompt"]))


def _tokenize(connection: HTTPConnection, text: str) -> tuple[int, ...]:
    """Return the token ids of a prompt, with the BOS that the server puts before it."""
    return tuple(_post(connection, "/tokenize", {"content": text, "add_special": True})["tokens"])


def _post(connection: HTTPConnection, path: str, body: Mapping[str, Any]) -> Any:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    return json.loads(connection.getresponse().read())
