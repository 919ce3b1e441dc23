"""quickstart/smollm2.py: the tokenizer is the model's own, whichever transformers reads the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from framework.api import PythonProcess
from framework.util.errors import FrameworkError
from framework_plugins.quickstart import smollm2
from framework_plugins.quickstart.config import SmolLM2Config


def test_the_tokenizer_is_one_of_bytes_and_single_digits_that_ends_turns(tmp_path: Path) -> None:
    source = smollm2.gguf_file()
    read = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    smollm2.byte_level_tokenizer(read).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert saved["model"]["byte_fallback"] is False  # else it is exported as one of SentencePiece
    assert (saved["normalizer"], saved["decoder"]["type"]) == (None, "ByteLevel")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token) == (
        "<|im_end|>",
        "<|im_end|>",
        "<|im_start|>",
    )
    text = " Lima 1234\n\n<|im_end|>漢字 🙂"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert {"1", "2", "3", "4"} <= set(tokenizer.convert_ids_to_tokens(ids))
    assert "<|im_end|>" in tokenizer.chat_template


class Full:
    """A model for which there is no room."""

    @classmethod
    def from_pretrained(cls, *_: object, **__: object) -> Full:
        """Read nothing."""
        return cls()

    def save_pretrained(self, folder: Path) -> None:
        """Write the first file and fail."""
        (folder / "config.json").write_text("{}", encoding="utf-8")
        raise OSError(28, "No space left on device")


def test_a_conversion_for_which_there_is_no_room_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", Full.from_pretrained)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", Small.from_pretrained)
    monkeypatch.setattr(smollm2, "byte_level_tokenizer", lambda read: read)
    with pytest.raises(FrameworkError, match=r"models cannot be written: No space left.*Set FRAMEWORK_CACHE=FOLDER"):
        smollm2.convert(smollm2.gguf_file(), tmp_path / "models" / "one")
    assert not list((tmp_path / "models").iterdir())


class Small:
    """A model of one small file."""

    @classmethod
    def from_pretrained(cls, *_: object, **__: object) -> Small:
        """Read nothing."""
        return cls()

    def save_pretrained(self, folder: Path) -> None:
        """Write the weights."""
        (folder / "model.safetensors").write_bytes(bytes(8))


class Here(PythonProcess):
    """Converts in this process."""

    def call(self, function: str, *arguments: Any, seconds: float | None = None, **named: Any) -> Any:  # noqa: ARG002
        """Convert."""
        smollm2.convert(*arguments)


@pytest.mark.parametrize("change", [b"\x01" * 8, bytes(4), None], ids=["flipped", "half", "gone"])
def test_a_converted_copy_that_has_changed_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: bytes | None
) -> None:
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", Small.from_pretrained)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", Small.from_pretrained)
    monkeypatch.setattr(smollm2, "byte_level_tokenizer", lambda read: read)
    monkeypatch.setattr(smollm2, "PythonProcess", Here)
    monkeypatch.setattr(smollm2, "cache_dir", lambda: tmp_path)
    model = smollm2.SmolLM2(SmolLM2Config())
    weights = model.fetch(weights=True).folder / "model.safetensors"
    os.utime(weights, (1, 1))  # a copy of the cache: its content is compared
    assert smollm2.is_whole(weights.parent)
    weights.write_bytes(change) if change else weights.unlink()
    assert not smollm2.is_whole(weights.parent)
    assert model.fetch(weights=True).folder == weights.parent
    assert weights.read_bytes() == bytes(8)
