"""`exporter=merged`: the whole model in one folder that transformers loads without peft."""

from __future__ import annotations

import shutil

from framework.api.errors import FrameworkError
from framework.api.protocols import ExportContext, Model
from framework.api.records import Artifact
from framework_plugins.exports.config import Dtype, MergedExporterConfig
from framework_plugins.exports.folders import foreign, size_of
from framework_plugins.exports.merge import number_format
from framework_plugins.exports.merge.merging import merge
from framework_plugins.exports.merge.rounding import lost
from framework_plugins.exports.parity.gate import Gate, put_aside


class MergedExporter:
    """Weights, config, tokenizer, chat template."""

    reusable = True

    def __init__(self, config: MergedExporterConfig) -> None:
        self.config = config

    def export(self, model: Model, context: ExportContext) -> list[Artifact]:
        """Write the folder, see `merging.merge`, and compare it with the trained model.

        Raises:
            ParityError: it is not what was trained; it lies in `rejected/` then.
        """
        folder, settings = context.run_dir / self.config.folder, self.config
        if problem := foreign(folder):
            raise FrameworkError(problem)
        unchecked, size = context.run_dir / f"{settings.folder}.unchecked", settings.max_shard_size
        gate = Gate(settings.parity, model, context) if settings.parity.check else None
        number_type = self._format(context, gate)
        notes, parity = [number_type.note] if number_type.note else [], ""
        try:
            merge(context.plan, context.checkpoint, unchecked, dtype=number_type.dtype, max_shard_size=size)
            if gate:
                gate.remedy = number_type.remedy
                with put_aside(unchecked, context.run_dir, settings.folder):
                    parity = gate.folder(unchecked)
            shutil.rmtree(folder, ignore_errors=True)
            unchecked.replace(folder)
        finally:
            shutil.rmtree(unchecked, ignore_errors=True)  # of an export that was interrupted
        return [Artifact("merged", settings.folder, size_of(folder), notes, parity)]

    def _format(self, context: ExportContext, gate: Gate | None) -> number_format.Chosen:
        """Choose the number format, or take the one that was."""
        if self.config.dtype is Dtype.auto:
            return number_format.for_folder(context, gate)
        short = self.config.dtype is not Dtype.fp32
        share = lost(context.plan, context.checkpoint, Dtype.fp16) if short and gate else 0.0
        return number_format.Chosen(self.config.dtype, lost=share)
