"""`exporter=merged`: the whole model in one folder that transformers loads without peft."""

from __future__ import annotations

import shutil

from framework.errors import FrameworkError
from framework.protocols import ExportContext, Model
from framework.records import Artifact
from framework_exports.config import MergedExporterConfig
from framework_exports.folders import foreign, size_of
from framework_exports.merging import merge
from framework_exports.parity.gate import Gate, put_aside


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
        notes = []
        try:
            merge(context.plan, context.checkpoint, unchecked, dtype=settings.dtype, max_shard_size=size)
            if settings.parity.check:
                with put_aside(unchecked, context.run_dir, settings.folder):
                    notes = [f"parity: {Gate(settings.parity, model, context).folder(unchecked)}"]
            shutil.rmtree(folder, ignore_errors=True)
            unchecked.replace(folder)
        finally:
            shutil.rmtree(unchecked, ignore_errors=True)  # of an export that was interrupted
        return [Artifact("merged", settings.folder, size_of(folder), notes)]
