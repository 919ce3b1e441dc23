"""hf/generate/sample.py: answers of a seed in any batches, with the log-probabilities that the training computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from framework.api.training import SamplingParams
from framework_plugins.hf.generate.sample import Drawn, sample
from framework_plugins.hf.machine.out_of_memory import Batches, OomRetry
from tests.support.tiny import tiny_llama

PROMPTS = [[7, 8, 9], [*range(20, 60)], [5], [*range(20, 45)]]
STOP = frozenset({*range(0, 300, 5)})
NEW = 8


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder: Path = tiny_llama(tmp_path_factory.mktemp("model"))
    made: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for weight in made.parameters():
        weight.data *= 2
    return made.eval(), AutoTokenizer.from_pretrained(folder)


def draws(model: Any, n: int = 3, batch: int = 100, prompts: Any = PROMPTS, **more: Any) -> list[list[Drawn]]:
    share, batches = more.pop("share", True), Batches(OomRetry({}, "", retries=False), "", "")
    params = SamplingParams(**{"n": n, "max_new_tokens": NEW, "seed": 1, **more})
    return sample(model[0], model[1], prompts, params, STOP, batch, batches, share=share)


def log_probs(model: Any, prompt: list[int], ids: list[int], temperature: float) -> list[float]:
    with torch.inference_mode():
        logits = model[0](input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1] / temperature
    found: list[float] = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0].tolist()
    return found


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_the_log_probabilities_are_those_of_the_whole_rows(model: Any, temperature: float) -> None:
    for share in (True, False):
        for prompt, answers in zip(PROMPTS, draws(model, share=share, temperature=temperature), strict=True):
            for answer in answers:
                assert answer.log_probs == pytest.approx(log_probs(model, prompt, answer.ids, temperature), abs=1e-4)


def test_answers_are_those_of_the_seed_in_any_batches(model: Any) -> None:
    whole = draws(model)
    ids = [[answer.ids for answer in answers] for answers in whole]
    for batch in (1, 2, 4, 5):
        assert [[answer.ids for answer in answers] for answers in draws(model, batch=batch)] == ids
    assert [[answer.ids for answer in answers] for answers in draws(model, share=False)] == ids
    assert [[answer.ids for answer in answers] for answers in draws(model, seed=2)] != ids
    every = [answer for answers in whole for answer in answers]
    assert len({tuple(answer.ids) for answer in every}) > 6
    assert {answer.stopped for answer in every} == {True, False}
    assert all((answer.ids[-1] in STOP) == answer.stopped for answer in every)
    assert all(answer.stopped or len(answer.ids) == NEW for answer in every)
    assert not any(STOP.intersection(answer.ids[:-1]) for answer in every)


@pytest.mark.parametrize("top_p", [1.0, 0.3])
def test_first_tokens_are_drawn_as_often_as_they_are_likely(model: Any, top_p: float) -> None:
    (answers,) = draws(model, n=3000, batch=3000, prompts=[[7, 8, 9]], max_new_tokens=1, top_p=top_p, temperature=0.3)
    drawn = np.bincount([answer.ids[0] for answer in answers], minlength=1000) / len(answers)
    with torch.inference_mode():
        likely = (model[0](input_ids=torch.tensor([[7, 8, 9]])).logits[0, -1] / 0.3).softmax(-1).numpy()
    order = np.argsort(-likely)
    kept = order[: 1 + int((np.cumsum(likely[order]) < top_p).sum())]
    wanted = np.zeros(len(drawn))
    wanted[kept] = likely[kept] / likely[kept].sum()
    assert drawn[wanted == 0].sum() == pytest.approx(0, abs=1e-3)
    assert np.abs(drawn - wanted).sum() / 2 < 0.5 * (len(kept) / len(answers)) ** 0.5 + 0.01
