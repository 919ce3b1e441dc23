"""`exporter=ollama`: a Modelfile that names a GGUF file of the run, for `ollama create NAME -f ollama/Modelfile`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from framework.api.errors import FrameworkError
from framework.api.files import write_atomically
from framework.api.plan import Plan
from framework.api.protocols import ExportContext, Model, ModelSource
from framework.api.records import Artifact, Message, Prompt
from framework_plugins.exports.chat_template import switched
from framework_plugins.exports.config import OllamaExporterConfig, OnNoTemplate
from framework_plugins.exports.ollama import metadata, tokens, weights
from framework_plugins.exports.ollama.derive import Derived, derive, without_begin
from framework_plugins.exports.ollama.modelfile import QuotingError, modelfile, quote
from framework_plugins.exports.ollama.probe import NoTemplateError, Render

FILE = "Modelfile"
ADDS_BEGIN, TEMPLATE = "tokenizer.ggml.add_bos_token", "tokenizer.chat_template"
LICENSES = ("LICENSE", "LICENSE.txt", "LICENSE.md")
JINJA_SINCE = "0.30.11"
"""The first version of Ollama that is known to render the chat template in a GGUF file."""


class OllamaExporter:
    """Writes the Modelfile."""

    after = (weights.GGUF, weights.ADAPTER)

    def __init__(self, config: OllamaExporterConfig) -> None:
        self.config = config

    def check(self, model: Model, plan: Plan) -> None:
        """Try whether the chat template can be put into a TEMPLATE, before anything is trained.

        Raises:
            FrameworkError: it cannot.
        """
        known = _tokens(model, _base(plan))
        # Whether the GGUF file will add a BOS token is not known yet: the text is tried with all that is written.
        self._derived(_renderer(model), known)

    def export(self, model: Model, context: ExportContext) -> list[Artifact]:
        """Derive and prove the TEMPLATE, and write the Modelfile.

        Raises:
            FrameworkError: there is no GGUF file, the chat template cannot be put into a TEMPLATE, or a value cannot
                stand in a Modelfile.
        """
        file = weights.chosen(self.config, context)
        base = _base(context.plan)
        known = _tokens(model, base)
        render = without_begin(_renderer(model), known, added=self._added(known, file))
        derived, reason = self._derived(render, known)
        comments = [f"ollama create NAME -f {FILE}, in this folder", *self._notes(derived, reason, context, file)]
        instructions = [
            *weights.instructions(self.config, file, context.run_dir),
            ("TEMPLATE", derived.template) if derived else ("REQUIRES", JINJA_SINCE),
            *_system(derived, context),
            *(("PARAMETER stop", stop) for stop in known.stops),
            ("PARAMETER num_ctx", str(self.config.num_ctx or context.plan.training.max_seq_length)),
            *self._license(base),
        ]
        return [self._write(modelfile(comments, instructions), context.run_dir)]

    def _added(self, known: tokens.Tokens, file: Path) -> bool:
        """Whether BOS is put before each text: the GGUF file of the model tells, or the tokenizer where it does not."""
        asked = file if self.config.base is None else weights.base_file(self.config)
        told = metadata.read(asked).get(ADDS_BEGIN) if asked else None
        return bool(known.begin) and (known.begins if told is None else bool(told))

    def _derived(self, render: Render, known: tokens.Tokens) -> tuple[Derived | None, str]:
        """Return the TEMPLATE, or why there is none."""
        try:
            return derive(render, known), ""
        except NoTemplateError as error:
            if self.config.on_no_template is OnNoTemplate.skip:
                return None, str(error)
            message = (
                f"exporter=ollama cannot put this chat template into a TEMPLATE: {error}.\nA new Ollama renders the "
                "chat template in the GGUF file itself: exporter.ollama.on_no_template=skip"
            )
            raise FrameworkError(message) from error

    def _notes(self, derived: Derived | None, reason: str, context: ExportContext, file: Path) -> Iterator[str]:
        """Give what who runs this Modelfile has to know, a sentence each."""
        switches = context.config["model"]["chat_template_kwargs"]
        if derived:
            yield from derived.notes
        else:
            yield f"The chat template cannot be put into a TEMPLATE: {reason}."
            yield "Ollama renders the one in the GGUF file. Set OLLAMA_GO_TEMPLATE=0 for `ollama serve`, so that it"
            yield "does not take a template of its own that looks like it."
        served = file if self.config.base is None else weights.base_file(self.config)
        if derived and switches and not _switched(served, switches):
            yield "Set OLLAMA_GO_TEMPLATE=1 for `ollama serve`: from 0.30 on it may otherwise take the chat template in"
            yield f"the GGUF file, without the switches of the training: {switches}."
        if self.config.base is not None:
            yield "Ollama takes adapters up to 0.33: from 0.34.1 on, serve a merged GGUF file or use llama.cpp."

    def _license(self, base: Path) -> Iterator[tuple[str, str]]:
        files = [base / name for name in LICENSES if (base / tokens.MODEL).is_file()]
        text = self.config.license or next((file.read_text("utf-8") for file in files if file.is_file()), "")
        try:
            quote(text)
        except QuotingError as error:
            if self.config.license is None:
                return
            message = f"exporter.ollama.license: {error}"
            raise FrameworkError(message) from error
        if text:
            yield "LICENSE", text

    def _write(self, text: str, run_dir: Path) -> Artifact:
        folder = run_dir / self.config.folder
        if others := sorted(file.name for file in folder.glob("*") if not file.name.startswith(FILE)):
            message = f"{folder} holds {others[0]}, which is no Modelfile: move it, or set exporter.ollama.folder"
            raise FrameworkError(message)
        folder.mkdir(exist_ok=True)
        write_atomically(folder / FILE, text)
        return Artifact("ollama", f"{self.config.folder}/{FILE}", (folder / FILE).stat().st_size)


def _switched(file: Path | None, switches: Mapping[str, Any]) -> bool:
    """Whether the chat template in a GGUF file has the switches of the run in it; not so that of a base elsewhere."""
    template = str(metadata.read(file).get(TEMPLATE, "")) if file else ""
    return bool(template) and template == switched(template, switches, always=True)


def _renderer(model: Model) -> Render:
    def render(messages: Sequence[Message]) -> str:
        return model.render(Prompt(tuple(messages)))

    return render


def _base(plan: Plan) -> Path:
    """Return the folder of the base model; its weights are not needed."""
    source: ModelSource = plan.model.create()
    return source.fetch(weights=False).folder


def _tokens(model: Model, base: Path) -> tokens.Tokens:
    """Read the tokens from the tokenizer as it would be saved."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_tokenizer(Path(folder))
        return tokens.read(Path(folder), base)


def _system(derived: Derived | None, context: ExportContext) -> Iterator[tuple[str, str]]:
    """Give SYSTEM: the prompt that the run gave to each conversation, or the one that the chat template gives."""
    given = context.config["format"]["system_prompt"]
    text = given or (derived.default_system if derived else "")
    if not text or not (derived is None or derived.takes_system):
        return
    try:
        quote(text)
    except QuotingError as error:
        if not given:
            return  # the TEMPLATE itself writes it
        message = f"format.system_prompt: {error}"
        raise FrameworkError(message) from error
    yield "SYSTEM", text
