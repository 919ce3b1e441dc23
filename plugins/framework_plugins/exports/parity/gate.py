"""The parity gate: an export that does not say what the trained model says is put aside, not handed out."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from framework.api.errors import FrameworkError
from framework.api.protocols import ExportContext, Model, ModelSource
from framework_plugins.exports.config import ParityConfig
from framework_plugins.exports.llama.model import Llama
from framework_plugins.exports.parity.agreement import Agreement, Answer, agree_each
from framework_plugins.exports.parity.bounds import exact, within
from framework_plugins.exports.parity.conversations import Compared, compare, conversations, unchecked
from framework_plugins.exports.parity.folders import Held, affordable, folder_logits, on_disk, trained_logits
from framework_plugins.exports.parity.record import ConversationsRecord, Record, add
from framework_plugins.exports.parity.rows import CheckRow, check_rows

TIE, BF16_TIE = 0.02, 0.25
"""How near the likeliest tokens may be, in nats, for a rounding to swap them: of weights with ten bits or more behind
the point, and of weights with the seven of bf16."""
BF16 = ("bfloat16", "bf16")
EXACT = ("f32", "f16", "bf16")
"""Quantizations that hold the weights as they are, or round them once."""
TRAINED, MERGED = "trained", "merged"
"""What an export is compared with."""
REJECTED = "rejected"
HELD = "parity"
LOG = "llama_server.log"
NOT_CHECKED = "not checked: the trained model does not fit into memory a second time"


class ParityError(FrameworkError):
    """An export is not what was trained."""


@dataclass
class Reference:
    """The trained model's rows, and its logits, computed in fp32.

    Attributes:
        rows: what all are given.
        held: where and how memory holds the weights.
        stop_ids: the tokens that end an answer.
        logits: of each row, (tokens, vocabulary).
        largest: the size of the largest number that a layer gives.
    """

    rows: list[CheckRow]
    held: Held
    stop_ids: frozenset[int]
    logits: list[Any]
    largest: float


class Gate:
    """Compares exports with the trained model.

    Args:
        config: the bounds.
        model: the trained model.
        context: of the exporter; what the gate works out is kept in it for the next exporter.
        remedy: what would help where an export fails, in words that are put behind what was found.
    """

    def __init__(self, config: ParityConfig, model: Model, context: ExportContext, remedy: str = "") -> None:
        self.config = config
        self.model = model
        self.context = context
        self.remedy = remedy
        self._merged: list[Any] = []

    @property
    def reference(self) -> Reference | None:
        """What the trained model says; None where it does not fit into memory a second time."""
        if HELD not in self.context.shared:
            self.context.shared[HELD] = self._reference()
        reference: Reference | None = self.context.shared[HELD]
        return reference

    def _reference(self) -> Reference | None:
        context, settings = self.context, self.config
        if affordable(self._trained_folder()) is None:
            return None
        rows = check_rows(self.model, context.prompts, count=settings.prompts, max_new_tokens=settings.max_new_tokens)
        held = affordable(self._trained_folder())  # once more: answering has taken memory of a GPU
        if held is None:
            return None
        try:
            logits, largest = trained_logits(context.plan, context.checkpoint, rows, held)
        except torch.OutOfMemoryError:  # of a GPU: others may use it too
            held = affordable(self._trained_folder(), gpu=False)
            if held is None:
                return None
            logits, largest = trained_logits(context.plan, context.checkpoint, rows, held)
        return Reference(rows, held, self.model.stop_ids, logits, largest)

    def _trained_folder(self) -> Path:
        """Return the folder with most of the trained weights: that of the base, or of a model trained whole."""
        if not (self.context.checkpoint / "adapter_config.json").is_file():
            return self.context.checkpoint
        source: ModelSource = self.context.plan.model.create()
        return source.fetch(weights=True).folder

    def folder(self, folder: Path) -> str:
        """Check a model folder for transformers.

        Returns:
            What came out, in words.

        Raises:
            ParityError: it is not what was trained.
        """
        reference = self.reference
        if reference is None:
            return NOT_CHECKED
        agreement = self._folder(
            reference, folder.name.removesuffix(".unchecked"), on_disk(folder), self._logits(folder)
        )
        return agreement.text() + self._finer(on_disk(folder), agreement)

    def merged(self, folder: Path, name: str) -> None:
        """Check the merged weights that files are made of, and keep what they say to compare the files with it.

        Args:
            folder: the weights.
            name: what they are called where they are put aside.

        Raises:
            ParityError: they are not what was trained.
        """
        reference = self.reference
        if reference is not None:
            logits = list(self._logits(folder))
            self._folder(reference, name, on_disk(folder), logits)
            self._merged = logits

    def _logits(self, folder: Path) -> Iterator[Any]:
        reference, trust = self.reference, self.context.plan.model.config.trust_remote_code
        assert reference is not None  # noqa: S101 - whoever asks has seen it
        return folder_logits(folder, reference.rows, reference.held, trust=trust)

    def _folder(self, reference: Reference, name: str, form: str, logits: Iterable[Any]) -> Agreement:
        (agreement,) = agree_each(
            reference.rows, [reference.logits], logits, reference.stop_ids, self._tie(reference, form)
        )
        self._judge(name, TRAINED, form, agreement, exact(agreement, self.config))
        return agreement

    def gguf(self, file: Path, name: str, quantization: str) -> str:
        """Check a GGUF file in llama.cpp; quantized ones by bounds of their own.

        One that holds the weights as they were merged, or rounds them once, is compared with those too.

        Args:
            file: as it lies until it has passed.
            name: what it will be called.
            quantization: f16, q4_k_m…

        Raises:
            ParityError: it is not what was trained.
        """
        reference = self.reference
        if reference is None:
            return NOT_CHECKED
        longest = max(len(row.ids) for row in reference.rows) + self.config.max_new_tokens + 1
        with Llama(file, n_ctx=longest) as llama:
            self._check_prompts(name, llama, reference)
            agreement, *beside = self._asked(llama, reference, quantization)
            agreement.answers = [
                self._answer(llama, row, logits, agreement.tie)
                for row, logits in zip(reference.rows, reference.logits, strict=True)
            ]
        bound = exact if quantization in EXACT else within
        self._judge(name, TRAINED, quantization, agreement, bound(agreement, self.config))
        self._judge_merged(name, quantization, beside)
        return agreement.text()

    def conversations(self, file: Path, name: str) -> str:
        """Let llama.cpp's server write conversations by the chat template in a GGUF file, as Ollama does.

        Text and token ids have to be those of the training; with tools a difference is noted. It needs `xllamacpp`;
        without it nothing is compared.

        Args:
            file: as it lies until it has passed.
            name: what it will be called.

        Returns:
            What came out, in words.

        Raises:
            ParityError: one conversation is written or tokenized otherwise.
        """
        rendered = list(conversations(self.model, self.context.prompts[: self.config.prompts]))
        why = unchecked() or ("" if rendered else "it takes none of the conversations")
        compared = Compared(not_checked=why) if why else compare(self.model, file, rendered, self.context.run_dir / LOG)
        count = 0 if compared.not_checked else len(rendered)
        record = ConversationsRecord(name, compared.problem, compared.tools, count, compared.not_checked)
        add(record, self.context.run_dir)
        if compared.problem:
            raise _failed(name, TRAINED, compared.problem, f"{count} conversations were compared")
        if compared.not_checked:
            return f"not checked in llama.cpp: {compared.not_checked}"
        if compared.tools:
            return f"llama.cpp writes conversations without tools as the training; with tools, {compared.tools}"
        return f"llama.cpp writes {count} conversations as the training"

    def conversion(self, file: Path, name: str, form: str) -> None:
        """Check a GGUF file that others are quantized from, by the bounds of exact exports.

        It is given token ids only: how llama.cpp cuts text and where it stops is said in the files made of it.

        Raises:
            ParityError: it is not what was trained.
        """
        reference = self.reference
        if reference is None:
            return
        with Llama(file, n_ctx=max(len(row.ids) for row in reference.rows)) as llama:
            agreement, *beside = self._asked(llama, reference, form)
        self._judge(name, TRAINED, form, agreement, exact(agreement, self.config))
        self._judge_merged(name, form, beside)

    def _asked(self, llama: Llama, reference: Reference, form: str) -> list[Agreement]:
        """Compare with the trained weights, and an exact file with those that it was made of."""
        models = [reference.logits, *([self._merged] if self._merged and form in EXACT else [])]
        logits = (llama.logits(row.ids) for row in reference.rows)
        return agree_each(reference.rows, models, logits, reference.stop_ids, self._tie(reference, form))

    def _tie(self, reference: Reference, form: str) -> float:
        """Return how wide ties are: as the coarsest rounding of either side, that of 32 bits in memory too."""
        cut = reference.held.dtype is not torch.float32 and "float32" in (form, on_disk(self._trained_folder()))
        return BF16_TIE if form in BF16 or cut else TIE

    def _judge_merged(self, name: str, form: str, agreements: list[Agreement]) -> None:
        for one in agreements:
            self._judge(name, MERGED, form, one, exact(one, self.config))

    def _judge(self, name: str, against: str, form: str, agreement: Agreement, problem: str) -> None:
        """Write into `parity.json` what was found, and raise what it fails."""
        add(Record.of(name, against, form, agreement, problem, self.config), self.context.run_dir)
        if problem:
            raise _failed(name, against, problem, agreement.text() + self.remedy)

    def _check_prompts(self, name: str, llama: Llama, reference: Reference) -> None:
        """Make sure that llama.cpp reads the prompts as the tokenizer does."""
        for row in reference.rows:
            read = tuple(llama.read(row.text))
            if read != row.prompt:
                at = next((n for n, pair in enumerate(zip(read, row.prompt, strict=False)) if pair[0] != pair[1]), 0)
                raise _failed(
                    name,
                    TRAINED,
                    f"llama.cpp tokenizes a prompt otherwise, from token {at} on: {row.text[:40]!r}",
                    f"{len(read)} tokens instead of {len(row.prompt)}",
                )

    def _answer(self, llama: Llama, row: CheckRow, logits: Any, tie: float) -> Answer:
        """Say what becomes of an answer in llama.cpp, by what the trained weights say where the file leaves it.

        The answers of the row come from the model in memory, which may compute in four bits: leaving them is right
        where the trained weights do so. What follows such a place cannot be compared.
        """
        completion = llama.complete(row.prompt, max_new_tokens=len(row.answer) + 1)
        shared = next(
            (n for n, pair in enumerate(zip(completion.ids, row.answer, strict=False)) if pair[0] != pair[1]), None
        )
        place = min(len(completion.ids), len(row.answer)) if shared is None else shared
        next_logits = logits[len(row.prompt) + place - 1]
        if place < len(completion.ids):
            next_ones = [completion.ids[place]]
        else:
            next_ones = [token for token in llama.stop_ids if token < len(next_logits)] if completion.stopped else []
        if not next_ones:
            return Answer.same
        gap = float(next_logits.max() - max(next_logits[token] for token in next_ones))
        return Answer.same if gap == 0 else Answer.near if gap <= tie else Answer.differs

    def _finer(self, form: str, agreement: Agreement) -> str:
        """Say what would keep more of the training, where a folder in bf16 stays below the bound for all others."""
        if form in BF16 and agreement.top1 < self.config.exact_top1:
            return ". bf16 keeps seven bits of base and adapter, exporter.merged.dtype=fp16 would keep ten"
        return ""


@contextmanager
def put_aside(path: Path, run_dir: Path, name: str) -> Iterator[None]:
    """Move what failed the gate to `rejected/` in the run folder, for inspection.

    Args:
        path: the file or folder that is checked inside.
        run_dir: the run folder.
        name: what it would have been called.

    Raises:
        ParityError: the gate's, with where the files lie now.
    """
    try:
        yield
    except ParityError as error:
        place = run_dir / REJECTED / name
        if place.is_dir():
            shutil.rmtree(place)
        place.parent.mkdir(exist_ok=True)
        path.replace(place)
        raise ParityError(f"{error}\nIt lies in {place} now") from error


def _failed(name: str, against: str, problem: str, details: str) -> ParityError:
    return ParityError(f"{name} is not what was {against}: {problem} ({details})")
