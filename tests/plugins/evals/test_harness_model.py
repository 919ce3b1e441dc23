"""The model in memory gives lm-eval what lm-eval's own class for transformers gives it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from framework import FrameworkError
from framework_plugins.evals.harness.model import HarnessModel
from framework_plugins.hf.model import HFModel
from tests.support.tiny import tiny_chatml, tiny_llama
from tests.support.training import with_adapter


@pytest.fixture(scope="module", params=[tiny_chatml, tiny_llama])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HFModel]:
    """Open a tiny model with an adapter that changes it; one tokenizer begins each text with its BOS, one does not."""
    with with_adapter(tmp_path_factory.mktemp("base"), request.param) as model:
        yield model


@pytest.fixture
def theirs(model: HFModel) -> Any:
    """Return lm-eval's own wrapper around the same weights."""
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return HFLM(pretrained=model.model.eval(), tokenizer=model.tokenizer, batch_size=3)


PAIRS = [
    ("Which number follows 3?", " 4"),
    ("Which number follows 3?", " 5"),
    ("Which number follows 3?", " It is 4"),
    ("Trailing spaces move  ", "to the answer"),
    ("", "Nothing comes before this"),
    ("The answer is", "."),
]


def requests(kind: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, given, number) for number, given in enumerate(arguments)]


def close(one: list[float], two: list[float]) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-4) for a, b in zip(one, two, strict=True))


def test_continuations_have_the_same_likelihood(model: HFModel, theirs: Any) -> None:
    asked = requests("loglikelihood", list(PAIRS))
    ours = HarnessModel(model).loglikelihood(asked, disable_tqdm=True)
    wanted = theirs.loglikelihood(asked, disable_tqdm=True)
    assert close([likelihood for likelihood, _ in ours], [likelihood for likelihood, _ in wanted])
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in wanted]


def test_what_the_model_would_say_is_greedy(model: HFModel, theirs: Any) -> None:
    context = "Say whether 3 is even or odd."
    said = theirs.generate_until(requests("generate_until", [(context, {"until": [], "max_gen_toks": 3})]))[0]
    asked = requests("loglikelihood", [(context, said), (context, said + " not")])
    wanted = [greedy for _, greedy in theirs.loglikelihood(asked, disable_tqdm=True)]
    assert [greedy for _, greedy in HarnessModel(model).loglikelihood(asked, disable_tqdm=True)] == wanted


def test_whole_texts_have_the_same_likelihood(model: HFModel, theirs: Any) -> None:
    texts = [("Add the two numbers.",), ("Below is an instruction that describes a task. " * 4,)]
    asked = requests("loglikelihood_rolling", list(texts))
    assert close(HarnessModel(model).loglikelihood_rolling(asked), theirs.loglikelihood_rolling(asked))


def test_texts_longer_than_the_model_can_read_are_cut_alike(model: HFModel, theirs: Any, monkeypatch: Any) -> None:
    short = 12
    monkeypatch.setattr(type(theirs), "max_length", short)
    texts = requests("loglikelihood_rolling", [("Below is an instruction that describes a task. " * 4,)])
    pairs = requests("loglikelihood", [("Which number follows the other, and which does not? " * 2, " 4")])
    ours = HarnessModel(model)
    ours.likelihood.longest = short
    assert close(ours.loglikelihood_rolling(texts), theirs.loglikelihood_rolling(texts))
    assert close([ours.loglikelihood(pairs)[0][0]], [theirs.loglikelihood(pairs)[0][0]])


@pytest.mark.parametrize("until", [[], ["e"], ["\n\n", " a"]])
def test_answers_are_the_same(model: HFModel, theirs: Any, until: list[str]) -> None:
    settings = {"until": until, "max_gen_toks": 70, "do_sample": False}
    contexts = ["Add the two numbers.", "Which number follows 3?", "You are"]
    asked = requests("generate_until", [(context, dict(settings)) for context in contexts])
    assert HarnessModel(model).generate_until(asked) == theirs.generate_until(asked)


def test_conversations_are_written_the_same(model: HFModel, theirs: Any) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Add 1 and 2."}]
    ours = HarnessModel(model)
    assert ours.apply_chat_template(turns) == theirs.apply_chat_template(turns)
    begun = [*turns, {"role": "assistant", "content": "The sum"}]
    assert ours.apply_chat_template(begun, add_generation_prompt=False) == theirs.apply_chat_template(
        begun, add_generation_prompt=False
    )
    context = ours.apply_chat_template(turns)
    assert ours.tok_encode(context) == theirs.tok_encode(context)  # its BOS is there already


def test_answers_drawn_by_chance_are_refused_with_the_task(model: HFModel) -> None:
    (asked,) = requests("generate_until", [("Add", {"until": [], "do_sample": True, "temperature": 0.7})])
    asked.task_name = "poem"
    with pytest.raises(FrameworkError, match="task 'poem' samples its answers"):
        HarnessModel(model).generate_until([asked])


def test_what_ends_in_one_round_is_left_out_of_the_next(model: HFModel, monkeypatch: Any) -> None:
    asked: list[int] = []
    complete: Callable[..., Any] = model.complete

    def counted(starts: Any, **settings: Any) -> Any:
        asked.append(len(starts))
        return complete(starts, **settings)

    monkeypatch.setattr(model, "complete", counted)
    ours = HarnessModel(model)
    contexts = ["Add the two numbers.", "Which number follows 3?", "You are"]
    whole = ours._generate_rounds(contexts, 70, ())  # noqa: SLF001 - the rounds are seen from inside
    letter = next(iter(whole[0].strip()))
    asked.clear()
    stopped = ours._generate_rounds(contexts, 70, (letter,))  # noqa: SLF001
    assert stopped == [text.split(letter)[0] for text in whole]
    assert asked == sorted(asked, reverse=True)
