"""hf/generate/generate.py: answers are those of transformers, and what all prompts begin with is read once."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from framework.api import Message
from framework.api.records import Progress
from framework.hooks.session import current
from framework_plugins.hf.generate.generate import MIN_SHARED_PREFIX, complete
from tests.support.generation import generate
from tests.support.tiny import tiny_llama
from tests.support.training import make, opened

# peft reads a name that transformers 5.24 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
SYSTEM = "You are a small model that answers in short sentences. " * 3
ENDS = ["Add the two numbers.", "Say whether the number is even or odd.", "1", "Which number follows the other? " * 4]
NEW = 10


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("<think>\n\n</think>\n\n{}", "{}"),
        ("\n<think>two lines\nof thought</think> yes", "yes"),
        ("I say <think>x</think>", "I say <think>x</think>"),
        ("<think>never ends", "<think>never ends"),
    ],
)
def test_a_leading_thought_is_no_part_of_the_answer(said: str, answer: str) -> None:
    assert Message.split_thought(said)[1] == answer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder: Path = tiny_llama(tmp_path_factory.mktemp("model"))
    made: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for weight in made.parameters():
        weight.data *= 4  # a random model says the same whatever it is asked; a louder one does not
    return made.eval(), AutoTokenizer.from_pretrained(folder)


def answers(model: tuple[Any, Any], texts: list[str], size: int, *, share: bool) -> list[str]:
    made = generate(*model, texts, frozenset({1}), NEW, size, share=share)
    return [answer.text for answer in made]


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("start", ["", SYSTEM], ids=["no common beginning", "a common beginning"])
def test_answers_are_those_of_each_prompt_by_itself(model: tuple[Any, Any], start: str, size: int) -> None:
    texts = [start + end for end in ENDS]
    alone = [answers(model, [text], 1, share=False)[0] for text in texts]
    assert len(set(alone)) > 1
    assert answers(model, texts, size, share=True) == alone
    assert answers(model, texts, size, share=False) == alone


def test_prompts_are_counted_as_their_answers_end_within_a_batch_too(
    model: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Progress] = []
    now = iter(range(10_000))
    monkeypatch.setattr("framework.hooks.progress.time.monotonic", lambda: 2.0 * next(now))  # each look is due
    monkeypatch.setattr(current().progress, "send", sent.append)
    texts = [SYSTEM + end for end in ENDS]
    found = generate(*model, texts, frozenset(range(0, 1000, 7)), NEW, len(texts))
    assert {(each.unit, each.total) for each in sent} == {("prompt", 4)}
    assert f"token 3 of at most {NEW}" in [each.detail for each in sent]
    shares = [each.share for each in sent if each.share is not None]
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] <= 1
    counted = [each.done for each in sent]
    assert counted == sorted(counted)
    assert (counted[0], counted[-1]) == (0, 4)
    ended = sorted(answer.tokens for answer in found)  # one that ends before the last is counted before that
    assert ended[0] == ended[-1] or set(counted) & {1, 2, 3}


def greedy(network: Any, ids: list[int], stop_ids: frozenset[int], most: int) -> tuple[int, ...]:
    """Return what transformers generates by itself after a prompt, without what ended it."""
    asked = torch.tensor([ids])
    with torch.inference_mode():
        made = network.generate(
            input_ids=asked,
            attention_mask=torch.ones_like(asked),
            do_sample=False,
            max_new_tokens=most,
            eos_token_id=sorted(stop_ids),
            pad_token_id=0,
        )
    return tuple(token for token in made[0, len(ids) :].tolist() if token not in stop_ids)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_each_state_of_the_weights_answers_as_transformers_generates_token_by_token(
    model: tuple[Any, Any], tmp_path: Path, rows: Path, dtype: str
) -> None:
    """In bf16 a small model has near ties at most places; that rows were scored before changes none of them."""
    network, tokenizer = model
    network.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    plan = make(tmp_path / "base", rows, tmp_path / "run", f"trainer.dtype={dtype}")
    with opened(plan) as (asked, data):
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=asked.model.dtype).eval()
        for name, weight in asked.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.3, generator=torch.Generator().manual_seed(len(name)))
        starts = [asked.tokenize(asked.render(prompt)) for prompt in data.prompts]
        said = {}
        for state, weights in (
            ("base", asked.as_base()),
            ("trained", nullcontext()),
        ):
            with weights:
                asked.score(data.validation)
                made = asked.complete(starts, max_new_tokens=16, batch_size=1)
                said[state] = [answer.ids for answer in made]
                assert said[state] == [greedy(asked.model, start, asked.stop_ids, 16) for start in starts], state
        assert said["base"] == [greedy(plain, start, asked.stop_ids, 16) for start in starts]
    assert said["base"] != said["trained"]


def test_what_the_model_itself_suppresses_is_not_said(model: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    network, tokenizer = model
    (ids,) = tokenizer([SYSTEM], add_special_tokens=False)["input_ids"]
    before = greedy(network, ids, frozenset({1}), NEW)
    monkeypatch.setattr(network.generation_config, "suppress_tokens", [before[0]])
    (answer,) = complete(network, tokenizer, [ids], frozenset({1}), NEW, 1)
    assert answer.ids == greedy(network, ids, frozenset({1}), NEW) != before


def test_a_common_beginning_is_read_once(model: tuple[Any, Any]) -> None:
    network, tokenizer = model
    read: list[tuple[int, int]] = []
    hook = network.get_input_embeddings().register_forward_hook(lambda _, ids, __: read.append(tuple(ids[0].shape)))
    try:
        answers(model, [SYSTEM + end for end in ENDS], 2, share=True)
    finally:
        hook.remove()
    rows = [tokenizer(SYSTEM + end, add_special_tokens=False)["input_ids"] for end in ENDS]
    long = [shape for shape in read if shape[1] > 1]
    assert long[0][0] == 1
    assert long[0][1] >= MIN_SHARED_PREFIX
    assert all(count == 2 and length <= max(map(len, rows)) - long[0][1] for count, length in long[1:])
    assert len(long) == 3


def test_equal_prompts_leave_a_token_to_predict_from(model: tuple[Any, Any]) -> None:
    texts = [SYSTEM + ENDS[0]] * 3
    assert answers(model, texts, 3, share=True) == answers(model, texts, 3, share=False)


def test_the_head_is_given_one_block_of_memory(model: tuple[Any, Any]) -> None:
    network, _ = model
    seen: list[tuple[int, bool]] = []
    hook = network.get_output_embeddings().register_forward_hook(
        lambda _, given, __: seen.append((len(given[0]), given[0].is_contiguous()))
    )
    try:
        answers(model, [SYSTEM + end for end in ENDS], 4, share=True)
    finally:
        hook.remove()
    assert (4, True) in seen
    assert all(whole for _, whole in seen)
    assert not network.get_output_embeddings()._forward_pre_hooks  # noqa: SLF001 - nothing is left behind
