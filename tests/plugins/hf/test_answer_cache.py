"""hf/answer_cache.py: what was scored need not be generated, and an answer is the same either way."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig

from framework.api.records import IGNORE, Answer, Message, Prompt, Scored, TokenRow
from framework_plugins.hf import generate, model, scoring
from framework_plugins.hf.answer_cache import Known, fingerprint, key, plain, spans
from framework_plugins.hf.evaluation import Evaluation
from framework_plugins.hf.model import HFModel
from tests.support.tiny import tiny_llama
from tests.support.training import make, opened

# peft reads a name that transformers 5.24 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
START = [5, 9, 11, 40, 3]
Calls = list[int]


def row(start: Sequence[int], said: Sequence[int]) -> TokenRow:
    return TokenRow([*start, *said], [IGNORE] * len(start) + list(said))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HFModel]:
    """Return a model in fp32 whose adapter changes what it says."""
    folder = tmp_path_factory.mktemp("known")
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps({"instruction": f"say {n}", "output": f"it is {n}"}) + "\n" for n in range(20)))
    with opened(make(tiny_llama(folder / "model"), rows, folder / "run")) as (found, _):
        for name, weight in found.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.3, generator=torch.Generator().manual_seed(len(name)))
        yield found


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Return the lengths of what the model is asked to continue."""
    calls: Calls = []

    def told(asked: Any, *args: Any, **more: Any) -> Any:
        calls.extend([more["input_ids"].shape[0]])
        return asked(*args, **more)

    real = generate.complete

    def complete(network: Any, *args: Any, **more: Any) -> list[Answer]:
        asked = network.generate
        with monkeypatch.context() as patch:
            patch.setattr(network, "generate", lambda *some, **others: told(asked, *some, **others), raising=False)
            return real(network, *args, **more)

    monkeypatch.setattr(model, "complete", complete)
    return calls


def afresh(tiny: HFModel, start: Sequence[int], most: int) -> Answer:
    """Return the answer of a model that knows nothing."""
    with tiny.saying(Known()):
        return tiny.complete([start], max_new_tokens=most, batch_size=1)[0]


@settings(max_examples=20, deadline=None)
@given(place=st.integers(0, 12), other=st.integers(3, 90), most=st.integers(1, 16))
def test_an_answer_that_was_scored_is_the_one_that_is_generated(
    tiny: HFModel, place: int, other: int, most: int
) -> None:
    expected = afresh(tiny, START, 12)
    told = list(expected.ids)
    told[place : place + 1] = [other]  # true up to here, and then perhaps not
    with tiny.saying(Known()):
        tiny.score([row(START, told)])
        (answer,) = tiny.complete([START], max_new_tokens=most, batch_size=1)
    assert answer == afresh(tiny, START, most)


def test_what_is_known_to_its_end_is_not_generated(tiny: HFModel, generated: Calls) -> None:
    said = list(afresh(tiny, START, 6).ids)
    generated.clear()
    with tiny.saying(Known()):
        tiny.score([row(START, said)])
        (answer,) = tiny.complete([START], max_new_tokens=6, batch_size=1)
        assert (list(answer.ids), generated) == (said, [])
        tiny.complete([START, [8, *START]], max_new_tokens=6, batch_size=2)
        assert generated == [1]  # the other one alone


def test_rows_are_scored_once_in_one_state_and_again_in_another(tiny: HFModel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = scoring.score

    def count(of: Evaluation, rows: Sequence[TokenRow]) -> list[Scored]:
        asked.append(len(rows))
        return real(of, rows)

    monkeypatch.setattr(scoring, "score", count)
    rows = [row(START, [7, 8]), row(START, [7, 9]), row(START, [7, 8])]
    with tiny.saying(Known()):
        first, again = tiny.score(rows), tiny.score([*rows, row(START, [4])])
        assert (again[:3], asked) == (first, [2, 1])
        assert first[0] == first[2]
        with tiny.as_base():
            assert tiny.score(rows)[0].log_probs != first[0].log_probs
        with tiny.with_random_adapter(0):
            assert tiny.score(rows)[0].log_probs != first[0].log_probs
        assert tiny.score(rows) == first
        assert asked == [2, 1, 2, 2]


def test_a_random_adapter_is_asked_whether_it_says_what_the_base_says(tiny: HFModel, generated: Calls) -> None:
    with tiny.as_base():
        of_base = tiny.complete([START], max_new_tokens=8, batch_size=1)[0]
    with tiny.with_random_adapter(0):
        rows = tiny.known.unsure([START])
        assert [one.input_ids[len(START) :][:8] for one in rows] == [list(of_base.ids)]
        generated.clear()
        (answer,) = tiny.complete([START], max_new_tokens=8, batch_size=1)
        assert answer == afresh(tiny, START, 8)


def test_the_true_answer_is_a_guess_of_a_model_that_was_trained(tiny: HFModel, generated: Calls) -> None:
    prompt = Prompt((Message("user", "say 7"),))
    start = tiny.tokenize(tiny.render(prompt))
    expected = afresh(tiny, start, 8)
    for taught, asked in ((False, [1]), (True, [])):
        generated.clear()
        true = tiny.decode(expected.ids)
        asked_of = dataclasses.replace(prompt, reference=true)
        with tiny.saying(Known(taught=taught)):
            (answer,) = tiny.generate([asked_of], max_new_tokens=len(tiny.tokenize(true)), batch_size=1)
        assert (answer.text, generated) == (expected.text, asked)


def test_a_model_whose_own_settings_change_greedy_answers_is_always_asked(
    tiny: HFModel, generated: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny.model.generation_config, "repetition_penalty", 1.3)
    with tiny.saying(Known()):
        tiny.score([row(START, list(afresh(tiny, START, 6).ids))])
        generated.clear()
        tiny.complete([START], max_new_tokens=6, batch_size=1)
    assert generated == [1]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, True),
        ({"do_sample": True, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [1, 2], "max_length": 20}, True),
        ({"repetition_penalty": 1.0, "num_beams": 1}, True),
        ({"repetition_penalty": 1.05}, False),
        ({"no_repeat_ngram_size": 3}, False),
        ({"suppress_tokens": [4]}, False),
        ({"min_new_tokens": 3}, False),
        ({"num_beams": 4}, False),
    ],
)
def test_settings_that_leave_a_greedy_answer_alone(settings: dict[str, Any], *, expected: bool) -> None:
    assert plain(GenerationConfig(**settings)) is expected


def test_spans_of_a_row_of_several_turns() -> None:
    several = TokenRow([1, 2, 3, 4, 5, 6, 7], [1, IGNORE, 3, 4, IGNORE, 6, 7])
    assert spans(several) == [(2, [3, 4]), (5, [6, 7])]
    assert spans(TokenRow([1, 2, 3], [IGNORE] * 3)) == []
    known = Known()
    known.keep(several, Scored([0.0] * 4, [3, 9, 6, 7]))
    assert known.beginning([1, 2]) == [3, 9]
    assert known.beginning([1, 2, 3, 4, 5]) == [6, 7]
    assert known.beginning([1, 2, 3]) == []


def test_the_scores_of_a_row_that_is_cut_are_those_of_the_whole() -> None:
    known = Known()
    whole, cut, other = row([1, 2], [3, 4, 5]), row([1, 2], [3, 4]), row([1, 2], [3, 9])
    scores = {3: Scored([-0.1, -0.2, -0.3], [3, 4, 7]), 2: Scored([-0.1, -4.0], [3, 4])}

    def tell(rows: Sequence[TokenRow]) -> list[Scored]:
        return [scores[len(spans(one)[0][1])] for one in rows]

    def fail(rows: Sequence[TokenRow]) -> list[Scored]:
        raise AssertionError(rows)

    known.score([whole], tell)
    assert known.score([cut, TokenRow([1, 2], [IGNORE] * 2)], fail) == [Scored([-0.1, -0.2], [3, 4]), Scored([], [])]
    assert known.score([other, cut], tell) == [Scored([-0.1, -4.0], [3, 4]), Scored([-0.1, -0.2], [3, 4])]
    assert known.beginning([1, 2]) == [3, 4, 7]  # of several, what says most


def test_what_finds_no_room_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framework_plugins.hf.answer_cache.MOST", 3)
    known, calls = Known(), []

    def tell(rows: Sequence[TokenRow]) -> list[Scored]:
        calls.append(len(rows))
        return [Scored([0.0, 0.0], [1, 2]) for _ in rows]

    rows = [row([1], [2, 3]), row([1], [4, 5])]
    assert known.score(rows, tell) == known.score(rows, tell) == tell(rows)
    assert calls == [2, 1, 2]
    for start in ([1], [2]):
        known.answered(start, Answer("", 2, stopped=False, ids=(1, 2)))
    assert set(known.answers) == {key([1])}


def test_a_fingerprint_tells_weights_apart() -> None:
    one = {"a": torch.zeros(3, dtype=torch.bfloat16), "b": torch.ones(2)}
    assert fingerprint(one) == fingerprint(dict(reversed(one.items())))
    assert fingerprint(one) != fingerprint({**one, "b": torch.tensor([1.0, 1.0001])})
