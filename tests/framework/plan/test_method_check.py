"""framework/plan/method_check.py: a method of somebody else is tried before anything is read."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest

from framework import Component, method
from framework.api.records import Example
from framework.api.schema import MethodConfig, Role
from framework.api.selection import Selection
from framework.plan.method_check import method_problems


@dataclass
class PairsConfig(MethodConfig):
    """Pairs."""

    roles = (Role.answer, Role.rejected)


@method
class TwoRows:
    """Pairs of a test."""

    config: PairsConfig

    def check(self, example: Example) -> None:
        """Take every row."""

    def conversations(self, example: Example) -> list[tuple[Role, Example]]:
        rejected = dataclasses.replace(example, messages=example.rejected or example.messages)
        return [(Role.answer, example), (Role.rejected, rejected)]

    def measures(self, *_: Any) -> dict[str, Any]:
        return {}

    def __call__(self, scores: Any) -> Any:
        return scores


class AsTuple(TwoRows):
    """`rejected` as it is."""

    def conversations(self, example: Example) -> Any:
        return [(Role.answer, example), (Role.rejected, example.rejected)]


class ByText(TwoRows):
    """Roles as texts."""

    def conversations(self, example: Example) -> Any:
        return [("answer", example)]


class Nothing(TwoRows):
    """No pairs."""

    def conversations(self, _: Example) -> Any:
        return 7


class FunctionObjective(TwoRows):
    """A function as its objective."""

    def __init__(self, _: Any) -> None:
        self.objective = self.loss

    def loss(self, scores: Any) -> Any:
        return scores


class NoObjective(TwoRows):
    """No objective."""

    def __init__(self, _: Any) -> None:
        self.objective = None


class Empty:
    """Nothing at all."""

    def __init__(self, config: Any) -> None:
        del config


def problems(kind: Any) -> list[str]:
    schema: Any = TwoRows.schema  # type: ignore[attr-defined] # the decorator's
    component = Component("mine", schema, f"{__name__}:{kind.__name__}")
    return [problem.text for problem in method_problems(Selection(component, schema()))]


def test_a_class_is_an_option_with_the_defaults_of_an_objective() -> None:
    kind: Any = TwoRows
    assert (kind.name, kind.schema.__doc__, kind.schema.own_objective) == ("two_rows", "Pairs of a test.", True)
    made = kind(kind.schema())
    assert (made.objective, made.linear, made.needs_reference, made.whole_step, made.ids(None)) == (
        made, False, False, False, None,
    )  # fmt: skip
    assert problems(TwoRows) == []


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (AsTuple, "returns a pair (Role, tuple) from `conversations`"),
        (ByText, "returns a pair (str, Example) from `conversations`"),
        (Nothing, "returns 7 from `conversations`"),
        (FunctionObjective, "as its objective, without linear, needs_reference, whole_step, ids: decorate the class"),
        (NoObjective, "has None as its objective, and its config says own_objective=True"),
        (Empty, "has no check and no conversations and no measures"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(kind: Any, expected: str) -> None:
    (first, *_) = problems(kind)
    assert first.startswith("method=mine ")
    assert expected in first
    assert "\n" not in first


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"__doc__": "No settings."}, "annotate the attribute 'config'"),
        ({"__annotations__": {"config": PairsConfig}}, "needs a docstring"),
    ],
)
def test_a_class_without_settings_or_text_is_refused(words: dict[str, Any], expected: str) -> None:
    with pytest.raises(TypeError, match=expected):
        method(type("Mine", (), words))
