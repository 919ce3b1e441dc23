"""Each number in the prose of README.md and of the pages below docs/ is in docs/claims.yaml, with what makes it."""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import re
import runpy
import sys
from operator import attrgetter
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

from framework import testing
from framework.hooks.session import current
from tests.support.claims_page import (
    CLAIMS,
    COMMANDS,
    NUMBER,
    REGISTER,
    ROOT,
    RULES,
    Claim,
    Command,
    main,
    name,
    numbers,
    pages,
    part_of,
    parts,
    pattern,
    table,
)

QUICK = [command for command in COMMANDS if command.prints and not command.minutes]
TODAY = dt.datetime.now(tz=dt.UTC).date()
CONSTANTS = [claim for claim in CLAIMS if claim.is_]


@pytest.mark.parametrize("page", pages(), ids=name)
def test_each_number_of_a_page_is_registered(page: Path) -> None:
    registered = [number for claim in CLAIMS if claim.page == name(page) for number in claim.numbers]
    assert numbers(page.read_text(encoding="utf-8")) == registered


def test_the_register_has_no_page_that_is_gone_or_generated() -> None:
    assert {claim.page for claim in CLAIMS} <= {*map(name, pages())}


def test_an_entry_says_one_thing_and_what_it_names_exists() -> None:
    assert [str(claim) for claim in CLAIMS if len(claim.kinds) != 1] == []
    assert [str(claim) for claim in CLAIMS if bool(claim.made) != bool(claim.by or claim.by_hand)] == []
    assert [str(claim) for claim in CLAIMS if claim.made and claim.made > TODAY] == []
    lines = {command.line for command in COMMANDS}
    assert [str(claim) for claim in CLAIMS if claim.by and claim.by not in lines] == []
    assert [str(claim) for claim in CLAIMS if claim.test and not (ROOT / claim.test).is_file()] == []
    linked = [claim for claim in CLAIMS if claim.source.startswith(("docs/", "README"))]
    assert [str(claim) for claim in linked if not (ROOT / claim.source.partition("#")[0]).is_file()] == []


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_exists_and_prints_what_it_has_to_or_says_why_it_is_run_by_hand(command: Command) -> None:
    assert bool(command.prints) != bool(command.by_hand)
    assert command.prints or not command.minutes
    words = command.line.split()
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    elif words[2] != "framework":
        assert words[:2] == ["python", "-m"]
        module = ROOT / words[2].replace(".", "/")
        assert module.with_suffix(".py").exists() or (module / "__main__.py").exists()
    if command.page:
        assert pattern(command.prints).search((ROOT / command.page).read_text(encoding="utf-8"))
    else:
        assert [claim for claim in CLAIMS if claim.by == command.line]


@pytest.mark.parametrize("command", QUICK, ids=str)
def test_a_quick_command_still_prints_its_figures(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = command.line.split()[2]
    monkeypatch.setattr(sys, "argv", [module])
    monkeypatch.delitem(sys.modules, module, raising=False)  # of another test, about which runpy would warn
    with contextlib.suppress(SystemExit):
        runpy.run_module(module, run_name="__main__")
    assert pattern(command.prints).search(capsys.readouterr().out)


@pytest.mark.parametrize("claim", CONSTANTS, ids=str)
def test_a_number_that_is_a_setting_or_a_constant_is_that_of_the_program(claim: Claim) -> None:
    value = constant(claim.is_)
    for number in claim.numbers:
        shown = float(number.rstrip("%")) / (100 if number.endswith("%") else 1)
        assert math.isclose(abs(value), abs(shown), rel_tol=1e-9), (claim.is_, value)


def constant(text: str) -> float:
    """Return the number that `verdict.margin`, `method=grpo: beta` or `module:NAME` is; of a container, its length."""
    found: Any
    if "=" in text:
        option, _, field = text.partition(": ")
        group, _, chosen = option.partition("=")
        with current():
            found = attrgetter(field)(current().plugins.components(group)[chosen].schema())
    elif ":" in text:
        found = resolve_name(text)
    else:
        group, _, field = text.partition(".")
        part = getattr(testing.plan([], run_dir=Path("unused")), group)
        found = attrgetter(field)(getattr(part, "config", part)) if field else part
    return float(found if isinstance(found, int | float) else len(found))


def test_the_parts_have_each_long_command_once() -> None:
    long = [command for command in COMMANDS if command.minutes]
    assert long
    assert sorted(map(str, long)) == sorted(
        str(command) for part in range(1, 7) for command in part_of(COMMANDS, f"{part}/6")
    )


@pytest.mark.parametrize(("prints", "code", "word"), [("of Python", 0, "holds"), ("of Perl", 1, "does not hold")])
def test_a_claim_that_no_longer_holds_fails(
    prints: str, code: int, word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command("python -m this", f"The Zen {prints}", minutes=1)
    monkeypatch.setattr("tests.support.claims_page.COMMANDS", [command])
    assert main(["--run", "1/1"]) == code
    assert f"python -m this: {word}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is 3.9 times as fast, in 12,000 runs of 0.5%.", ["3.9", "12000", "0.5%"]),
        ("Llama 3.1 8B in bf16 on a RTX 4090, or Qwen3-30B-A3B as Q4_K_M.", []),
        ("1. Step 2 ends with exit code 2, by [decision 0076](x2.md) and arXiv 2305.14314.", []),
        ("Write `r=16` for\n\n```bash\nframework lora.r=32\n```\n\n4-bit weights, 0 or 1 token.", []),
        ("| 0.71 | 8 of 9 |", ["0.71", "8", "9"]),
    ],
)
def test_numbers_are_found_and_names_are_not(text: str, found: list[str]) -> None:
    assert numbers(text) == found


EXAMPLES = (
    "In step 3 it ends.", "Qwen 3.5 is read.", "It has 30B-A3B.", "It is in bf16.", "It has 4 bits.", "exit code 3",
    "by decision 0076", "with seed 7", "It is 1 or 0 here.",
)  # fmt: skip


@pytest.mark.parametrize(("rule", "example"), [*zip(RULES, EXAMPLES, strict=True)], ids=EXAMPLES)
def test_each_rule_takes_a_name_that_has_digits(rule: str, example: str) -> None:
    assert NUMBER.findall(re.sub(rule, " ", example)) == []
    assert numbers(example) == []


def test_the_page_has_the_table_of_the_register() -> None:
    assert parts()[1] == table()


def test_what_generates_a_page_exists() -> None:
    for marks, command in REGISTER["generated"].items():
        assert command.startswith(("make ", "python -m ")), marks
        if not marks.startswith("<!--"):
            assert (ROOT / marks).is_file()
