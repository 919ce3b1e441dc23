"""A plugin in a file: a method of pairs as DPO has it (Rafailov et al., arXiv 2305.18290), and losses of every kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from framework import Component, FrameworkError, formatter, hookimpl, loss
from framework.api import Measure
from framework.api.records import IGNORE, Example, Message, TokenRow
from framework.api.training import LossValue, MethodConfig, Role, TokenScores
from framework.api.training import PassCost as Cost

BETA = 0.3


@dataclass
class PairsConfig(MethodConfig):
    """Two answers to one question, of which the first is preferred."""

    roles: ClassVar[tuple[Role, ...]] = (Role.answer, Role.rejected)
    own_objective: ClassVar[bool] = True
    health_rules: ClassVar[frozenset[str] | None] = frozenset({"nan"})

    def cost(self) -> Cost:
        return Cost(rows=2, more_forwards=1)

    def measures(self) -> tuple[str, ...]:
        return ("chosen_is_likelier",)


class Pairs:
    """The method, and its objective."""

    linear = whole_step = False
    needs_reference = True

    def __init__(self, config: PairsConfig) -> None:
        del config
        self.objective = self

    def check(self, example: Example) -> None:
        if not example.rejected:
            raise FrameworkError("the row has no rejected answer, which method=pairs needs")

    def conversations(self, example: Example) -> list[tuple[Role, Example]]:
        context = example.messages[: -len(example.rejected)]
        other = Example((*context, *example.rejected), example.format, example.where, example.tools)
        return [(Role.answer, example), (Role.rejected, other)]

    def measures(self, model: Any, groups: Any) -> dict[str, Measure]:
        sums = [[sum(row.log_probs) for row in model.score(list(group.rows))] for group in groups]
        items = [float(chosen > rejected) for chosen, rejected in sums]
        return {"chosen_is_likelier": Measure(sum(items) / max(1, len(items)), [*items], higher_is_better=True)}

    def ids(self, group: Any) -> None:
        del group

    def __call__(self, scores: Any) -> LossValue:
        total: Any = 0.0
        margins: Any = 0.0
        for policy, reference in zip(scores.policy, scores.reference, strict=True):
            chosen, rejected = (row.sum() - known.sum() for row, known in zip(policy, reference, strict=True))
            total = total - torch.nn.functional.logsigmoid(BETA * (chosen - rejected))
            margins = margins + BETA * (chosen - rejected).detach()
        return LossValue(total / scores.count, {"margin": margins / scores.count})


@loss(linear=True)
def by_row(scores: TokenScores) -> Any:
    """The mean of the rows' means: each row counts the same, however long it is."""
    return -sum(row.mean() for rows in scores.policy for row in rows) / scores.count


@loss(whole_step=True)
def spread(scores: TokenScores) -> Any:
    """The mean of the rows' sums, and how far they lie apart, which only the whole step tells."""
    sums = torch.stack([row.sum() for rows in scores.policy for row in rows])
    return LossValue(-sums.mean() / 10 + 0.01 * sums.var(unbiased=False), {"spread": sums.std(unbiased=False).detach()})


@loss
def untrue(scores: TokenScores) -> Any:
    """Returns what `RETURNS` says, for tests of mistakes."""
    return RETURNS[0](scores)


@loss(facts=("weight",))
def weighted(scores: TokenScores) -> Any:
    """Reads a weight that rows may not have."""
    return scores


@loss(arrays=("ids",), ids="ids")
def taught_loss(scores: TokenScores) -> Any:
    """Reads ids of a teacher."""
    return scores


@formatter("question", "answer", "ids")
def taught_ids(row: Mapping[str, Any]) -> Example:
    """A question, an answer and the ids of a teacher."""
    turns = Message("user", row["question"]), Message("assistant", row["answer"])
    return Example(turns, "", arrays={"ids": row["ids"]})


@formatter("question", "said", "good")
def labelled(row: Mapping[str, Any]) -> Example:
    """A question, an answer, and whether that is good."""
    turns = Message("user", row["question"]), Message("assistant", row["said"])
    return Example(turns, "", facts={"desirable": float(row["good"])})


@loss
def of_pairs(scores: TokenScores) -> Any:
    """Reads pairs."""
    return scores


of_pairs.schema.roles = (Role.answer, Role.rejected)  # type: ignore[attr-defined] # as a dataclass would say it


@dataclass
class EmptyConfig(MethodConfig):
    """Makes no rows of a file."""

    own_objective: ClassVar[bool] = True


class Empty(Pairs):
    """Makes no rows of a file."""

    def conversations(self, example: Example) -> list[tuple[Role, Example]]:
        return [] if "jsonl" in example.where else [(Role.answer, example)]


@dataclass
class UndeclaredConfig(MethodConfig):
    """Makes a row more than it says."""

    own_objective: ClassVar[bool] = True


RETURNS: list[Any] = [lambda _: None]


@hookimpl
def framework_components() -> list[Component]:
    """The method, and two that are wrong."""
    return [
        Component("pairs", PairsConfig, f"{__name__}:Pairs"),
        Component("empty", EmptyConfig, f"{__name__}:Empty"),
        Component("undeclared", UndeclaredConfig, f"{__name__}:Pairs"),
    ]


def token_row(start: int, size: int, learned: int = 3) -> TokenRow:
    """Return a row that learns its last tokens."""
    ids = list(range(start, start + size))
    return TokenRow(ids, [IGNORE] * (size - learned) + ids[size - learned :])
