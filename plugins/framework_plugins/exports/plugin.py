"""Registers exporters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from framework import Component, hookimpl
from framework.api import Diagnostic, ExportNeed
from framework_plugins.exports import config

if TYPE_CHECKING:
    from framework import Plan
    from framework.api import Problem
    from framework.api.training import Shape

GGUF, SERVE = "framework-finetune[gguf]", "framework-finetune[serve]"


@hookimpl
def framework_components() -> Iterable[Component]:
    """The adapter as it was trained, the model that it makes of its base, GGUF files, and what goes with them."""
    yield Component("adapter", config.AdapterExporterConfig, "framework_plugins.exports.adapter:AdapterExporter")
    yield Component("merged", config.MergedExporterConfig, "framework_plugins.exports.merge.exporter:MergedExporter")
    yield Component(
        "gguf", config.GgufExporterConfig, "framework_plugins.exports.gguf.exporter:GgufExporter", extra=GGUF
    )
    yield Component(
        "gguf_adapter",
        config.GgufAdapterExporterConfig,
        "framework_plugins.exports.gguf.adapter:GgufAdapterExporter",
        extra=GGUF,
    )
    yield Component("ollama", config.OllamaExporterConfig, "framework_plugins.exports.ollama:OllamaExporter")
    yield Component(
        "model_card", config.ModelCardExporterConfig, "framework_plugins.exports.hub.model_card:ModelCardExporter"
    )
    yield Component("push", config.PushExporterConfig, "framework_plugins.exports.hub.push:PushExporter")
    yield Component(
        "gguf", config.GgufSpeakerConfig, "framework_plugins.exports.llama.speaker:GgufSpeakers", extra=GGUF
    )
    endpoint = "framework_plugins.exports.endpoint"
    yield Component("parity", config.ParityCommandConfig, f"{endpoint}.parity_command:ParityCommand", extra=SERVE)
    yield Component("serve", config.ServeCommandConfig, f"{endpoint}.serve_command:ServeCommand", extra=SERVE)


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[Problem]:
    """Refuse folders that are not the exporter's own, and exports that cannot be made."""
    from framework_plugins.exports import checks  # noqa: PLC0415 - --help need not pay for it

    yield from checks.problems(plan)


@hookimpl
def framework_check_model(plan: Plan, config: Mapping[str, Any]) -> Iterable[Problem]:
    """Refuse a model that llama.cpp's converter does not know, and weights into which nothing can be merged."""
    from framework_plugins.exports import checks  # noqa: PLC0415 - --help need not pay for it

    return checks.model_problems(plan, config)


@hookimpl
def framework_export_needs(plan: Plan, shape: Shape) -> Iterable[ExportNeed]:
    """Disk and memory, by the size of the model."""
    from framework_plugins.exports.disk_and_memory import export_needs  # noqa: PLC0415 - --help need not pay for it

    yield from export_needs(plan, shape)


@hookimpl
def framework_diagnostics() -> Iterable[Diagnostic]:
    """What quantizes GGUF files, which `exporter=gguf` needs, and what serves them."""
    yield Diagnostic("llama.cpp", "export", "framework_plugins.exports.diagnostics:quantizer", _writes_gguf, "quick")
    yield Diagnostic("Ollama", "export", "framework_plugins.exports.diagnostics:ollama", process="quick")


def _writes_gguf(plan: Plan) -> bool:
    return any(choice.component.name == "gguf" for choice in plan.exporter.values())
