"""Which file a Modelfile names: a GGUF file of this run, or an adapter and its base."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from framework.api.errors import FrameworkError
from framework.api.protocols import ExportContext
from framework.api.schema import Stage
from framework.api.text import unknown
from framework_plugins.exports.config import OllamaExporterConfig
from framework_plugins.exports.ollama import metadata

GGUF, ADAPTER = "gguf", "gguf_adapter"
"""Kinds of artifacts."""
REJECTED = "rejected"
"""The folder of what did not pass."""
KIND = "general.type"


def chosen(config: OllamaExporterConfig, context: ExportContext) -> Path:
    """Return the GGUF file that the Modelfile is about: of this run, or one that an earlier export left in its folder.

    Raises:
        FrameworkError: there is none, or none of the quantization that is asked for.
    """
    kind = GGUF if config.base is None else ADAPTER
    made = [context.run_dir / artifact.path for artifact in context.artifacts if artifact.kind == kind]
    if not made and Stage.train not in context.plan.stages:
        made = earlier(context.run_dir, context.checkpoint, kind)
    if not made:
        raise FrameworkError(lacking(config, "ollama"))
    return made[0] if config.quantization is None else of_quantization(config.quantization, made)


def earlier(run_dir: Path, checkpoint: Path, kind: str) -> list[Path]:
    """Return the GGUF files in a run folder that were made of the weights that lie there, the smallest first."""
    trained = max((file.stat().st_mtime for file in checkpoint.glob("*")), default=0.0)
    found = [
        file for file in run_dir.glob("*/*.gguf") if file.parent.name != REJECTED and file.stat().st_mtime >= trained
    ]
    adapters = {file for file in found if metadata.read(file).get(KIND) == "adapter"}
    fitting = adapters if kind == ADAPTER else set(found) - adapters
    return sorted(fitting, key=lambda file: (file.stat().st_size, file.name))


def of_quantization(wanted: str, files: Sequence[Path]) -> Path:
    """Return the file of a quantization, by its name: `orders-Q4_K_M.gguf`.

    Raises:
        FrameworkError: there is none.
    """
    by_name = {file.stem.rpartition("-")[2].lower(): file for file in files}
    if wanted.lower() not in by_name:
        message = f"exporter.ollama.quantization={wanted}: {unknown('GGUF file', wanted, by_name)}"
        raise FrameworkError(message)
    return by_name[wanted.lower()]


def lacking(config: OllamaExporterConfig, name: str) -> str:
    """Say that nothing makes the file which the Modelfile is to name."""
    if config.base is None:
        return f"exporter=[{name}] writes a Modelfile for a GGUF file, and there is none: set exporter=[gguf,{name}]"
    return (
        f"exporter.{name}.base={config.base} takes the adapter as a GGUF file, and there is none: set "
        f"exporter=[gguf_adapter,{name}]"
    )


def base_file(config: OllamaExporterConfig) -> Path | None:
    """Return the GGUF file of an adapter's base; None where the base is a model of Ollama's library.

    Raises:
        FrameworkError: it is not there.
    """
    base = Path(config.base or "").expanduser().absolute()
    if base.suffix != ".gguf":
        return None
    if not base.is_file():
        message = f"exporter.ollama.base={config.base}: there is no such file"
        raise FrameworkError(message)
    return base


def instructions(config: OllamaExporterConfig, file: Path, run_dir: Path) -> Iterable[tuple[str, str]]:
    """Give FROM, and ADAPTER where there is one; a file of the run is named as it lies from the Modelfile."""
    relative = Path(os.path.relpath(file, run_dir / config.folder)).as_posix()
    if config.base is None:
        yield "FROM", relative
    else:
        yield "FROM", str(base_file(config) or config.base)
        yield "ADAPTER", relative
