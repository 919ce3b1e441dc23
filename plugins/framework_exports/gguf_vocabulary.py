"""The chat template, the stop tokens and the words of a run, in its GGUF files as in its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from framework.errors import FrameworkError
from framework_exports.companions import GENERATION, TEMPLATE, TOKENIZER, TOKENIZER_CONFIG, read
from framework_exports.convert import pieces
from framework_exports.llama.model import Llama

EOS, FURTHER = "tokenizer.ggml.eos_token_id", ("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")
"""Metadata that name a stop token; llama.cpp stops at any of them, and at tokens that it knows by their text."""
TEXTS = (
    "The quick brown fox doesn't jump over 13 lazy dogs, 2,048 of them (or 3.14)?",
    'def total(rows):\n    """Add."""\n\treturn sum(row["price"] for row in rows)  # 10%\n\n\n',
    "Zwölf Boxkämpfer jagen Eva über den Sylter Deich. ¿Qué hora es? Съешь ещё. 東京は夜の七時。 مرحبا 🙂👍🏽",
)
"""What llama.cpp has to cut into the same tokens as the tokenizer."""


@dataclass(frozen=True)
class Vocabulary:
    """What a transformers folder says of its tokens.

    Attributes:
        tokenizer: its tokenizer.json, loaded.
        template: the chat template; empty where there is none.
        eos: the id of the tokenizer's eos token.
        stops: the ids that end an answer, `eos` among them.
        settings: metadata of GGUF that the tokenizer asks for.
    """

    tokenizer: Tokenizer
    template: str
    eos: int | None
    stops: frozenset[int]
    settings: Mapping[str, bool]

    @classmethod
    def read(cls, folder: Path) -> Vocabulary:
        """Read it.

        Raises:
            FrameworkError: the folder has no tokenizer.json.
        """
        file = folder / TOKENIZER
        if not file.is_file():
            message = (
                f"{folder} has no tokenizer.json, which llama.cpp's converter reads: the tokenizer has to be a fast one"
            )
            raise FrameworkError(message)
        said = _read(folder / TOKENIZER_CONFIG)
        tokenizer, eos = Tokenizer.from_file(str(file)), said.get("eos_token")
        content = eos["content"] if isinstance(eos, dict) else eos
        number = tokenizer.token_to_id(content) if content else None
        listed = _read(folder / GENERATION).get("eos_token_id")
        stops = {*(listed if isinstance(listed, list) else [listed]), number} - {None}
        settings = pieces.settings(read(file))
        return cls(tokenizer, _template(folder, said), number, frozenset(stops), settings)

    def amendments(self, file: Path) -> dict[str, int | bool]:
        """Return the metadata that have to be other than in a converted file, so that it stops where the run does.

        Raises:
            FrameworkError: there are more stop tokens than GGUF can name.
        """
        with Llama(file, vocabulary_only=True) as llama:
            known, free = llama.stop_ids, [key for key in FURTHER if llama.metadata(key) is None]
        eos = {} if self.eos is None else {EOS: self.eos}
        missing = sorted(self.stops - known - {self.eos})
        if len(missing) > len(free):
            message = (
                f"the run stops at the tokens {sorted(self.stops)}, and GGUF has no room for {missing[len(free) :]}"
            )
            raise FrameworkError(message)
        return {**self.settings, **eos, **dict(zip(free, missing, strict=False))}

    def check(self, file: Path) -> None:
        """Compare with what a file says.

        Raises:
            FrameworkError: it stops elsewhere, has another chat template, or cuts text into other tokens.
        """
        with Llama(file, vocabulary_only=True) as llama:
            if llama.chat_template != self.template:
                message = f"{file.name} holds another chat template than the run's"
                raise FrameworkError(message)
            if lacking := sorted(self.stops - llama.stop_ids):
                message = f"{file.name} does not stop at the tokens {lacking}, and the run does"
                raise FrameworkError(message)
            for text in TEXTS:
                ids = self.tokenizer.encode(self._first + text, add_special_tokens=False).ids
                found = llama.tokenize(self._first + text)
                if found != ids:
                    message = f"llama.cpp cuts {text[:30]!r} into {found[:9]}, and the tokenizer into {ids[:9]}"
                    raise FrameworkError(message)

    @property
    def _first(self) -> str:
        """A special token to begin with, as prompts do: a space before the first word depends on it."""
        return str(self.tokenizer.id_to_token(self.eos)) if self.eos is not None else ""


def _read(file: Path) -> Mapping[str, Any]:
    """Read a file that may be missing."""
    return read(file) if file.is_file() else {}


def _template(folder: Path, said: Mapping[str, Any]) -> str:
    """Return the chat template, which stands in a file of its own or in the tokenizer's config."""
    file = folder / TEMPLATE
    return file.read_text(encoding="utf-8") if file.is_file() else str(said.get("chat_template") or "")
