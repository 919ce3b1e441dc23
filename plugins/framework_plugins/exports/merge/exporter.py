"""`exporter=merged`: the whole model in one folder that transformers loads without peft."""

from __future__ import annotations

import shutil

from framework import FrameworkError, Plan, Stage
from framework.api import Artifact, ExportContext, Exporter, Model
from framework_plugins.exports.config import Dtype, MergedExporterConfig
from framework_plugins.exports.export_folder import folder_problem, folder_size
from framework_plugins.exports.merge import number_format
from framework_plugins.exports.merge.merging import merge, rehearse
from framework_plugins.exports.merge.number_format import rounding_loss
from framework_plugins.exports.parity.gate import Gate, reject_on_failure


class MergedExporter(Exporter):
    """Weights, config, tokenizer, chat template."""

    reusable = True

    def __init__(self, config: MergedExporterConfig) -> None:
        self.config = config

    def check(self, model: Model, plan: Plan) -> None:
        """Rehearse the merge by the headers of the base.

        Raises:
            FrameworkError: it would fail after the training.
        """
        del model
        if Stage.train in plan.stages:
            rehearse(plan, "merged")

    def export(self, model: Model, context: ExportContext) -> list[Artifact]:
        """Write the folder, see `merging.merge`, and compare it with the trained model.

        Raises:
            ParityError: it is not what was trained; it lies in `rejected/` then.
        """
        folder, settings = context.run_dir / self.config.folder, self.config
        if problem := folder_problem(folder):
            raise FrameworkError(problem)
        unchecked, size = context.run_dir / f"{settings.folder}.unchecked", settings.max_shard_size
        gate = Gate(settings.parity, model, context) if settings.parity.check else None
        number_type = self._format(context, gate)
        notes, parity = [number_type.note] if number_type.note else [], ""
        try:
            merge(context.plan, context.checkpoint, unchecked, dtype=number_type.dtype, max_shard_size=size)
            if gate:
                gate.remedy = number_type.remedy
                with reject_on_failure(unchecked, context.run_dir, settings.folder):
                    parity = gate.check_folder(unchecked)
            shutil.rmtree(folder, ignore_errors=True)
            unchecked.replace(folder)
        finally:
            shutil.rmtree(unchecked, ignore_errors=True)  # of an export that was interrupted
        return [Artifact("merged", settings.folder, folder_size(folder), notes, parity)]

    def _format(self, context: ExportContext, gate: Gate | None) -> number_format.NumberFormat:
        """Choose the number format, or take the one in the config."""
        if self.config.dtype is Dtype.auto:
            return number_format.choose_for_folder(context, gate)
        short = self.config.dtype is not Dtype.fp32
        share = rounding_loss(context.plan, context.checkpoint, Dtype.fp16) if short and gate else 0.0
        return number_format.NumberFormat(self.config.dtype, rounding_loss=share)
