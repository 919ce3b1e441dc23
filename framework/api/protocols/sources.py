"""Where a model, its settings, rows and their formats come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from framework.util.hashing import file_sha256

if TYPE_CHECKING:
    from framework.api.records import Example, RawData


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

    def check(self) -> str:
        """Say what the model is, in one line, without loading or downloading its weights and without torch.

        Raises:
            FrameworkError: it is not available.
        """

    def config_json(self) -> Mapping[str, Any]:
        """Return what its config.json says, without its weights and without torch; empty if it has none.

        Raises:
            FrameworkError: it is not available.
        """

    def fetch(self, *, weights: bool) -> ModelPlace:
        """Bring the model to this machine, once; without `weights` config and tokenizer are enough."""


@runtime_checkable
class CountedModelSource(Protocol):
    """A model source that knows how many parameters the model has, so that the plan sees what it does not cover."""

    def parameters(self) -> int:
        """Return the parameters in the files of the weights, without torch; 0 if they are not on this machine."""


@runtime_checkable
class Quantization(Protocol):
    """An option of `quantization=`."""

    def config(self, compute_dtype: Any) -> Any:
        """Return a `transformers` quantization config for a `torch.dtype` to compute in, or None."""


@runtime_checkable
class Adapter(Protocol):
    """An option of `adapter=`."""

    def config(self) -> Any:
        """Return a `peft.PeftConfig`, or None to train all weights."""


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
class StartsFromAdapter(Protocol):
    """An adapter that can start from a trained one, which `starts_from` of its config names."""

    def start(self, *, weights: bool) -> Start:
        """Find the trained adapter, without torch; without `weights` its settings are enough.

        Raises:
            FrameworkError: there is none, or it cannot be read.
        """


@runtime_checkable
class Source(Protocol):
    """An option of `data=`. It may be a `CheckedSource` too."""

    def load(self) -> RawData:
        """Find the rows. They are read when they are iterated over, which happens more than once.

        A row that cannot be read becomes a `Row` with a `problem`, so that all of them are reported together, or
        skipped with `data.on_bad_row=skip`.

        Raises:
            FrameworkError: a file is missing or is of an unknown kind; also while iterating, where reading cannot
                continue. The message names the file, and the line if there is one.
        """


@runtime_checkable
class CheckedSource(Protocol):
    """A source that can check quickly whether its rows exist, and whether the first of them can be read."""

    def check(self) -> RawData | None:
        """Check, before anything is loaded.

        Returns:
            What `load` returns, without a `key`, if rows can be read at no cost, as those of a file: the first ones
            are tried before the libraries load. None if only `load` gives rows.

        Raises:
            FrameworkError: `load` will fail: a file is missing.
        """


@runtime_checkable
class Formatter(Protocol):
    """An option of `format=`. Both methods are pure functions of a row.

    It may be a `FallbackFormatter` or a `CompositeFormatter` too.

    `format.columns` and `format.system_prompt` are applied by the core, before and after `example`.
    """

    def matches(self, fields: Mapping[str, Any]) -> bool:
        """Whether the row looks like this format; `format=auto` asks every formatter."""

    def example(self, fields: Mapping[str, Any]) -> Example:
        """Turn a row into a conversation; `Example.format` names the format that was found.

        Raises:
            FrameworkError: a field is missing or of the wrong type; the caller adds the place of the row.
        """


@runtime_checkable
class FallbackFormatter(Protocol):
    """A formatter that fits nearly any row, as plain text does: with `fallback = True`, `format=auto` tries it last."""

    fallback: bool


@runtime_checkable
class CompositeFormatter(Protocol):
    """A formatter that passes rows to others, by name; their code is part of the key of the tokenized rows."""

    formats: Mapping[str, Formatter]
