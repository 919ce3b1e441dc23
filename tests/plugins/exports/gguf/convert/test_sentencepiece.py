"""SentencePiece vocabularies are made again of tokenizer.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceProcessor

from framework_plugins.exports.gguf.convert import sentencepiece
from tests.support.families import make_tokenizer

TEXTS = ("How many are there?", "It is sunny and warm in Bern.", "two  spaces", "naïve 🙂", "aaaa assistant")


def saved(folder: Path, family: str) -> dict[str, Any]:
    make_tokenizer(family).save_pretrained(folder)
    said: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    return said


@pytest.mark.parametrize("family", ["gemma", "phi3", "mistral_v3"])
def test_sentencepiece_itself_cuts_text_alike(tmp_path: Path, family: str) -> None:
    tokenizer = make_tokenizer(family)
    processor = SentencePieceProcessor(model_proto=sentencepiece.model(saved(tmp_path, family)))
    assert processor.vocab_size() == len(tokenizer)
    for text in TEXTS:
        marked = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        plain = "".join("▁" if letter == " " else letter for letter in text)
        prefix = "" if family == "gemma" else "▁"
        assert processor.encode(prefix + plain) == marked.ids, text


def test_kinds_of_tokens_are_kept(tmp_path: Path) -> None:
    said = saved(tmp_path, "gemma")
    processor = SentencePieceProcessor(model_proto=sentencepiece.model(said))
    ids = {token["content"]: token["id"] for token in said["added_tokens"]}
    assert processor.is_control(ids["<start_of_turn>"])
    assert not processor.is_control(ids["\n\n"])
    assert processor.is_byte(processor.piece_to_id("<0x0A>"))
    assert processor.is_unknown(processor.piece_to_id("<unk>"))


def test_a_gap_in_the_ids_is_filled_with_unused_tokens(tmp_path: Path) -> None:
    said = saved(tmp_path, "gemma")
    last = max(token["id"] for token in said["added_tokens"])
    said["added_tokens"].append({**said["added_tokens"][-1], "id": last + 3, "content": "<late>"})
    processor = SentencePieceProcessor(model_proto=sentencepiece.model(said))
    assert [processor.id_to_piece(last + n) for n in (1, 2, 3)] == [f"[PAD{last + 1}]", f"[PAD{last + 2}]", "<late>"]
    assert [processor.is_unused(last + n) for n in (1, 2, 3)] == [True, True, False]


def test_a_folder_is_completed_and_what_it_has_is_left(tmp_path: Path) -> None:
    saved(tmp_path, "gemma")
    before = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    sentencepiece.complete(tmp_path)
    made = (tmp_path / "tokenizer.model").read_bytes()
    after = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    added = after.pop("added_tokens_decoder")
    assert after == before
    assert {token["content"] for token in added.values()} >= {"<bos>", "<eos>", "\n\n"}
    (tmp_path / "tokenizer.model").write_bytes(b"its own")
    sentencepiece.complete(tmp_path)
    assert (tmp_path / "tokenizer.model").read_bytes() == b"its own" != made


def test_links_of_a_folder_are_not_written_through(tmp_path: Path) -> None:
    own, linked = tmp_path / "own", tmp_path / "linked"
    saved(own, "phi3")
    before = (own / "tokenizer_config.json").read_bytes()
    linked.mkdir()
    for file in own.iterdir():
        (linked / file.name).symlink_to(file)
    sentencepiece.complete(linked)
    assert (own / "tokenizer_config.json").read_bytes() == before
    assert b"added_tokens_decoder" in (linked / "tokenizer_config.json").read_bytes()
    assert not (own / "tokenizer.model").exists()


def test_byte_level_tokenizers_need_nothing(tmp_path: Path) -> None:
    said = saved(tmp_path, "llama3")
    before = sorted(tmp_path.iterdir())
    sentencepiece.complete(tmp_path)
    assert sorted(tmp_path.iterdir()) == before
    assert sentencepiece.settings(said) == {}


@pytest.mark.parametrize(("family", "space"), [("phi3", True), ("mistral_v3", False), ("gemma", False)])
def test_whether_a_space_comes_before_the_first_word(tmp_path: Path, family: str, space: bool) -> None:  # noqa: FBT001
    assert sentencepiece.settings(saved(tmp_path, family)) == {"tokenizer.ggml.add_space_prefix": space}
