"""What a GGUF file says of itself is read as the library that wrote it meant it."""

from pathlib import Path

import pytest

from framework.util.errors import FrameworkError
from framework_plugins.exports.ollama import metadata
from tests.support.ollama import gguf_file


def test_entries_are_read_and_lists_passed_over(tmp_path: Path) -> None:
    file = gguf_file(
        tmp_path / "a.gguf",
        tokenizer__ggml__add_bos_token=True,
        general__name="größe",
        llama__context_length=8192,
        tokenizer__ggml__add_eos_token=False,
    )
    read = metadata.read(file)
    assert read == {
        "general.architecture": "llama",
        "tokenizer.ggml.add_bos_token": True,
        "general.name": "größe",
        "llama.context_length": 8192,
        "tokenizer.ggml.add_eos_token": False,
    }


@pytest.mark.parametrize("length", [0, 3, 20, 60, -1])
def test_a_file_that_is_damaged_or_none_is_named(tmp_path: Path, length: int) -> None:
    whole = gguf_file(tmp_path / "a.gguf", general__name="orders").read_bytes()
    file = tmp_path / "b.gguf"
    file.write_bytes(whole[:length] if length >= 0 else b"PK" + whole)
    with pytest.raises(FrameworkError, match=r"b\.gguf is no whole GGUF file \(.*\): make it again"):
        metadata.read(file)


def test_the_real_file_of_smollm2_adds_no_first_token() -> None:
    from framework_plugins.quickstart.smollm2 import gguf_file as real

    read = metadata.read(real())
    assert read["tokenizer.ggml.add_bos_token"] is False
    assert read["general.architecture"] == "llama"
    assert "You are a helpful AI assistant named SmolLM" in str(read["tokenizer.chat_template"])
