"""Kahneman-Tversky optimization (Ethayarajh et al., arXiv 2402.01306): single answers, each with a label good or bad.

A reward D = log pi(answer) - log ref(answer) is compared with z, the mean of D over answers to other questions. These
are the answers of the same optimizer step, each after the question of another row, so z does not depend on how the step
is cut into passes and processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from framework import FrameworkError
from framework.api import Example, Measure, MeasureKind, Model, scoring
from framework.api.training import GroupedRows, LossValue, Method, Objective, Role, TokenGroup, TokenRow, TokenScores
from framework_plugins.methods.config import BAD_LOSS, BY_LABEL, LABEL, KtoConfig, KtoLoss
from framework_plugins.methods.pairs import Rows, Tensor


class Kto(Method):
    """Learns which answers are good; the method, and its objective."""

    linear = whole_step = False
    needs_reference = True

    def __init__(self, config: KtoConfig) -> None:
        self.config = config
        self.objective: Objective | None = self

    def check(self, example: Example) -> None:
        """Refuse a row without a label of 1 or 0."""
        needs = "method=kto learns from answers with a label good or bad, and this row has"
        if example.rejected:
            raise FrameworkError(f"{needs} a chosen and a rejected one: set method=dpo")
        if (label := example.facts.get(LABEL)) not in {0, 1}:
            problem = "no label: add one" if label is None else f"the label {label:g}: write 1 or 0"
            raise FrameworkError(f"{needs} {problem}, or set method=sft, which learns every answer")
        example.check_answered()

    def conversations(self, example: Example) -> Sequence[tuple[Role, Example]]:
        """Return the conversation as it is."""
        return ((Role.answer, example),)

    def measures(self, model: Model, groups: Sequence[TokenGroup]) -> Mapping[str, Measure]:
        """Measure how likely good answers are and bad ones are not, and the loss of each.

        The first is in nats, those of bad answers with the other sign: it grows by the mean by which each answer moved
        to its side. `eval_loss` is of the good answers only, since that of bad ones should rise.
        """
        labelled = [group for group in groups if LABEL in group.facts]
        if not labelled:
            return {}
        scored = model.score([group.rows[0] for group in labelled])
        signs = [1 if _is_good(group) else -1 for group in labelled]
        items = [sign * sum(row.log_probs) for sign, row in zip(signs, scored, strict=True)]
        where = [group.where for group in labelled]
        tokens = [float(len(row.log_probs)) for row in scored]
        losses: list[float | None] = [
            -sign * item / count if count else None for sign, item, count in zip(signs, items, tokens, strict=True)
        ]
        good, bad = ([count * (sign == side) for sign, count in zip(signs, tokens, strict=True)] for side in (1, -1))
        of_bad = Measure(scoring.mean(losses, bad, exponential=False), kind=MeasureKind.loss) if any(bad) else None
        of_good = of_bad  # without items: if there is no good answer, there is nothing to compare
        if any(good):
            value = scoring.mean(losses, good, exponential=False)
            of_good = Measure(value, losses, good, kind=MeasureKind.loss, where=where)
        return {
            **({Measure.EVAL_LOSS: of_good} if of_good else {}),
            **({BAD_LOSS: of_bad} if of_bad else {}),
            BY_LABEL: Measure(
                sum(items) / len(items),
                [*items],
                higher_is_better=True,
                unit="nats",
                where=where,
                kind=MeasureKind.loss,
            ),
        }

    def ids(self, group: TokenGroup) -> Sequence[NDArray[Any]] | None:
        """Read the learned tokens."""
        del group
        return None

    def beside(self, step: Sequence[TokenGroup]) -> Sequence[TokenGroup]:
        """Return for each row its question with the answer of the row before it that has another question."""
        if self.config.loss_type is KtoLoss.apo_zero_unpaired or len(step) == 1:
            return ()
        return [GroupedRows((_mismatched(step, index),), (Role.mismatched,)) for index in range(len(step))]

    def __call__(self, scores: TokenScores) -> LossValue:
        """Return the weighted mean of how far each answer is from the better side of z."""
        config = self.config
        assert scores.reference is not None  # noqa: S101 - `needs_reference`
        ratios = _sums(scores.policy) - _sums(scores.reference)
        good = torch.tensor([_is_good(group) for group in scores.groups], device=ratios.device)
        kl = ratios.new_zeros(())
        if scores.beside is not None and scores.beside.reference is not None:
            kl = (_sums(scores.beside.policy) - _sums(scores.beside.reference)).mean().clamp(min=0).detach()
        reward = config.beta * (ratios - kl)
        losses = torch.where(
            good,
            config.desirable_weight * (1 - torch.sigmoid(reward)),
            config.undesirable_weight * (1 - torch.sigmoid(-reward)),
        )
        metrics = {"kl": kl * len(scores.groups) / scores.count}
        good_count, total = sum(map(_is_good, scores.step)), len(scores.step)
        for name, mask, count in (("chosen", good, good_count), ("rejected", ~good, total - good_count)):
            if count:
                metrics[f"rewards/{name}"] = config.beta * ratios.detach()[mask].sum() / count
                metrics[f"logps/{name}"] = _sums(scores.policy).detach()[mask].sum() / count
        if 0 < good_count < total:
            metrics["rewards/margins"] = metrics["rewards/chosen"] - metrics["rewards/rejected"]
        return LossValue(losses.sum() / scores.count, metrics)


def _is_good(group: TokenGroup) -> bool:
    return group.facts[LABEL] > 0


def _sums(rows: Rows) -> Tensor:
    return torch.stack([row.sum() for (row,) in rows])


def _mismatched(step: Sequence[TokenGroup], index: int) -> TokenRow:
    """Return a row with the question of one group and the answer of the nearest before it with another question."""
    row = step[index].rows[0]
    question = row.input_ids[: _question_length(row)]
    candidates = [step[index - back].rows[0] for back in range(1, len(step))]
    partner = next(
        (candidate for candidate in candidates if candidate.input_ids[: _question_length(candidate)] != question),
        candidates[0],
    )
    begin = _question_length(partner)
    labels = [TokenRow.IGNORE] * len(question) + partner.labels[begin:]
    return TokenRow(question + partner.input_ids[begin:], labels, row.where)


def _question_length(row: TokenRow) -> int:
    return next((index for index, label in enumerate(row.labels) if label != TokenRow.IGNORE), len(row.labels))
