"""What the trained model says at the check rows, and what rounding its weights explains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from framework import FrameworkError
from framework.api import ExportContext, Model
from framework.api.training import ModelSource
from framework_plugins.exports.config import ParityConfig
from framework_plugins.exports.export_folder import MODEL_CONFIG, read_json
from framework_plugins.exports.parity.agreement import Agreement, compare_logits, widest_tie
from framework_plugins.exports.parity.change_retained import answer_logits
from framework_plugins.exports.parity.check_rows import CheckRow, answered_rows, long_row, option_rows
from framework_plugins.exports.parity.reference_logits import (
    Placement,
    find_placement,
    folder_logits,
    rounded_logits,
    stored_dtype,
    trained_logits,
)
from framework_plugins.exports.parity.weights import Product, weights_problem
from framework_plugins.lib.weight_files import ADAPTER_CONFIG

TIE_NATS, BF16_REFERENCE_TIE_NATS = 0.02, 0.15
"""How near the likeliest tokens may be, in nats, for a rounding to swap them: of weights with ten bits or more behind
the point; and if memory holds the trained weights in bf16 and the export has more bits, so that what a rounding does
cannot be measured. Of an export in bf16 it is: SmolLM2 with the quickstart's adapter has 0.137."""
BF16_FORMATS = ("bfloat16", "bf16")
EXACT_FORMATS = ("f32", "f16", "bf16")
"""Quantizations that hold the weights as they are, or round them once."""
CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "context_length")
"""Names of the longest row that a model takes."""
SHARED_KEY = "parity"


@dataclass
class Reference:
    """The trained model's rows, and its logits, computed in fp32.

    Attributes:
        rows: what all are given.
        placement: where and how memory holds the weights.
        stop_ids: the tokens that end an answer.
        logits: of each row, (tokens, vocabulary).
        largest: the size of the largest number that a layer gives.
        weights: the expected weights of a merge.
    """

    rows: list[CheckRow]
    placement: Placement
    stop_ids: frozenset[int]
    logits: list[Any]
    largest: float
    weights: dict[str, Product]


@dataclass(frozen=True)
class Rounding:
    """The differences that rounding the weights of an export explains.

    Attributes:
        tie: how near the likeliest tokens may be for it to swap them, in nats.
        explains: how far the trained weights agree with themselves after it; None if the export does not round to bf16.
        logits: of the trained weights after the rounding; empty if the export does not round to bf16.
    """

    tie: float = TIE_NATS
    explains: Agreement | None = None
    logits: list[Any] = field(default_factory=list)


class TrainedModel:
    """The trained model of a run, and its base, computed by plain transformers and peft.

    Args:
        config: how many rows there are, and how long they are.
        model: answers the prompts.
        context: of the exporter; the reference is kept in it for the next exporter.
    """

    def __init__(self, config: ParityConfig, model: Model, context: ExportContext) -> None:
        self.config = config
        self.model = model
        self.context = context
        self._base_answers: list[Any] = []
        self._roundings: dict[str, Rounding] = {}

    @property
    def reference(self) -> Reference | None:
        """The logits of the trained model; None if it does not fit into memory a second time."""
        if SHARED_KEY not in self.context.shared:
            self.context.shared[SHARED_KEY] = self._make_reference()
        reference: Reference | None = self.context.shared[SHARED_KEY]
        return reference

    def _make_reference(self) -> Reference | None:
        context, settings = self.context, self.config
        if find_placement(self.folder) is None:
            return None
        rows = answered_rows(
            self.model, context.prompts, count=settings.prompts, max_new_tokens=settings.max_new_tokens
        )
        if long := long_row(self.model, self._long_row_tokens()):
            rows.append(long)
        rows += option_rows(self.model, context.prompts)
        placement = find_placement(self.folder)  # once more: answering has taken memory of a GPU
        if placement is None:
            return None
        try:
            result = trained_logits(context.plan, context.checkpoint, rows, placement)
        except torch.OutOfMemoryError:  # of a GPU: others may use it too
            placement = find_placement(self.folder, gpu=False)
            if placement is None:
                return None
            result = trained_logits(context.plan, context.checkpoint, rows, placement)
        if lost := sum(int((~np.isfinite(logits).all(-1)).sum()) for logits in result[0]):
            raise FrameworkError(
                f"the logits of the trained model are not finite at {lost:,} positions of the check rows: there is "
                "nothing to compare an export with. Train again with a lower trainer.learning_rate, or set "
                "parity.check=false in the exporter"
            )
        return Reference(rows, placement, self.model.stop_ids, *result)

    @property
    def folder(self) -> Path:
        """The folder with most of the trained weights: that of the base, or of a model trained whole."""
        if not (self.context.checkpoint / ADAPTER_CONFIG).is_file():
            return self.context.checkpoint
        return self._base_folder()

    def _base_folder(self) -> Path:
        source: ModelSource = self.context.plan.model.create()
        return source.fetch(weights=True).folder

    def _long_row_tokens(self) -> int:
        """Return how long the long row is: no longer than the model takes."""
        config = read_json(self.folder / MODEL_CONFIG)
        text = config.get("text_config") or config
        limits = [int(text[name]) for name in CONTEXT_KEYS if isinstance(text.get(name), int)]
        return min([self.config.long_row, *limits])

    @property
    def trust(self) -> bool:
        """Whether Python code of the folders may be run."""
        return bool(self.context.plan.model.config.trust_remote_code)

    def logits_of(self, folder: Path, reference: Reference, problems: list[str]) -> Iterator[Any]:
        """Give the logits of a model folder at all rows; at the end `problems` gets the problem of its weights."""

        def at_end(model: torch.nn.Module) -> None:
            problems.append(weights_problem(model, reference.weights))

        return folder_logits(folder, reference.rows, reference.placement, trust=self.trust, at_end=at_end)

    def base_answers(self, reference: Reference) -> list[Any]:
        """Return the logits of the base at the answers of the short rows."""
        if not self._base_answers:
            rows = [row for row in reference.rows if not row.last]
            folder, checkpoint = self._base_folder(), self.context.checkpoint
            placement, trust = reference.placement, self.trust
            logits = folder_logits(folder, rows, placement, trust=trust, name="base model", checkpoint=checkpoint)
            self._base_answers = [answer_logits(row, row_logits) for row, row_logits in zip(rows, logits, strict=True)]
        return self._base_answers

    def rounding(self, reference: Reference, form: str) -> Rounding:
        """Return the differences that the coarsest rounding of either side explains, including 32 bits in memory."""
        if form not in BF16_FORMATS:
            rounded = reference.placement.dtype is not torch.float32 and "float32" in (form, stored_dtype(self.folder))
            return Rounding(BF16_REFERENCE_TIE_NATS if rounded else TIE_NATS)
        if form not in self._roundings:
            rows, context = reference.rows, self.context
            # llama.cpp also rounds the inputs of a product with such weights; transformers computes in fp32 here.
            inputs = form in EXACT_FORMATS
            logits = list(rounded_logits(context.plan, context.checkpoint, rows, reference.placement, inputs=inputs))
            tie = max(TIE_NATS, widest_tie(rows, reference.logits, logits))
            explains = compare_logits(rows, reference.logits, logits, reference.stop_ids, tie)
            self._roundings[form] = Rounding(tie, explains, logits)
        return self._roundings[form]
