"""`exporter=merged`: the whole model in one folder that transformers loads without peft."""

from __future__ import annotations

from framework.protocols import ExportContext, Model
from framework.records import Artifact
from framework_exports.config import MergedExporterConfig
from framework_exports.folders import size_of
from framework_exports.merging import merge


class MergedExporter:
    """Weights, config, tokenizer, chat template."""

    def __init__(self, config: MergedExporterConfig) -> None:
        self.config = config

    def export(self, model: Model, context: ExportContext) -> list[Artifact]:  # noqa: ARG002 - files are merged
        """Write the folder; see `merging.merge`."""
        folder, size = context.run_dir / self.config.folder, self.config.max_shard_size
        merge(context.plan, context.checkpoint, folder, dtype=self.config.dtype, max_shard_size=size)
        return [Artifact("merged", self.config.folder, size_of(folder))]
