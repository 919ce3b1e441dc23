"""`exporter=ollama`: a Modelfile that names a GGUF file of the run, for `ollama create NAME -f ollama/Modelfile`.

Ollama ends a value in triple quotes at the first line that ends with three quotes, knows no escapes, and drops
characters that cannot be printed. A value for which that would change something is refused here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path

from framework import FrameworkError, Plan, Stage
from framework.api import HIDDEN, Artifact, ExportContext, Model, Problem, redact, unknown, write_atomically
from framework.api.training import ModelSource
from framework_plugins.exports.chat_template import system_prompt
from framework_plugins.exports.config import GgufExporterConfig, OllamaExporterConfig
from framework_plugins.exports.export_folder import MODEL_CONFIG, README
from framework_plugins.exports.llama.quantizations import lower_names

MODELFILE = "Modelfile"
GGUF = "gguf"
"""The kind of the artifacts that it names."""
LICENSE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md")
GREEDY = {"temperature": "0", "repeat_penalty": "1"}
"""How the answers of a report are drawn: the likeliest token each time, without Ollama's defaults of 0.8 and 1.1."""
MIN_OLLAMA = "0.30.11"
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
        file = self._gguf_file(context)
        prompt, problem = _system_prompt(context)
        comments = [f"ollama create NAME -f {MODELFILE}, in this folder", *([problem] if problem else [])]
        comments.append("temperature and repeat_penalty are those of the answers in the report")
        instructions = [
            ("FROM", Path(os.path.relpath(file, context.run_dir / self.config.folder)).as_posix()),
            ("REQUIRES", MIN_OLLAMA),
            *([("SYSTEM", prompt)] if prompt else []),
            *(("PARAMETER stop", model.decode([token_id])) for token_id in sorted(model.stop_ids)),
            ("PARAMETER num_ctx", str(self.config.num_ctx or context.plan.training.max_seq_length)),
            *(("PARAMETER " + name, value) for name, value in GREEDY.items()),
            *self._license(context.plan),
        ]
        name = model_name(context.plan.name)
        use = f"ollama create {name} -f {{path}} && ollama run {name}"
        return [
            self._write(render_modelfile(comments, instructions), context.run_dir, [problem] if problem else [], use)
        ]

    def _gguf_file(self, context: ExportContext) -> Path:
        """Return the GGUF file: of this export, or of an earlier one of these weights."""
        files = [context.run_dir / artifact.path for artifact in context.artifacts if artifact.kind == GGUF]
        if not files:
            raise FrameworkError(missing_gguf("ollama"))
        return files[0] if self.config.quantization is None else find_quantization(self.config.quantization, files)

    def _license(self, plan: Plan) -> Iterator[tuple[str, str]]:
        text = self.config.license
        if text is None:
            source: ModelSource = plan.model.create()
            base = source.fetch(weights=False).folder
            files = [base / name for name in LICENSE_FILES if (base / MODEL_CONFIG).is_file()]
            text = next((file.read_text("utf-8") for file in files if file.is_file()), "")
        if text and not quoting_problem(text):
            yield "LICENSE", text

    def _write(self, text: str, run_dir: Path, notes: list[str], use: str) -> Artifact:
        folder = run_dir / self.config.folder
        # A model card may lie there, which an exporter wrote that comes after this one.
        foreign_files = sorted(
            file.name for file in folder.glob("*") if not file.name.startswith(MODELFILE) and file.name != README
        )
        if foreign_files:
            raise FrameworkError(
                f"{folder} holds {foreign_files[0]}, which is not a Modelfile: move it, or set exporter.ollama.folder"
            )
        folder.mkdir(exist_ok=True)
        write_atomically(folder / MODELFILE, text)
        return Artifact(
            "ollama", f"{self.config.folder}/{MODELFILE}", (folder / MODELFILE).stat().st_size, notes, use=use
        )


def find_quantization(quantization: str, files: Sequence[Path]) -> Path:
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


def missing_gguf(name: str) -> str:
    """Say that nothing makes the file which the Modelfile is to name."""
    return f"exporter=[{name}] writes a Modelfile for a GGUF file, and there is none: set exporter=[gguf,{name}]"


def _system_prompt(context: ExportContext) -> tuple[str, str]:
    """Return the system prompt that most training rows had, or the reason to leave it out; empty if most had none."""
    prompt = system_prompt(context)
    if problem := "it holds a secret" if HIDDEN in prompt else quoting_problem(prompt):
        return "", f"The system prompt of the training is left out here ({problem}); give it with each request"
    return prompt, ""


def problems(plan: Plan, earlier_kinds: Container[str]) -> Iterator[Problem]:
    """Give the problems, a sentence each.

    Args:
        plan: of the run.
        earlier_kinds: the kinds of artifacts that earlier exports of these weights left.
    """
    for name, choice in plan.exporter.items():
        settings = choice.config
        if not isinstance(settings, OllamaExporterConfig) or Stage.export not in plan.intended_stages:
            continue
        makers = [
            exporter.config for exporter in plan.exporter.values() if isinstance(exporter.config, GgufExporterConfig)
        ]
        quantizations = [lower_name for maker in makers for lower_name in lower_names(maker.quantizations)]
        quantization = settings.quantization
        if not makers and GGUF not in earlier_kinds:
            yield Problem(missing_gguf(name), ("exporter",))
        elif quantizations and quantization is not None and quantization.lower() not in quantizations:
            yield Problem(
                f"exporter.{name}.quantization={quantization}: "
                f"{unknown('quantization of exporter.gguf', quantization, quantizations)}",
                (f"exporter.{name}.quantization",),
            )
        texts = {f"exporter.{name}.license": settings.license, "format.system_prompt": plan.format.config.system_prompt}
        for key, value in texts.items():
            if problem := quoting_problem(value or ""):
                yield Problem(f"{key}: {problem}")
        if redact(settings.license) != settings.license:
            yield Problem(
                f"exporter.{name}.license={HIDDEN} is a secret, and the Modelfile would contain it. Remove it",
                (f"exporter.{name}.license",),
            )


TRIPLE_QUOTES = '"""'
WHITE_SPACE = " \t\r\n"


class QuotingError(FrameworkError):
    """A value that a Modelfile cannot hold."""


def render_modelfile(comments: Iterable[str], instructions: Iterable[tuple[str, str]]) -> str:
    """Write a Modelfile.

    Args:
        comments: are at the top, a line each.
        instructions: name and value, `("PARAMETER stop", "<|im_end|>")`.

    Raises:
        QuotingError: it cannot hold a value.
    """
    lines = [f"# {' '.join(comment.split())}" for comment in comments]
    return "\n".join([*lines, *(f"{name} {quote(value)}" for name, value in instructions)]) + "\n"


def quote(value: str) -> str:
    """Return a value as it is in a Modelfile.

    Raises:
        QuotingError: no way to write it gives it back.
    """
    if dropped := sorted({letter for letter in value if not letter.isprintable() and letter not in WHITE_SPACE}):
        raise QuotingError(f"a Modelfile cannot hold the character {dropped[0]!a}, which Ollama drops: take it out")
    if value and not set(value) & set('"\r\n\t #') and value.strip() == value:
        return value
    if '"' not in value:
        return f'"{value}"'
    if _closes_quotes(value):
        raise QuotingError('a Modelfile cannot hold three quotes (""") at the end of a line: take them out')
    return f"{TRIPLE_QUOTES}{value}{TRIPLE_QUOTES}"


def quoting_problem(value: str) -> str:
    """Say why a Modelfile cannot hold a value; empty if it can."""
    try:
        quote(value)
    except QuotingError as error:
        return str(error)
    return ""


def _closes_quotes(value: str) -> bool:
    """Whether Ollama would take a line within the value for its end."""
    opened = TRIPLE_QUOTES + value
    starts = [index for index, letter in enumerate(opened) if letter in "\r\n"]
    before = [opened[:index].rstrip() for index in starts]
    return any(len(text) >= 2 * len(TRIPLE_QUOTES) and text.endswith(TRIPLE_QUOTES) for text in before)
