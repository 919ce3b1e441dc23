"""What lm-eval says of a model that was really trained, read back from an offline run of W&B."""

import json
from pathlib import Path

import pytest
import wandb

from framework.api import records
from framework.api.records import EvalResult
from framework.run import pipeline
from tests.support.harness_tasks import write_tasks
from tests.support.tiny import tiny_chatml
from tests.support.training import make
from tests.support.wandb_file import read_offline_run

TASKS = {"follows.acc", "follows.acc_norm", "said.exact_match", "both.acc", "likely.perplexity", "likely.acc"}


@pytest.mark.slow  # a training, and lm-eval twice
def test_the_figures_of_lm_eval_before_and_after_a_training_stand_in_the_run_of_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    tasks = write_tasks(tmp_path / "tasks")
    rows = tmp_path / "rows.jsonl"
    said = [{"instruction": f"Add the two numbers. {n} and 1", "output": f"{n + 1}"} for n in range(20)]
    rows.write_text("".join(json.dumps(row) + "\n" for row in said), encoding="utf-8")
    run_dir = tmp_path / "run"
    words = [
        "evaluator=[lm_eval]", "evaluator.lm_eval.tasks=[both,likely]", f"evaluator.lm_eval.include_path={tasks}",
        "logger=[wandb]", "exporter=[]", "trainer.device=cpu", "trainer.max_steps=30",
    ]  # fmt: skip
    report = pipeline.run(make(tiny_chatml(tmp_path / "model"), rows, run_dir, *words))
    assert report is not None
    wandb.teardown()
    (file,) = run_dir.glob("wandb/offline-run-*/run-*.wandb")
    run = read_offline_run(file)
    assert run.exit_code == 0
    for when, stage in (("before", "baseline"), ("after", "evaluate")):
        found = records.load(EvalResult, run_dir / f"{stage}.json").figures
        assert found.keys() >= TASKS
        (logged,) = [row for row in run.history if f"{when}/follows.acc" in row]
        assert {name: logged[f"{when}/{name}"] for name in found} == pytest.approx(found)
        assert any(name.endswith("_stderr") for name in found)
    table = run.tables["measures"]
    names = [row[table["columns"].index("measure")] for row in table["data"]]
    assert set(names) >= TASKS
    losses = [row["train/loss"] for row in run.history if "train/loss" in row]
    assert len(losses) == 30
    assert losses[-1] < losses[0]
