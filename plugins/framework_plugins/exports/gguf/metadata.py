"""What a GGUF file says beside its weights: chat template, first token, stop tokens, pre-tokenizer, name, types.

llama.cpp also decides by the name how special tokens are read. Tokenizers can have special tokens that swallow the
space after them; Phi-3's do. GGUF cannot store that. llama.cpp does it if `general.name` holds "phi-3" or "phi3", and
then it expects Phi-3's tokens: without them the file does not open. So `general_name` gives that name to such
tokenizers, and to no others, whatever a run is called.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
from tokenizers import Tokenizer

from framework import FrameworkError
from framework_plugins.exports import chat_template
from framework_plugins.exports.export_folder import GENERATION_CONFIG, TOKENIZER, TOKENIZER_CONFIG, read_json
from framework_plugins.exports.gguf.convert import sentencepiece
from framework_plugins.exports.llama.process import LlamaProcess
from framework_plugins.exports.llama.quantizations import K_QUANT_BLOCK, QUANTIZATIONS
from framework_plugins.exports.llama.template import Template

EOS_KEY = "tokenizer.ggml.eos_token_id"
FURTHER_STOP_KEYS = ("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")
"""Metadata that name a stop token; llama.cpp stops at any of them, and at tokens that it knows by their text."""
ADD_BOS_KEY, ADD_EOS_KEY = "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token"
"""Metadata that say whether programs put a token before each text, and after it."""
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")
"""Special tokens that templates write by these names."""
LLAMA_CPP_VARIABLES = {"enable_thinking": True, "date_string": "01 Jan 2030", "datetime": "Jan 01 2030"}
"""What llama.cpp's programs give to each template, asked or not; Llama 3.1 would write today's date by it, and Gemma 4
would think."""
TOKENS_SHOWN = 6
"""Tokens of either side that a message gives, from the last equal one on."""
SAMPLE_TEXTS = (
    "The quick brown fox doesn't jump over 13 lazy dogs, 2,048 of them (or 3.14)?",
    'def total(rows):\n    """Add."""\n\treturn sum(row["price"] for row in rows)  # 10%\n\n\n',
    "Zwölf Boxkämpfer jagen Eva über den Sylter Deich. ¿Qué hora es? Съешь ещё. 東京は夜の七時。 مرحبا 🙂👍🏽",
)
"""What llama.cpp has to cut into the same tokens as the tokenizer."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens and the chat template of a transformers folder.

    Attributes:
        tokenizer: its tokenizer.json, loaded.
        template: the chat template for a file, which renders as in the run for any variables that a program gives to
            it; empty if there is none.
        special_tokens: special tokens as texts, by the names that templates have for them.
        eos_id: the id of the tokenizer's eos token.
        stop_ids: the ids that end an answer, `eos_id` among them.
        tokenizer_metadata: metadata of GGUF that the tokenizer asks for.
    """

    tokenizer: Tokenizer
    template: str
    special_tokens: Mapping[str, str]
    eos_id: int | None
    stop_ids: frozenset[int]
    tokenizer_metadata: Mapping[str, bool]

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
        tokenizer_config = _read_optional(folder / TOKENIZER_CONFIG)
        tokenizer = Tokenizer.from_file(str(file))
        words = {name: _token_text(tokenizer_config.get(name)) for name in SPECIAL_TOKENS}
        words = {name: content for name, content in words.items() if content}
        eos_id = tokenizer.token_to_id(words["eos_token"]) if "eos_token" in words else None
        listed = _read_optional(folder / GENERATION_CONFIG).get("eos_token_id")
        stops = {*(listed if isinstance(listed, list) else [listed]), eos_id} - {None}
        settings = sentencepiece.gguf_settings(read_json(file))
        template = chat_template.with_switches(chat_template.read_template(folder), switches or {}, always=True)
        plain = _render_samples(template, words)
        influential = [
            name
            for name, value in LLAMA_CPP_VARIABLES.items()
            if _render_samples(template, {**words, name: value}) != plain
        ]
        template = chat_template.template_for_gguf(template, influential)
        return cls(tokenizer, template, words, eos_id, frozenset(stops), settings)

    @functools.cached_property
    def rendered(self) -> list[str]:
        """Conversations as the template writes them, without those that it refuses."""
        return _render_samples(self.template, self.special_tokens)

    @property
    def writes_bos(self) -> bool:
        """Whether the template itself writes the bos token before each conversation."""
        bos = self.special_tokens.get("bos_token", "")
        return bool(bos and self.rendered) and all(text.startswith(bos) for text in self.rendered)

    def metadata_overrides(self, file: Path) -> dict[str, int | bool]:
        """Return the metadata that the converted file needs to be used as in the training.

        It stops where the run does. Before a text llama.cpp puts the bos token only where the chat template writes it
        too, which it takes off then; else a conversation would have a token that the training never had. Behind a
        prompt there is nothing to put.

        Raises:
            FrameworkError: there are more stop tokens than GGUF can name.
        """
        with LlamaProcess(file, vocabulary_only=True) as llama:
            stop_ids, free = llama.stop_ids, [key for key in FURTHER_STOP_KEYS if llama.metadata(key) is None]
            added = {ADD_BOS_KEY: llama.adds_bos and self.writes_bos, ADD_EOS_KEY: False} if self.rendered else {}
        eos = {} if self.eos_id is None else {EOS_KEY: self.eos_id}
        lost_stops = sorted(self.stop_ids - stop_ids - {self.eos_id})
        if len(lost_stops) > len(free):
            raise FrameworkError(
                f"the run stops at the tokens {sorted(self.stop_ids)}, and GGUF cannot hold {lost_stops[len(free) :]}"
            )
        return {**self.tokenizer_metadata, **added, **eos, **dict(zip(free, lost_stops, strict=False))}

    def check(self, file: Path) -> None:
        """Compare with the metadata of a file.

        Raises:
            FrameworkError: it stops elsewhere, has another chat template, or makes other tokens of a text.
        """
        with LlamaProcess(file, vocabulary_only=True) as llama:
            if llama.chat_template != self.template:
                raise FrameworkError(f"{file.name} does not hold the run's chat template")
            if lacking := sorted(self.stop_ids - llama.stop_ids):
                raise FrameworkError(f"{file.name} does not stop at the tokens {lacking}, but the run does")
            for text in SAMPLE_TEXTS:
                self._compare(self._first_token + text, llama.tokenize(self._first_token + text))
            for text in self.rendered:
                self._compare(text, llama.tokenize_prompt(text))

    def _compare(self, text: str, llama_ids: list[int]) -> None:
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        if llama_ids != ids:
            at = next((n for n, pair in enumerate(zip(llama_ids, ids, strict=False)) if pair[0] != pair[1]), len(ids))
            begin = max(0, min(at, len(llama_ids)) - 1)
            raise FrameworkError(
                f"llama.cpp splits {text[:50]!r} differently from the tokenizer: from token {begin} on into "
                f"{llama_ids[begin : begin + TOKENS_SHOWN]}, and the tokenizer into {ids[begin : begin + TOKENS_SHOWN]}"
            )

    @property
    def _first_token(self) -> str:
        """A special token to begin with, as prompts do: a space before the first word depends on it."""
        return str(self.tokenizer.id_to_token(self.eos_id)) if self.eos_id is not None else ""


def _render_samples(source: str, words: Mapping[str, Any]) -> list[str]:
    template, texts = Template(source, words), []
    for conversation in chat_template.SAMPLE_CONVERSATIONS if source else ():
        with suppress(FrameworkError):
            texts.append(template.render(conversation))
    return texts


def _read_optional(file: Path) -> Mapping[str, Any]:
    """Read a file that may be missing."""
    return read_json(file) if file.is_file() else {}


def _token_text(token: str | Mapping[str, Any] | None) -> str:
    """Return a token as text; files have it as text or with its properties."""
    return str(token.get("content", "")) if isinstance(token, Mapping) else token or ""


_PHI3 = re.compile(r"(phi)-?3", re.IGNORECASE)
_REQUIRED_BY_PHI3 = "<|endoftext|>"
"""A token that llama.cpp requires in a file with such a name."""


def general_name(name: str, tokenizer: Mapping[str, Any]) -> str:
    """Return a run's name without secrets, for its files.

    Args:
        name: of the run.
        tokenizer: a tokenizer.json.
    """
    added = {token["content"]: token for token in tokenizer["added_tokens"]}
    swallows = any(token["special"] and token["rstrip"] for token in added.values()) and _REQUIRED_BY_PHI3 in added
    if swallows:
        return name if _PHI3.search(name) else f"{name} (Phi-3)"
    return _PHI3.sub(r"\1 3", name)


@dataclass(frozen=True)
class TensorTypes:
    """The count of tensors in a file by type, without vectors and others that no quantization changes.

    Attributes:
        types: number of tensors by the name of their type, the most frequent first.
        narrow: the same of those whose rows are not a multiple of 256 weights wide.
    """

    types: dict[str, int]
    narrow: dict[str, int]

    @classmethod
    def read(cls, file: Path) -> TensorTypes:
        kinds = [(tensor.tensor_type.name, int(tensor.shape[0])) for tensor in gguf.GGUFReader(file).tensors]
        kinds = [(kind, width) for kind, width in kinds if kind != "F32"]
        narrow = Counter(kind for kind, width in kinds if width % K_QUANT_BLOCK)
        return cls(dict(Counter(kind for kind, _ in kinds).most_common()), dict(narrow.most_common()))

    def note(self, quantization: str) -> str:
        """Return a note about tensors whose width the quantization cannot pack; empty without any."""
        if not QUANTIZATIONS[quantization].in_blocks or not self.narrow:
            return ""
        count, total = sum(self.narrow.values()), sum(self.types.values())
        return (
            f"{count} of {total} matrices are {'/'.join(self.narrow)}, not {quantization.upper()}: "
            f"the width of their rows is not a multiple of {K_QUANT_BLOCK}"
        )
