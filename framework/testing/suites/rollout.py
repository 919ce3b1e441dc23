"""The suite of `rollout=`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from framework.api.protocols import Rollout, SamplingModel
from framework.api.records import IGNORE, Message, Prompt, Sampled
from framework.api.registry import plugins
from framework.api.schema import SamplingParams
from framework.api.selection import Selection
from framework.testing.suites.base import Suite, expect

ASKED = tuple(Prompt((Message("user", text),), where=text) for text in ("Add 1.", "Add 1 and 2, and say it.", "Why?"))
ANSWERS, TOKENS = 3, 6


class RolloutSuite(Suite):
    """What every generator has to do. The author's `model` opens a small model for it to draw from.

    Attributes:
        settings: of the option.
        repeats: whether the same weights and seed give the same answers, whatever else is drawn with them.
    """

    group = "rollout"
    settings: ClassVar[Mapping[str, Any]] = {}
    repeats: ClassVar[bool] = True

    def model(self, folder: Path) -> SamplingModel:
        """Return an open model, the same one for all tests."""
        raise NotImplementedError(f"{type(self).__name__} needs the method model(folder): return an open model")

    def choice(self, folder: Path) -> Selection:
        """Return the option as a plan holds it."""
        del folder
        component = plugins().components(self.group)[self.option]
        return Selection(component, component.schema(**self.settings))

    def drawn(
        self, folder: Path, prompts: Sequence[Prompt] = ASKED, *, seed: int = 1, first: int = 0
    ) -> list[list[Sampled]]:
        """Draw answers to prompts."""
        rollout: Rollout = self.create(folder)
        params = SamplingParams(ANSWERS, TOKENS, seed=seed, first=first)
        answers = rollout.generator(self.model(folder))(prompts, params)
        return [list(group) for group in answers]

    def test_each_prompt_has_its_answers(self, tmp_path: Path) -> None:
        """Rows are the prompt and the answer, which alone is learned."""
        model, groups = self.model(tmp_path), self.drawn(tmp_path)
        expect(
            [len(answers) for answers in groups] == [ANSWERS] * len(ASKED),
            f"{ANSWERS} answers to each prompt are asked",
        )
        for prompt, answers in zip(ASKED, groups, strict=True):
            start = model.prompt_ids(prompt)
            for answer in answers:
                row, answer_ids = answer.row, answer.row.input_ids[len(start) :]
                expect(
                    row.input_ids[: len(start)] == start,
                    f"the row of an answer to {prompt.where} begins with something else",
                )
                expect(
                    row.labels == [IGNORE] * len(start) + answer_ids,
                    f"of the row of {prompt.where} other tokens are learned",
                )

    def test_an_answer_ends_with_a_stop_token_or_at_the_limit(self, tmp_path: Path) -> None:
        """`stopped` says which."""
        stops = self.model(tmp_path).stop_ids
        for answer in itertools.chain(*self.drawn(tmp_path)):
            ids = answer.row.learned
            expect(0 < len(ids) <= TOKENS, f"an answer has {len(ids)} tokens, of at most {TOKENS}")
            expect(not {*ids[:-1]} & stops, "an answer continues after a stop token")
            expect(
                answer.stopped == (ids[-1] in stops), f"stopped={answer.stopped} of an answer that ends with {ids[-1]}"
            )
            expect(answer.stopped or len(ids) == TOKENS, "an answer ends before the limit and without a stop token")

    def test_each_token_has_its_log_probability(self, tmp_path: Path) -> None:
        """One for each learned token, at most 0."""
        for answer in itertools.chain(*self.drawn(tmp_path)):
            is_complete = len(answer.log_probs) == len(answer.row.learned)
            expect(is_complete, f"{len(answer.log_probs)} log-probabilities for {len(answer.row.learned)} tokens")
            expect(
                all(math.isfinite(log_prob) and log_prob <= 0 for log_prob in answer.log_probs),
                f"{answer.log_probs} are none",
            )

    def test_it_draws_with_the_weights_of_each_call(self, tmp_path: Path) -> None:
        """After a change of the trained weights the answers have other log-probabilities."""
        before, trained = self.drawn(tmp_path), [w for w in self.model(tmp_path).model.parameters() if w.requires_grad]
        for weight in trained:
            weight.data.add_(0.1)
        after = self.drawn(tmp_path)
        for weight in trained:
            weight.data.sub_(0.1)
        is_equal = [
            earlier.log_probs == later.log_probs
            for earlier, later in zip(*map(itertools.chain.from_iterable, (before, after)), strict=True)
        ]
        expect(not all(is_equal), "the answers are those of earlier weights")

    def test_a_seed_gives_the_same_answers_in_any_batch(self, tmp_path: Path) -> None:
        """Those to some of the prompts too, whose number is `first`; another seed gives others."""
        draw, repeat, reseeded = self.drawn(tmp_path), self.drawn(tmp_path), self.drawn(tmp_path, seed=2)
        rows = [[answer.row.input_ids for answer in itertools.chain(*groups)] for groups in (draw, repeat, reseeded)]
        expect(rows[0] != rows[2], "another seed gives the same answers")
        if not self.repeats:
            return
        expect(rows[0] == rows[1], "the same seed gives other answers: set repeats = False if that is meant")
        part = [answer.row.input_ids for answer in itertools.chain(*self.drawn(tmp_path, ASKED[1:], first=1))]
        expect(part == rows[0][ANSWERS:], "the answers to some prompts are others than among all: `first` is not read")
