"""The optimizer of a training, made for the weights of its model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from framework import FrameworkError, Plan
from framework.api import Guard, nearest
from framework.api.training import ModelPart, OptimizerConfig, OptimizerFactory, ParameterGroup, TrainedWeight

SHOWN_NAMES = 5
"""Names of weights that a message lists."""


@dataclass(frozen=True)
class TrainingOptions:
    """The optimizer and the schedule that a run has chosen.

    Attributes:
        plan: of the run.
        factory: of the optimizer that runs on this machine.
    """

    plan: Plan
    factory: OptimizerFactory

    @property
    def place(self) -> str:
        """The optimizer as messages name it."""
        return f"optimizer={self.plan.optimizer.component.name}"

    def optimizer(self, model: Any, decayed: set[str]) -> torch.optim.Optimizer:
        """Make the optimizer for the trained weights of a model; weight decay is for the weights named `decayed`.

        Raises:
            FrameworkError: a pattern of a group matches no weight, or the optimizer cannot be made.
        """
        training = self.plan.training
        groups = list(self._groups(model, decayed))
        # A schedule-free optimizer is the only one that reads the warm-up; it has a schedule without one.
        warmup = self.plan.warmup(training.max_steps or 0)
        with Guard(f"{self.place} cannot be made"):
            optimizer: torch.optim.Optimizer = self.factory.create(groups, training.learning_rate, warmup)
        names = {id(weight.value): weight.name for group in groups for weight in group.weights}
        updated_ids = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        if omitted := [name for weight_id, name in names.items() if weight_id not in updated_ids]:
            raise FrameworkError(
                f"{self.place} leaves out {len(omitted)} of {len(names)} trained weights, such as {omitted[0]}"
            )
        return optimizer

    def _groups(self, model: Any, decayed: set[str]) -> Iterator[ParameterGroup]:
        """Give the groups, those without a pattern first; each with and without weight decay, as in transformers."""
        training, groups = self.plan.training, self.plan.optimizer.config.groups
        weights = list(trained_weights(model))
        group_indices = group_places(self.plan.optimizer.config, weights)
        for index in (None, *range(len(groups))):
            rate = (
                training.learning_rate
                if index is None or groups[index].learning_rate is None
                else groups[index].learning_rate
            )
            decay = None if index is None else groups[index].weight_decay
            members = [
                weight for weight, group_index in zip(weights, group_indices, strict=True) if group_index == index
            ]
            if decay is not None:
                yield ParameterGroup(members, rate, decay)
                continue
            with_decay = [weight for weight in members if weight.name in decayed]
            yield ParameterGroup(with_decay, rate, training.weight_decay)
            yield ParameterGroup([weight for weight in members if weight.name not in decayed], rate, 0.0)


def group_places(config: OptimizerConfig, weights: Sequence[TrainedWeight]) -> list[int | None]:
    """Return for each weight the group of `optimizer.groups` that it is in: the first that matches; None for none.

    Raises:
        FrameworkError: a pattern matches no weight that is left for it.
    """
    groups = config.groups
    indices = [
        next((index for index, group in enumerate(groups) if re.search(group.match, weight.name)), None)
        for weight in weights
    ]
    for index, group in enumerate(groups):
        if index not in indices:
            raise FrameworkError(_no_match(f"optimizer.groups[{index}].match={group.match}", group.match, weights))
    return indices


def trained_weights(model: Any) -> Iterator[TrainedWeight]:
    """Give the trained weights of a model in its order."""
    embeddings = {
        id(weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)
        for weight in module.parameters()
    }  # fmt: skip
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    heads = {id(weight) for weight in head.parameters()} if head is not None else set()
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            part = ModelPart.embedding if id(weight) in embeddings else ModelPart.head if id(weight) in heads else None
            yield TrainedWeight(name, tuple(weight.shape), part or ModelPart.hidden, weight)


def _no_match(setting: str, pattern: str, weights: Sequence[TrainedWeight]) -> str:
    if any(re.search(pattern, weight.name) for weight in weights):
        return f"{setting} matches only weights of the groups before it: move it up, or leave it out"
    # The names of all blocks differ only in their number, so one is shown.
    names = list(dict.fromkeys(re.sub(r"\.\d+\.", ".N.", weight.name) for weight in weights))
    suffix = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    parts = {part for name in names for part in name.split(".")}
    hint = " Did you mean '" + "' or '".join(close) + "'?" if (close := nearest(pattern, parts, count=2)) else ""
    shown = f"{', '.join(names[:SHOWN_NAMES])}{suffix}"
    return f"{setting} matches no trained weight.{hint} They are, with N for a number: {shown}"
