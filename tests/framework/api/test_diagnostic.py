"""`Diagnostic`: an object that is not a valid one is refused, with the reason."""

import dataclasses
from typing import Any

import pytest

from framework.api.diagnostic import Diagnostic

GOOD = Diagnostic("sox", "sound", "acme.diagnostics:sox")


def test_a_checkup_with_its_defaults_is_in_order() -> None:
    assert Diagnostic.problem_of(GOOD) == ""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": ""}, "diagnostic '': name, topic, check and process have to be text"),
        ({"topic": 3}, "diagnostic 'sox': name, topic, check and process have to be text"),
        (
            {"check": "acme.diagnostics"},
            "diagnostic 'sox': check='acme.diagnostics' has to be 'package.module:function'",
        ),
        ({"needed": True}, "diagnostic 'sox': needed=True has to be a function that takes a plan"),
        ({"seconds": 0}, "diagnostic 'sox': seconds=0 has to be a number above 0"),
    ],
)
def test_a_checkup_that_cannot_be_used_is_reported(change: dict[str, Any], told: str) -> None:
    assert Diagnostic.problem_of(dataclasses.replace(GOOD, **change)) == told


def test_what_is_no_checkup_is_reported() -> None:
    assert Diagnostic.problem_of("sox") == "framework_diagnostics gives str, not a Diagnostic"
