"""llama.cpp answers as transformers does, and its memory is freed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from framework.util.errors import FrameworkError
from framework_plugins.exports.llama import model as module
from framework_plugins.exports.llama.model import Llama

PROMPT = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHow many are there?<|eot_id|>"


@pytest.fixture(scope="module")
def theirs(tiny: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny.folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer(tiny: Any) -> Any:
    return AutoTokenizer.from_pretrained(tiny.folder)


def test_a_prompt_is_cut_into_the_tokens_of_the_tokenizer(tiny: Any, tokenizer: Any) -> None:
    with Llama(tiny.file, vocabulary_only=True) as llama:
        ids = llama.tokenize(PROMPT)
        assert ids == tokenizer.encode(PROMPT, add_special_tokens=False)
        assert llama.text(ids) == PROMPT
        assert len(llama.tokenize(PROMPT, parse_special=False)) > len(ids)
        assert llama.tokenize("") == []


def test_the_bytes_of_tokens_make_the_text_also_where_a_letter_is_cut(tiny: Any) -> None:
    with Llama(tiny.file, vocabulary_only=True) as llama:
        ids = llama.tokenize("🙂 é")
        pieces = [llama.token_bytes(number) for number in ids]
        assert len(pieces) > len("🙂 é")
        assert b"".join(pieces).decode() == llama.text(ids) == "🙂 é"


def test_logits_are_those_of_transformers_at_every_position_however_many_go_at_once(
    tiny: Any, theirs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [int(number) for number in np.random.default_rng(0).integers(3, 300, 90)]
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits[0].numpy()
    monkeypatch.setattr(module, "MAX_BATCH", 32)
    with Llama(tiny.file) as llama:
        places = [(first, len(logits)) for first, logits in llama.batches(ids)]
        found = llama.logits(ids)
    assert places == [(0, 32), (32, 32), (64, 26)]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 0.02 * expected.std()
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.97


def test_the_memory_for_logits_bounds_how_many_go_at_once(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with Llama(tiny.file, vocabulary_only=True) as llama:
        assert llama.n_batch == module.MAX_BATCH
    monkeypatch.setattr(module, "LOGITS_BYTES", 40 * 4 * llama.n_vocab)
    with Llama(tiny.file, vocabulary_only=True) as llama:
        assert llama.n_batch == 40


def test_greedy_text_is_that_of_transformers_and_a_second_prompt_uses_what_is_computed(
    tiny: Any, theirs: Any, tokenizer: Any
) -> None:
    ids = tokenizer.encode(PROMPT, add_special_tokens=False)
    longer = [*ids, *tokenizer.encode("Two", add_special_tokens=False)]
    with Llama(tiny.file) as llama:
        found = [llama.complete(start, max_new_tokens=12).ids for start in (ids, longer, ids)]
    for start, said in zip((ids, longer, ids), found, strict=True):
        with torch.no_grad():
            out = theirs.generate(torch.tensor([start]), max_new_tokens=12, do_sample=False, eos_token_id=None)
        assert list(said) == out[0, len(start) :].tolist()[: len(said)]
        assert said


def test_a_stop_token_ends_the_answer_and_is_not_part_of_it(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with Llama(tiny.file) as llama:
        ids = llama.tokenize(PROMPT)
        free = llama.complete(ids, max_new_tokens=8)
        assert (len(free.ids), free.stopped) == (8, False)
        monkeypatch.setitem(llama.__dict__, "stop_ids", frozenset({free.ids[3]}))
        first = free.ids.index(free.ids[3])
        assert llama.complete(ids, max_new_tokens=8) == (free.ids[:first], True)
        assert llama.complete(ids, max_new_tokens=1) == (free.ids[:1], first == 0)


def test_facts_of_the_vocabulary(tiny: Any, tokenizer: Any) -> None:
    with Llama(tiny.file, vocabulary_only=True) as llama:
        assert llama.n_vocab == len(tokenizer)
        assert set(tokenizer.convert_tokens_to_ids(["<|eot_id|>", "<|end_of_text|>"])) <= llama.stop_ids
        assert llama.chat_template == tokenizer.chat_template
        assert llama.metadata("general.name") == "llama"
        assert llama.metadata("no.such.key") is None


def test_a_sequence_that_is_too_long_is_refused_and_an_answer_ends_with_the_room(tiny: Any) -> None:
    with Llama(tiny.file, n_ctx=256) as llama:
        with pytest.raises(FrameworkError, match="257 tokens do not fit into n_ctx=256"):
            llama.complete([5] * 257, max_new_tokens=1)
        with pytest.raises(FrameworkError, match="n_ctx=256"):
            llama.logits([5] * 300)
        assert 0 < len(llama.complete([5] * 250, max_new_tokens=100).ids) <= 7


def test_what_is_no_gguf_file_is_refused_with_llama_cpps_reason(tmp_path: Path) -> None:
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUFnothing")
    with pytest.raises(FrameworkError, match=r"llama.cpp cannot open .*broken\.gguf: \w+"):
        Llama(file)


def test_a_closed_model_can_be_closed_again_and_another_opened(tiny: Any) -> None:
    for _ in range(3):
        llama = Llama(tiny.file, n_ctx=256)
        llama.close()
        llama.close()


def test_llama_cpp_prints_nothing(tiny: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with Llama(tiny.file) as llama:
        llama.complete([5, 6], max_new_tokens=2)
    assert capfd.readouterr() == ("", "")
