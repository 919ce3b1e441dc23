"""`exporter=gguf`: the merged model in one file or several, for llama.cpp and what is built on it.

The trained weights are merged, converted once without loss, and quantized from there; see docs/explanation/gguf.md.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from framework import FrameworkError, Plan, Stage
from framework.api import Artifact, ExportContext, Exporter, Model, ProcessError, PythonProcess, cache_dir, key_of
from framework.api import read_json as read_cache
from framework.api import write_json as write_cache
from framework_plugins.exports import chat_template
from framework_plugins.exports.config import Dtype, GgufExporterConfig
from framework_plugins.exports.disk_and_memory import DiskNeed
from framework_plugins.exports.export_folder import MODEL_CONFIG, TOKENIZER, read_json
from framework_plugins.exports.gguf import checks, expert_check, twin
from framework_plugins.exports.gguf.convert import converter, sentencepiece
from framework_plugins.exports.gguf.metadata import TensorTypes, Vocabulary, general_name
from framework_plugins.exports.llama.process import QUIET, LlamaProcess, run_in_process
from framework_plugins.exports.llama.quantizations import lower_names
from framework_plugins.exports.merge import number_format, tokenizer_and_config
from framework_plugins.exports.merge.merging import merge, rehearse
from framework_plugins.exports.merge.safetensors_io import write_without_data
from framework_plugins.exports.merge.tensor_names import MetaModel
from framework_plugins.exports.parity import companion_check
from framework_plugins.exports.parity.gate import Gate, reject_on_failure
from framework_plugins.exports.parity.reference import EXACT_FORMATS
from framework_plugins.lib.host import threads as cpu_threads
from framework_plugins.lib.weight_files import (
    DTYPE_BITS,
    FLOAT_DTYPES,
    INDEX_FILE,
    SINGLE_FILE,
    read_headers,
    weight_files,
)

SCRATCH_FOLDER = ".gguf.part"
LOG, UNQUANTIZED = "gguf.log", "whole.gguf"
LOSSLESS_FORMATS = {"F64": "f32", "F32": "f32", "F16": "f16", "BF16": "bf16"}
"""The number format of GGUF that holds weights of safetensors without loss."""


TWIN_SECONDS = 120.0
"""How long the comparison with a small random model may take."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckedFile:
    """A file that is whole and checked, but not yet under its name."""

    quantization: str
    file: Path
    notes: tuple[str, ...]
    parity: str = ""


@dataclass(frozen=True)
class WeightCount:
    """The parameters of a model, and the type of most of them as safetensors call it."""

    parameters: int
    dtype: str

    @classmethod
    def read(cls, folder: Path) -> WeightCount:
        """Read the headers.

        Raises:
            FrameworkError: files are missing or damaged, or the weights are quantized.
        """
        counts: Counter[str] = Counter()
        for tensor in read_headers(weight_files(folder)).values():
            counts[tensor.dtype] += math.prod(tensor.shape)
        dtype = counts.most_common(1)[0][0] if counts else "nothing"
        if dtype not in FLOAT_DTYPES:
            raise FrameworkError(
                f"{folder} holds weights in {dtype}: only {', '.join(sorted(FLOAT_DTYPES))} can be converted to GGUF"
            )
        return cls(counts.total(), dtype)

    @property
    def bytes(self) -> int:
        return self.parameters * DTYPE_BITS[self.dtype] // 8


class GgufExporter(Exporter):
    """Merges, converts, quantizes, and reads back what was written."""

    reusable = True

    def __init__(self, config: GgufExporterConfig) -> None:
        self.config = config
        self.quantizations = lower_names(config.quantizations)

    def check(self, model: Model, plan: Plan) -> None:
        """Rehearse the export without weights, so that it fails before the training.

        The converter reads config, tokenizer and the headers of the weights, and llama.cpp opens what it writes. Then
        llama.cpp answers with a small random model of the architecture.

        Raises:
            FrameworkError: llama.cpp cannot have this model.
        """
        del model
        if Stage.train not in plan.stages:
            return
        rehearse(plan, "gguf")
        with TemporaryDirectory() as scratch:
            folder, target = Path(scratch, "model"), Path(scratch, "model.gguf")
            name = put_without_weights(plan, folder)
            longest, trust = plan.training.max_seq_length, plan.model.config.trust_remote_code
            try:
                with PythonProcess(log=Path(scratch, LOG), env=QUIET, override=True) as process:
                    process.call(
                        "framework_plugins.exports.gguf.convert.model:convert", folder=str(folder), target=str(target),
                        dtype="f16", name="model", tree=self.config.llama_cpp_dir, rehearsal=True,
                    )  # fmt: skip
                    if self.config.parity.check:  # or nothing compares answers
                        self._compare_twin(process, folder, Path(scratch), longest, trust=trust)
                with LlamaProcess(target, without_weights=True) as llama:
                    if problem := companion_check.metadata_problem(llama, folder, longest, trust=trust):
                        raise FrameworkError(f"it would compute something else: {problem}")  # noqa: TRY301 - as the rest
            except FrameworkError as error:
                raise FrameworkError(
                    f"exporter=gguf: llama.cpp cannot run model {name}: {error}\nexporter=[merged] and "
                    "exporter=[adapter] work without llama.cpp; exporter.gguf.llama_cpp_dir takes a newer converter"
                ) from error

    def _compare_twin(self, process: PythonProcess, folder: Path, scratch: Path, longest: int, *, trust: bool) -> None:
        """Compare the answers of a small random model in llama.cpp and transformers, and cache the result.

        Raises:
            FrameworkError: llama.cpp computes something else.
        """
        tree = self.config.llama_cpp_dir
        cache_file = cache_dir() / "gguf-twins" / f"{_twin_key(folder, longest)}.json"
        if not tree and (earlier := read_cache(cache_file)):
            divergence = twin.Divergence(**earlier)
        else:
            try:
                divergence = process.call(
                    "framework_plugins.exports.gguf.twin:divergence", str(folder), str(scratch), longest, tree=tree,
                    trust=trust, seconds=TWIN_SECONDS,
                )  # fmt: skip
            except ProcessError as error:  # llama.cpp ends a process that has a size it does not know
                divergence = twin.Divergence(None, reason=str(error))
            if not tree:
                write_cache(cache_file, dataclasses.asdict(divergence))
        if divergence.reason:
            log.info("exporter=gguf: no small model of this architecture was compared: %s", divergence.reason)
        if divergence.differs:
            raise FrameworkError(
                "it computes something else: the answers of a small random model with these settings differ from those "
                f"of transformers by {divergence.nats:.2g} nats at a token, where rounding to bf16 gives "
                f"{divergence.rounding:.1g}; exporter.gguf.parity.check=false exports without any comparison"
            )

    def export(self, model: Model, context: ExportContext) -> list[Artifact]:
        """Write the files; they get their final names when all are written and checked.

        Raises:
            FrameworkError: the disk has too little room, the folder holds files of somebody else, weights are
                corrupted, or llama.cpp cannot have this model.
        """
        folder = context.run_dir / self.config.folder
        name = self.config.file_name or str(context.config["name"])
        if problem := checks.folder_problem(folder, name):
            raise FrameworkError(problem)
        with scratch_folder(context.run_dir) as scratch:
            number_type = number_format.choose_for_gguf(context, exact="f32" in self.quantizations)
            merged = self._merge(context, scratch, number_type.dtype)
            files = list(
                self._quantized_files(merged, scratch, context, name, [number_type.note] if number_type.note else [])
            )
            if self.config.parity.check:
                gate = Gate(self.config.parity, model, context, number_type.remedy)
                _compare_merged(merged, gate, context.run_dir, name)
                _compare_experts(scratch / UNQUANTIZED, merged, gate, context, name)
                if not set(self.quantizations) & set(EXACT_FORMATS):
                    lossless = LOSSLESS_FORMATS[WeightCount.read(merged).dtype]
                    _compare_conversion(scratch / UNQUANTIZED, lossless, gate, context.run_dir, name)
                files = [_compare_file(file, scratch / UNQUANTIZED, gate, context.run_dir, name) for file in files]
            folder.mkdir(exist_ok=True)
            return [_publish(file, folder / checks.file_name(name, file.quantization)) for file in files]

    def _merge(self, context: ExportContext, scratch: Path, dtype: Dtype) -> Path:
        """Merge into a folder below `scratch` and return it; that of `exporter=merged` may be in another format.

        Raises:
            FrameworkError: the disk has too little room for all files, or the weights cannot be merged.
        """
        DiskNeed.before_merging(context, self.quantizations, dtype).check(context.run_dir)
        merge(context.plan, context.checkpoint, scratch / "merged", dtype=dtype)
        return scratch / "merged"

    def _quantized_files(
        self, merged: Path, scratch: Path, context: ExportContext, name: str, notes: Sequence[str]
    ) -> Iterator[CheckedFile]:
        """Convert once, then write and check one quantization after the other; `notes` hold for all of them."""
        weights = WeightCount.read(merged)
        run_dir = context.run_dir
        DiskNeed.after_merging(merged, weights.parameters, weights.bytes, self.quantizations).check(run_dir)
        vocabulary = Vocabulary.read(merged, context.plan.model.config.template_switches)
        if vocabulary.template:
            chat_template.write_template(merged, vocabulary.template)
        unquantized = scratch / UNQUANTIZED
        self._convert(merged, scratch, unquantized, LOSSLESS_FORMATS[weights.dtype], name, run_dir / LOG)
        settings = vocabulary.metadata_overrides(unquantized)
        for quantization in self.quantizations:
            file = scratch / f"{quantization}.gguf"
            run_in_process(
                f"the quantization to {quantization}",
                "framework_plugins.exports.llama.quantizations:quantize", run_dir / LOG,
                source=unquantized, target=file, quantization=quantization,
                threads=cpu_threads(), settings=settings,
            )  # fmt: skip
            vocabulary.check(file)
            note = TensorTypes.read(file).note(quantization)
            yield CheckedFile(quantization, file, (*notes, *([note] if note else [])))

    def _convert(self, merged: Path, scratch: Path, target: Path, dtype: str, name: str, log: Path) -> None:
        source = scratch / "source"
        source.mkdir()
        for file in merged.iterdir():
            (source / file.name).symlink_to(file.absolute())
        sentencepiece.complete_folder(source)
        name = general_name(name, read_json(source / TOKENIZER))
        run_in_process(
            "the conversion to GGUF", "framework_plugins.exports.gguf.convert.model:convert", log,
            folder=str(source), target=str(target), dtype=dtype, name=name, tree=self.config.llama_cpp_dir,
        )  # fmt: skip


def _twin_key(folder: Path, longest: int) -> str:
    return key_of(
        dict(read_json(folder / MODEL_CONFIG)), longest, *converter.NEEDED, version("transformers"),
        Path(twin.__file__).read_text(encoding="utf-8"),
    )  # fmt: skip


@contextmanager
def scratch_folder(run_dir: Path) -> Iterator[Path]:
    """Give an empty folder inside the run folder, on the same file system, that is gone afterwards."""
    scratch = run_dir / SCRATCH_FOLDER
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def put_without_weights(plan: Plan, folder: Path) -> str:
    """Make a folder of the base as the converter reads it, and return the name of the base.

    The weights are links; if they are not here yet, a file has a hole in their place.
    """
    location = plan.model.create().fetch(weights=False)
    folder.mkdir()
    tokenizer_and_config.copy_files(plan, [location.folder], [location.folder], folder, {})
    try:
        files = weight_files(location.folder)
    except FrameworkError:  # they are downloaded later
        base = MetaModel(location.folder, trust_remote_code=plan.model.config.trust_remote_code)
        write_without_data(folder / SINGLE_FILE, base.stored())
    else:
        for file in filter(Path.is_file, [*files, location.folder / INDEX_FILE]):
            (folder / file.name).symlink_to(file.absolute())
    sentencepiece.complete_folder(folder)
    return str(location.name)


def _compare_merged(merged: Path, gate: Gate, run_dir: Path, name: str) -> None:
    """Compare the merged weights with the trained model.

    Raises:
        ParityError: it is not what was trained.
    """
    final = f"{name}-merged"
    with reject_on_failure(merged, run_dir, final):
        gate.check_merged(merged, final)


def _compare_experts(file: Path, merged: Path, gate: Gate, context: ExportContext, name: str) -> None:
    """Compare the experts of the converted file with those of the merged weights, if there are any.

    Raises:
        ParityError: one is another.
    """
    final = checks.file_name(name, LOSSLESS_FORMATS[WeightCount.read(merged).dtype])
    with reject_on_failure(file, context.run_dir, final):
        trust = context.plan.model.config.trust_remote_code
        if (problem := expert_check.experts_problem(file, merged, trust=trust)) is not None:
            gate.judge_experts(final, problem)


def _compare_conversion(file: Path, form: str, gate: Gate, run_dir: Path, name: str) -> None:
    """Compare the converted file with the trained model: the bounds of quantized files would hide a wrong tensor.

    Raises:
        ParityError: it is not what was trained.
    """
    final = checks.file_name(name, form)
    with reject_on_failure(file, run_dir, final):
        gate.check_conversion(file, final, form)


def _compare_file(output: CheckedFile, source: Path, gate: Gate, run_dir: Path, name: str) -> CheckedFile:
    """Compare a quantized file with its source file, and with the trained model.

    Raises:
        ParityError: it is not what was trained.
    """
    final = checks.file_name(name, output.quantization)
    with reject_on_failure(output.file, run_dir, final):
        gate.check_tensors(output.file, source, final)
        conversations = gate.check_conversations(output.file, final)
        parity = gate.check_gguf(output.file, final, output.quantization)
    return replace(output, notes=(*output.notes, f"chat template: {conversations}"), parity=parity)


def _publish(output: CheckedFile, final: Path) -> Artifact:
    output.file.replace(final)
    path = f"{final.parent.name}/{final.name}"
    return Artifact("gguf", path, final.stat().st_size, list(output.notes), output.parity)
