"""Writes a transformers folder as a GGUF file, by llama.cpp's converter, in a process of its own (`llama.process`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from framework import FrameworkError
from framework_plugins.exports.export_folder import TOKENIZER, read_json
from framework_plugins.exports.gguf.convert import converter, pre_tokenizers, sentencepiece

FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16"}
"""Names of `gguf.LlamaFileType`."""


def convert(
    folder: str, target: str, dtype: str, name: str, tree: str | None = None, *, settings_only: bool = False
) -> None:
    """Convert.

    Args:
        folder: config, safetensors and tokenizer, completed by `sentencepiece.complete`.
        target: the file to write.
        dtype: f32, f16 or bf16.
        name: what `general.name` says.
        tree: the source tree of llama.cpp that converts; None: AutoRound's copy.
        settings_only: convert config and tokenizer, and write nothing.

    Raises:
        FrameworkError: the architecture or the tokenizer is unknown to llama.cpp.
    """
    (conversion, gguf), tokenizer = converter.load(tree), read_json(Path(folder, TOKENIZER))
    kind = model_class(conversion, conversion.ModelBase.load_hparams(Path(folder), False))  # noqa: FBT003 - theirs

    class Converted(kind):  # type: ignore[misc, valid-type]
        """The converter of this architecture, extended by tokenizers that it does not know."""

        model_arch = kind.model_arch

        def set_vocab(self) -> None:
            try:
                super().set_vocab()
            except (FileNotFoundError, ValueError):  # Phi-4 is recognised by a class name that transformers 5 changed
                if sentencepiece.is_sentencepiece(tokenizer):
                    raise
                self._set_vocab_gpt2()

        def get_vocab_base_pre(self, loaded: Any) -> str:
            try:
                return str(super().get_vocab_base_pre(loaded))
            except NotImplementedError:
                return _known_pre_tokenizer(tokenizer)

    with torch.inference_mode():
        made = Converted(Path(folder), gguf.LlamaFileType[FILE_TYPES[dtype]], Path(target), model_name=name)
        if settings_only:
            made.prepare_metadata(vocab_only=False)
        else:
            made.write()


def model_class(conversion: Any, config: dict[str, Any]) -> Any:
    """Return the class that converts models of a config.

    Raises:
        FrameworkError: there is none.
    """
    architecture = conversion.get_model_architecture(config, conversion.ModelType.TEXT)
    try:
        return conversion.get_model_class(architecture)
    except NotImplementedError as error:
        raise FrameworkError(f"llama.cpp's converter does not know the architecture {architecture}") from error


def _known_pre_tokenizer(tokenizer: Mapping[str, Any]) -> str:
    name = pre_tokenizers.pre_tokenizer_name(tokenizer)
    if name is None:
        raise FrameworkError(
            "llama.cpp has no tokenizer that splits text like this one: it does not know its pre_tokenizer"
        )
    return name
