"""Writes a transformers folder as a GGUF file, by llama.cpp's converter, in a process of its own (`llama.process`)."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from framework import FrameworkError
from framework_plugins.exports.export_folder import TOKENIZER, read_json
from framework_plugins.exports.gguf.convert import converter, pre_tokenizers, sentencepiece
from framework_plugins.exports.gguf.convert.hparams import for_converter, read_hparams

FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16"}
"""Names of `gguf.LlamaFileType`."""


def convert(
    folder: str,
    target: str,
    dtype: str,
    name: str,
    tree: str | None = None,
    *,
    rehearsal: bool = False,
    twin: bool = False,
) -> None:
    """Convert.

    Args:
        folder: config, safetensors and tokenizer, completed by `sentencepiece.complete`.
        target: the file to write.
        dtype: f32, f16 or bf16.
        name: the value of `general.name`.
        tree: the source tree of llama.cpp that converts; None: AutoRound's copy.
        rehearsal: leave out the weights: the file has their names and shapes, and a hole in their place.
        twin: leave out the vocabulary: the folder has no tokenizer, and the file is given token ids only.

    Raises:
        FrameworkError: the architecture or the tokenizer is unknown to llama.cpp.
    """
    conversion, gguf = converter.load(tree)
    tokenizer = {} if twin else read_json(Path(folder, TOKENIZER))
    hparams = read_hparams(conversion, Path(folder))
    kind = model_class(conversion, hparams)
    settings = for_converter(kind, hparams)

    def converter_of(kind: Any) -> Any:
        class Converted(kind):
            """The converter of an architecture, extended by tokenizers that it does not know."""

            model_arch = kind.model_arch

            def set_vocab(self) -> None:
                if twin:
                    self._set_vocab_none()
                    self.gguf_writer.add_vocab_size(self.hparams["vocab_size"])
                    return
                try:
                    super().set_vocab()
                except (FileNotFoundError, ValueError):  # Phi-4 has a class name that transformers 5 changed
                    if sentencepiece.is_sentencepiece(tokenizer):
                        raise
                    self._set_vocab_gpt2()

            def get_vocab_base_pre(self, loaded: Any) -> str:
                try:
                    return str(super().get_vocab_base_pre(loaded))
                except NotImplementedError:
                    return _require_pre_tokenizer(tokenizer)

        file_type = gguf.LlamaFileType[FILE_TYPES[dtype]]
        return Converted(Path(folder), file_type, Path(target), model_name=name, hparams=copy.deepcopy(settings))

    try:
        with torch.inference_mode():
            model_converter = converter_of(kind)
            if hasattr(model_converter, "impl"):  # Mistral 3's only chooses the one that converts
                model_converter = converter_of(type(model_converter.impl))
            if rehearsal:
                model_converter.prepare_tensors()  # which reads headers only
                model_converter.prepare_metadata(vocab_only=False)
                _write_without_weights(model_converter.gguf_writer, Path(target))
            else:
                model_converter.write()
    except KeyError as error:
        raise FrameworkError(
            f"llama.cpp's converter looks for {error}, which the model lacks: if it is a setting, copy it from the "
            "config.json of the original model"
        ) from error


def _write_without_weights(writer: Any, target: Path) -> None:
    writer.write_header_to_file(path=target)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    tensors = [info.nbytes for shard in writer.tensors for info in shard.values()]
    parts = [target.stat().st_size, *tensors]
    os.truncate(target, sum(writer.ggml_pad(size, writer.data_alignment) for size in parts))


def model_class(conversion: Any, config: dict[str, Any]) -> Any:
    """Return the class that converts models of a config.

    Raises:
        FrameworkError: there is none.
    """
    name = converter.architecture(config, conversion.TEXT_MODEL_MAP)
    if name is None:
        named = conversion.get_model_architecture(config, conversion.ModelType.TEXT)
        raise FrameworkError(f"llama.cpp's converter does not know the architecture {named}")
    if config.get("text_config"):
        config["text_config"] = {**config["text_config"], "architectures": [name]}
    config["architectures"] = [name]
    return conversion.get_model_class(name)


def _require_pre_tokenizer(tokenizer: Mapping[str, Any]) -> str:
    name = pre_tokenizers.pre_tokenizer_name(tokenizer)
    if name is None:
        raise FrameworkError(
            "llama.cpp has no tokenizer that splits text like this one: it does not know its pre_tokenizer"
        )
    return name
