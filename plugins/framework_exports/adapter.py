"""`exporter=adapter`: everything that is needed to use the trained weights elsewhere, in one folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from framework.protocols import ExportContext, Model
from framework.records import Artifact
from framework_exports.config import AdapterExporterConfig

CONFIG = "run_config.json"


class AdapterExporter:
    """Weights, tokenizer, chat template, config."""

    def __init__(self, config: AdapterExporterConfig) -> None:
        self.config = config

    def export(self, model: Model, context: ExportContext) -> list[Artifact]:
        """Write the folder; the weights share the checkpoint's disk space where the file system allows."""
        folder = context.run_dir / self.config.folder
        half = folder.with_name(folder.name + ".part")
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(context.checkpoint, half, copy_function=_link)
        model.save_tokenizer(half)
        (half / CONFIG).write_text(json.dumps(context.config, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        half.replace(folder)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        return [Artifact("adapter", self.config.folder, size)]


def _link(source: str, target: str) -> None:
    """Hard-link weights; copy small files, and all of them where links are not to be had."""
    if Path(source).suffix == ".safetensors":
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)
    else:
        shutil.copy2(source, target)
