"""A stage that an earlier start of a run has completed is not run again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from framework import testing
from framework.api import records
from framework.api.events import Event, RunFinished
from framework.api.records import EvalResult
from framework.run import pipeline
from framework.run.reuse import COMPLETED_FILE
from framework.testing.echo import EchoModel
from framework_plugins.evals.memorization import evaluator
from framework_plugins.exports.adapter import AdapterExporter
from framework_plugins.trackers.jsonl import Jsonl

Run = Callable[..., dict[str, Any]]
OWN = {"seconds", "run_dir", "finished", "tokens_per_second", "supervised_tokens_per_second"}
"""What differs from one run to the next in any case."""


class Killed(KeyboardInterrupt):
    """What ends a run here as a kill would: no handler of the run takes it for an error."""


@pytest.fixture
def run(rows: list[dict[str, str]], write_rows: Callable[..., Path], tmp_path: Path) -> Run:
    """Return what runs into a folder and returns the numbers of the report."""
    train, prompts = write_rows(rows), write_rows(rows[:4])
    words = ["data=local_file", f"data.path={train}", f"data.validation_path={prompts}", f"data.prompts_path={prompts}"]

    def once(folder: str, *more: str) -> dict[str, Any]:
        plan = testing.plan(
            [*words, "logger=[jsonl]", "evaluator=[prompts]", "audit=[]", *more], run_dir=tmp_path / folder
        )
        pipeline.run(plan)
        report = json.loads((tmp_path / folder / "report.json").read_text(encoding="utf-8"))
        return {key: value for key, value in report.items() if key not in OWN}

    return once


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what the model is asked to do, as it is asked."""
    made: list[str] = []
    for name in ("train", "generate", "restore"):
        original = getattr(EchoModel, name)

        def called(*arguments: Any, _name: str = name, _original: Any = original, **named: Any) -> Any:
            made.append(_name)
            return _original(*arguments, **named)

        monkeypatch.setattr(EchoModel, name, called)
    monkeypatch.setattr(EchoModel, "base_key", "one", raising=False)
    return made


def killed(
    run: Run, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, which: int = 1, words: Sequence[str] = ()
) -> None:
    """Run until a call of a method, at which the process ends."""
    original, count = getattr(owner, name), 0

    def ends(*arguments: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if count == which:
            raise Killed
        return original(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, ends)
        with pytest.raises(Killed):
            run("run", *words)


def steps(folder: Path) -> list[int]:
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [event["step"] for event in map(json.loads, lines) if event["event"] == "step"]


def test_killed_in_the_export_it_goes_on_there_with_the_same_numbers(
    run: Run, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    straight = run("straight")
    killed(run, monkeypatch, AdapterExporter, "export")
    calls.clear()
    (tmp_path / "run" / "log.jsonl").unlink()
    assert run("run") == {**straight, "name": straight["name"]}
    assert calls == ["restore"]
    assert steps(tmp_path / "run") == steps(tmp_path / "straight")  # loggers get them again
    assert '"repeated": false' not in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8")
    assert (
        "kept, because an earlier start of this run completed it: baseline, train, evaluate" in capsys.readouterr().err
    )
    assert not (tmp_path / "run" / COMPLETED_FILE).exists()


CALLBACK = """
from framework import callback

@callback
def watch(step):
    '''Watch.'''
"""


def test_a_training_with_code_that_changed_since_is_trained_again(
    run: Run, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper, file = tmp_path / "least_of_watcher.py", tmp_path / "watcher.py"
    helper.write_text("LEAST = 1\n", encoding="utf-8")
    file.write_text(f"from least_of_watcher import LEAST\n{CALLBACK}", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    testing.load_file(str(file))
    words = ["callback=[watch]"]
    killed(run, monkeypatch, AdapterExporter, "export", words=words)
    killed(run, monkeypatch, AdapterExporter, "export", words=words)
    assert calls.count("train") == 1
    helper.write_text("LEAST = 3\n", encoding="utf-8")
    killed(run, monkeypatch, AdapterExporter, "export", words=words)
    assert calls.count("train") == 2
    file.write_text(f"from least_of_watcher import LEAST\n{CALLBACK}\nMOST = 3\n", encoding="utf-8")
    run("run", *words)
    assert calls.count("train") == 3


def test_issues_of_a_training_that_is_kept_are_no_news(
    run: Run, calls: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["trainer.grad_norms=[1,1,1,1,1,1,1,1,1,1,1,1,1e4]", "logger=[console]"]
    killed(run, monkeypatch, AdapterExporter, "export", words=words)
    assert "exploding_gradient" in capsys.readouterr().out
    calls.clear()
    run("run", *words)
    assert "train" not in calls
    assert "step 13, exploding_gradient" not in capsys.readouterr().out


def test_killed_in_the_evaluation_it_does_not_train_again(
    run: Run, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = run("straight")
    killed(run, monkeypatch, EchoModel, "score", which=2)  # the first is the baseline's
    calls.clear()
    assert run("run") == straight
    assert "train" not in calls
    assert "generate" in calls


def test_killed_in_a_later_look_it_ends_with_the_same_numbers(
    run: Run, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del calls
    monkeypatch.setattr(evaluator, "LOOKS", (2, 4))
    words = ["evaluator=[memorization]", "evaluator.memorization.excess=0", "evaluator.memorization.min_tokens=2"]
    straight, made = run("straight", *words), (tmp_path / "straight" / "evaluate.json").read_bytes()
    assert len(records.load(EvalResult, tmp_path / "straight" / "evaluate.json").base["verbatim_train"].items) > 2
    killed(run, monkeypatch, EchoModel, "score", which=5, words=words)  # baseline, evaluation: loss and rows, then rows
    assert run("run", *words) == straight
    assert (tmp_path / "run" / "evaluate.json").read_bytes() == made


def test_killed_while_its_loggers_finish_it_only_reports_again(
    run: Run, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, log = run("straight"), Jsonl.log

    def ends(self: Jsonl, event: Event) -> None:
        if isinstance(event, RunFinished):
            raise Killed
        log(self, event)

    with monkeypatch.context() as patched:
        patched.setattr(Jsonl, "log", ends)
        with pytest.raises(Killed):
            run("run")
    calls.clear()
    assert run("run") == straight
    assert calls == ["restore"]
    assert not (tmp_path / "run" / COMPLETED_FILE).exists()


def test_a_model_without_a_key_sees_its_base_again(run: Run, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(EchoModel, "base_key")
    killed(run, monkeypatch, AdapterExporter, "export")
    calls.clear()
    run("run")
    assert calls == ["generate", "restore"]


@pytest.mark.parametrize("change", ["settings", "weights", "note"])
def test_what_was_made_otherwise_is_made_again(
    run: Run,
    calls: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: str,
) -> None:
    killed(run, monkeypatch, AdapterExporter, "export")
    calls.clear()
    more = ["trainer.max_steps=3"] if change == "settings" else []
    if change == "weights":
        (tmp_path / "run" / "checkpoint" / "echo.json").write_text("[{}, []]", encoding="utf-8")
    if change == "note":
        (tmp_path / "run" / COMPLETED_FILE).write_text("{", encoding="utf-8")
    run("run", *more)
    assert "train" in calls
    assert ("has changed since it was trained: the training starts again" in capsys.readouterr().err) is (
        change == "weights"
    )


def test_a_finished_run_that_is_started_again_begins_at_its_first_stage(run: Run, calls: list[str]) -> None:
    run("run")
    calls.clear()
    run("run")
    assert "train" in calls


def test_checkpoints_stay_until_the_result_is_saved(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def forget(_: EchoModel) -> None:
        seen.append((tmp_path / "run" / "train.json").exists() and (tmp_path / "run" / COMPLETED_FILE).exists())

    monkeypatch.setattr(EchoModel, "forget_checkpoints", forget, raising=False)
    run("run")
    assert seen == [True]
