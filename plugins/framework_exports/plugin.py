"""Registers exporters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from framework import Component, hookimpl
from framework_exports import config

if TYPE_CHECKING:
    from framework.checkup import Checkup
    from framework.plan import Plan

OURS = (config.AdapterExporterConfig, config.MergedExporterConfig)
"""Exporters that leave the mark of an export in their folder."""
GGUF = "framework[gguf]"


@hookimpl
def framework_exporters() -> Iterable[Component]:
    """The adapter as it was trained, the model that it makes of its base, and GGUF files."""
    yield Component("adapter", config.AdapterExporterConfig, "framework_exports.adapter:AdapterExporter")
    yield Component("merged", config.MergedExporterConfig, "framework_exports.merged:MergedExporter")
    yield Component("model_card", config.ModelCardExporterConfig, "framework_exports.model_card:ModelCardExporter")
    yield Component("push", config.PushExporterConfig, "framework_exports.push:PushExporter")
    yield Component("gguf", config.GgufExporterConfig, "framework_exports.gguf_exporter:GgufExporter", extra=GGUF)
    yield Component(
        "gguf_adapter",
        config.GgufAdapterExporterConfig,
        "framework_exports.gguf_adapter:GgufAdapterExporter",
        extra=GGUF,
    )


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[str]:
    """Refuse folders that are not the exporter's own, GGUF files that cannot be made, a push that cannot succeed."""
    from framework_exports import gguf_checks  # noqa: PLC0415 - --help need not pay for it
    from framework_exports.folders import foreign  # noqa: PLC0415 - as above

    folders: dict[str, str] = {}
    for name, choice in plan.exporter.items():
        yield from gguf_checks.problems(plan, name, choice)
        folder = getattr(choice.config, "folder", name)
        if not folder.strip(".") or "/" in folder or "\\" in folder or folder == "checkpoint":
            yield f"exporter.{name}.folder={folder} must be one plain name inside the run folder, such as {name}"
        elif folder in folders:
            yield f"exporter.{name}.folder={folder} is that of exporter.{folders[folder]} too: choose another name"
        elif isinstance(choice.config, OURS) and (problem := foreign(plan.run_dir / folder)):
            yield f"exporter.{name}.folder={folder}: {problem}"
        folders[folder] = name
    if any(isinstance(choice.config, config.PushExporterConfig) for choice in plan.exporter.values()):
        from framework_exports.checks import push_problems  # noqa: PLC0415 - asks a library of the Hub for a token

        yield from push_problems(plan)


@hookimpl
def framework_checkups() -> Iterable[Checkup]:
    """What quantizes GGUF files and what serves them. No exporter asks for either, so no run needs them."""
    from framework.checkup import Checkup  # noqa: PLC0415 - only `doctor` needs it

    yield Checkup("llama.cpp", "export", "framework_exports.checkups:quantizer")
    yield Checkup("Ollama", "export", "framework_exports.checkups:ollama")
