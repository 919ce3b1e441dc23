"""The findings, as text and as JSON."""

import json
from io import StringIO

import pytest
from rich.console import Console

from framework.api.diagnostic import DiagnosticResult, State
from framework_plugins.doctor import DiagnosticRecord, checked
from framework_plugins.doctor.show import as_json, show

LONG = "pip install --index-url=https://packages.acme.org/simple 'a-library-with-a-very-long-name>=2' 'another-one>=3'"
WORDS = ["+experiment=quickstart"]


def library(name: str) -> DiagnosticRecord:
    return checked(name, "libraries", DiagnosticResult(State.ok, version="1.2.3"))


FOUND = [
    checked("Python", "machine", DiagnosticResult(State.ok, "/usr/bin/python", "3.11.9"), needed=True),
    *map(library, ("accelerate", "annotated-types", "bitsandbytes", "cattrs", "datasets", "hydra-core", "jinja2")),
    checked(
        "torch", "libraries", DiagnosticResult(State.broken, ">=2.6 is required", "2.1", "pip install 'torch>=2.6'")
    ),
    checked(
        "sox", "sound", DiagnosticResult(State.missing, "no sox on PATH " * 6, fix=LONG), needed=True, plugin="acme"
    ),
    checked("login", "sound", DiagnosticResult(State.off, "[bold]none[/] :boom:", fix="log in"), plugin="acme"),
    checked("drum", "sound", DiagnosticResult(State.broken, "RuntimeError: no stick"), plugin="acme"),
    checked("card", "sound", DiagnosticResult(State.unknown, "nobody knows"), needed=True, plugin="acme"),
]


def shown(found: list[DiagnosticRecord], width: int) -> list[str]:
    console = Console(file=StringIO(), width=width, highlight=False, emoji=False, markup=False)
    show(console, found, WORDS)
    assert isinstance(console.file, StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 120])
def test_what_is_well_is_a_paragraph_for_each_topic_and_each_problem_is_a_row(width: int) -> None:
    lines = shown(FOUND, width)
    assert max(len(line) for line in lines if "fix: " not in line) <= width
    text = " ".join(" ".join(lines).split())
    assert text.startswith(
        "machine Python 3.11.9 libraries 7 have the required versions off: login ([bold]none[/] :boom:)"
    )
    assert "broken: torch: 2.1, >=2.6 is required fix: pip install 'torch>=2.6'" in text
    assert "broken: drum: RuntimeError: no stick (plugin 'acme') unknown: card: nobody knows" in text
    assert "accelerate" not in text


def test_what_is_absent_and_not_needed_is_named_in_one_line() -> None:
    absent = [
        checked(name, topic, DiagnosticResult(State.missing, "no such program", fix="pip install it"))
        for name, topic in (("Ollama", "export"), ("mlflow", "tracking"))
    ]
    assert shown([*FOUND[:1], *absent], 120) == [
        "machine   Python 3.11.9",
        "not installed, not needed: Ollama, mlflow (--json says how to install them)",
        "",
        "can run here: python -m framework +experiment=quickstart",
    ]


def test_a_fix_is_never_broken_so_that_it_can_be_copied() -> None:
    assert [line.strip() for line in shown(FOUND, 80) if "fix: pip install --index" in line] == [f"fix: {LONG}"]


def test_the_reasons_stand_at_the_end() -> None:
    lines = shown(FOUND, 120)
    end = lines[lines.index("cannot run here: python -m framework +experiment=quickstart") + 1 :]
    assert end[0].startswith("  sox: no sox on PATH no sox")
    assert end[-1] == f"    fix: {LONG}"
    assert not any("torch" in line or "card" in line for line in end)


def test_a_run_that_can_start_is_reported_in_one_line() -> None:
    assert shown(FOUND[:3], 80)[-1] == "can run here: python -m framework +experiment=quickstart"


def test_json_has_every_record_and_the_reasons() -> None:
    told = json.loads(json.dumps(as_json(FOUND, WORDS)))
    assert list(told) == ["can_run", "overrides", "framework", "reasons", "checks"]
    assert (told["can_run"], told["overrides"]) == (False, WORDS)
    assert [reason["name"] for reason in told["reasons"]] == ["sox"]
    assert told["checks"][8] == {
        "name": "torch", "topic": "libraries", "state": "broken", "version": "2.1", "detail": ">=2.6 is required",
        "fix": "pip install 'torch>=2.6'", "needed": False, "plugin": "core", "seconds": 0.0,
    }  # fmt: skip
    assert as_json(FOUND[:3], WORDS)["can_run"] is True
