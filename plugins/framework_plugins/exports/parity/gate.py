"""The parity gate: an export that does not answer as the trained model does goes to `rejected/`."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from framework import FrameworkError
from framework.api import ExportContext, Model, counting
from framework.api.training import ModelSource
from framework_plugins.exports.config import ParityConfig
from framework_plugins.exports.llama.process import LlamaProcess
from framework_plugins.exports.parity import companion_check
from framework_plugins.exports.parity.agreement import (
    Agreement,
    AnswerMatch,
    compare_logits,
    compare_with_each,
    exact_problem,
    quantized_problem,
)
from framework_plugins.exports.parity.change_retained import answer_logits, change_retained, rounding_size
from framework_plugins.exports.parity.check_rows import CheckRow
from framework_plugins.exports.parity.conversations import (
    ConversationResult,
    compare_in_server,
    missing_server,
    render_conversations,
)
from framework_plugins.exports.parity.quantized_weights import tensors_problem
from framework_plugins.exports.parity.record import add_record, comparison, conversations
from framework_plugins.exports.parity.reference import (
    BF16_FORMATS,
    EXACT_FORMATS,
    TIE_NATS,
    Reference,
    Rounding,
    TrainedModel,
)
from framework_plugins.exports.parity.reference_logits import (
    stored_dtype,
)

TRAINED, MERGED, ROUNDED, CONVERTED = "trained", "merged", "rounded", "converted"
"""What an export is compared with. ROUNDED are the trained weights after a rounding to bf16; CONVERTED is the GGUF file
that others are quantized from."""
EXPERTS = "experts"
"""In `parity.json`: the experts of a converted file, compared with those of the merged weights."""
AGAINST_FOLDER = "folder"
"""In `parity.json`: tokenizer, template, stop tokens and settings of a folder, compared with the training's."""
REJECTED_FOLDER = "rejected"
SERVER_LOG = "llama_server.log"
NOT_CHECKED = "not checked: the trained model does not fit into memory a second time"


class ParityError(FrameworkError):
    """An export differs from the trained model."""


class Gate:
    """Compares exports with the trained model.

    Args:
        config: the bounds.
        model: the trained model.
        context: of the exporter; the reference is kept in it for the next exporter.
        remedy: the advice if an export fails, appended to the error.
    """

    def __init__(self, config: ParityConfig, model: Model, context: ExportContext, remedy: str = "") -> None:
        self.config = config
        self.model = model
        self.context = context
        self.remedy = remedy
        self.trained = TrainedModel(config, model, context)
        self._merged: list[Any] = []

    def check_folder(self, folder: Path) -> str:
        """Check a model folder for transformers: its other files, and the logits of its weights.

        Returns:
            What came out, as a text.

        Raises:
            ParityError: it is not what was trained.
        """
        name, form = folder.name.removesuffix(".unchecked"), stored_dtype(folder)
        self._check_companions(folder, name)
        reference = self.trained.reference
        if reference is None:
            return NOT_CHECKED
        stops = companion_check.folder_stop_ids(folder, trust=self.trained.trust)
        if early := companion_check.stops_early(reference.rows, stops):
            add_record(conversations(name, early, against=AGAINST_FOLDER), self.context.run_dir)
            raise _parity_error(name, TRAINED, early, f"the training stops at {sorted(reference.stop_ids)}")
        rounding = self.trained.rounding(reference, form)
        models, ties = [reference.logits], [rounding.tie]
        if rounding.logits:
            models, ties = [*models, rounding.logits], [*ties, TIE_NATS]
        wrong: list[str] = []
        logits = self.trained.logits_of(folder, reference, wrong)
        agreement, *further = compare_with_each(reference.rows, models, logits, reference.stop_ids, ties, stops)
        problem = "".join(wrong) or exact_problem(agreement, self.config, rounding.explains)
        self._judge(name, TRAINED, form, agreement, problem)
        for rounded in further:
            self._judge(name, ROUNDED, form, rounded, exact_problem(rounded, self.config))
        return agreement.text() + self._fp16_hint(form, agreement)

    def _check_companions(self, folder: Path, name: str) -> None:
        """Compare tokenizer, chat template, stop tokens and settings of a folder with those of the training.

        Raises:
            ParityError: they differ.
        """
        rendered = list(render_conversations(self.model, self.context.prompts[: self.config.prompts]))
        problem = companion_check.folder_problem(
            folder, self.trained.folder, self._base, self._trained_tokens, rendered, trust=self.trained.trust
        )
        add_record(conversations(name, problem, count=len(rendered), against=AGAINST_FOLDER), self.context.run_dir)
        if problem:
            raise _parity_error(name, TRAINED, problem, f"{len(rendered)} conversations were compared")

    @functools.cached_property
    def _base(self) -> Path:
        source: ModelSource = self.context.plan.model.create()
        return source.fetch(weights=False).folder

    @functools.cached_property
    def _trained_tokens(self) -> companion_check.TrainedTokens:
        context = self.context
        return companion_check.TrainedTokens.of(context.plan, context.checkpoint, self._base, self.model.stop_ids)

    def check_merged(self, folder: Path, name: str) -> None:
        """Check the merged weights, and keep their logits for the comparison with the files.

        Args:
            folder: the weights, and the tokenizer.
            name: the name of the weights if they are rejected.

        Raises:
            ParityError: the weights differ from the trained ones.
        """
        if problem := self._trained_tokens.problem(folder):
            add_record(conversations(name, problem, against=AGAINST_FOLDER), self.context.run_dir)
            raise _parity_error(name, TRAINED, problem, "its files were compared with those of the training")
        reference = self.trained.reference
        if reference is not None:
            wrong: list[str] = []
            self._merged = list(self.trained.logits_of(folder, reference, wrong))
            form = stored_dtype(folder)
            rounding = self.trained.rounding(reference, form)
            agreement = compare_logits(reference.rows, reference.logits, self._merged, reference.stop_ids, rounding.tie)
            problem = "".join(wrong) or exact_problem(agreement, self.config, rounding.explains)
            self._judge(name, TRAINED, form, agreement, problem)

    def check_gguf(self, file: Path, name: str, quantization: str) -> str:
        """Check a GGUF file in llama.cpp; quantized ones by bounds of their own.

        One that holds the weights as they were merged, or rounds them once, is compared with those too.

        Args:
            file: as it lies until it has passed.
            name: what it will be called.
            quantization: f16, q4_k_m…

        Raises:
            ParityError: it is not what was trained.
        """
        reference = self.trained.reference
        if reference is None:
            return NOT_CHECKED
        short = [(row, logits) for row, logits in zip(reference.rows, reference.logits, strict=True) if not row.last]
        lengths = [len(row.ids) + (0 if row.last else self.config.max_new_tokens + 1) for row in reference.rows]
        rounding = self.trained.rounding(reference, quantization)
        # Keys and values in fp16 swap experts whose scores nearly tie, which an exact file would be rejected for.
        with LlamaProcess(file, n_ctx=max(lengths), precise=quantization in EXACT_FORMATS) as llama:
            self._check_prompts(name, llama, reference)
            trained, trust = self.trained.folder, self.trained.trust
            longest = self.context.plan.training.max_seq_length
            if problem := companion_check.metadata_problem(llama, trained, longest, trust=trust):
                raise _parity_error(name, TRAINED, problem, "llama.cpp computes by it")
            window = companion_check.lost_window(llama, trained, trust=trust)
            if early := companion_check.stops_early(reference.rows, llama.stop_ids):
                raise _parity_error(name, TRAINED, early, f"the training stops at {sorted(reference.stop_ids)}")
            agreement, *further = self._compare_gguf(llama, reference, quantization, rounding, llama.stop_ids)
            answers = []
            with counting(len(short), "answer", "parity: llama.cpp") as counter:
                for row, logits in short:
                    answers.append(self._match_answer(llama, row, logits, agreement.tie))
                    counter.advance()
            agreement.answers = answers
        if quantization in EXACT_FORMATS:
            problem = exact_problem(agreement, self.config, rounding.explains)
        else:
            problem = quantized_problem(agreement, self.config)
        self._judge(name, TRAINED, quantization, agreement, problem)
        self._judge_merged(name, quantization, further, rounding)
        return "; ".join(filter(None, [agreement.text(), window]))

    def check_tensors(self, file: Path, source: Path, name: str) -> None:
        """Compare the tensors of a quantized GGUF file with those of its source file.

        Raises:
            ParityError: a tensor differs too much from its source.
        """
        self._judge_tensors(name, CONVERTED, tensors_problem(file, source), CONVERTED)

    def judge_experts(self, name: str, problem: str) -> None:
        """Write into `parity.json` whether the experts of a converted file are those of the merged weights.

        Raises:
            ParityError: one is another.
        """
        self._judge_tensors(name, MERGED, problem, EXPERTS)

    def _judge_tensors(self, name: str, against: str, problem: str, record: str) -> None:
        add_record(conversations(name, problem, against=record), self.context.run_dir)
        if problem:
            raise _parity_error(name, against, problem, "some rows of each were compared")

    def check_conversations(self, file: Path, name: str) -> str:
        """Let llama.cpp's server write conversations by the chat template in a GGUF file, as Ollama does.

        Text and token ids have to be those of the training; with tools a difference is noted. It needs `xllamacpp`;
        without it nothing is compared.

        Args:
            file: as it lies until it has passed.
            name: what it will be called.

        Returns:
            What came out, as a text.

        Raises:
            ParityError: one conversation is written or tokenized otherwise.
        """
        rendered = list(render_conversations(self.model, self.context.prompts[: self.config.prompts]))
        why = missing_server() or ("" if rendered else "the chat template accepts none of the conversations")
        compared = (
            ConversationResult(not_checked=why)
            if why
            else compare_in_server(self.model, file, rendered, self.context.run_dir / SERVER_LOG)
        )
        count = 0 if compared.not_checked else len(rendered)
        record = conversations(name, compared.problem, compared.tools, count, compared.not_checked)
        add_record(record, self.context.run_dir)
        if compared.problem:
            raise _parity_error(name, TRAINED, compared.problem, f"{count} conversations were compared")
        if compared.not_checked:
            return f"not checked in llama.cpp: {compared.not_checked}"
        if compared.tools:
            return f"llama.cpp writes conversations without tools as the training does; with tools, {compared.tools}"
        return f"llama.cpp writes {count} conversations as the training does"

    def check_conversion(self, file: Path, name: str, form: str) -> None:
        """Check a GGUF file that others are quantized from, by the bounds of exact exports.

        It is given token ids only: how llama.cpp cuts text and where it stops is said in the files made of it.

        Raises:
            ParityError: it is not what was trained.
        """
        reference = self.trained.reference
        if reference is None:
            return
        rounding = self.trained.rounding(reference, form)
        with LlamaProcess(file, n_ctx=max(len(row.ids) for row in reference.rows), precise=True) as llama:
            agreement, *further = self._compare_gguf(llama, reference, form, rounding)
        self._judge(name, TRAINED, form, agreement, exact_problem(agreement, self.config, rounding.explains))
        self._judge_merged(name, form, further, rounding)

    def _compare_gguf(
        self,
        llama: LlamaProcess,
        reference: Reference,
        form: str,
        rounding: Rounding,
        stops: frozenset[int] | None = None,
    ) -> list[Agreement]:
        """Compare with the trained weights; an exact file also with the merged weights, others also with the base."""
        models = [reference.logits, *([self._merged] if self._merged and form in EXACT_FORMATS else [])]
        answers: list[Any] = []

        def logits() -> Iterator[Any]:
            with counting(len(reference.rows), "row", "parity: llama.cpp") as counter:
                for row in reference.rows:
                    row_logits = llama.logits(row.ids, last=row.last)
                    if not row.last:
                        answers.append(answer_logits(row, row_logits))
                    yield row_logits
                    counter.advance()

        ties = [rounding.tie] * len(models)
        agreements = compare_with_each(reference.rows, models, logits(), reference.stop_ids, ties, stops)
        if form not in EXACT_FORMATS and self.config.quantized_share > 0 and not agreements[0].not_finite:
            self._measure_change_retained(agreements[0], reference, answers)
        return agreements

    def _measure_change_retained(self, agreement: Agreement, reference: Reference, export: list[Any]) -> None:
        """Measure which share of the change from the base an export has, and its weights before the quantization."""
        rows, base = [row for row in reference.rows if not row.last], self.trained.base_answers(reference)
        trained, merged = (
            [answer_logits(row, row_logits) for row, row_logits in zip(rows, logits, strict=False)]
            for logits in (reference.logits, self._merged)
        )
        if estimate := change_retained(rows, base, trained, export):
            agreement.share, agreement.share_error = estimate
            if merged and (source := change_retained(rows, base, trained, merged)):
                agreement.rounding = rounding_size(rows, base, trained, merged, export)
                agreement.source_share, agreement.source_share_error = source

    def _judge_merged(self, name: str, form: str, agreements: list[Agreement], rounding: Rounding) -> None:
        for agreement in agreements:
            self._judge(name, MERGED, form, agreement, exact_problem(agreement, self.config, rounding.explains))

    def _judge(self, name: str, against: str, form: str, agreement: Agreement, problem: str) -> None:
        """Write the result into `parity.json`, and raise a `ParityError` if it fails."""
        add_record(comparison(name, against, form, agreement, problem, self.config), self.context.run_dir)
        if problem:
            raise _parity_error(name, against, problem, agreement.text() + self.remedy)

    def _check_prompts(self, name: str, llama: LlamaProcess, reference: Reference) -> None:
        """Make sure that llama.cpp reads the prompts as the tokenizer does."""
        for row in reference.rows:
            if row.last:  # it is cut anywhere
                continue
            ids, ours = tuple(llama.tokenize_prompt(row.text)), (*row.before, *row.prompt)
            if ids != ours:
                at = next((n for n, pair in enumerate(zip(ids, ours, strict=False)) if pair[0] != pair[1]), 0)
                raise _parity_error(
                    name,
                    TRAINED,
                    f"llama.cpp tokenizes a prompt differently, from token {at} on: {row.text[:40]!r}",
                    f"{len(ids)} tokens instead of {len(ours)}",
                )

    def _match_answer(self, llama: LlamaProcess, row: CheckRow, logits: Any, tie: float) -> AnswerMatch:
        """Compare the greedy answer of llama.cpp with the row's; at the first difference the trained weights decide.

        The answers of the row come from the model in memory, which may compute in four bits: another token is right
        if the trained weights prefer it. Later tokens cannot be compared.
        """
        completion = llama.complete(row.prompt, max_new_tokens=len(row.answer) + 1)
        shared = next(
            (n for n, pair in enumerate(zip(completion.ids, row.answer, strict=False)) if pair[0] != pair[1]), None
        )
        position = min(len(completion.ids), len(row.answer)) if shared is None else shared
        next_logits = logits[len(row.prompt) + position - 1]
        if position < len(completion.ids):
            next_tokens = [completion.ids[position]]
        else:
            next_tokens = [token for token in llama.stop_ids if token < len(next_logits)] if completion.stopped else []
        if not next_tokens:
            return AnswerMatch.same
        gap = float(next_logits.max() - max(next_logits[token] for token in next_tokens))
        return AnswerMatch.same if gap == 0 else AnswerMatch.near if gap <= tie else AnswerMatch.differs

    def _fp16_hint(self, form: str, agreement: Agreement) -> str:
        """Return the advice to export in fp16 if a folder in bf16 stays below the bound for other formats."""
        if form in BF16_FORMATS and agreement.top1 < self.config.exact_top1:
            return ". bf16 keeps seven bits of base and adapter, exporter.merged.dtype=fp16 would keep ten"
        return ""


@contextmanager
def reject_on_failure(path: Path, run_dir: Path, name: str) -> Iterator[None]:
    """Move a rejected export to `rejected/` in the run folder, for inspection.

    Args:
        path: the file or folder that is checked inside.
        run_dir: the run folder.
        name: the name that the export would have.

    Raises:
        ParityError: the gate's, with where the files lie now.
    """
    try:
        yield
    except ParityError as error:
        target = run_dir / REJECTED_FOLDER / name
        if target.is_dir():
            shutil.rmtree(target)
        target.parent.mkdir(exist_ok=True)
        path.replace(target)
        raise ParityError(f"{error}\nIt is now in {target}") from error


def _parity_error(name: str, against: str, problem: str, details: str) -> ParityError:
    reference = "trained, rounded to bf16" if against == ROUNDED else against
    return ParityError(f"{name} is not what was {reference}: {problem} ({details})")
