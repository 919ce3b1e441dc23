"""The file of `bench-gpu`, and the table of any number of such files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from framework import FrameworkError, __version__
from framework.api import GIB
from framework.cli.main import run_command
from framework_plugins.gpu.card import Card
from framework_plugins.gpu.contenders import OURS, OURS_UNSLOTH, TRL, TRL_PACKED, UNSLOTH
from framework_plugins.gpu.report import NONE_YET, goals, page
from framework_plugins.gpu.results import (
    FORMAT,
    GpuResults,
    Measured,
    PartResult,
    anonymous,
    load_results,
    rate,
    save_results,
    schema,
)

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "contrib" / "gpu-results"
CARD = Card("NVIDIA GeForce RTX 4090", 24 * GIB, "8.9")
PART = "llama8b-nf4-24-shared"


def measured(tokens_per_second: float, **more: Any) -> Measured:
    """Return a result of 4 steps with 1,000 tokens."""
    seconds = [9.0, 9.0, 250 / tokens_per_second, 250 / tokens_per_second]
    given: dict[str, Any] = {"peak_allocated": 9 * GIB, "peak_reserved": 10 * GIB, "first_losses": [11.8, 11.7]} | more
    return Measured(seconds, rate(1000, seconds), **given)


def part(**rates: float) -> PartResult:
    """Return a part whose contenders had these rates and peaks of ten GiB."""
    names = {"ours": OURS, "trl": TRL, "packed": TRL_PACKED, "bare": UNSLOTH, "unsloth": OURS_UNSLOTH}
    results = {
        names[name]: measured(
            each, **({"plan_low": 9 * GIB, "plan_high": 11 * GIB} if "ours" in name or name == "unsloth" else {})
        )
        for name, each in rates.items()
    }
    return PartResult(24, 96, 1000, 4, results)


def results(**rates: float) -> GpuResults:
    versions = {"framework": {"torch": "2.13.0"}}
    made = {PART: part(**rates)}
    return GpuResults(FORMAT, __version__, dry=False, card=CARD, driver="580.65", system="Linux", python="3.12.1",
                      versions=versions, parts=made)  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file of one GPU."""
    save_results(results(ours=300, trl=90, packed=100), tmp_path / "bench-gpu.json")
    return tmp_path / "bench-gpu.json"


def test_a_file_is_read_as_it_was_written_and_follows_its_schema(file: Path) -> None:
    loaded = load_results(file)
    assert replace(loaded, checksum="") == results(ours=300, trl=90, packed=100)
    jsonschema.validate(json.loads(file.read_text(encoding="utf-8")), schema())
    assert json.loads((FOLDER / "schema.json").read_text(encoding="utf-8")) == schema()


def faster(plain: dict[str, Any]) -> None:
    plain["parts"][PART]["results"][OURS]["tokens_per_second"] *= 2


def shorter(plain: dict[str, Any]) -> None:
    each = plain["parts"][PART]["results"][OURS]
    each["step_seconds"] = [second / 2 for second in each["step_seconds"]]
    each["tokens_per_second"] *= 2


def newer(plain: dict[str, Any]) -> None:
    plain |= {"format": FORMAT + 1, "framework": "9.0"}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (faster, r"was edited: llama8b-nf4-24-shared, framework, trainer=hf: 600.0 tokens/s do not follow from its"),
        (shorter, "was edited: its checksum is "),
        (newer, rf"has format 2, of framework 9.0; this version, {__version__}, reads format 1"),
        (lambda plain: plain.pop("parts"), "was edited: its checksum is "),
        (lambda plain: plain.update(owner="me"), "its fields are not those of format 1"),
        (dict.clear, "is not a file of bench-gpu: it has no `format`"),
    ],
)
def test_an_edited_file_or_one_of_another_version_is_refused(
    edit: Callable[[dict[str, Any]], None], message: str, file: Path
) -> None:
    plain = json.loads(file.read_text(encoding="utf-8"))
    edit(plain)
    file.write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(FrameworkError, match=message):
        load_results(file)


def test_the_report_leaves_out_what_cannot_be_read_and_says_so(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, bad, made = tmp_path / "other.json", tmp_path / "bad.json", tmp_path / "page.md"
    save_results(replace(results(ours=50), card=Card("NVIDIA A10", 22 * GIB, "8.6")), other)
    bad.write_text("{", encoding="utf-8")
    assert run_command("bench-gpu", ["--report", str(file), str(bad), str(other), "--page", str(made)]) == 1
    shown = capsys.readouterr()
    assert "| NVIDIA GeForce RTX 4090, 24.0 GiB | llama8b-nf4-24-shared | 300 | 90 | 100 | - | - |" in shown.out
    assert "| NVIDIA A10, 22.0 GiB | llama8b-nf4-24-shared | 50 | - | - | - | - |" in shown.out
    assert f"left out: {bad} is not JSON" in shown.err
    assert made.read_text(encoding="utf-8").count("\n## NVIDIA") == 2
    bad.write_text("[" * 100_000, encoding="utf-8")
    for each in (str(bad), "/dev/zero"):
        with pytest.raises(FrameworkError, match="none of the files can be read"):
            run_command("bench-gpu", ["--report", each])


def test_a_dry_run_is_on_no_page(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_results(replace(results(ours=50), dry=True, card=Card()), file)
    assert run_command("bench-gpu", ["--report", str(file), "--page", str(tmp_path / "page.md")]) == 0
    assert "1 dry run" in capsys.readouterr().err
    assert NONE_YET in (tmp_path / "page.md").read_text(encoding="utf-8")


def test_the_committed_page_is_that_of_the_committed_files_and_the_readme_agrees() -> None:
    files = sorted(each for each in FOLDER.glob("*.json") if each.name != "schema.json")
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    made = text.partition("<!-- bench-gpu -->\n")[2].partition("\n<!-- /bench-gpu -->")[0]
    assert made == page([load_results(each) for each in files])
    for page_file in ("README.md", "docs/explanation/performance.md", "docs/explanation/how-this-was-made.md"):
        told = (ROOT / page_file).read_text(encoding="utf-8").replace("\n", " ")
        assert ("No number from a GPU exists yet" in told) is (not files)


def test_goals_compare_with_the_best_of_each() -> None:
    told = list(goals(part(ours=90, trl=50, packed=100, bare=100, unsloth=99), "llama8b-nf4-24-alpaca"))
    assert told == [
        "at least the best TRL: missed, 0.99",
        "trainer=unsloth at least 0.98 times plain Unsloth: reached, 0.99",
        "framework, trainer=hf: peak inside the plan's range",
        "framework, trainer=unsloth: peak inside the plan's range",
    ]
    assert next(goals(part(ours=330, trl=50, packed=100), PART)) == "3 times the best peer: reached, 3.30"
    assert list(goals(part(trl=50), PART)) == []


def test_the_page_names_a_first_loss_that_is_another_one_and_what_did_not_run() -> None:
    one = part(ours=90, trl=50, packed=80)
    one.results[OURS] = measured(90, first_losses=[2.0])
    one = replace(one, missing={UNSLOTH: "no environment: no network"})
    text = page([replace(results(), parts={PART: one})])
    assert "- first losses: framework, trainer=hf 2.000, and the middle one is 11.800" in text
    assert "- Unsloth: left out, no environment: no network" in text
    assert "- framework, trainer=unsloth: not run yet" in text
    assert text.count("llama1b-nf4-8-") == 3  # of those that did not run


def test_a_reason_has_no_folders_and_no_name_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framework_plugins.gpu.results.socket.gethostname", lambda: "annas-pc")
    text = "annas-pc: /home/anna/.cache/x/run: OSError in ~/private/model.py, ../anna/x.py, 3/4 of C++/CUDA"
    assert anonymous(text) == "HOST: …/run: OSError in …/model.py, …/x.py, 3/4 of C++/CUDA"
