"""Which tokens begin a text and end an answer is read from the files of tokenizer and model."""

import json
from pathlib import Path

import pytest

from framework_plugins.exports.ollama import tokens
from framework_plugins.exports.ollama.tokens import Tokens
from tests.support.families import make_tokenizer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return the folder of a base model whose answers end with either of two tokens."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    return folder


def ends(model: Path, ids: int | list[int]) -> None:
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}), encoding="utf-8")


def test_the_stops_are_those_of_the_tokenizer_and_of_the_generation(tmp_path: Path, model: Path) -> None:
    tokenizer = make_tokenizer("llama3")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    ends(model, tokenizer.convert_tokens_to_ids(["<|end_of_text|>", "<|eot_id|>"]))
    read = tokens.read(tmp_path / "tokenizer", model)
    assert read.stops == ("<|eot_id|>", "<|end_of_text|>")
    assert read.begin == "<|begin_of_text|>"
    assert read.template == tokenizer.chat_template


def test_one_stop_is_no_list(tmp_path: Path, model: Path) -> None:
    tokenizer = make_tokenizer("gemma")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    ends(model, tokenizer.convert_tokens_to_ids("<end_of_turn>"))
    assert tokens.read(tmp_path / "tokenizer", model).stops == ("<eos>", "<end_of_turn>")


def test_a_tokenizer_that_begins_each_text_is_recognised(tmp_path: Path, model: Path) -> None:
    from tokenizers import processors

    tokenizer = make_tokenizer("llama3")
    begin = ("<|begin_of_text|>", tokenizer.bos_token_id)
    adds = processors.TemplateProcessing(single=f"{begin[0]} $A", special_tokens=[begin])
    for processor, expected in ((adds, True), (processors.ByteLevel(), False)):
        tokenizer.backend_tokenizer.post_processor = processors.Sequence([processors.ByteLevel(), processor])
        tokenizer.save_pretrained(tmp_path / "tokenizer")
        assert tokens.read(tmp_path / "tokenizer", model).begins is expected


def test_what_has_no_such_files_has_no_tokens(tmp_path: Path) -> None:
    ends(tmp_path, 2)
    assert tokens.read(tmp_path, tmp_path) == Tokens()
