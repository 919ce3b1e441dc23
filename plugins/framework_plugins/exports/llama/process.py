"""llama.cpp in a process of its own: an assertion that fails there is an error message here, and ends no run."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from framework import FrameworkError
from framework.api import ProcessError, PythonProcess, counting
from framework_plugins.exports.llama.model import Completion, Llama

QUIET = {"TQDM_DISABLE": "1", "TOKENIZERS_PARALLELISM": "false", "GGML_NO_BACKTRACE": "1"}


def run_in_process(doing: str, function: str, log: Path, *, seconds: float | None = None, **arguments: Any) -> Any:
    """Call `"package.module:function"` in another process, and return its result.

    Args:
        doing: the task, for messages: "the conversion to GGUF".
        function: the function.
        log: the file with the output of the process; it stays after an error.
        seconds: after which the process is killed; by default never.
        arguments: the arguments of the function.

    Raises:
        FrameworkError: the function raised, took too long, or its process was killed.
    """
    try:
        with PythonProcess(log=log, env=QUIET, override=True) as process, counting(None, "", doing):
            returned = process.call(function, seconds=seconds, **arguments)
    except ProcessError as error:
        raise FrameworkError(f"{doing} failed: {error} (full output: {log})") from error
    except FrameworkError:
        log.unlink()
        raise
    log.unlink()
    return returned


class LlamaProcess:
    """A `Llama` in a process of its own, with the methods that exports call. Use it as a context manager.

    A `Llama` in this process is faster to open; but a check after hours of training must not end the run.

    Args:
        file: a GGUF file.
        n_ctx: tokens of the longest sequence.
        vocabulary_only: load no weights.
        without_weights: read all but the weights, lay out a computation, and allocate nothing.
        precise: hold keys and values in fp32.
    """

    def __init__(
        self,
        file: Path,
        *,
        n_ctx: int = 2048,
        vocabulary_only: bool = False,
        without_weights: bool = False,
        precise: bool = False,
    ) -> None:
        self.file = file
        self._opened = (file, n_ctx, vocabulary_only, without_weights, precise)
        self._process = PythonProcess(env=QUIET, override=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()

    def _ask(self, name: str, *arguments: Any, **named: Any) -> Any:
        try:
            return self._process.call(f"{__name__}:call_llama", self._opened, name, *arguments, **named)
        except ProcessError as error:
            raise FrameworkError(f"llama.cpp cannot work with {self.file.name}: {error}") from error

    @functools.cached_property
    def stop_ids(self) -> frozenset[int]:
        """The tokens at which llama.cpp ends an answer."""
        token_ids: frozenset[int] = self._ask("stop_ids")
        return token_ids

    @property
    def adds_bos(self) -> bool:
        """Whether a bos token is put before a prompt that has none."""
        return bool(self._ask("adds_bos"))

    @property
    def chat_template(self) -> str:
        """The Jinja template in the file."""
        return str(self._ask("chat_template"))

    def metadata(self, key: str) -> str | None:
        """Return the value of a key in the file's metadata."""
        value: str | None = self._ask("metadata", key)
        return value

    def tokenize(self, text: str) -> list[int]:
        """Return the token ids of a text."""
        ids: list[int] = self._ask("tokenize", text)
        return ids

    def tokenize_prompt(self, text: str) -> list[int]:
        """Return the token ids of a rendered conversation."""
        ids: list[int] = self._ask("tokenize_prompt", text)
        return ids

    def logits(self, ids: Sequence[int], *, last: int = 0) -> NDArray[np.float32]:
        """Return the logits after each token of a sequence, or after the last ones."""
        array: NDArray[np.float32] = self._ask("logits", list(ids), last=last)
        return array

    def complete(self, ids: Sequence[int], *, max_new_tokens: int) -> Completion:
        """Continue greedily."""
        completion: Completion = self._ask("complete", list(ids), max_new_tokens=max_new_tokens)
        return completion


def call_llama(opened: tuple[Path, int, bool, bool, bool], name: str, *arguments: Any, **named: Any) -> Any:
    """Return an attribute of the file's `Llama`, or the result of a method; the process has one file open."""
    member = getattr(_open_llama(*opened), name)
    return member(*arguments, **named) if callable(member) else member


@functools.cache
def _open_llama(
    file: Path,
    n_ctx: int,
    vocabulary_only: bool,  # noqa: FBT001 - as a key
    without_weights: bool,  # noqa: FBT001 - as a key
    precise: bool,  # noqa: FBT001 - as a key
) -> Llama:
    return Llama(file, n_ctx=n_ctx, vocabulary_only=vocabulary_only, without_weights=without_weights, precise=precise)
