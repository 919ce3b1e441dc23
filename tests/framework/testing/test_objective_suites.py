"""framework/testing/suites/objective.py: each rule is broken by one option and kept by the others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from framework import Component, FrameworkError, hookimpl, loss
from framework.api.training import GroupedRows, MethodConfig, PassCost, Role, TokenScores
from framework.hooks.session import current
from framework.testing import LossSuite, MethodSuite
from framework_plugins.methods.sft import Sft
from tests.support.pairs import pairs
from tests.support.pairs_plugin import token_row

NAME = "broken_objectives"
PAIRS = [
    GroupedRows((token_row(start, size), token_row(start + 9, size, 2)), (Role.answer, Role.rejected))
    for start, size in ((3, 6), (50, 9), (90, 7))
]
GROUPS = [token_row(start, size, learned) for start, size, learned in ((3, 6, 2), (50, 9, 4), (90, 7, 3))]


def flat(scores: TokenScores) -> list[Any]:
    return [row for rows in scores.policy for row in rows]


@loss(linear=True)
def square(scores: TokenScores) -> Any:
    """Says that it is linear."""
    return sum((row**2).sum() for row in flat(scores)) / scores.tokens


@loss
def of_the_pass(scores: TokenScores) -> Any:
    """Divides by what is in the pass."""
    return -torch.cat(flat(scores)).mean()


@loss
def held(scores: TokenScores) -> Any:
    """Has a part without its slope."""
    return sum((row * row.detach()).sum() for row in flat(scores)) / scores.tokens


@loss
def table(scores: TokenScores) -> Any:
    """Is not a scalar."""
    return -torch.cat(flat(scores))


@loss(linear=True)
def uneven(scores: TokenScores) -> Any:
    """Says that it is the mean over all learned tokens."""
    return -sum(row.mean() for row in flat(scores)) / scores.count


uneven.schema.plain = True  # type: ignore[attr-defined] # as a dataclass would say it


@loss
def contrary(scores: TokenScores) -> Any:
    """Says in its config what it is not."""
    return -torch.cat(flat(scores)).sum() / scores.tokens


contrary.create = lambda _: Contrary()  # type: ignore[attr-defined] # as a class would do it


class Contrary:
    """Differs from its config."""

    linear, needs_reference, whole_step = True, False, False


@dataclass
class CheapConfig(MethodConfig):
    """Tells too small a cost."""

    def cost(self) -> PassCost:
        return PassCost(rows=0.5)


@dataclass
class StrayConfig(MethodConfig):
    """Makes a row of another role."""


@dataclass
class LaxConfig(MethodConfig):
    """Refuses nothing."""


@dataclass
class OwnerConfig(MethodConfig):
    """Says that the method has an objective, and it has none."""

    own_objective: ClassVar[bool] = True


class Stray(Sft):
    """Makes a row of another role."""

    def conversations(self, example: Any) -> Any:
        return [(Role.rejected, example)]


class Lax(Sft):
    """Refuses nothing."""

    def check(self, example: Any) -> None:
        """Refuse nothing."""


@hookimpl
def framework_components() -> list[Component]:
    """The methods."""
    kinds = (
        ("cheap", CheapConfig, "Sft"),
        ("stray", StrayConfig, "Stray"),
        ("lax", LaxConfig, "Lax"),
        ("owner", OwnerConfig, "Sft"),
    )
    return [Component(name, schema, f"{__name__}:{kind}") for name, schema, kind in kinds]


@pytest.fixture(autouse=True, scope="module")
def plugin() -> Iterator[None]:
    plugins = current().plugins
    plugins.add(sys.modules[__name__], name=NAME)
    with pairs():
        yield
    for name in (NAME, f"{NAME}:functions"):
        plugins.manager.unregister(name=name)


CUT, LINEAR = "a_step_is_the_same_however_it_is_cut", "a_linear_loss_is_linear"
SLOPES = "it_is_a_scalar_with_the_slopes_that_it_has"
METHODS = {"cheap", "stray", "lax", "owner"}
BROKEN = [
    ("square", LINEAR, "linear=True, but the slopes change"),
    ("uneven", LINEAR, "plain is set, yet it is not the mean"),
    ("of_the_pass", CUT, "cut after 1 groups it is"),
    ("held", SLOPES, "autograd gives the slope"),
    ("table", SLOPES, r"the loss has the shape \(9,\)"),
    ("contrary", "it_is_what_its_config_says", "linear is True, and contrary_config says False"),
    ("cheap", "its_cost_covers_its_rows", "cost tells 0.5 rows a group"),
    (
        "stray",
        "it_makes_the_rows_that_its_config_names",
        "makes a row of the role rejected",
    ),
    ("lax", "it_refuses_what_it_cannot_use", "is not refused"),
    ("owner", "it_makes_the_rows_that_its_config_names", "objective, and its config says own_objective=True"),
]


@pytest.mark.parametrize(("option", "rule", "message"), BROKEN)
def test_a_broken_option_fails_by_the_rule_that_it_breaks(option: str, rule: str, message: str, tmp_path: Path) -> None:
    kind: type[Any] = MethodSuite if option in METHODS else LossSuite
    suite = type("Broken", (kind,), {"option": option, "groups": GROUPS})()
    with pytest.raises((AssertionError, FrameworkError), match=message):
        getattr(suite, f"test_{rule}")(tmp_path)


@pytest.mark.parametrize("option", ["by_row", "spread", "pairs"])
def test_third_party_options_pass(option: str, tmp_path: Path) -> None:
    kind: type[Any] = MethodSuite if option == "pairs" else LossSuite
    groups = PAIRS if option == "pairs" else GROUPS
    suite = type("Passing", (kind,), {"option": option, "groups": groups})()
    for name in dir(kind):
        if name.startswith("test_"):
            getattr(suite, name)(tmp_path / name)
