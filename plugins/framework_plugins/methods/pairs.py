"""The base of methods of preference pairs: which rows they take, what is logged and measured of them.

A group has two rows, the chosen answer and the rejected one. They share their prompt, so it is computed once. Methods
of other plugins may import it; it is provisional.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import torch
from numpy.typing import NDArray
from torch.nn.functional import logsigmoid

from framework import FrameworkError
from framework.api import Example, Measure, MeasureKind, Message, Model, as_text
from framework.api.training import LossValue, Method, Objective, Role, TokenGroup, TokenScores
from framework_plugins.methods.config import ACCURACY, LABEL, MARGIN, PairConfig

__all__ = [
    "PairConfig",
    "PairMethod",
    "Pairs",
    "chosen_loss",
    "pairs_of",
    "reward_metrics",
    "smoothed_loss",
]
C = TypeVar("C", bound=PairConfig)
Tensor = torch.Tensor
Rows = Sequence[Sequence[Tensor]]


class PairMethod(Method, Generic[C]):
    """A method of pairs, which is its own objective. Subclass it, and return the loss of some pairs in `__call__`.

    Attributes:
        name: the option; `@method` sets it.
        needs_reference: whether it reads `TokenScores.reference`.
        whole_step: whether it has to see all pairs of a step at once.
    """

    name: str
    config: C
    linear = whole_step = needs_reference = False

    def __init__(self, config: C) -> None:
        self.config = config
        self.objective: Objective | None = self

    def check(self, example: Example) -> None:
        """Refuse a row without a rejected answer, or with two equal ones."""
        needs = f"method={self.name} compares a chosen and a rejected answer, and this row has"
        if not example.rejected:
            if LABEL in example.facts:
                raise FrameworkError(f"{needs} one answer with a label: set method=kto")
            fix = _pair_advice(example)
            raise FrameworkError(f"{needs} no rejected one: {fix}, or set method=sft, which learns one answer")
        example.check_answered()
        replace(example, messages=example.rejected).check_answered()
        chosen = example.messages[_begin(example) :]
        if _words(chosen) == _words(example.rejected):
            description = (
                "the same text as both" if chosen == example.rejected else "answers that differ in white space only"
            )
            raise FrameworkError(
                f"{needs} {description}, which teaches nothing: remove it, or set data.on_bad_row=skip"
            )

    def conversations(self, example: Example) -> Sequence[tuple[Role, Example]]:
        """Return the conversation with the chosen and with the rejected answer."""
        rejected_turns = (*example.messages[: _begin(example)], *example.rejected)
        chosen, rejected = (
            replace(example, messages=turns, rejected=()) for turns in (example.messages, rejected_turns)
        )
        return (Role.answer, chosen), (Role.rejected, rejected)

    def measures(self, model: Model, groups: Sequence[TokenGroup]) -> Mapping[str, Measure]:
        """Measure of how many pairs the chosen answer is likelier, and by how much.

        The margin grows by the mean margin of the implicit rewards, divided by beta.
        """
        pairs = [group for group in groups if Role.rejected in group.roles]
        if not pairs:
            return {}
        scored = iter(model.score([row for group in pairs for row in group.rows]))
        sums = [{role: sum(next(scored).log_probs) for role in group.roles} for group in pairs]
        margins: list[float | None] = [log_probs[Role.answer] - log_probs[Role.rejected] for log_probs in sums]
        right: list[float | None] = [float((margin or 0) > 0) for margin in margins]
        return {
            name: Measure(
                sum(value or 0 for value in items) / len(items),
                items,
                higher_is_better=True,
                unit=unit,
                where=[group.where for group in pairs],
                kind=MeasureKind.loss,
            )
            for name, items, unit in ((ACCURACY, right, ""), (MARGIN, margins, "nats"))
        }

    def ids(self, group: TokenGroup) -> Sequence[NDArray[Any]] | None:
        """Read the learned tokens."""
        del group
        return None

    def __call__(self, scores: TokenScores) -> LossValue:
        """Return the loss of these pairs."""
        raise NotImplementedError


@dataclass(frozen=True)
class Pairs:
    """Numbers of some pairs, one for each.

    Attributes:
        chosen: log-probabilities of the chosen answers, summed.
        rejected: those of the rejected ones.
        chosen_tokens: learned tokens of the chosen answers.
        rejected_tokens: those of the rejected ones.
    """

    chosen: Tensor
    rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor

    @property
    def means(self) -> tuple[Tensor, Tensor]:
        """The mean log-probability of a token, of the chosen and of the rejected answers."""
        return self.chosen / self.chosen_tokens, self.rejected / self.rejected_tokens


def pairs_of(rows: Rows, beyond: float | None = None) -> Pairs:
    """Add up the log-probabilities of pairs; `beyond`: the weight of tokens past the end of the shorter answer."""

    def total(row: Tensor, shared: int) -> Tensor:
        return row.sum() if beyond is None else row[:shared].sum() + beyond * row[shared:].sum()

    sums = torch.stack([torch.stack([total(row, min(map(len, pair))) for row in pair]) for pair in rows])
    tokens = torch.tensor([[len(row) for row in pair] for pair in rows]).to(sums).clamp(min=1)
    return Pairs(sums[:, 0], sums[:, 1], tokens[:, 0], tokens[:, 1])


def reward_metrics(chosen: Tensor, rejected: Tensor, pairs: Pairs, count: int) -> dict[str, Tensor]:
    """Return what is logged of pairs, under TRL's names; `chosen` and `rejected` are their rewards."""
    metrics = {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": chosen - rejected,
        "rewards/accuracies": (chosen > rejected).to(chosen),
        "logps/chosen": pairs.chosen,
        "logps/rejected": pairs.rejected,
    }
    return {name: value.detach().sum() / count for name, value in metrics.items()}


def smoothed_loss(x: Tensor, smoothing: float) -> Tensor:
    """Return -log sigmoid(x), if a share of the labels is the wrong way round."""
    return -logsigmoid(x) * (1 - smoothing) - logsigmoid(-x) * smoothing


def chosen_loss(scores: TokenScores) -> Tensor:
    """Return what these groups add to the mean loss over all tokens of the chosen answers of the step."""
    tokens = sum(len(group.answer.learned) for group in scores.step)
    return -torch.stack([pair[0].sum() for pair in scores.policy]).sum() / max(1, tokens)


def _words(turns: Sequence[Message]) -> list[Message]:
    """Return turns of which white space does not count."""
    return [replace(turn, content=" ".join(turn.content.split()), learned=True) for turn in turns]


def _pair_advice(example: Example) -> str:
    """Say how the fields of a row with one answer become a pair."""
    texts = {str(name): text for name, text in example.columns.items() if isinstance(text, str)}
    turns = [turn.content for turn in example.messages if turn.role != "system"]
    names = [next((name for name, text in texts.items() if text == turn), "") for turn in turns]
    if len(names) != 2 or not all(names):  # noqa: PLR2004 - a question and its answer
        return "write rows with the fields prompt, chosen and rejected"
    worse = next((name for name in texts if name not in names and len(texts[name]) > 1), "")
    columns = dict(zip(("prompt", "chosen", "rejected"), [*names, worse or "rejected"], strict=True))
    override = shlex.quote(f"format.columns={as_text(columns)}")
    return f"type {override}" if worse else f"write it into a field 'rejected' and type {override}"


def _begin(example: Example) -> int:
    """Return where the chosen turns begin: with the first answer that is learned."""
    return next(n for n, turn in enumerate(example.messages) if turn.role == "assistant" and turn.learned)
