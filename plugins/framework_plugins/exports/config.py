"""Options of `exporter=`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated

from annotated_types import Ge, Gt, Interval, Len, Predicate
from omegaconf import MISSING

from framework.api import ExporterConfig, NamesCode, plain_name
from framework.api.program import CommandConfig, SpeakerConfig

_UNIT_BYTES = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}

_INVALID_REPO_ID = re.compile(r"--|\.\.|(?:^|/)[-.]|[-.](?:$|/)|\.git$")
"""What the Hub does not accept in the name of an owner or a repository."""


def parse_size(size: str) -> int:
    """Return the bytes of a size such as `5GB` or `512 MiB`; 0 if the text is not a size."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(\w+)", size.strip())
    return int(float(match[1]) * _UNIT_BYTES.get(match[2].upper(), 0)) if match else 0


def is_size(value: str) -> bool:
    """that is a size such as 5GB or 512MiB."""  # noqa: D403 - part of the sentence that an error tells
    return parse_size(value) > 0


def is_repo_id(value: str) -> bool:
    """that is an id of the Hub, owner/name."""  # noqa: D403 - as above
    return re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", value) is not None and not _INVALID_REPO_ID.search(value)


class Dtype(Enum):
    """The number format of weights."""

    auto = "auto"
    bf16 = "bf16"
    fp16 = "fp16"
    fp32 = "fp32"


class FolderConfig(ExporterConfig):
    """An exporter that fills one folder."""

    folder: str

    def folder_name(self) -> str | None:
        return self.folder


@dataclass
class AdapterExporterConfig(FolderConfig):
    """The trained weights with tokenizer, chat template and the config of the run, ready for peft or transformers."""

    folder: str = "adapter"
    """Name of the folder inside the run folder."""


@dataclass
class ParityConfig:
    """The parity gate: an export has to answer as the trained model does, or it fails.

    The bounds of exact exports apply to model folders and to f32, f16 and bf16; the others to quantized files.
    """

    check: bool = True
    """Compare the export with the trained model, position by position, before the export finishes."""
    prompts: Annotated[int, Ge(0)] = 8
    """How many prompts of the run are asked, in addition to four general ones."""
    max_new_tokens: Annotated[int, Gt(0)] = 48
    """Longest answer in tokens."""
    long_row: Annotated[int, Ge(0)] = 2000
    """Length in tokens of one more row, whose last 256 positions are compared. 0: none."""
    exact_top1: Annotated[float, Interval(ge=0, le=1)] = 0.999
    """The share of positions with the same likeliest token. Near ties count as the same: two tokens that the trained
    model has at most 0.02 nats apart or, in bf16, as far apart as rounding moves them."""
    exact_raw_top1: Annotated[float, Interval(ge=0, le=1)] = 0.99
    """The same share without near ties. 0.999 excuses none; a merge in bf16 may not reach that."""
    exact_kl: Annotated[float, Gt(0)] = 0.001
    """Largest mean divergence from the trained model, in nats; in bf16, plus twice what the rounding explains."""
    exact_end_kl: Annotated[float, Gt(0)] = 0.001
    """The same at the end of the long row."""
    quantized_top1: Annotated[float, Interval(ge=0, le=1)] = 0.75
    """The same share for quantized files, without counting near ties as the same."""
    quantized_kl: Annotated[float, Gt(0)] = 0.25
    """Largest mean divergence of a quantized file, also at the end of the long row."""
    quantized_perplexity: Annotated[float, Gt(0)] = 1.25
    """Largest perplexity of a quantized file, as a multiple of the trained model's."""
    quantized_share: Annotated[float, Interval(ge=0, le=1)] = 0.8
    """Smallest share of the change from the base that a quantized file has to keep, if its standard error is 0.1 or
    less; the largest is 1 divided by it. 0 requires nothing, and the base is not loaded."""


@dataclass
class MergedExporterConfig(FolderConfig):
    """The whole model in one folder, ready for transformers: the adapter merged into the base."""

    folder: str = "merged"
    """Name of the folder inside the run folder."""
    dtype: Dtype = Dtype.auto
    """auto, for an adapter on a base in bf16: fp32 if fp16 would round away more than a tenth of what was trained, else
    fp16 if no number is near its limit; in all other cases as on disk."""
    max_shard_size: Annotated[str, Predicate(is_size)] = "5GB"
    """The largest file of weights; a larger model is split into several."""
    parity: ParityConfig = field(default_factory=ParityConfig)
    """The comparison with the trained model."""


@dataclass
class ModelCardExporterConfig(ExporterConfig):
    """README.md beside the other exports: data, settings, results, use and license, in the format of the Hub."""

    license: Annotated[str | None, Len(1)] = None
    """Identifier of the license, such as apache-2.0. Default: the license of the base, from its own card."""
    base_model: Annotated[str | None, Predicate(is_repo_id)] = None
    """Hub id of the base, if the run takes it from a folder."""
    datasets: list[str] = field(default_factory=list)
    """Hub ids of the data, if the run takes them from files."""
    answers: Annotated[int, Ge(0)] = 3
    """How many prompts, which are rows of your data, are shown with both answers; 0 shows none."""


@dataclass
class PushExporterConfig(ExporterConfig):
    """A repository on the Hugging Face Hub; the token comes from `hf auth login` or HF_TOKEN."""

    repo_id: Annotated[str, Predicate(is_repo_id)] = MISSING
    """The repository, owner/name. It is created if it does not exist."""
    what: Annotated[list[str], Len(1)] = field(default_factory=lambda: ["adapter"])
    """Exporters whose artifacts are pushed: adapter, merged, gguf… A single one goes to the top of the repository,
    several to folders of their own."""
    private: bool = True
    """Make a private repository, and refuse to push into a public one."""
    dry_run: bool = False
    """Show the files and their sizes instead of pushing them."""


@dataclass
class GgufExporterConfig(FolderConfig):
    """The merged model as GGUF files, quantized, for llama.cpp, Ollama, LM Studio and others."""

    quantizations: Annotated[list[str], Len(1)] = field(default_factory=lambda: ["q4_k_m"])
    """One file for each: q4_k_m, q5_k_m, q6_k, q8_0, bf16, f16, f32 and others."""
    folder: str = "gguf"
    """Name of the folder inside the run folder."""
    file_name: Annotated[str | None, Predicate(plain_name)] = None
    """The NAME in the file names, `NAME-Q4_K_M.gguf`. Default: the name of the run."""
    llama_cpp_dir: Annotated[str | None, Len(1), NamesCode()] = None
    """A source tree of llama.cpp, whose converter is used. Default: the converter in auto-round."""
    parity: ParityConfig = field(default_factory=ParityConfig)
    """The comparison with the trained model."""


class AdapterType(Enum):
    """The number format of an adapter's matrices."""

    f32 = "f32"
    f16 = "f16"


@dataclass
class GgufAdapterExporterConfig(FolderConfig):
    """The LoRA adapter as a GGUF file, which llama.cpp or Ollama applies to a GGUF file of the base."""

    dtype: AdapterType = AdapterType.f16
    """Format of the matrices: f32, or f16 at half the size."""
    folder: str = "gguf_adapter"
    """Name of the folder inside the run folder."""
    file_name: Annotated[str | None, Predicate(plain_name)] = None
    """The NAME in the file name, `NAME-LoRA.gguf`. Default: the name of the run."""
    llama_cpp_dir: Annotated[str | None, Len(1), NamesCode()] = None
    """A source tree of llama.cpp, whose converter is used. Default: the converter in auto-round."""


@dataclass
class GgufSpeakerConfig(SpeakerConfig):
    """A GGUF file in llama.cpp: `--gguf FILE`, or `--gguf` for the first one that the run exported."""


@dataclass
class OllamaExporterConfig(FolderConfig):
    """A Modelfile for Ollama 0.30.11 or newer, which renders the chat template in the GGUF file."""

    folder: str = "ollama"
    """Name of the folder inside the run folder."""
    quantization: Annotated[str | None, Len(1)] = None
    """The GGUF file that the Modelfile names, by its quantization. Default: the first that exporter=gguf made."""
    num_ctx: Annotated[int | None, Gt(0)] = None
    """Context length in tokens. Default: `trainer.max_seq_length`."""
    license: Annotated[str | None, Len(1)] = None
    """Text or name of the license. Default: the LICENSE file of the base model."""


@dataclass
class ParityCommandConfig(CommandConfig):
    """Tell whether an OpenAI-compatible endpoint serves the model of a run, its base, or something else.

    It asks prompts of the run and general ones, and compares each answer with what the trained model and the base would
    have written: a few answers decide a clear case.
    """

    usage = "URL RUN_DIR"


@dataclass
class ServeCommandConfig(CommandConfig):
    """Serve the model of a run and its base as two models behind an OpenAI-compatible endpoint.

    llama.cpp serves the trained model if the run has a GGUF file; else it answers as it was trained. The endpoint
    compares itself with the run before it is ready.
    """

    usage = "RUN_DIR"
