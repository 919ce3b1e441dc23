"""The chat template, the first token, the stop tokens and the pre-tokenizer of a run, for its GGUF files."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from framework.api.errors import FrameworkError
from framework.api.records import Message
from framework_plugins.exports import chat_template
from framework_plugins.exports.documents import GENERATION, TOKENIZER, TOKENIZER_CONFIG, read
from framework_plugins.exports.gguf.convert import sentencepiece
from framework_plugins.exports.llama.apart import LlamaApart
from framework_plugins.exports.llama.template import Template

EOS, FURTHER = "tokenizer.ggml.eos_token_id", ("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")
"""Metadata that name a stop token; llama.cpp stops at any of them, and at tokens that it knows by their text."""
ADD_BOS, ADD_EOS = "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token"
"""Metadata that say whether programs put a token before each text, and behind it."""
TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")
"""Special tokens that templates write by these names."""
GIVEN = {"enable_thinking": True, "date_string": "01 Jan 2030", "datetime": "Jan 01 2030"}
"""What llama.cpp's programs give to each template, asked or not; Llama 3.1 would write today's date by it, and Gemma 4
would think."""
TALKS = (
    [Message("user", "What is it?")],
    [Message("system", "Be brief."), Message("user", "What is it?")],
    [Message("user", "What is it?"), Message("assistant", "It is 3."), Message("user", "Why?")],
    [
        Message("system", "Be brief."),
        Message("user", "What is it?"),
        Message("assistant", "It is 3."),
        Message("user", "Why?"),
    ],
)
"""Conversations that are rendered; a template may refuse some."""
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
        template: the chat template as a file has it, which writes what it wrote in the run whatever a program gives to
            it; empty if there is none.
        words: special tokens as texts, by the names that templates have for them.
        eos: the id of the tokenizer's eos token.
        stops: the ids that end an answer, `eos` among them.
        settings: metadata of GGUF that the tokenizer asks for.
    """

    tokenizer: Tokenizer
    template: str
    words: Mapping[str, str]
    eos: int | None
    stops: frozenset[int]
    settings: Mapping[str, bool]

    @classmethod
    def read(cls, folder: Path, switches: Mapping[str, Any] | None = None) -> Vocabulary:
        """Read it.

        Args:
            folder: of a model.
            switches: of the chat template, as the run rendered with them.

        Raises:
            FrameworkError: the folder has no tokenizer.json.
        """
        file = folder / TOKENIZER
        if not file.is_file():
            raise FrameworkError(
                f"{folder} has no tokenizer.json, which llama.cpp's converter reads: the tokenizer has to be a fast one"
            )
        tokenizer_config = _read(folder / TOKENIZER_CONFIG)
        tokenizer = Tokenizer.from_file(str(file))
        words = {name: _content(tokenizer_config.get(name)) for name in TOKENS}
        words = {name: content for name, content in words.items() if content}
        number = tokenizer.token_to_id(words["eos_token"]) if "eos_token" in words else None
        listed = _read(folder / GENERATION).get("eos_token_id")
        stops = {*(listed if isinstance(listed, list) else [listed]), number} - {None}
        settings = sentencepiece.settings(read(file))
        template = chat_template.switched(chat_template.of_folder(folder), switches or {}, always=True)
        plain = _rendered(template, words)
        influential = [name for name, value in GIVEN.items() if _rendered(template, {**words, name: value}) != plain]
        template = chat_template.for_file(template, influential)
        return cls(tokenizer, template, words, number, frozenset(stops), settings)

    @functools.cached_property
    def rendered(self) -> list[str]:
        """Conversations as the template writes them, those left out that it refuses."""
        return _rendered(self.template, self.words)

    @property
    def begins(self) -> bool:
        """Whether the template itself writes the bos token before each conversation."""
        bos = self.words.get("bos_token", "")
        return bool(bos and self.rendered) and all(text.startswith(bos) for text in self.rendered)

    def amendments(self, file: Path) -> dict[str, int | bool]:
        """Return the metadata that have to be other than in a converted file, for it to be used as it was trained.

        It stops where the run does. Before a text llama.cpp puts the bos token only where the chat template writes it
        too, which it takes off then; else a conversation would have a token that the training never had. Behind a
        prompt there is nothing to put.

        Raises:
            FrameworkError: there are more stop tokens than GGUF can name.
        """
        with LlamaApart(file, vocabulary_only=True) as llama:
            known, free = llama.stop_ids, [key for key in FURTHER if llama.metadata(key) is None]
            added = {ADD_BOS: llama.adds_bos and self.begins, ADD_EOS: False} if self.rendered else {}
        eos = {} if self.eos is None else {EOS: self.eos}
        missing = sorted(self.stops - known - {self.eos})
        if len(missing) > len(free):
            raise FrameworkError(
                f"the run stops at the tokens {sorted(self.stops)}, and GGUF cannot hold {missing[len(free) :]}"
            )
        return {**self.settings, **added, **eos, **dict(zip(free, missing, strict=False))}

    def check(self, file: Path) -> None:
        """Compare with what a file says.

        Raises:
            FrameworkError: it stops elsewhere, has another chat template, or makes other tokens of a text.
        """
        with LlamaApart(file, vocabulary_only=True) as llama:
            if llama.chat_template != self.template:
                raise FrameworkError(f"{file.name} does not hold the run's chat template")
            if lacking := sorted(self.stops - llama.stop_ids):
                raise FrameworkError(f"{file.name} does not stop at the tokens {lacking}, but the run does")
            for text in TEXTS:
                self._compare(self._first + text, llama.tokenize(self._first + text))
            for text in self.rendered:
                self._compare(text, llama.read(text))

    def _compare(self, text: str, llama_ids: list[int]) -> None:
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        if llama_ids != ids:
            raise FrameworkError(
                f"llama.cpp splits {text[:50]!r} into {llama_ids[:9]}, and the tokenizer into {ids[:9]}"
            )

    @property
    def _first(self) -> str:
        """A special token to begin with, as prompts do: a space before the first word depends on it."""
        return str(self.tokenizer.id_to_token(self.eos)) if self.eos is not None else ""


def _rendered(source: str, words: Mapping[str, Any]) -> list[str]:
    template, texts = Template(source, words), []
    for talk in TALKS if source else ():
        with suppress(FrameworkError):
            texts.append(template.render(talk))
    return texts


def _read(file: Path) -> Mapping[str, Any]:
    """Read a file that may be missing."""
    return read(file) if file.is_file() else {}


def _content(token: str | Mapping[str, Any] | None) -> str:
    """Return a token as text; files have it as text or with its properties."""
    return str(token.get("content", "")) if isinstance(token, Mapping) else token or ""
