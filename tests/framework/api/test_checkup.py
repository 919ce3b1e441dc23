"""`Checkup`: what is none is told."""

import dataclasses
from typing import Any

import pytest

from framework.api.checkup import Checkup, checkup_problem

GOOD = Checkup("sox", "sound", "acme.checkups:sox")


def test_a_checkup_with_its_defaults_is_in_order() -> None:
    assert checkup_problem(GOOD) == ""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": ""}, "checkup '': name, topic, check and process have to be text"),
        ({"topic": 3}, "checkup 'sox': name, topic, check and process have to be text"),
        ({"check": "acme.checkups"}, "checkup 'sox': check='acme.checkups' has to be 'package.module:function'"),
        ({"needed": True}, "checkup 'sox': needed=True has to be a function of a plan"),
        ({"seconds": 0}, "checkup 'sox': seconds=0 has to be a number above 0"),
    ],
)
def test_a_checkup_that_cannot_be_used_is_told(change: dict[str, Any], told: str) -> None:
    assert checkup_problem(dataclasses.replace(GOOD, **change)) == told


def test_what_is_no_checkup_is_told() -> None:
    assert checkup_problem("sox") == "framework_checkups gives a str, no Checkup"
