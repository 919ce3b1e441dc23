"""families.py: what its table says, and one twin of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.families import Result, grouped, load, said
from tests.support.families import make_tokenizer, stop_ids
from tests.support.family_twins import FAMILIES
from tests.support.model_page import PAGE
from tests.support.plain_training import IGNORE, encode

ROOT = Path(__file__).parents[2]


def test_the_page_has_each_twin_with_one_outcome() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("<!-- families: ")[2].partition("<!-- end of families")[0]
    groups = re.findall(r"^- ((?:whole|refused|fault).*?), (\d+): (.*)\.$", text, re.MULTILINE)
    names = [name for *_, listed in groups for name in listed.split("; ")]
    assert sorted(names) == sorted(FAMILIES)
    assert sum(int(count) for _, count, _ in groups) == len(names)


def test_twins_are_grouped_by_outcome() -> None:
    unknown = "whole; gguf refused before the training: llama.cpp's converter does not know the architecture X, only 3"
    pad = "pad, not tree: attention_dropout=0.1 would change a shared token"
    lines = {"A": ("`X`", "yes", "1e-06", unknown), "B": ("`Y`", pad, "-", "whole"), "C": ("`Z`", "yes", "-", "whole")}
    assert grouped(lines).splitlines() == [
        "- whole, 2: B; C.",
        "- whole, no GGUF: llama.cpp's converter does not know the architecture, 1: A.",
    ]


def test_an_outcome_is_whole_a_refusal_or_a_fault() -> None:
    result = Result("LlamaForCausalLM", "tree", 2.4e-6)
    assert result.cells() == ["`LlamaForCausalLM`", "yes", "2e-06", "whole"]
    result.refusals["gguf"] = "unknown"
    assert result.outcome == "whole; gguf refused before the training: unknown"
    result.refusals["run"] = "too small"
    assert result.outcome == "refused before the training: too small"
    result.faults.append("not resumed")
    assert result.outcome == "fault: not resumed"


def test_the_first_sentence_of_the_last_error_is_what_a_process_said() -> None:
    printed = "loading\n\x1b[31mexporter=gguf: /tmp/x/y/model: no layer (/home/me/file.py:3). Save it again\x1b[0m\n"
    assert said(printed) == said(f"{printed}exporter=[merged] works\n\n") == "exporter=gguf: model: no layer"
    assert said("File x, line 3\nTypeError: no layer\n") == "TypeError: no layer"
    assert said("") == "nothing"


def test_a_row_is_learned_up_to_the_stop_of_each_answer() -> None:
    tokenizer, stops = make_tokenizer("qwen3_2507"), stop_ids("qwen3_2507")
    asked, told = {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "No, three."}
    row = encode(tokenizer, [asked, told, asked, told], stops)
    assert tokenizer.decode([label for label in row.labels if label != IGNORE]) == "No, three.<|im_end|>" * 2


@pytest.mark.slow
def test_a_twin_is_whole_beside_plain_peft(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks.families", "Qwen2", "--results", str(results)]
    log = tmp_path / "log"
    with log.open("w") as output:  # a pipe would be held open by the server that its processes are copies of
        done = subprocess.run(command, cwd=ROOT, env=os.environ, stdout=output, stderr=output, check=False, timeout=600)
    assert done.returncode == 0, log.read_text(encoding="utf-8")
    result = load(results)["Qwen2"]
    assert (result.outcome, result.packing) == ("whole", "tree")
    assert json.loads(results.read_text(encoding="utf-8"))["Qwen2"]["faults"] == []
