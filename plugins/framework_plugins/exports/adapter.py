"""`exporter=adapter`: everything that is needed to use the trained weights elsewhere, in one folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from framework import FrameworkError
from framework.api import Artifact, ExportContext, Exporter, Model
from framework_plugins.exports import chat_template
from framework_plugins.exports.config import AdapterExporterConfig
from framework_plugins.exports.disk_and_memory import check_disk_space
from framework_plugins.exports.export_folder import folder_size, new_folder
from framework_plugins.lib.links import refuse_links

NOT_EXPORTED = shutil.ignore_patterns(
    "README.md", "trainer_state.json", "checkpoint-*", "*.pt", "*.pth", "*.bin", "*.pkl"
)
"""What a training of transformers leaves beside the weights: its state, pickled, and peft's empty model card."""
TOKENIZER = "tokenizer_config.json"


class AdapterExporter(Exporter):
    """Weights, tokenizer, chat template, config."""

    def __init__(self, config: AdapterExporterConfig) -> None:
        self.config = config

    def export(self, model: Model, context: ExportContext) -> list[Artifact]:
        """Write the folder; the weights share the checkpoint's disk space where the file system allows.

        Weights that bring a tokenizer of their own keep it: it may have tokens that the base lacks. The switches that
        the run rendered its chat template with are written into the template.

        Raises:
            FrameworkError: there are no weights, they link to files elsewhere, the folder holds something else, or the
            disk is full.
        """
        folder = context.run_dir / self.config.folder
        if not context.checkpoint.is_dir():
            raise FrameworkError(
                f"{context.checkpoint} is not a folder with trained weights: train first, or give another one"
            )
        refuse_links(context.checkpoint, str(context.checkpoint))  # it may be of somebody else
        if context.checkpoint.stat().st_dev != context.run_dir.stat().st_dev:  # else it is linked
            check_disk_space(folder, folder_size(context.checkpoint))
        with new_folder(folder, context.config) as half:
            shutil.copytree(
                context.checkpoint, half, copy_function=_link_or_copy, ignore=NOT_EXPORTED, dirs_exist_ok=True
            )
            if not (half / TOKENIZER).is_file():
                model.save_tokenizer(half)
            chat_template.write_switches(half, context.plan.model.config.template_switches)
        return [Artifact("adapter", self.config.folder, folder_size(folder))]


def _link_or_copy(source: str, target: str) -> None:
    """Hard-link weights; copy small files, and all of them where links are not supported."""
    if Path(source).suffix == ".safetensors":
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)
    else:
        shutil.copy2(source, target)
