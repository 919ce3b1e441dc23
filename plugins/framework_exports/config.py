"""Options of `exporter=`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated

from annotated_types import Len, Predicate

from framework.schema import ExporterConfig, SpeakerConfig, plain_name

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def bytes_of(size: str) -> int:
    """Return the bytes of a size as people write it, `5GB` or `512 MiB`; 0 where it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(\w+)", size.strip())
    return int(float(found[1]) * _UNITS.get(found[2].upper(), 0)) if found else 0


def a_size(value: str) -> bool:
    """a size such as 5GB or 512MiB."""  # noqa: D403 - part of the sentence that an error tells
    return bytes_of(value) > 0


class Dtype(Enum):
    """The number format of weights."""

    auto = "auto"
    bf16 = "bf16"
    fp16 = "fp16"
    fp32 = "fp32"


@dataclass
class AdapterExporterConfig(ExporterConfig):
    """The trained weights with tokenizer, chat template and the config of the run, ready for peft or transformers."""

    folder: str = "adapter"
    """Name of the folder inside the run folder."""


@dataclass
class MergedExporterConfig(ExporterConfig):
    """The whole model in one folder, ready for transformers: the adapter merged into the base as it lies on disk."""

    folder: str = "merged"
    """Name of the folder inside the run folder."""
    dtype: Dtype = Dtype.auto
    """The number format of the weights; auto: as they lie on disk, the base's for an adapter."""
    max_shard_size: Annotated[str, Predicate(a_size)] = "5GB"
    """The largest file of weights; a model that is larger is spread over several."""


@dataclass
class GgufExporterConfig(ExporterConfig):
    """The merged model as GGUF files, quantized, for llama.cpp, Ollama, LM Studio and others."""

    quantizations: Annotated[list[str], Len(1)] = field(default_factory=lambda: ["q4_k_m"])
    """One file for each: q4_k_m, q5_k_m, q6_k, q8_0, bf16, f16, f32 and others; all are made of one conversion."""
    folder: str = "gguf"
    """Name of the folder inside the run folder."""
    file_name: Annotated[str | None, Predicate(plain_name)] = None
    """The files are called by it and the quantization, `NAME-Q4_K_M.gguf`. Default: the name of the run."""
    llama_cpp_dir: Annotated[str | None, Len(1)] = None
    """A checkout of llama.cpp, whose convert_hf_to_gguf.py is used. Default: the converter that auto-round carries."""


class AdapterType(Enum):
    """The number format of an adapter's matrices."""

    f32 = "f32"
    f16 = "f16"


@dataclass
class GgufAdapterExporterConfig(ExporterConfig):
    """The LoRA adapter as a GGUF file, to be put on a GGUF file of the base by llama.cpp or Ollama."""

    dtype: AdapterType = AdapterType.f16
    """Format of the matrices: f32, or f16 at half the size."""
    folder: str = "gguf_adapter"
    """Name of the folder inside the run folder."""
    file_name: Annotated[str | None, Predicate(plain_name)] = None
    """The file is called `NAME-LoRA.gguf`. Default: the name of the run."""


@dataclass
class GgufSpeakerConfig(SpeakerConfig):
    """A GGUF file in llama.cpp: `--gguf FILE`, or `--gguf` for the first one that the run exported."""
