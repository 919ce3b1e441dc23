"""tests/benchmarks/gpu.py: its parts, what it writes of them, and a dry run on the CPU."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from framework.util.host import GIB
from tests.benchmarks import gpu

ROOT = Path(__file__).parents[2]
NONE_YET = "No number from a GPU exists yet"


def record(**rates: float) -> dict[str, Any]:
    """Return the record of a part whose contenders had these rates and peaks of ten GiB."""
    names = {
        "ours": gpu.OURS, "trl": gpu.TRL, "packed": gpu.TRL_PACKED, "bare": gpu.UNSLOTH, "unsloth": gpu.OURS_UNSLOTH,
    }  # fmt: skip
    results = {}
    for name, rate in rates.items():
        band = [9 * GIB, 11 * GIB] if names[name] in {gpu.OURS, gpu.OURS_UNSLOTH} else []
        results[names[name]] = {
            "tokens_per_second": rate, "reserved": 10 * GIB, "allocated": 9 * GIB, "band": band, "loss": 11.5,
            "notes": "",
        }  # fmt: skip
    return {
        "card": "NVIDIA GeForce RTX 4090", "rows": 192, "tokens": 20_000, "steps": 24, "results": results,
        "versions": {"torch": "2.13.0"}, "missing": {},
    }  # fmt: skip


def test_a_part_is_a_model_a_quantization_a_limit_and_a_kind_of_rows() -> None:
    known = gpu.parts()
    assert len(known) == 15
    assert {part.limit for part in known.values()} == {12, 24}
    assert next(iter(known)) == "llama1b-nf4-12-alpaca"
    assert "llama8b-bf16-24-shared" in known
    assert "llama8b-bf16-12-long" not in known  # its weights alone take 15 GiB
    assert all(name == part.name for name, part in known.items())


@pytest.mark.parametrize(("kind", "letters"), [("alpaca", (20, 200)), ("long", (2000, 2000)), ("shared", (590, 590))])
def test_rows_are_as_long_as_their_kind_and_the_same_each_time(kind: str, letters: tuple[int, int]) -> None:
    rows = gpu.conversations(kind, 200, dry=False)
    assert rows == gpu.conversations(kind, 200, dry=False)
    lengths = [sum(len(turn["content"].split()) for turn in row["messages"]) for row in rows]
    assert letters[0] <= sum(lengths) / len(lengths) <= letters[1]
    systems = {row["messages"][0]["content"] for row in rows if row["messages"][0]["role"] == "system"}
    assert len(systems) == (kind == "shared")


def test_goals_compare_with_the_best_of_each() -> None:
    told = gpu.goals(record(ours=90, trl=50, packed=100, bare=100, unsloth=99), "llama8b-nf4-24-alpaca")
    assert told == [
        "at least the best TRL: missed, 0.99",
        "trainer=unsloth at least 0.98 times bare Unsloth: reached, 0.99",
        "framework, trainer=hf: peak inside the plan's band",
        "framework, trainer=unsloth: peak inside the plan's band",
    ]
    assert gpu.goals(record(ours=330, trl=50, packed=100), "llama8b-nf4-24-shared")[0] == (
        "3 times the best peer: reached, 3.30"
    )
    assert gpu.goals(record(trl=50), "llama8b-nf4-24-shared") == []


def test_parts_are_merged_into_one_file_and_one_table_that_says_which_did_not_run(tmp_path: Path) -> None:
    file, page = tmp_path / "results.json", tmp_path / "page.md"
    page.write_text(gpu.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    first = record(ours=90, trl=50) | {"missing": {gpu.UNSLOTH: "no time was left in this part"}}
    first["results"][gpu.TRL]["loss"] = math.nan
    gpu.merge(file, "llama1b-nf4-12-alpaca", first)
    known = gpu.merge(file, "llama1b-nf4-12-shared", record(ours=300))
    again = gpu.merge(file, "llama1b-nf4-12-shared", record(ours=310))
    assert [*known] == [*again] == ["llama1b-nf4-12-alpaca", "llama1b-nf4-12-shared"]
    gpu.write_page(gpu.table(again), page)
    gpu.write_page(gpu.table(again), page)
    text = page.read_text(encoding="utf-8")
    assert "| llama1b-nf4-12-shared | framework, trainer=hf | 310 | 10.0 | 9.0-11.0 | 11.500 |  |" in text
    assert "| llama1b-nf4-12-alpaca | TRL | 50 | 10.0 |  |  |  |" in text
    assert "- Unsloth: left out, no time was left in this part" in text
    (left,) = [line for line in text.splitlines() if line.startswith("Parts that did not run: ")]
    assert left.count("llama") == 13
    assert NONE_YET not in text
    assert text.count(gpu.BEGIN) == text.count(gpu.END) == 1


def test_the_page_and_the_readme_say_that_no_number_from_a_gpu_exists_until_one_does() -> None:
    page = gpu.PAGE.read_text(encoding="utf-8")
    measured = "| part | who | tokens/s |" in page
    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("\n", " ")
    assert (NONE_YET in page) is (NONE_YET in readme) is (not measured)


def test_the_parts_are_listed_without_a_gpu() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.gpu", "--list"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert listed.stdout.split() == list(gpu.parts())


@pytest.mark.slow
def test_a_dry_run_goes_through_a_part_with_each_quantization(tmp_path: Path) -> None:
    """Ten processes that import torch: two minutes."""
    names = ["llama1b-nf4-12-shared", "llama8b-bf16-24-alpaca"]
    before = gpu.PAGE.read_bytes()
    command = [sys.executable, "-m", "tests.benchmarks.gpu", "--dry", "--folder", str(tmp_path), "--part", *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    known = json.loads((tmp_path / "dry.json").read_text(encoding="utf-8"))
    assert [*known] == names
    for made in known.values():
        assert [*made["results"]] == [gpu.OURS, gpu.TRL, gpu.TRL_PACKED]
        assert [*made["missing"]] == [gpu.UNSLOTH, gpu.OURS_UNSLOTH]
        losses = [each["loss"] for each in made["results"].values()]
        assert losses == pytest.approx([losses[0]] * 3, rel=0.05)
        assert all(each["tokens_per_second"] > 0 for each in made["results"].values())
        low, high = made["results"][gpu.OURS]["band"]
        assert 0 < low < high
    assert gpu.PAGE.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dry.json", "llama1b-dry", "llama8b-dry"]
