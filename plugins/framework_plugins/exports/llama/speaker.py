"""`chat RUN_DIR --gguf [FILE]`: what a run exported answers, in llama.cpp and by the template inside the file."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from framework import FrameworkError
from framework.api import ExportResult, Prompt, SavedRun, display_run
from framework_plugins.exports.config import GgufSpeakerConfig
from framework_plugins.exports.llama.model import Llama
from framework_plugins.exports.llama.template import Template
from framework_plugins.lib.sampling import Sampler, make_sampler
from framework_plugins.lib.thoughts import without_thought

MAX_CONTEXT = 8192
"""Tokens of a conversation. Many models read more; the keys and values of all of them would take gigabytes."""
SPECIAL_TOKENS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
"""What templates call the special tokens, and what GGUF does."""


class GgufSpeakers:
    """Opens a GGUF file."""

    def __init__(self, config: GgufSpeakerConfig) -> None:
        self.config = config

    @contextmanager
    def open(self, run: SavedRun, word: str) -> Iterator[GgufSpeaker]:
        """Open the file that is named, or the first that the run exported.

        Raises:
            FrameworkError: there is no such file, it has no chat template, or llama.cpp cannot open it.
        """
        file = Path(word).expanduser() if word else _first_gguf(run)
        if not file.is_file():
            raise FrameworkError(f"--gguf {file}: there is no such file")
        with Llama(file, vocabulary_only=True) as vocabulary:
            context = min(_context_length(vocabulary) or MAX_CONTEXT, MAX_CONTEXT)
            template = _template(vocabulary, run.config["model"].get("chat_template_kwargs") or {})
        with Llama(file, n_ctx=context) as llama:
            yield GgufSpeaker(llama, template, context)


def _first_gguf(run: SavedRun) -> Path:
    """Return the first GGUF file that a run exported and that is still there."""
    exported = run.record(ExportResult, "export.json") or ExportResult([])
    for artifact in exported.artifacts:
        if artifact.kind == "gguf" and (run.folder / artifact.path).is_file():
            return run.folder / artifact.path
    folder = display_run(run.folder)
    raise FrameworkError(
        f"{folder} holds no GGUF file: name one, --gguf FILE, or make one, "
        f"python -m framework stages=[export] run_dir={folder} exporter=[gguf]"
    )


def _context_length(llama: Llama) -> int | None:
    length = llama.metadata(f"{llama.metadata('general.architecture')}.context_length")
    return int(length) if length else None


def _template(llama: Llama, switches: dict[str, Any]) -> Template:
    if not llama.chat_template:
        raise FrameworkError(
            f"{llama.file} has no chat template, so it is unknown how this model writes a conversation"
        )
    ids = {role: llama.metadata(f"tokenizer.ggml.{name}_token_id") for role, name in SPECIAL_TOKENS.items()}
    names = {role: llama.text([int(token_id)]) for role, token_id in ids.items() if token_id is not None}
    return Template(llama.chat_template, {**names, **switches})


class GgufSpeaker:
    """A model in llama.cpp. The common beginning of a conversation with the previous one is computed once."""

    name = "gguf"

    def __init__(self, llama: Llama, template: Template, context: int) -> None:
        self.context: int | None = context
        self._llama = llama
        self._template = template

    def count(self, prompt: Prompt) -> int:
        """Return how many tokens a conversation has as the file's template writes it."""
        return len(self._ids(prompt))

    def _ids(self, prompt: Prompt) -> list[int]:
        return self._llama.tokenize_prompt(self._template.render(prompt.messages))

    def stream(
        self, prompt: Prompt, *, max_new_tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int | None
    ) -> Iterator[str]:
        return without_thought(self._texts(self._ids(prompt), max_new_tokens, make_sampler(temperature, top_p, seed)))

    def _texts(self, ids: list[int], limit: int, choose: Sampler) -> Iterator[str]:
        """Give the text that each token adds; a character comes once all of its bytes are there."""
        letters = codecs.getincrementaldecoder("utf-8")(errors="replace")
        at_start = self._leading_space
        for token, _ in zip(self._llama.generate(ids, choose), range(limit), strict=False):
            if token in self._llama.stop_ids:
                break
            piece = self._llama.token_bytes(token, special=False)
            yield letters.decode(piece.removeprefix(b" ") if at_start else piece)
            at_start = False
        if ending := letters.decode(b"", final=True):
            yield ending

    @property
    def _leading_space(self) -> bool:
        """Whether a text begins with a space that nobody wrote: so do the words of SentencePiece."""
        pieces = self._llama.metadata("tokenizer.ggml.model") == "llama"
        return pieces and self._llama.metadata("tokenizer.ggml.add_space_prefix") != "false"
