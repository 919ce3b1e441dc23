"""hf/generate/stream.py: an answer token by token is the answer in one go, and letters come whole."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from framework.api import Message
from framework.util.errors import FrameworkError
from framework_plugins.hf.generate.stream import stream, texts
from framework_plugins.lib.sampling import make_sampler
from framework_plugins.lib.thoughts import without_thought
from tests.support.examples import examples
from tests.support.families import FAMILIES, family_tokenizer
from tests.support.generation import generate
from tests.support.tiny import tiny_llama

NEW = 24
PROMPTS = [
    "Add the two numbers.",
    "Say whether the number is even or odd.",
    "1",
    "Which number follows the other? " * 4,
]
WRITINGS = [
    "naïve café",
    "日本語のテキスト",
    "a 🙂 and a 👩‍👩‍👧 family",
    "tabs\tand\nlines\n\n",
    "  two  spaces ",
    "é" * 9,
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder: Path = tiny_llama(tmp_path_factory.mktemp("model"))
    made: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for weight in made.parameters():
        weight.data *= 4  # a random model says the same whatever it is asked; a louder one does not
    return made.eval(), AutoTokenizer.from_pretrained(folder)


def streamed(model: tuple[Any, Any], text: str, *, stops: frozenset[int] = frozenset({1}), seed: int | None = None,
             temperature: float = 0.0, top_p: float = 1.0) -> Iterator[str]:  # fmt: skip
    ids = model[1](text, add_special_tokens=False)["input_ids"]
    return stream(*model, ids, stops, NEW, make_sampler(temperature, top_p, seed))


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_pieces_are_the_answer_in_one_go(model: tuple[Any, Any], prompt: str) -> None:
    (answer,) = generate(*model, [prompt], frozenset({1}), NEW, 1)
    pieces = list(streamed(model, prompt))
    assert "".join(pieces) == answer.text
    assert len(pieces) in {answer.tokens, answer.tokens + 1}


def test_a_setting_of_the_model_is_kept(model: tuple[Any, Any]) -> None:
    network, _ = model
    plain = "".join(streamed(model, PROMPTS[0]))
    network.generation_config.repetition_penalty = 1.8
    try:
        (answer,) = generate(*model, PROMPTS[:1], frozenset({1}), NEW, 1)
        assert "".join(streamed(model, PROMPTS[0])) == answer.text != plain
    finally:
        network.generation_config.repetition_penalty = None


def test_a_stop_token_ends_the_answer_and_is_not_shown(model: tuple[Any, Any]) -> None:
    network, tokenizer = model
    ids = tokenizer(PROMPTS[0], add_special_tokens=False)["input_ids"]
    said = network.generate(torch.tensor([ids]), max_new_tokens=NEW, do_sample=False, eos_token_id=1, pad_token_id=1)
    tokens = said[0, len(ids) :].tolist()
    stop = tokens[3]
    (answer,) = generate(*model, PROMPTS[:1], frozenset({stop}), NEW, 1)
    assert answer.stopped
    assert "".join(streamed(model, PROMPTS[0], stops=frozenset({stop}))) == answer.text


def test_two_answers_in_turns_and_one_that_is_left_are_what_they_are_alone(model: tuple[Any, Any]) -> None:
    alone = ["".join(streamed(model, prompt)) for prompt in PROMPTS[:2]]
    left = streamed(model, PROMPTS[2])
    next(left)
    pairs = itertools.zip_longest(*(streamed(model, prompt) for prompt in PROMPTS[:2]), fillvalue="")
    assert ["".join(pieces) for pieces in zip(*pairs, strict=True)] == alone
    assert not torch.is_inference_mode_enabled()


def test_the_keys_and_values_of_earlier_tokens_are_not_computed_again(model: tuple[Any, Any]) -> None:
    read: list[int] = []
    hook = model[0].get_input_embeddings().register_forward_hook(lambda _, ids, __: read.append(ids[0].shape[1]))
    try:
        list(streamed(model, PROMPTS[0]))
    finally:
        hook.remove()
    assert read[0] > 1
    assert read[1:] == [1] * (len(read) - 1)


def test_one_seed_draws_one_answer_and_leaves_the_global_generator_alone(model: tuple[Any, Any]) -> None:
    before = torch.get_rng_state()
    drawn = ["".join(streamed(model, PROMPTS[0], seed=seed, temperature=1.5)) for seed in (7, 7, 8)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({"".join(streamed(model, PROMPTS[0], temperature=1.5)) for _ in range(4)}) > 1
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("writing", WRITINGS)
def test_letters_are_whole_and_none_is_lost(family: str, writing: str) -> None:
    tokenizer = family_tokenizer(family)
    ids = tokenizer(writing, add_special_tokens=False)["input_ids"]

    def decode(said: list[int]) -> str:
        return str(tokenizer.decode(said, skip_special_tokens=True))

    pieces = list(texts(decode, ids))
    assert "".join(pieces) == decode(ids)
    assert not any("\ufffd" in piece for piece in pieces)


@given(st.lists(st.integers(0, 255), max_size=24))
@settings(max_examples=examples(200))
def test_bytes_that_are_no_letters_come_as_they_would_in_one_go(codes: list[int]) -> None:
    def decode(said: list[int]) -> str:
        return bytes(said).decode("utf-8", errors="replace")

    assert "".join(texts(decode, codes)) == decode(codes)


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<thi", "nk>", " ", "\n", "a", "</", "think>", "<"]), max_size=9)
)
def test_a_thought_is_left_out_as_it_is_of_an_answer_in_one_go(pieces: list[str]) -> None:
    assert "".join(without_thought(pieces)) == Message.split_thought("".join(pieces))[1]


def failing(error: Callable[[], Exception]) -> Any:
    class Model:
        device = "cpu"

        def generate(self, **_: Any) -> None:
            raise error()

    return Model()


def test_running_out_of_memory_is_reported(model: tuple[Any, Any]) -> None:
    broken = failing(lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    with pytest.raises(FrameworkError, match=r"^out of memory with a conversation of \d+ tokens: begin another one\."):
        list(streamed((broken, model[1]), PROMPTS[0]))
    with pytest.raises(RuntimeError, match="a bug"):
        list(streamed((failing(lambda: RuntimeError("a bug")), model[1]), PROMPTS[0]))
