"""`compare --ask`: a run is asked the prompts that only another one was asked, with its own weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from framework import testing
from framework.api import records
from framework.api.records import EvalResult
from framework.cli.main import run_command
from framework.evaluate.measure import first_items
from framework.plan.make import make_plan
from framework.run import pipeline


def test_a_run_is_asked_what_only_the_other_was_asked_if_its_weights_are_there(
    data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = [{"instruction": f"What follows {7919 * place}?", "output": str(place)} for place in range(12)]
    Path("asked.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked), encoding="utf-8")
    words = [
        "model=echo", "trainer=echo", "data=local_file", f"data.path={data_file}", "data.prompts_path=asked.jsonl",
        "evaluator=[prompts]", "logger=[]", "exporter=[]", "audit=[]",
    ]  # fmt: skip
    pipeline.run(make_plan(testing.compose(words), run_dir=tmp_path / "many", overrides=tuple(words)))
    whole = records.load(EvalResult, Path("many/evaluate.json"))
    for name in ("few", "gone"):
        shutil.copytree("many", name)
        measures = {key: first_items(measure, 6) for key, measure in whole.measures.items()}
        records.save(replace(whole, measures=measures, samples=whole.samples[:6]), Path(name) / "evaluate.json")
    shutil.rmtree("gone/checkpoint")
    saved = Path("few/evaluate.json").read_bytes()
    for first, items, note in (("few", 12, ""), ("gone", 6, "gone was not asked more: ")):
        capsys.readouterr()
        run_command("compare", [first, "many", "--metric", "token_f1", "--common", "--ask"])
        shown = capsys.readouterr().out
        assert f"token_f1: {items} items" in shown, shown
        assert note in shown
    assert Path("few/evaluate.json").read_bytes() == saved
