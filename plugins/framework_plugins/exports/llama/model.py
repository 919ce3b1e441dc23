"""A GGUF file, open in llama.cpp on the CPU.

with Llama(Path("run-Q4_K_M.gguf")) as llama:
    ids = llama.tokenize(prompt)
    print(llama.text(llama.complete(ids, max_new_tokens=64).ids))
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from framework import FrameworkError
from framework_plugins.exports.llama.library import first_error, library
from framework_plugins.lib.host import threads as cpu_threads
from framework_plugins.lib.sampling import Sampler, greedy

LOGITS_BYTES = 2**26
"""Bytes of logits that llama.cpp holds at a time; this limits the tokens of one pass."""
MIN_BATCH, MAX_BATCH = 16, 512
"""Tokens of a pass, whatever the vocabulary."""


class Completion(NamedTuple):
    """A continuation: token ids without the stop token, and whether one ended them."""

    ids: tuple[int, ...]
    stopped: bool


class Llama:
    """A model in llama.cpp. Use it as a context manager: Python does not free its memory.

    Args:
        file: a GGUF file.
        n_ctx: tokens of the longest sequence, prompt and answer together.
        threads: how many to compute with; None: as many as this process may use.
        vocabulary_only: load no weights: `tokenize`, `text` and the facts of the vocabulary work, nothing else.
        without_weights: read all but the weights, lay out a computation, and allocate nothing.
        precise: hold keys and values in fp32, not in fp16 as llama.cpp's programs do.

    Raises:
        FrameworkError: llama.cpp is missing or cannot open the file.
    """

    def __init__(
        self,
        file: Path,
        *,
        n_ctx: int = 2048,
        threads: int | None = None,
        vocabulary_only: bool = False,
        without_weights: bool = False,
        precise: bool = False,
    ) -> None:
        loaded = library()
        self._api, self._types = loaded.functions, loaded.types
        self.file = file
        self._model = self._context = self._types.NULL
        self._cached_ids: list[int] = []
        loaded.errors.clear()
        parameters = self._api.llama_model_default_params()
        parameters.n_gpu_layers = 0
        parameters.vocab_only = vocabulary_only
        if without_weights:
            parameters.no_alloc, parameters.load_mode = True, self._api.LLAMA_LOAD_MODE_NONE
        self._model = self._api.llama_model_load_from_file(bytes(file), parameters)
        if not self._model:
            raise FrameworkError(f"llama.cpp cannot open {file}{first_error()}")
        self._vocab = self._api.llama_model_get_vocab(self._model)
        self.n_vocab: int = self._api.llama_vocab_n_tokens(self._vocab)
        self.n_batch = max(MIN_BATCH, min(MAX_BATCH, LOGITS_BYTES // (4 * self.n_vocab)))
        if not vocabulary_only:
            self._context = self._open(n_ctx, threads or cpu_threads(), precise=precise)

    def _open(self, n_ctx: int, threads: int, *, precise: bool) -> Any:
        parameters = self._api.llama_context_default_params()
        parameters.n_ctx = n_ctx
        parameters.n_batch = parameters.n_ubatch = self.n_batch
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.no_perf = True
        if precise:
            parameters.type_k = parameters.type_v = self._api.GGML_TYPE_F32
            parameters.flash_attn_type = self._api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        context = self._api.llama_init_from_model(self._model, parameters)
        if not context:
            self.close()
            raise FrameworkError(f"llama.cpp cannot hold {n_ctx} tokens of {self.file}{first_error()}")
        return context

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the memory; a second call does nothing."""
        for free, attribute in ((self._api.llama_free, "_context"), (self._api.llama_model_free, "_model")):
            if getattr(self, attribute):
                free(getattr(self, attribute))
                setattr(self, attribute, self._types.NULL)

    @functools.cached_property
    def stop_ids(self) -> frozenset[int]:
        """The tokens at which llama.cpp ends an answer: those the file names, and those it knows by their text."""
        is_end = self._api.llama_vocab_is_eog
        return frozenset(token_id for token_id in range(self.n_vocab) if is_end(self._vocab, token_id))

    @functools.cached_property
    def chat_template(self) -> str:
        """The Jinja template in the file; empty if it has none."""
        template = self._api.llama_model_chat_template(self._model, self._types.NULL)
        return self._types.string(template).decode() if template else ""

    def metadata(self, key: str) -> str | None:
        """Return the value of a key in the file's metadata, as text; None if the file does not have it."""
        room = 2**12
        while True:
            buffer = self._types.new("char[]", room)
            length = self._api.llama_model_meta_val_str(self._model, key.encode(), buffer, room)
            if length < 0:
                return None
            if length < room:
                return str(self._types.string(buffer).decode())
            room = length + 1

    @functools.cached_property
    def adds_bos(self) -> bool:
        """Whether programs put a bos token before a prompt that has none, unless they are set not to."""
        return bool(self._api.llama_vocab_get_add_bos(self._vocab))

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = True) -> list[int]:
        """Return the token ids of a text.

        Args:
            text: a rendered prompt, say.
            add_special: put bos and eos where the file says that they are put by default.
            parse_special: read `<|im_start|>` as the token, not as its letters.
        """
        data = text.encode()
        room = len(data) + 2
        while True:
            ids = self._types.new("llama_token[]", room)
            count = self._api.llama_tokenize(self._vocab, data, len(data), ids, room, add_special, parse_special)
            if count >= 0:
                return list(ids[0:count])
            room = -count

    def tokenize_prompt(self, text: str) -> list[int]:
        """Return the token ids of a rendered conversation as llama.cpp's programs make them.

        Where the file says that a bos token comes before each text, they put it there, and take off the one that the
        chat template has written.
        """
        if self.adds_bos:
            text = text.removeprefix(self.text([self._api.llama_vocab_bos(self._vocab)]))
        return self.tokenize(text, add_special=True)

    def token_bytes(self, token: int, *, special: bool = True) -> bytes:
        """Return the bytes of a token, which may be a part of a letter only; `special`: special tokens by name."""
        room = 64
        while True:
            buffer = self._types.new("char[]", room)
            length = self._api.llama_token_to_piece(self._vocab, token, buffer, room, 0, special)
            if length >= 0:
                return bytes(self._types.buffer(buffer, length))
            room = -length

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens included."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", errors="replace")

    def batches(self, ids: Sequence[int], *, skip: int = 0) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Give the logits after each token of a sequence, some tokens at a time.

        Args:
            ids: the sequence.
            skip: tokens at its beginning that are read without logits.

        Yields:
            The place of the first token of a pass, and logits of shape (tokens of the pass, vocabulary). The array is
            llama.cpp's own memory: the next pass overwrites it.
        """
        self._truncate_cache(0)
        for start in range(0, skip, self.n_batch):
            self._decode(ids[start : min(skip, start + self.n_batch)], every=False)
        for start in range(skip, len(ids), self.n_batch):
            part = ids[start : start + self.n_batch]
            self._decode(part, every=True)
            yield start, self._logits(len(part))

    def logits(self, ids: Sequence[int], *, last: int = 0) -> NDArray[np.float32]:
        """Return the logits after each token of a sequence: shape (tokens, vocabulary). Long ones need memory.

        Args:
            ids: the sequence.
            last: how many tokens at its end have logits; 0: all of them.
        """
        return np.concatenate([logits.copy() for _, logits in self.batches(ids, skip=len(ids) - last if last else 0)])

    def generate(self, ids: Sequence[int], choose: Sampler = greedy) -> Iterator[int]:
        """Continue a sequence: yield the next token repeatedly, stop tokens too.

        It ends at `n_ctx` tokens. The common beginning with the previous sequence is not computed again.
        """
        self._truncate_cache(self._cached_prefix(ids))
        pending = list(ids[len(self._cached_ids) :])
        while len(self._cached_ids) + len(pending) <= self._api.llama_n_ctx(self._context):
            for start in range(0, len(pending), self.n_batch):
                self._decode(pending[start : start + self.n_batch], every=False)
            token = choose(self._logits(1)[0])
            yield token
            pending = [token]

    def complete(self, ids: Sequence[int], *, max_new_tokens: int) -> Completion:
        """Continue greedily until a stop token comes, for `max_new_tokens` at most.

        Raises:
            FrameworkError: the sequence is longer than `n_ctx`.
        """
        self._check_length(len(ids))
        tokens: list[int] = []
        for token in self.generate(ids):
            if token in self.stop_ids:
                return Completion(tuple(tokens), stopped=True)
            tokens.append(token)
            if len(tokens) == max_new_tokens:
                break
        return Completion(tuple(tokens), stopped=False)

    def _check_length(self, tokens: int) -> None:
        if tokens > self._api.llama_n_ctx(self._context):
            room = self._api.llama_n_ctx(self._context)
            raise FrameworkError(f"{tokens} tokens do not fit into n_ctx={room} of {self.file}: give more")

    def _cached_prefix(self, ids: Sequence[int]) -> int:
        """Return how many tokens are in memory already; the last is left out, because its logits are needed again."""
        limit = min(len(self._cached_ids), len(ids) - 1)
        return next(
            (position for position in range(limit) if self._cached_ids[position] != ids[position]), max(limit, 0)
        )

    def _truncate_cache(self, keep: int) -> None:
        """Keep the first tokens of the sequence in memory; none if the model's memory has no such part."""
        memory = self._api.llama_get_memory(self._context)
        if keep and self._api.llama_memory_seq_rm(memory, 0, keep, -1):
            del self._cached_ids[keep:]
        else:
            self._api.llama_memory_clear(memory, True)  # noqa: FBT003 - C
            self._cached_ids.clear()

    def _decode(self, ids: Sequence[int], *, every: bool) -> None:
        """Compute a pass after the tokens in memory; logits of every token, or of the last."""
        self._check_length(len(self._cached_ids) + len(ids))
        flags = [every] * len(ids)
        flags[-1] = True
        keep = {
            "token": self._types.new("llama_token[]", list(ids)),
            "pos": self._types.new("llama_pos[]", list(range(len(self._cached_ids), len(self._cached_ids) + len(ids)))),
            "n_seq_id": self._types.new("int32_t[]", [1] * len(ids)),
            "logits": self._types.new("int8_t[]", flags),
        }
        sequence = self._types.new("llama_seq_id[]", [0])
        owners = self._types.new("llama_seq_id *[]", [sequence] * len(ids))
        batch = self._types.new("struct llama_batch *", {"n_tokens": len(ids), "seq_id": owners, **keep})[0]
        if self._api.llama_decode(self._context, batch):
            raise FrameworkError(f"llama.cpp cannot compute {len(ids)} tokens of {self.file}{first_error()}")
        self._cached_ids += ids

    def _logits(self, rows: int) -> NDArray[np.float32]:
        """Return the logits of the last pass."""
        start = self._api.llama_get_logits(self._context)
        buffer = self._types.buffer(start, rows * self.n_vocab * np.dtype(np.float32).itemsize)
        return np.frombuffer(buffer, np.float32).reshape(rows, self.n_vocab)
