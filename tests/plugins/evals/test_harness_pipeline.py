"""A whole run with the general suite: figures, standard errors and concerns arrive where people look for them."""

from __future__ import annotations

import json
from pathlib import Path

from framework import testing
from framework.api import records
from framework.api.records import EvalResult, Report
from framework.run import pipeline

FEW = ["evaluator.forgetting.questions=1", "evaluator.forgetting.instructions=2", "evaluator.forgetting.texts=2"]
WORDS = ["evaluator=[lm_eval,forgetting]", "evaluator.lm_eval.limit=2", *FEW, "exporter=[]", "logger=[jsonl]"]


def test_a_run_reports_the_suite_before_and_after(data_file: Path, tmp_path: Path) -> None:
    data = ["data=local_file", f"data.path={data_file}"]
    report = pipeline.run(testing.plan([*data, *WORDS, "objective=general.acc"], run_dir=tmp_path / "run"))
    assert report is not None
    assert report.objective.name == "general.acc"
    named = {"general.acc", "general_code.acc", "general_accuracy", "general_answers", "general_perplexity"}
    assert named <= set(report.metrics)
    saved = records.load(EvalResult, tmp_path / "run" / "evaluate.json")
    assert len(saved.measures["general.acc"].items) == 16
    assert saved.measures["general.acc"].stderr is not None
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    told = next(line for line in log if line["event"] == "evaluated")
    assert told["metrics"]["general.acc_stderr"] == saved.measures["general.acc"].stderr
    verdict = records.load(Report, tmp_path / "run" / "report.json").verdict
    assert verdict is not None
    assert [(concern.name, concern.flagged) for concern in verdict.concerns] == [
        ("lm_eval", False),
        ("forgetting_divergence", False),
        ("forgetting", False),
    ]
    assert verdict.forgot is None  # sixteen questions rule out no loss


def test_an_evaluation_alone_asks_other_things_of_a_finished_run(data_file: Path, tmp_path: Path) -> None:
    data = ["data=local_file", f"data.path={data_file}", "exporter=[]"]
    pipeline.run(testing.plan(data, run_dir=tmp_path / "run"))
    again = ["stages=[evaluate,report]", "evaluator=[lm_eval]", "evaluator.lm_eval.tasks=[general_code]"]
    report = pipeline.run(testing.plan([*data, *again], run_dir=tmp_path / "run"))
    assert report is not None
    assert report.metrics["general_code.acc"].after is not None
