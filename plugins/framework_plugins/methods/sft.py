"""Supervised fine-tuning: a group is a row, and the loss is that of `loss=`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from framework import FrameworkError
from framework.api import Example, Measure, Model
from framework.api.training import Method, MethodConfig, Objective, Role, TokenGroup


class Sft(Method):
    """Learns the answers of each row."""

    objective: Objective | None = None

    def __init__(self, config: MethodConfig) -> None:
        del config

    def check(self, example: Example) -> None:
        """Refuse a conversation that ends without an answer, or of which none is learned, and one that is unwanted."""
        example.check_answered()
        if example.facts.get("desirable") == 0:
            raise FrameworkError(
                "has an answer that its label calls unwanted, and method=sft would learn it: method=kto learns from "
                "such rows, data.on_bad_row=skip leaves them out"
            )

    def conversations(self, example: Example) -> Sequence[tuple[Role, Example]]:
        """Return the conversation as it is."""
        return ((Role.answer, example),)

    def measures(self, model: Model, groups: Sequence[TokenGroup]) -> Mapping[str, Measure]:
        """Measure nothing else: the loss of the answers says it all."""
        del model, groups
        return {}
