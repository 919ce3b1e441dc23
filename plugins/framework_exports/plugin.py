"""Registers exporters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from framework import Component, hookimpl
from framework_exports import config

if TYPE_CHECKING:
    from framework.checkup import Checkup
    from framework.plan import Plan

GGUF = "framework[gguf]"


@hookimpl
def framework_exporters() -> Iterable[Component]:
    """The adapter as it was trained, the model that it makes of its base, and GGUF files."""
    yield Component("adapter", config.AdapterExporterConfig, "framework_exports.adapter:AdapterExporter")
    yield Component("merged", config.MergedExporterConfig, "framework_exports.merged:MergedExporter")
    yield Component("gguf", config.GgufExporterConfig, "framework_exports.gguf_exporter:GgufExporter", extra=GGUF)
    yield Component(
        "gguf_adapter",
        config.GgufAdapterExporterConfig,
        "framework_exports.gguf_adapter:GgufAdapterExporter",
        extra=GGUF,
    )


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[str]:
    """Refuse folders that are not the exporter's own, and GGUF files that cannot be made."""
    for name, choice in plan.exporter.items():
        if isinstance(choice.config, config.GgufExporterConfig | config.GgufAdapterExporterConfig):
            from framework_exports import gguf_checks  # noqa: PLC0415 - other runs need not pay for it

            yield from gguf_checks.problems(plan, name, choice)
        folder = getattr(choice.config, "folder", "adapter")
        if not folder.strip(".") or "/" in folder or "\\" in folder or folder == "checkpoint":
            yield f"exporter.{name}.folder={folder} must be one plain name inside the run folder, such as adapter"


@hookimpl
def framework_checkups() -> Iterable[Checkup]:
    """What quantizes GGUF files, which `exporter=gguf` needs, and what serves them."""
    from framework.checkup import Checkup  # noqa: PLC0415 - only `doctor` needs it

    yield Checkup("llama.cpp", "export", "framework_exports.checkups:quantizer", needed=_writes_gguf)
    yield Checkup("Ollama", "export", "framework_exports.checkups:ollama")


def _writes_gguf(plan: Plan) -> bool:
    return any(choice.component.name == "gguf" for choice in plan.exporter.values())
