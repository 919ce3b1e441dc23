"""Each test of the suite of generators passes with a good one, and fails with one that breaks its rule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from framework.api.records import IGNORE, Prompt, Sampled, TokenRow
from framework.api.schema import SamplingParams
from framework.testing import RolloutSuite

STOP = 2
TESTS = [name for name in vars(RolloutSuite) if name.startswith("test_")]


class Model:
    """A model whose answers depend on one weight."""

    stop_ids = frozenset({STOP})

    def __init__(self) -> None:
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.model = SimpleNamespace(parameters=lambda: [self.weight])

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        return [len(prompt.where), 9]

    def sampled(self, prompt: Prompt, ids: Sequence[int], log_probs: Sequence[float]) -> Sampled:
        start = self.prompt_ids(prompt)
        row = TokenRow([*start, *ids], [IGNORE] * len(start) + [*ids], prompt.where)
        return Sampled("", len(ids), ids[-1] == STOP, row=row, log_probs=tuple(log_probs))


class Good:
    """Draws by dice; `broken` is the rule that it breaks."""

    def __init__(self, broken: str = "") -> None:
        self.broken, self.draws = broken, 0

    def generator(self, model: Any) -> Any:
        def draw(prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Sampled]]:
            self.draws += 1
            weight = 0.0 if self.broken == "weights" else float(model.weight.detach())
            told = self.draws if self.broken == "seed" else params.seed

            def answer(place: int, number: int) -> Sampled:
                at = place if self.broken == "first" else params.first + place
                dice = np.random.default_rng([told, at, number])
                ids = [*dice.integers(10, 99, int(dice.integers(1, params.max_new_tokens))).tolist(), STOP]
                if self.broken == "long":
                    ids = [10] * (params.max_new_tokens + 1)
                many = len(ids) - (self.broken == "log_probs")
                prompt = prompts[0] if self.broken == "rows" else prompts[place]
                return model.sampled(prompt, ids, [-0.5 - weight] * many)  # type: ignore[no-any-return]

            return [[answer(place, number) for number in range(params.n)] for place in range(len(prompts))]

        return draw


def suite(broken: str) -> RolloutSuite:
    made, opened, generator = RolloutSuite(), Model(), Good(broken)
    made.model = lambda _: opened  # type: ignore[method-assign, assignment, return-value] # what an author writes
    made.create = lambda _: generator  # type: ignore[method-assign, assignment]
    return made


@pytest.mark.parametrize("name", TESTS)
def test_a_good_generator_passes(name: str, tmp_path: Path) -> None:
    getattr(suite(""), name)(tmp_path)


@pytest.mark.parametrize(
    ("broken", "name", "message"),
    [
        ("rows", "each_prompt_has_its_answers", "the row of an answer to Add 1 and 2.* begins with something else"),
        ("long", "an_answer_ends_with_a_stop_token_or_at_the_limit", "an answer has 7 tokens, of at most 6"),
        ("log_probs", "each_token_has_its_log_probability", r"\d log-probabilities for \d tokens"),
        ("weights", "it_draws_with_the_weights_of_each_call", "the answers are those of earlier weights"),
        ("seed", "a_seed_gives_the_same_answers_in_any_batch", "set repeats = False if that is meant"),
        ("first", "a_seed_gives_the_same_answers_in_any_batch", "`first` is not read"),
    ],
)
def test_a_broken_one_fails_and_is_told_why(broken: str, name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=message):
        getattr(suite(broken), f"test_{name}")(tmp_path)
