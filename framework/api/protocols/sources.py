"""Where a model, its settings, rows and their formats come from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from framework.util.hashing import file_sha256

if TYPE_CHECKING:
    from framework.api.records import Example, RawData

__all__ = ["Adapter", "Formatter", "ModelPlace", "ModelSource", "Quantization", "Source", "Start"]


@dataclass(frozen=True)
class ModelPlace:
    """Where a base model is: a local `folder`, and the `name` by which others load it, a Hub id or a folder.

    A source that knows more about a folder gives the Hub id of the model in it, `copy_of`, and its `license`.
    """

    folder: Path
    name: str
    revision: str = ""
    copy_of: str = ""
    license: str = ""


@runtime_checkable
class ModelSource(Protocol):
    """An option of `model=`."""

    @abstractmethod
    def check(self) -> str:
        """Say what the model is, in one line, without loading or downloading its weights and without torch.

        Raises:
            FrameworkError: it is not available.
        """

    @abstractmethod
    def config_json(self) -> Mapping[str, Any]:
        """Return what its config.json says, without its weights and without torch; empty if it has none.

        Raises:
            FrameworkError: it is not available.
        """

    @abstractmethod
    def fetch(self, *, weights: bool) -> ModelPlace:
        """Bring the model to this machine, once; without `weights` config and tokenizer are enough."""

    def parameters(self) -> int:
        """Return the parameters in the files of the weights, without torch; 0 if they are not on this machine."""
        return 0


@runtime_checkable
class Quantization(Protocol):
    """An option of `quantization=`."""

    @abstractmethod
    def config(self, compute_dtype: Any) -> Any:
        """Return a `transformers` quantization config for a `torch.dtype` to compute in, or None."""


@runtime_checkable
class Adapter(Protocol):
    """An option of `adapter=`."""

    @abstractmethod
    def config(self) -> Any:
        """Return a `peft.PeftConfig`, or None to train all weights."""

    def start(self, *, weights: bool) -> Start:  # noqa: ARG002 - most start from none
        """Find the trained adapter that `starts_from` of its config names, without torch.

        Without `weights` its settings are enough.

        Raises:
            FrameworkError: there is none, or it cannot be read.
        """
        raise TypeError(f"{type(self).__name__} starts from no trained adapter")


@dataclass(frozen=True)
class Start:
    """The trained adapter that a training starts from.

    Attributes:
        place: what the user named.
        folder: where it is.
        base: the base that it was trained on, as it says itself.
        settings: its settings, by the names of those of `adapter=` that have to be the same.
        merged: whether a new adapter is trained beside it, as if it were merged into the base.
        weights: the file that a hash of it is made from.
    """

    place: str
    folder: Path
    base: str
    settings: Mapping[str, Any]
    merged: bool
    weights: Path

    @property
    def sha256(self) -> str:
        """The SHA-256 of its weights."""
        return file_sha256(self.weights)


@runtime_checkable
class Source(Protocol):
    """An option of `data=`."""

    @abstractmethod
    def load(self) -> RawData:
        """Find the rows. They are read when they are iterated over, which happens more than once.

        A row that cannot be read becomes a `Row` with a `problem`, so that all of them are reported together, or
        skipped with `data.on_bad_row=skip`.

        Raises:
            FrameworkError: a file is missing or is of an unknown kind; also while iterating, where reading cannot
                continue. The message names the file, and the line if there is one.
        """

    def check(self) -> RawData | None:
        """Check quickly, before anything is loaded, whether the rows exist and the first of them can be read.

        Returns:
            What `load` returns, without a `key`, if rows can be read at no cost, as those of a file: the first ones
            are tried before the libraries load. None if only `load` gives rows.

        Raises:
            FrameworkError: `load` will fail: a file is missing.
        """
        return None


@runtime_checkable
class Formatter(Protocol):
    """An option of `format=`. Both methods are pure functions of a row.

    `format.columns` and `format.system_prompt` are applied by the core, before and after `example`.

    Attributes:
        fallback: whether it fits nearly any row, as plain text does: `format=auto` tries it last.
        formats: those that it passes rows to, by name; their code is part of the key of the tokenized rows.
    """

    fallback: bool = False
    formats: Mapping[str, Formatter] = MappingProxyType({})

    @abstractmethod
    def matches(self, fields: Mapping[str, Any]) -> bool:
        """Whether the row looks like this format; `format=auto` asks every formatter."""

    @abstractmethod
    def example(self, fields: Mapping[str, Any]) -> Example:
        """Turn a row into a conversation; `Example.format` names the format that was found.

        Raises:
            FrameworkError: a field is missing or of the wrong type; the caller adds the place of the row.
        """
