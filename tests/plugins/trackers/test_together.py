"""All trackers in one run: what one of them does is not a matter of the others."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from framework import testing
from framework.api.records import Sample, Step
from framework.run import pipeline
from tests.plugins.trackers.test_mlflow_logger import artifact, stored
from tests.plugins.trackers.test_tensorboard_logger import read
from tests.plugins.trackers.test_wandb_logger import logged
from tests.support.forked_program import echo, loggers

SECRET = "open-sesame-42"  # noqa: S105 - planted
FIGURES = (
    "entropy", "completions/mean_length", "frac_reward_zero_std", "kl", "clip_ratio/low_mean", "clip_ratio/high_mean",
)  # fmt: skip
"""What a training with rewards is watched by."""
ALL = "logger=[console,wandb,tensorboard,mlflow,jsonl,html]"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path) -> None:  # noqa: ARG001 - sets variables too
    """Let no server of this machine take part."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)


def test_all_of_them_tell_the_same(data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_TOKEN", SECRET)
    drawn = Sample("Why?", "So.", None, stopped=True, scores={"brief": 0.5})
    figures = dict.fromkeys(FIGURES, 0.25)
    monkeypatch.setattr(testing.echo, "Step", partial(Step, loss_metrics=figures, samples=[drawn]))
    words = [ALL, "data=local_file", f"data.path={data_file}", "trainer.max_steps=3", f"name='for {SECRET}'"]
    report = pipeline.run(testing.plan(words, run_dir=tmp_path / "run"))
    assert report is not None
    run = logged(tmp_path / "run")
    (flow,) = stored(tmp_path / "mlruns")
    board = read(tmp_path / "run" / "tensorboard")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    after = report.metrics["exact_match"].after
    assert run.history[-1]["after/exact_match"] == flow.data.metrics["after/exact_match"] == after
    ((step, value),) = board.scalars["after/exact_match"]
    assert (step, round(value, 6)) == (3, round(after or 0, 6))
    assert lines[-1]["metrics"]["exact_match"]["after"] == after
    assert run.config["options"]["trainer"] == flow.data.params["options.trainer"] == "echo"
    for name in FIGURES:
        assert run.history[1][f"train/{name}"] == flow.data.metrics[f"train/{name}"] == 0.25
        assert board.scalars[f"train/{name}"] == [(step, 0.25) for step in (1, 2, 3)]
        assert f'"{name} by step"' in page
    assert [line["loss_metrics"] for line in lines if line["event"] == "step"] == [figures] * 3
    learned = [[step, "Why?", None, "So.", 0.5] for step in (1, 2, 3)]
    assert run.tables["train/answers"]["data"] == json.loads(artifact(flow, "train/answers.json"))["data"] == learned
    assert "| 2 | Why? |  | So. | 0.5000 |" in board.texts["train/answers"][0][1]
    files = [file for folder in ("run", "mlruns") for file in (tmp_path / folder).rglob("*") if file.is_file()]
    leaks = [file.name for file in files if SECRET.encode() in file.read_bytes()]
    assert leaks == ["overrides.json"]  # the core keeps the words as they were typed: they make the run again


@pytest.mark.slow
def test_points_of_a_sweep_belong_together(data_file: Path, tmp_path: Path) -> None:
    words = ["logger=[wandb,mlflow]", "data=local_file", f"data.path={data_file}", "trainer.max_steps=3"]
    words += ["stages=[data,train,report]", "objective=train_loss"]
    done = echo("-m", *words, "seed=1,2", "hydra.sweep.dir=sweeps/rates", cwd=tmp_path, of=loggers())
    assert done.code == 0, done.err
    runs = [logged(tmp_path / "sweeps" / "rates" / number) for number in "01"]
    assert [run.group for run in runs] == ["sweeps-rates"] * 2
    assert len({run.id for run in runs}) == 2
    assert [run.data.tags["sweep"] for run in stored(tmp_path / "mlruns")] == ["sweeps-rates"] * 2


def test_one_that_fails_leaves_the_others_alone(
    data_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file, no folder", encoding="utf-8")
    more = ["logger.mlflow.tracking_uri=taken", f"logger.tensorboard.folder={tmp_path / 'taken'}"]
    words = [ALL, "data=local_file", f"data.path={data_file}", "trainer.max_steps=3", *more]
    assert pipeline.run(testing.plan(words, run_dir=tmp_path / "run")) is not None
    told = capfd.readouterr().err
    assert "logger 'mlflow' failed and is switched off: " in told
    assert "logger 'tensorboard' failed and is switched off: " in told
    assert logged(tmp_path / "run").exit_code == 0
    assert (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").count('"event": "step"') == 3
