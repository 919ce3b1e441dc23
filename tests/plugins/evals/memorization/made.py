"""A model of which a test says what it recites."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from framework import testing
from framework.api.data import Data
from framework.api.plan import Plan
from framework.api.records import IGNORE, EvalResult, Scored, TokenRow
from framework.testing import EchoModel
from framework_plugins.evals.config import MemorizationConfig
from framework_plugins.evals.memorization.evaluator import Memorization
from tests.support.results import EVEN

ANSWER = 8
NOTHING: Mapping[str, str] = {}


@functools.cache
def _plan() -> Plan:
    """Compose once: nothing is written."""
    return testing.plan([], run_dir=Path("nowhere"))


class Reciter(EchoModel):
    """Gives of each answer what `known` says by where its row is: `x` for a true token, `.` for a wrong one."""

    def __init__(self, known: Mapping[str, str] = NOTHING) -> None:
        super().__init__(_plan())
        self.known = known
        self.passes: list[list[str]] = []

    def score(self, rows: Sequence[TokenRow]) -> list[Scored]:
        """Say the true token or none that there is."""
        self.passes.append([row.where for row in rows])
        scored = []
        for row in rows:
            true = [label for label in row.labels if label != IGNORE]
            hits = self.known.get(row.where, "." * len(true))[: len(true)]
            top = [label if hit == "x" else -1 for label, hit in zip(true, hits, strict=True)]
            scored.append(Scored([0.0 if hit == "x" else -20.0 for hit in hits], top))
        return scored


def rows(name: str, count: int) -> list[TokenRow]:
    """Return rows `name:0`, `name:1`…, each with a prompt of three tokens and an answer of eight."""
    return [
        TokenRow(
            [100 + number, 1, 2, *range(10, 10 + ANSWER)], [IGNORE] * 3 + [*range(10, 10 + ANSWER)], f"{name}:{number}"
        )
        for number in range(count)
    ]


def told(model: EchoModel, question: str, answer: str) -> TokenRow:
    """Return a row of words; it is where its question says."""
    prompt, said = model.tokenize(question), model.tokenize(answer)
    return TokenRow([*prompt, *said], [*[IGNORE] * len(prompt), *said], question)


def evaluated(model: Reciter, config: MemorizationConfig, train: int | Sequence[TokenRow], held_out: int) -> EvalResult:
    """Ask a model about these rows, or about `train:0`…, and about `held:0`…."""
    data = Data(rows("train", train) if isinstance(train, int) else train, rows("held", held_out), [], EVEN)
    return Memorization(config).evaluate(model, data, {})
