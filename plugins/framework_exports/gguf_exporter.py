"""`exporter=gguf`: the merged model in one file or several, for llama.cpp and what is built on it.

The trained weights are merged, converted once without loss, and quantized from there; see docs/explanation/gguf.md.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from framework.errors import FrameworkError
from framework.protocols import ExportContext, Model
from framework.records import Artifact
from framework_exports import gguf_checks
from framework_exports.config import GgufExporterConfig
from framework_exports.convert import apart, pieces
from framework_exports.convert.converter import SCRIPT
from framework_exports.convert.weights import Weights
from framework_exports.gguf_file import Tensors
from framework_exports.gguf_vocabulary import Vocabulary
from framework_exports.llama.library import cores
from framework_exports.merging import merge
from framework_exports.room import Room

SCRATCH = ".gguf.part"
LOG = "gguf.log"
TYPES = {"F64": "f32", "F32": "f32", "F16": "f16", "BF16": "bf16"}
"""The number format of GGUF that holds weights of safetensors without loss."""


@dataclass(frozen=True)
class Made:
    """A file that is whole and checked, but not yet under its name."""

    quantization: str
    file: Path
    notes: tuple[str, ...]


class GgufExporter:
    """Merges, converts, quantizes, and reads back what was written."""

    after = ("merged",)

    def __init__(self, config: GgufExporterConfig) -> None:
        self.config = config

    def export(self, model: Model, context: ExportContext) -> list[Artifact]:
        """Write the files; they appear under their names when all of them are made and checked.

        Raises:
            FrameworkError: the disk has too little room, the folder holds files of somebody else, weights are
                corrupted, or llama.cpp cannot have this model.
        """
        del model
        folder = context.run_dir / self.config.folder
        name = self.config.file_name or str(context.config["name"])
        if problem := gguf_checks.foreign(folder, name):
            raise FrameworkError(problem)
        with scratch_folder(context.run_dir) as scratch:
            merged = self._merged(context, scratch)
            made = list(self._made(merged, scratch, context.run_dir, name))
            folder.mkdir(exist_ok=True)
            return [_publish(each, folder / gguf_checks.file_name(name, each.quantization)) for each in made]

    def _merged(self, context: ExportContext, scratch: Path) -> Path:
        """Return the folder of `exporter=merged`, where the run has it, or merge into a folder of the scratch.

        Raises:
            FrameworkError: the disk has too little room for what is to come, or the weights cannot be merged.
        """
        for artifact in context.artifacts:
            if artifact.kind == "merged":
                return context.run_dir / artifact.path
        Room.before_merging(context, self.config.quantizations).check(context.run_dir)
        merge(context.plan, context.checkpoint, scratch / "merged")
        return scratch / "merged"

    def _made(self, merged: Path, scratch: Path, run_dir: Path, name: str) -> Iterator[Made]:
        """Convert once, then write and check one quantization after the other."""
        weights = Weights.read(merged)
        Room.after_merging(merged, weights, self.config.quantizations).check(run_dir)
        vocabulary = Vocabulary.read(merged)
        whole = scratch / "whole.gguf"
        self._convert(merged, scratch, whole, TYPES[weights.dtype], name, run_dir / LOG)
        settings = vocabulary.amendments(whole)
        for quantization in self.config.quantizations:
            file = scratch / f"{quantization}.gguf"
            apart.run(
                f"the quantization to {quantization}", "framework_exports.convert.quantized:write", run_dir / LOG,
                source=str(whole), target=str(file), quantization=quantization, threads=cores(), settings=settings,
            )  # fmt: skip
            vocabulary.check(file)
            note = Tensors.read(file).note(quantization)
            yield Made(quantization, file, (note,) if note else ())

    def _convert(self, merged: Path, scratch: Path, target: Path, dtype: str, name: str, log: Path) -> None:
        source = scratch / "source"
        source.mkdir()
        for file in merged.iterdir():
            (source / file.name).symlink_to(file.absolute())
        pieces.complete(source)
        if self.config.llama_cpp_dir is None:
            apart.run(
                "the conversion to GGUF", "framework_exports.convert.model:convert", log,
                folder=str(source), target=str(target), dtype=dtype, name=name,
            )  # fmt: skip
            return
        script = Path(self.config.llama_cpp_dir).expanduser() / SCRIPT
        words = [str(source), "--outfile", str(target), "--outtype", dtype, "--model-name", name]
        apart.execute(f"the conversion by {script}", [sys.executable, str(script), *words], log)


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


def _publish(made: Made, final: Path) -> Artifact:
    made.file.replace(final)
    return Artifact("gguf", f"{final.parent.name}/{final.name}", final.stat().st_size, list(made.notes))
