"""A GGUF file, open in llama.cpp in a process of its own: an assertion that fails there is a message here.

`Llama` in this process is faster to open; a check after hours of training must not end the run.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from framework.api.errors import FrameworkError
from framework.api.process import ProcessError, PythonProcess
from framework_plugins.exports.gguf.convert.apart import QUIET
from framework_plugins.exports.llama.model import Llama, Said


class LlamaApart:
    """What exports ask of a `Llama`, whose methods these are. Use it as a context manager.

    Args:
        file: a GGUF file.
        n_ctx: tokens of the longest sequence.
        vocabulary_only: load no weights.
    """

    def __init__(self, file: Path, *, n_ctx: int = 2048, vocabulary_only: bool = False) -> None:
        self.file = file
        self._opened = (file, n_ctx, vocabulary_only)
        self._process = PythonProcess(env=QUIET, override=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()

    def _ask(self, name: str, *arguments: Any, **named: Any) -> Any:
        try:
            return self._process.call(f"{__name__}:answer", self._opened, name, *arguments, **named)
        except ProcessError as error:
            raise FrameworkError(f"llama.cpp cannot work with {self.file.name}: {error}") from error

    @functools.cached_property
    def stop_ids(self) -> frozenset[int]:
        """The tokens at which llama.cpp ends an answer."""
        found: frozenset[int] = self._ask("stop_ids")
        return found

    @property
    def adds_bos(self) -> bool:
        """Whether a bos token is put before a prompt that has none."""
        return bool(self._ask("adds_bos"))

    @property
    def chat_template(self) -> str:
        """The Jinja template in the file."""
        return str(self._ask("chat_template"))

    def metadata(self, key: str) -> str | None:
        """Return what the file says under a key."""
        found: str | None = self._ask("metadata", key)
        return found

    def tokenize(self, text: str) -> list[int]:
        """Return the token ids of a text."""
        ids: list[int] = self._ask("tokenize", text)
        return ids

    def read(self, text: str) -> list[int]:
        """Return the token ids of a rendered conversation."""
        ids: list[int] = self._ask("read", text)
        return ids

    def logits(self, ids: Sequence[int], *, last: int = 0) -> NDArray[np.float32]:
        """Return the logits after each token of a sequence, or after the last ones."""
        found: NDArray[np.float32] = self._ask("logits", list(ids), last=last)
        return found

    def complete(self, ids: Sequence[int], *, max_new_tokens: int) -> Said:
        """Continue greedily."""
        said: Said = self._ask("complete", list(ids), max_new_tokens=max_new_tokens)
        return said


def answer(opened: tuple[Path, int, bool], name: str, *arguments: Any, **named: Any) -> Any:
    """Return an attribute of the file's `Llama`, or what a method of it returns; the process has one file open."""
    found = getattr(_open(*opened), name)
    return found(*arguments, **named) if callable(found) else found


@functools.cache
def _open(file: Path, n_ctx: int, vocabulary_only: bool) -> Llama:  # noqa: FBT001 - as a key
    return Llama(file, n_ctx=n_ctx, vocabulary_only=vocabulary_only)
