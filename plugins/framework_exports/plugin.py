"""Registers exporters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from framework import Component, hookimpl
from framework_exports import config

if TYPE_CHECKING:
    from framework.checkup import Checkup
    from framework.plan import Plan


@hookimpl
def framework_exporters() -> Iterable[Component]:
    """The adapter as it was trained, and the model that it makes of its base."""
    yield Component("adapter", config.AdapterExporterConfig, "framework_exports.adapter:AdapterExporter")
    yield Component("merged", config.MergedExporterConfig, "framework_exports.merged:MergedExporter")


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[str]:
    """Refuse folders that are not the exporter's own."""
    for name, choice in plan.exporter.items():
        folder = getattr(choice.config, "folder", "adapter")
        if not folder.strip(".") or "/" in folder or "\\" in folder or folder == "checkpoint":
            yield f"exporter.{name}.folder={folder} must be one plain name inside the run folder, such as adapter"


@hookimpl
def framework_checkups() -> Iterable[Checkup]:
    """What quantizes GGUF files and what serves them. No exporter asks for either, so no run needs them."""
    from framework.checkup import Checkup  # noqa: PLC0415 - only `doctor` needs it

    yield Checkup("llama.cpp", "export", "framework_exports.checkups:quantizer")
    yield Checkup("Ollama", "export", "framework_exports.checkups:ollama")
