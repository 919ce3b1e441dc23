"""Options of `exporter=`."""

from __future__ import annotations

from dataclasses import dataclass

from framework.schema import ExporterConfig


@dataclass
class AdapterExporterConfig(ExporterConfig):
    """The trained weights with tokenizer, chat template and the config of the run, ready for peft or transformers."""

    folder: str = "adapter"
    """Name of the folder inside the run folder."""
