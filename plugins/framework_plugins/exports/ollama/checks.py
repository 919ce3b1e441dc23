"""Problems of the plan of an `exporter=ollama`, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from framework.api.errors import FrameworkError
from framework.api.plan import Plan
from framework.api.schema import Stage
from framework.api.text import unknown
from framework_plugins.exports.config import OllamaExporterConfig
from framework_plugins.exports.ollama import weights


def problems(plan: Plan) -> Iterator[str]:
    """Give the problems, a sentence each."""
    for name, choice in plan.exporter.items():
        settings = choice.config
        if not isinstance(settings, OllamaExporterConfig) or Stage.export not in plan.stages:
            continue
        try:
            weights.base_file(settings)
        except FrameworkError as error:
            yield str(error)
        kind = weights.GGUF if settings.base is None else weights.ADAPTER
        makers = [other.config for other in plan.exporter.values() if other.component.name == kind]
        if makers:
            yield from _unmade(settings, name, makers)
        elif not _left(plan, kind):
            yield weights.lacking(settings, name)


def _left(plan: Plan, kind: str) -> bool:
    """Whether an earlier export left such a file, and the weights stay as they are."""
    try:
        return Stage.train not in plan.stages and bool(weights.earlier(plan.run_dir, plan.checkpoint, kind))
    except FrameworkError:  # a damaged file: the export says so, should it choose that one
        return True


def _unmade(settings: OllamaExporterConfig, name: str, makers: Sequence[Any]) -> Iterator[str]:
    """Refuse a quantization that exporter=gguf will not make."""
    made = [quantization for maker in makers for quantization in getattr(maker, "quantizations", ())]
    wanted = settings.quantization
    if made and settings.base is None and wanted is not None and wanted.lower() not in made:
        yield f"exporter.{name}.quantization={wanted}: {unknown('quantization of exporter.gguf', wanted, made)}"
