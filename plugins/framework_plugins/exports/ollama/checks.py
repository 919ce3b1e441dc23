"""Problems of the plan of an `exporter=ollama`, before anything is loaded."""

from __future__ import annotations

from collections.abc import Container, Iterator

from framework.api.plan import Plan
from framework.api.schema import Stage
from framework.api.text import HIDDEN, redact, unknown
from framework_plugins.exports.config import GgufExporterConfig, OllamaExporterConfig
from framework_plugins.exports.gguf.quantizations import known_names
from framework_plugins.exports.ollama.exporter import GGUF, lacking
from framework_plugins.exports.ollama.modelfile import unquotable


def problems(plan: Plan, left: Container[str]) -> Iterator[str]:
    """Give the problems, a sentence each.

    Args:
        plan: of the run.
        left: the kinds of artifacts that earlier exports of these weights left.
    """
    for name, choice in plan.exporter.items():
        settings = choice.config
        if not isinstance(settings, OllamaExporterConfig) or Stage.export not in plan.stages:
            continue
        makers = [other.config for other in plan.exporter.values() if isinstance(other.config, GgufExporterConfig)]
        quantizations = [one for maker in makers for one in known_names(maker.quantizations)]
        quantization = settings.quantization
        if not makers and GGUF not in left:
            yield lacking(name)
        elif quantizations and quantization is not None and quantization.lower() not in quantizations:
            yield (
                f"exporter.{name}.quantization={quantization}: "
                f"{unknown('quantization of exporter.gguf', quantization, quantizations)}"
            )
        texts = {f"exporter.{name}.license": settings.license, "format.system_prompt": plan.format.config.system_prompt}
        for key, value in texts.items():
            if problem := unquotable(value or ""):
                yield f"{key}: {problem}"
        if redact(settings.license) != settings.license:
            yield f"exporter.{name}.license={HIDDEN} is a secret, and the Modelfile would contain it. Remove it"
