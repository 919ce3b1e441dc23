"""Options of `exporter=`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from annotated_types import Gt, Len

from framework.schema import ExporterConfig


class OnNoTemplate(Enum):
    """What happens where a chat template cannot be put into a TEMPLATE of Ollama's."""

    fail = "fail"
    leave_out = "leave_out"


@dataclass
class AdapterExporterConfig(ExporterConfig):
    """The trained weights with tokenizer, chat template and the config of the run, ready for peft or transformers."""

    folder: str = "adapter"
    """Name of the folder inside the run folder."""


@dataclass
class OllamaExporterConfig(ExporterConfig):
    """A Modelfile for Ollama, with a TEMPLATE that is proven to give the same text as the chat template."""

    folder: str = "ollama"
    """Name of the folder inside the run folder."""
    quantization: Annotated[str | None, Len(1)] = None
    """The GGUF file that the Modelfile names, by its quantization. Default: the first that exporter=gguf made."""
    base: Annotated[str | None, Len(1)] = None
    """Serve the adapter on this base instead of a merged model: a GGUF file of the base, or a model of Ollama's library
    such as llama3.2:1b. Takes the file of exporter=gguf_adapter. Ollama has no adapters from 0.34.1 on."""
    on_no_template: OnNoTemplate = OnNoTemplate.fail
    """A chat template that cannot be put into a TEMPLATE: fail, or leave the TEMPLATE out, so that Ollama renders the
    chat template in the GGUF file, as it does from 0.30.11 on."""
    num_ctx: Annotated[int | None, Gt(0)] = None
    """Tokens of a conversation that the model sees. Default: `trainer.max_seq_length`."""
    license: Annotated[str | None, Len(1)] = None
    """Text or name of the license. Default: the LICENSE file of the base model, where there is one."""
