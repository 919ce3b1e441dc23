"""`exporter=ollama`: a Modelfile that names a GGUF file of the run, for `ollama create NAME -f ollama/Modelfile`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from framework.api.errors import FrameworkError
from framework.api.files import write_atomically
from framework.api.plan import Plan
from framework.api.protocols import ExportContext, Model, ModelSource
from framework.api.records import Artifact
from framework.api.text import HIDDEN, redact, unknown
from framework_plugins.exports.config import OllamaExporterConfig
from framework_plugins.exports.documents import CARD, MODEL
from framework_plugins.exports.hub.usage_snippets import system_prompt
from framework_plugins.exports.ollama.modelfile import modelfile, unquotable

FILE = "Modelfile"
GGUF = "gguf"
"""The kind of the artifacts that it names."""
LICENSES = ("LICENSE", "LICENSE.txt", "LICENSE.md")
REQUIRED = "0.30.11"
"""The first version of Ollama that is known to render the chat template in a GGUF file."""


class OllamaExporter:
    """Writes the Modelfile."""

    after = (GGUF,)

    def __init__(self, config: OllamaExporterConfig) -> None:
        self.config = config

    def export(self, model: Model, context: ExportContext) -> list[Artifact]:
        """Write the Modelfile. It has no TEMPLATE: Ollama renders the chat template in the GGUF file.

        Raises:
            FrameworkError: there is no GGUF file, or the folder holds something else.
        """
        file = self._file(context)
        prompt, problem = _system(context)
        comments = [f"ollama create NAME -f {FILE}, in this folder", *([problem] if problem else [])]
        instructions = [
            ("FROM", Path(os.path.relpath(file, context.run_dir / self.config.folder)).as_posix()),
            ("REQUIRES", REQUIRED),
            *([("SYSTEM", prompt)] if prompt else []),
            *(("PARAMETER stop", model.decode([number])) for number in sorted(model.stop_ids)),
            ("PARAMETER num_ctx", str(self.config.num_ctx or context.plan.training.max_seq_length)),
            *self._license(context.plan),
        ]
        name = model_name(context.plan.name)
        use = f"ollama create {name} -f {{path}} && ollama run {name}"
        return [self._write(modelfile(comments, instructions), context.run_dir, [problem] if problem else [], use)]

    def _file(self, context: ExportContext) -> Path:
        """Return the GGUF file: of this export, or of an earlier one of these weights."""
        files = [context.run_dir / artifact.path for artifact in context.artifacts if artifact.kind == GGUF]
        if not files:
            raise FrameworkError(lacking("ollama"))
        return files[0] if self.config.quantization is None else of_quantization(self.config.quantization, files)

    def _license(self, plan: Plan) -> Iterator[tuple[str, str]]:
        text = self.config.license
        if text is None:
            source: ModelSource = plan.model.create()
            base = source.fetch(weights=False).folder
            files = [base / name for name in LICENSES if (base / MODEL).is_file()]
            text = next((file.read_text("utf-8") for file in files if file.is_file()), "")
        if text and not unquotable(text):
            yield "LICENSE", text

    def _write(self, text: str, run_dir: Path, notes: list[str], use: str) -> Artifact:
        folder = run_dir / self.config.folder
        # A model card may lie there, which an exporter wrote that comes after this one.
        others = sorted(file.name for file in folder.glob("*") if not file.name.startswith(FILE) and file.name != CARD)
        if others:
            raise FrameworkError(
                f"{folder} holds {others[0]}, which is not a Modelfile: move it, or set exporter.ollama.folder"
            )
        folder.mkdir(exist_ok=True)
        write_atomically(folder / FILE, text)
        return Artifact("ollama", f"{self.config.folder}/{FILE}", (folder / FILE).stat().st_size, notes, use=use)


def of_quantization(quantization: str, files: Sequence[Path]) -> Path:
    """Return the file of a quantization, by its name: `orders-Q4_K_M.gguf`.

    Raises:
        FrameworkError: there is none.
    """
    by_name = {file.stem.rpartition("-")[2].lower(): file for file in files}
    if quantization.lower() not in by_name:
        raise FrameworkError(
            f"exporter.ollama.quantization={quantization}: {unknown('GGUF file', quantization, by_name)}"
        )
    return by_name[quantization.lower()]


def model_name(run: str) -> str:
    """Return the name of a run as Ollama takes one."""
    return re.sub(r"[^a-z0-9._-]+", "-", redact(run).lower()).strip("-.") or "model"


def lacking(name: str) -> str:
    """Say that nothing makes the file which the Modelfile is to name."""
    return f"exporter=[{name}] writes a Modelfile for a GGUF file, and there is none: set exporter=[gguf,{name}]"


def _system(context: ExportContext) -> tuple[str, str]:
    """Return the system prompt that most training rows had, or why it is left out; empty where most had none."""
    prompt = system_prompt(context)
    if problem := "it holds a secret" if HIDDEN in prompt else unquotable(prompt):
        return "", f"The system prompt of the training is left out here ({problem}); give it with each request"
    return prompt, ""
