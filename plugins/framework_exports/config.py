"""Options of `exporter=`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated

from annotated_types import Len, Predicate

from framework.schema import ExporterConfig, SpeakerConfig, plain_name


@dataclass
class AdapterExporterConfig(ExporterConfig):
    """The trained weights with tokenizer, chat template and the config of the run, ready for peft or transformers."""

    folder: str = "adapter"
    """Name of the folder inside the run folder."""


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
