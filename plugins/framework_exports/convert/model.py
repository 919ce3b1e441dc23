"""Writes a transformers folder as a GGUF file, by llama.cpp's converter; runs in a process of its own (`apart`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import torch

from framework.errors import FrameworkError
from framework_exports.convert import converter, words

FILE_TYPES = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "bf16": gguf.LlamaFileType.MOSTLY_BF16,
}


def convert(folder: str, target: str, dtype: str, name: str) -> None:
    """Convert.

    Args:
        folder: config, safetensors and tokenizer, completed by `pieces.complete`.
        target: the file to write.
        dtype: f32, f16 or bf16.
        name: what `general.name` says.

    Raises:
        FrameworkError: the architecture or the tokenizer is unknown to llama.cpp.
    """
    conversion = converter.load()
    kind = model_class(conversion, conversion.ModelBase.load_hparams(Path(folder), False))  # noqa: FBT003 - theirs

    class Converted(kind):  # type: ignore[misc, valid-type]
        """The converter of this architecture, which is told of tokenizers that it does not know."""

        model_arch = kind.model_arch

        def get_vocab_base_pre(self, tokenizer: Any) -> str:
            try:
                return str(super().get_vocab_base_pre(tokenizer))
            except NotImplementedError:
                return _known_words(self.dir_model / "tokenizer.json")

    with torch.inference_mode():
        Converted(Path(folder), FILE_TYPES[dtype], Path(target), model_name=name).write()


def model_class(conversion: Any, config: dict[str, Any]) -> Any:
    """Return the class that converts models of a config.

    Raises:
        FrameworkError: there is none.
    """
    architecture = conversion.get_model_architecture(config, conversion.ModelType.TEXT)
    try:
        return conversion.get_model_class(architecture)
    except NotImplementedError as error:
        message = f"llama.cpp's converter does not know the architecture {architecture}"
        raise FrameworkError(message) from error


def _known_words(file: Path) -> str:
    found = words.name(json.loads(file.read_text(encoding="utf-8")))
    if found is None:
        message = "llama.cpp has no tokenizer that cuts words like this one: its pre_tokenizer is unknown there"
        raise FrameworkError(message)
    return found
