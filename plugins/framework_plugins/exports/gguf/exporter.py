"""`exporter=gguf`: the merged model in one file or several, for llama.cpp and what is built on it.

The trained weights are merged, converted once without loss, and quantized from there; see docs/explanation/gguf.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from framework.api.errors import FrameworkError
from framework.api.machine import threads
from framework.api.protocols import ExportContext, Model
from framework.api.records import Artifact
from framework_plugins.exports import chat_template
from framework_plugins.exports.config import Dtype, GgufExporterConfig
from framework_plugins.exports.documents import TOKENIZER, read
from framework_plugins.exports.gguf import checks
from framework_plugins.exports.gguf.convert import apart, names, sentencepiece
from framework_plugins.exports.gguf.convert.weights import Weights
from framework_plugins.exports.gguf.file import Tensors
from framework_plugins.exports.gguf.quantizations import known_names
from framework_plugins.exports.gguf.vocabulary import Vocabulary
from framework_plugins.exports.merge import number_format
from framework_plugins.exports.merge.merging import merge
from framework_plugins.exports.parity.gate import EXACT, Gate, put_aside
from framework_plugins.exports.room import Room

SCRATCH = ".gguf.part"
LOG, WHOLE = "gguf.log", "whole.gguf"
TYPES = {"F64": "f32", "F32": "f32", "F16": "f16", "BF16": "bf16"}
"""The number format of GGUF that holds weights of safetensors without loss."""


@dataclass(frozen=True)
class Made:
    """A file that is whole and checked, but not yet under its name."""

    quantization: str
    file: Path
    notes: tuple[str, ...]
    parity: str = ""


class GgufExporter:
    """Merges, converts, quantizes, and reads back what was written."""

    reusable = True

    def __init__(self, config: GgufExporterConfig) -> None:
        self.config = config
        self.quantizations = known_names(config.quantizations)

    def export(self, model: Model, context: ExportContext) -> list[Artifact]:
        """Write the files; they appear under their names when all of them are made and checked.

        Raises:
            FrameworkError: the disk has too little room, the folder holds files of somebody else, weights are
                corrupted, or llama.cpp cannot have this model.
        """
        folder = context.run_dir / self.config.folder
        name = self.config.file_name or str(context.config["name"])
        if problem := checks.foreign(folder, name):
            raise FrameworkError(problem)
        with scratch_folder(context.run_dir) as scratch:
            number_type = number_format.for_files(context, exact="f32" in self.quantizations)
            merged = self._merged(context, scratch, number_type.dtype)
            files = list(
                self._quantized_files(merged, scratch, context, name, [number_type.note] if number_type.note else [])
            )
            if self.config.parity.check:
                gate = Gate(self.config.parity, model, context, number_type.remedy)
                _check_merged(merged, gate, context.run_dir, name)
                if not set(self.quantizations) & set(EXACT):
                    _check_conversion(scratch / WHOLE, TYPES[Weights.read(merged).dtype], gate, context.run_dir, name)
                files = [_checked(each, gate, context.run_dir, name) for each in files]
            folder.mkdir(exist_ok=True)
            return [_publish(each, folder / checks.file_name(name, each.quantization)) for each in files]

    def _merged(self, context: ExportContext, scratch: Path, dtype: Dtype) -> Path:
        """Merge into a folder of the scratch and return it; that of `exporter=merged` may be in another format.

        Raises:
            FrameworkError: the disk has too little room for what is to come, or the weights cannot be merged.
        """
        Room.before_merging(context, self.quantizations, dtype).check(context.run_dir)
        merge(context.plan, context.checkpoint, scratch / "merged", dtype=dtype)
        return scratch / "merged"

    def _quantized_files(
        self, merged: Path, scratch: Path, context: ExportContext, name: str, notes: Sequence[str]
    ) -> Iterator[Made]:
        """Convert once, then write and check one quantization after the other; `notes` hold for all of them."""
        weights = Weights.read(merged)
        run_dir = context.run_dir
        Room.after_merging(merged, weights, self.quantizations).check(run_dir)
        vocabulary = Vocabulary.read(merged, context.plan.model.config.template_switches)
        if vocabulary.template:
            chat_template.put(merged, vocabulary.template)
        whole = scratch / WHOLE
        self._convert(merged, scratch, whole, TYPES[weights.dtype], name, run_dir / LOG)
        settings = vocabulary.amendments(whole)
        for quantization in self.quantizations:
            file = scratch / f"{quantization}.gguf"
            apart.run(
                f"the quantization to {quantization}",
                "framework_plugins.exports.gguf.convert.quantized:write", run_dir / LOG,
                source=str(whole), target=str(file), quantization=quantization, threads=threads(), settings=settings,
            )  # fmt: skip
            vocabulary.check(file)
            note = Tensors.read(file).note(quantization)
            yield Made(quantization, file, (*notes, *([note] if note else [])))

    def _convert(self, merged: Path, scratch: Path, target: Path, dtype: str, name: str, log: Path) -> None:
        source = scratch / "source"
        source.mkdir()
        for file in merged.iterdir():
            (source / file.name).symlink_to(file.absolute())
        sentencepiece.complete(source)
        name = names.inside(name, read(source / TOKENIZER))
        apart.run(
            "the conversion to GGUF", "framework_plugins.exports.gguf.convert.model:convert", log,
            folder=str(source), target=str(target), dtype=dtype, name=name, tree=self.config.llama_cpp_dir,
        )  # fmt: skip


@contextmanager
def scratch_folder(run_dir: Path) -> Iterator[Path]:
    """Give an empty folder inside the run folder, on the same file system, that is gone afterwards."""
    scratch = run_dir / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check_merged(merged: Path, gate: Gate, run_dir: Path, name: str) -> None:
    """Compare what is converted with the trained model.

    Raises:
        ParityError: it is not what was trained.
    """
    final = f"{name}-merged"
    with put_aside(merged, run_dir, final):
        gate.merged(merged, final)


def _check_conversion(file: Path, form: str, gate: Gate, run_dir: Path, name: str) -> None:
    """Compare what all files are quantized from with the trained model: their own bounds would hide a wrong tensor.

    Raises:
        ParityError: it is not what was trained.
    """
    final = checks.file_name(name, form)
    with put_aside(file, run_dir, final):
        gate.conversion(file, final, form)


def _checked(output: Made, gate: Gate, run_dir: Path, name: str) -> Made:
    """Compare a file with the trained model.

    Raises:
        ParityError: it is not what was trained.
    """
    final = checks.file_name(name, output.quantization)
    with put_aside(output.file, run_dir, final):
        conversations = gate.conversations(output.file, final)
        parity = gate.gguf(output.file, final, output.quantization)
    return replace(output, notes=(*output.notes, f"chat template: {conversations}"), parity=parity)


def _publish(output: Made, final: Path) -> Artifact:
    output.file.replace(final)
    path = f"{final.parent.name}/{final.name}"
    return Artifact("gguf", path, final.stat().st_size, list(output.notes), output.parity)
