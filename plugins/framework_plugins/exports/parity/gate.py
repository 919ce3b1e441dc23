"""The parity gate: an export that does not say what the trained model says is put aside, not handed out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from framework.api.errors import FrameworkError
from framework.api.protocols import ExportContext, Model, ModelSource
from framework.api.registry import counting
from framework_plugins.exports.config import ParityConfig
from framework_plugins.exports.documents import MODEL, read
from framework_plugins.exports.llama.apart import LlamaApart
from framework_plugins.exports.parity import companion_check
from framework_plugins.exports.parity.agreement import Agreement, Answer, agree, agree_each, widest_tie
from framework_plugins.exports.parity.bounds import exact, within
from framework_plugins.exports.parity.change_retained import of_answer, survival
from framework_plugins.exports.parity.check_rows import CheckRow, check_rows
from framework_plugins.exports.parity.conversations import Compared, compare, conversations, unchecked
from framework_plugins.exports.parity.long_row import long_row
from framework_plugins.exports.parity.record import ConversationsRecord, Record, add
from framework_plugins.exports.parity.reference_logits import (
    Held,
    affordable,
    folder_logits,
    on_disk,
    rounded_logits,
    trained_logits,
)

TIE, CUT_TIE = 0.02, 0.15
"""How near the likeliest tokens may be, in nats, for a rounding to swap them: of weights with ten bits or more behind
the point; and where memory holds the trained weights in bf16 and the export has more bits, so that what a rounding does
cannot be measured. Of an export in bf16 it is: SmolLM2 with the quickstart's adapter has 0.137."""
BF16 = ("bfloat16", "bf16")
EXACT = ("f32", "f16", "bf16")
"""Quantizations that hold the weights as they are, or round them once."""
TRAINED, MERGED, ROUNDED = "trained", "merged", "rounded"
"""What an export is compared with; the last are the trained weights after a rounding to bf16."""
FOLDER = "folder"
"""In `parity.json`: tokenizer, template, stop tokens and settings of a folder, compared with the training's."""
CONTEXT = ("max_position_embeddings", "n_positions")
"""Names of the longest row that a model takes."""
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


@dataclass(frozen=True)
class Rounding:
    """What rounding the weights of an export explains.

    Attributes:
        tie: how near the likeliest tokens may be for it to swap them, in nats.
        end_kl: divergence at the end of the long row, in nats.
        logits: of the trained weights after the rounding; empty where the export does not round to bf16.
    """

    tie: float = TIE
    end_kl: float = 0.0
    logits: list[Any] = field(default_factory=list)


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
        self._base: list[Any] = []
        self._roundings: dict[str, Rounding] = {}

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
        if long := long_row(self.model, self._long_row()):
            rows.append(long)
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
        return self._base_folder()

    def _base_folder(self) -> Path:
        source: ModelSource = self.context.plan.model.create()
        return source.fetch(weights=True).folder

    def _long_row(self) -> int:
        """Return how long the long row is: no longer than the model takes."""
        config = read(self._trained_folder() / MODEL)
        text = config.get("text_config") or config
        known = [int(text[name]) for name in CONTEXT if isinstance(text.get(name), int)]
        return min([self.config.long_row, *known])

    @property
    def _trust(self) -> bool:
        return bool(self.context.plan.model.config.trust_remote_code)

    def folder(self, folder: Path) -> str:
        """Check a model folder for transformers: what it says beside its weights, and what these compute.

        Returns:
            What came out, in words.

        Raises:
            ParityError: it is not what was trained.
        """
        name, form = folder.name.removesuffix(".unchecked"), on_disk(folder)
        self._handed_out(folder, name)
        reference = self.reference
        if reference is None:
            return NOT_CHECKED
        stops = companion_check.folder_stops(folder, trust=self._trust)
        if early := companion_check.stops_early(reference.rows, stops):
            add(ConversationsRecord(name, early, "", 0, "", against=FOLDER), self.context.run_dir)
            raise _failed(name, TRAINED, early, f"the training stops at {sorted(reference.stop_ids)}")
        rounding = self._rounding(reference, form)
        models, ties = [reference.logits], [rounding.tie]
        if rounding.logits:
            models, ties = [*models, rounding.logits], [*ties, TIE]
        agreement, *beside = agree_each(reference.rows, models, self._logits(folder), reference.stop_ids, ties, stops)
        self._judge(name, TRAINED, form, agreement, exact(agreement, self.config, rounding.end_kl))
        for one in beside:
            self._judge(name, ROUNDED, form, one, exact(one, self.config))
        return agreement.text() + self._finer(form, agreement)

    def _handed_out(self, folder: Path, name: str) -> None:
        """Compare tokenizer, chat template, stop tokens and settings of a folder with those of the training.

        Raises:
            ParityError: they differ.
        """
        rendered = list(conversations(self.model, self.context.prompts[: self.config.prompts]))
        source: ModelSource = self.context.plan.model.create()
        base = source.fetch(weights=False).folder
        found = companion_check.problem(
            folder, self._trained_folder(), base, rendered, self.model.stop_ids, trust=self._trust
        )
        add(ConversationsRecord(name, found, "", len(rendered), "", against=FOLDER), self.context.run_dir)
        if found:
            raise _failed(name, TRAINED, found, f"{len(rendered)} conversations were compared")

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
            self._merged = list(self._logits(folder))
            form = on_disk(folder)
            rounding = self._rounding(reference, form)
            agreement = agree(reference.rows, reference.logits, self._merged, reference.stop_ids, rounding.tie)
            self._judge(name, TRAINED, form, agreement, exact(agreement, self.config, rounding.end_kl))

    def _logits(self, folder: Path) -> Iterator[Any]:
        reference, trust = self.reference, self.context.plan.model.config.trust_remote_code
        assert reference is not None  # noqa: S101 - whoever asks has seen it
        return folder_logits(folder, reference.rows, reference.held, trust=trust)

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
        short = [(row, logits) for row, logits in zip(reference.rows, reference.logits, strict=True) if not row.last]
        lengths = [len(row.ids) + (0 if row.last else self.config.max_new_tokens + 1) for row in reference.rows]
        rounding = self._rounding(reference, quantization)
        with LlamaApart(file, n_ctx=max(lengths)) as llama:
            self._check_prompts(name, llama, reference)
            if told := companion_check.metadata_problem(llama, self._trained_folder(), trust=self._trust):
                raise _failed(name, TRAINED, told, "llama.cpp reads the positions by it")
            if early := companion_check.stops_early(reference.rows, llama.stop_ids):
                raise _failed(name, TRAINED, early, f"the training stops at {sorted(reference.stop_ids)}")
            agreement, *beside = self._asked(llama, reference, quantization, rounding, llama.stop_ids)
            answers = []
            with counting(len(short), "answer", "parity: llama.cpp") as counter:
                for row, logits in short:
                    answers.append(self._answer(llama, row, logits, agreement.tie))
                    counter.advance()
            agreement.answers = answers
        if quantization in EXACT:
            problem = exact(agreement, self.config, rounding.end_kl)
        else:
            problem = within(agreement, self.config)
        self._judge(name, TRAINED, quantization, agreement, problem)
        self._judge_merged(name, quantization, beside, rounding)
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
        why = unchecked() or ("" if rendered else "the chat template accepts none of the conversations")
        compared = Compared(not_checked=why) if why else compare(self.model, file, rendered, self.context.run_dir / LOG)
        count = 0 if compared.not_checked else len(rendered)
        record = ConversationsRecord(name, compared.problem, compared.tools, count, compared.not_checked)
        add(record, self.context.run_dir)
        if compared.problem:
            raise _failed(name, TRAINED, compared.problem, f"{count} conversations were compared")
        if compared.not_checked:
            return f"not checked in llama.cpp: {compared.not_checked}"
        if compared.tools:
            return f"llama.cpp writes conversations without tools as the training does; with tools, {compared.tools}"
        return f"llama.cpp writes {count} conversations as the training does"

    def conversion(self, file: Path, name: str, form: str) -> None:
        """Check a GGUF file that others are quantized from, by the bounds of exact exports.

        It is given token ids only: how llama.cpp cuts text and where it stops is said in the files made of it.

        Raises:
            ParityError: it is not what was trained.
        """
        reference = self.reference
        if reference is None:
            return
        rounding = self._rounding(reference, form)
        with LlamaApart(file, n_ctx=max(len(row.ids) for row in reference.rows)) as llama:
            agreement, *beside = self._asked(llama, reference, form, rounding)
        self._judge(name, TRAINED, form, agreement, exact(agreement, self.config, rounding.end_kl))
        self._judge_merged(name, form, beside, rounding)

    def _asked(
        self,
        llama: LlamaApart,
        reference: Reference,
        form: str,
        rounding: Rounding,
        stops: frozenset[int] | None = None,
    ) -> list[Agreement]:
        """Compare with the trained weights, an exact file with those that it was made of, others with the base too."""
        models = [reference.logits, *([self._merged] if self._merged and form in EXACT else [])]
        answers: list[Any] = []

        def logits() -> Iterator[Any]:
            with counting(len(reference.rows), "row", "parity: llama.cpp") as counter:
                for row in reference.rows:
                    found = llama.logits(row.ids, last=row.last)
                    if not row.last:
                        answers.append(of_answer(row, found))
                    yield found
                    counter.advance()

        ties = [rounding.tie] * len(models)
        agreements = agree_each(reference.rows, models, logits(), reference.stop_ids, ties, stops)
        if form not in EXACT and self.config.quantized_share > 0:
            self._survived(agreements[0], reference, answers)
        return agreements

    def _survived(self, agreement: Agreement, reference: Reference, export: list[Any]) -> None:
        """Measure which share of the change from the base an export has, by its logits of the answers."""
        rows = [row for row in reference.rows if not row.last]
        if not self._base:
            base = folder_logits(self._base_folder(), rows, reference.held, trust=self._trust, name="base model")
            self._base = [of_answer(row, logits) for row, logits in zip(rows, base, strict=True)]
        trained = [of_answer(row, logits) for row, logits in zip(rows, reference.logits, strict=False)]
        if found := survival(rows, self._base, trained, export):
            agreement.share, agreement.share_error = found

    def _rounding(self, reference: Reference, form: str) -> Rounding:
        """Return what the coarsest rounding of either side explains, that of 32 bits in memory too."""
        if form not in BF16:
            cut = reference.held.dtype is not torch.float32 and "float32" in (form, on_disk(self._trained_folder()))
            return Rounding(CUT_TIE if cut else TIE)
        if form not in self._roundings:
            rows, context = reference.rows, self.context
            # llama.cpp rounds what goes into a product with such weights too; transformers computes in fp32 here.
            inputs = form in EXACT
            logits = list(rounded_logits(context.plan, context.checkpoint, rows, reference.held, inputs=inputs))
            tie = max(TIE, widest_tie(rows, reference.logits, logits))
            end_kl = agree(rows, reference.logits, logits, reference.stop_ids, tie).end_kl
            self._roundings[form] = Rounding(tie, end_kl, logits)
        return self._roundings[form]

    def _judge_merged(self, name: str, form: str, agreements: list[Agreement], rounding: Rounding) -> None:
        for one in agreements:
            self._judge(name, MERGED, form, one, exact(one, self.config, rounding.end_kl))

    def _judge(self, name: str, against: str, form: str, agreement: Agreement, problem: str) -> None:
        """Write into `parity.json` what was found, and raise what it fails."""
        add(Record.of(name, against, form, agreement, problem, self.config), self.context.run_dir)
        if problem:
            raise _failed(name, against, problem, agreement.text() + self.remedy)

    def _check_prompts(self, name: str, llama: LlamaApart, reference: Reference) -> None:
        """Make sure that llama.cpp reads the prompts as the tokenizer does."""
        for row in reference.rows:
            if row.last:  # it is cut anywhere
                continue
            made = tuple(llama.read(row.text))
            if made != row.prompt:
                at = next((n for n, pair in enumerate(zip(made, row.prompt, strict=False)) if pair[0] != pair[1]), 0)
                raise _failed(
                    name,
                    TRAINED,
                    f"llama.cpp tokenizes a prompt differently, from token {at} on: {row.text[:40]!r}",
                    f"{len(made)} tokens instead of {len(row.prompt)}",
                )

    def _answer(self, llama: LlamaApart, row: CheckRow, logits: Any, tie: float) -> Answer:
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
        raise ParityError(f"{error}\nIt is now in {place}") from error


def _failed(name: str, against: str, problem: str, details: str) -> ParityError:
    what = "trained, rounded to bf16" if against == ROUNDED else against
    return ParityError(f"{name} is not what was {what}: {problem} ({details})")
