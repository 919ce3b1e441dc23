"""The parity gate: an export that does not say what the trained model says is put aside, not handed out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from framework.errors import FrameworkError
from framework.protocols import ExportContext, Model, ModelSource
from framework_exports.config import ParityConfig
from framework_exports.llama.model import Llama
from framework_exports.parity.agreement import Agreement, agree
from framework_exports.parity.folders import affordable, folder_logits, trained_logits
from framework_exports.parity.rows import CheckRow, check_rows

TIE = {torch.float32: 0.02, torch.bfloat16: 0.25}
"""How near the likeliest tokens may be, in nats, for a rounding to swap them: of fp32 computing with 16-bit floats of
ten bits, and where weights or computing have the seven bits of bf16."""
REJECTED = "rejected"
HELD = "parity"
NOT_CHECKED = "not checked: the trained model does not fit into memory a second time"


class ParityError(FrameworkError):
    """An export is not what was trained."""


@dataclass
class Reference:
    """The trained model's rows, and its logits in the number format that memory allows."""

    rows: list[CheckRow]
    dtype: torch.dtype
    stop_ids: frozenset[int]
    logits: list[Any] = field(default_factory=list)


class Gate:
    """Compares exports with the trained model.

    Args:
        config: the bounds.
        model: the trained model.
        context: of the exporter; what the gate works out is kept in it for the next exporter.
    """

    def __init__(self, config: ParityConfig, model: Model, context: ExportContext) -> None:
        self.config = config
        self.model = model
        self.context = context

    @property
    def reference(self) -> Reference | None:
        """What the trained model says; None where it does not fit into memory a second time."""
        if HELD not in self.context.kept:
            self.context.kept[HELD] = self._reference()
        held: Reference | None = self.context.kept[HELD]
        return held

    def _reference(self) -> Reference | None:
        context, settings = self.context, self.config
        adapted = (context.checkpoint / "adapter_config.json").is_file()
        source: ModelSource = context.plan.model.create()
        dtype = affordable(source.fetch(weights=True).folder if adapted else context.checkpoint)
        if dtype is None:
            return None
        rows = check_rows(self.model, context.prompts, count=settings.prompts, max_new_tokens=settings.max_new_tokens)
        logits = trained_logits(context.plan, context.checkpoint, rows, dtype)
        return Reference(rows, dtype, self.model.stop_ids, logits)

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
        trust = self.context.plan.model.config.trust_remote_code
        made = folder_logits(folder, reference.rows, reference.dtype, trust=trust)
        tie = TIE[torch.bfloat16] if _rounded(folder) else TIE[reference.dtype]
        return self._exact(folder.name.removesuffix(".unchecked"), self._agree(reference, made, tie))

    def gguf(self, file: Path, *, exact: bool) -> str:
        """Check a GGUF file in llama.cpp; one that is not exact by the bounds in the config.

        Raises:
            ParityError: it is not what was trained.
        """
        reference = self.reference
        if reference is None:
            return NOT_CHECKED
        longest = max(len(row.ids) for row in reference.rows) + self.config.max_new_tokens + 1
        with Llama(file, n_ctx=longest) as llama:
            self._check_prompts(file, llama, reference)
            tie = TIE[reference.dtype]
            made = self._agree(reference, (llama.logits(row.ids) for row in reference.rows), tie)
            texts = [self._follows(llama, row, reference.logits[n]) for n, row in enumerate(reference.rows)]
        told = f"{made.text()}, greedy answers as trained {sum(texts)} of {len(texts)}"
        if not exact:
            return self._within(file.name, made, told)
        if not all(texts):
            differ = len(texts) - sum(texts)
            raise _failed(file.name, f"greedy answers differ for {differ} of {len(texts)} prompts", told)
        self._exact(file.name, made)
        return told

    def _agree(self, reference: Reference, made: Iterable[Any], tie: float) -> Agreement:
        return agree(reference.rows, reference.logits, made, reference.stop_ids, tie)

    def _check_prompts(self, file: Path, llama: Llama, reference: Reference) -> None:
        """Make sure that llama.cpp reads the prompts as the tokenizer does."""
        for row in reference.rows:
            read = tuple(llama.tokenize(row.text))
            if read != row.prompt:
                at = next((n for n, pair in enumerate(zip(read, row.prompt, strict=False)) if pair[0] != pair[1]), 0)
                problem = f"llama.cpp tokenizes a prompt otherwise, from token {at} on: {row.text[:40]!r}"
                raise _failed(file.name, problem, f"{len(read)} tokens instead of {len(row.prompt)}")

    def _follows(self, llama: Llama, row: CheckRow, logits: Any) -> bool:
        """Whether a file goes on from a prompt as the trained model does.

        The answers of the row come from the model in memory, which may compute in four bits. So where the file leaves
        them, what it says there has to be the likeliest token of the trained weights, or so near to it that computing
        in bf16 may swap them; what follows cannot be compared.
        """
        said = llama.complete(row.prompt, max_new_tokens=len(row.answer) + 1)
        shared = next((n for n, pair in enumerate(zip(said.ids, row.answer, strict=False)) if pair[0] != pair[1]), None)
        place = min(len(said.ids), len(row.answer)) if shared is None else shared
        there = logits[len(row.prompt) + place - 1]
        if place < len(said.ids):
            return _likely(there, said.ids[place])
        return any(_likely(there, token) for token in llama.stop_ids if token < len(there)) if said.stopped else True

    def _exact(self, name: str, made: Agreement) -> str:
        told = made.text()
        if not made.stops_kept:
            raise _failed(name, "an answer that the trained model ends goes on", told)
        if made.top1_beyond_ties < self.config.exact_top1:
            share = f"{made.top1_beyond_ties:.2%} of positions, and parity.exact_top1={self.config.exact_top1:g}"
            raise _failed(name, f"the likeliest tokens agree at {share}", told)
        if made.kl > self.config.exact_kl:
            raise _failed(name, f"the divergence is {made.kl:.2g}, and parity.exact_kl={self.config.exact_kl:g}", told)
        return told

    def _within(self, name: str, made: Agreement, told: str) -> str:
        """Check a quantized file by its bounds."""
        bounds = self.config
        for found, limit, setting, low in (
            (made.top1, bounds.quantized_top1, "quantized_top1", True),
            (made.kl, bounds.quantized_kl, "quantized_kl", False),
            (made.perplexity_ratio, bounds.quantized_perplexity, "quantized_perplexity", False),
        ):
            if (found < limit) if low else (found > limit):
                raise _failed(name, f"{setting[10:]} is {found:.3g}, and parity.{setting}={limit:g}", told)
        return told


@contextmanager
def put_aside(made: Path, run_dir: Path, name: str) -> Iterator[None]:
    """Move what failed the gate to `rejected/` in the run folder, where it can be looked at.

    Args:
        made: the file or folder that is checked inside.
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
        made.replace(place)
        message = f"{error}\nIt lies in {place} now"
        raise ParityError(message) from error


def _rounded(folder: Path) -> bool:
    """Whether the weights of a folder have the seven bits of bf16."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return "bfloat16" in (
        config.get("dtype"),
        config.get("torch_dtype"),
        (config.get("text_config") or {}).get("dtype"),
    )


def _likely(logits: Any, token: int) -> bool:
    """Whether a token is the likeliest, or as near to it as computing in bf16 is exact."""
    return bool(logits.max() - logits[token] <= TIE[torch.bfloat16])


def _failed(name: str, problem: str, told: str) -> ParityError:
    return ParityError(f"{name} is not what was trained: {problem} ({told})")
