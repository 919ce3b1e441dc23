"""`decide` from a run to its decisions, with the echo backend; and what a plan refuses."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.api import records
from framework.api.records import DataResult, EvalResult, Report, Scored, TokenRow
from framework.cli.main import run_command
from framework.run import pipeline
from framework.testing import EchoModel
from framework_plugins.decide.decider import open_decider
from framework_plugins.decide.plugin import framework_advice

DATA = ("data=local_file", "data.path=rows.jsonl", "data.validation_split=0", "objective=train_loss")
WORDS = (*DATA, "data.prompts_path=rows.jsonl", "format=decide", "format.labels=[late,broken]", "method=decide")
EVALUATED = ("audit=[decide]", "evaluator=[decide]", "metric=[]", "verdict.primary=decision_accuracy")


def write_rows(count: int = 160, **fields: object) -> None:
    rows = ({"text": f"Parcel {n} {'odd' if n % 2 else 'even'}", "label": n % 2, **fields} for n in range(count))
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def score(model: EchoModel, rows: Sequence[TokenRow]) -> list[Scored]:
    """Find "broken" likelier after "odd", and "late" otherwise; as the base always "late", and not sure."""
    scored = []
    for row in rows:
        words = model.decode(row.input_ids).split()
        fits = ("odd" in words and not model.base) == (words[-2] == "broken")
        log_prob = (-0.7 if fits else -0.8) if model.base or "seen" in words else (-0.1 if fits else -3.0)
        scored.append(Scored([log_prob, 0.0], row.learned))
    return scored


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a run of a model that learns to look for a word."""
    monkeypatch.setattr(EchoModel, "score", score)
    monkeypatch.chdir(tmp_path)
    write_rows()
    words = ["method=sft" if word == "method=decide" else word for word in WORDS]  # the echo has no other loss
    plan = testing.plan([*words, *EVALUATED], run_dir=tmp_path / "run")
    pipeline.run(plan)
    return plan.run_dir


def test_a_run_is_measured_and_decides_texts_and_rows_of_a_file(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = records.load(Report, run / "report.json")
    accuracy = report.metrics["decision_accuracy"]
    assert (accuracy.before or 1.0) < 0.8
    assert accuracy.after == 1
    measured = records.load(EvalResult, run / "evaluate.json")
    assert measured.metrics["decision_answered"] == 1
    assert measured.metrics["decision_wrong"] == 0
    capsys.readouterr()

    assert run_command("decide", [str(run), "Parcel 1 odd", "Parcel 2 even"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["broken", "late"]
    monkeypatch.setattr("sys.stdin", io.StringIO("Parcel 3 odd\n\n"))
    assert run_command("decide", [str(run), "--json"]) == 0
    decision = json.loads(capsys.readouterr().out)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(FrameworkError, match="there is nothing to decide"):
        run_command("decide", [str(run)])
    assert (decision["option"], decision["sure"], [*decision["probabilities"]]) == ("broken", True, ["late", "broken"])

    Path("new.csv").write_text('id,text\n1,"Parcel 1 odd"\n2,"never, seen"\n', encoding="utf-8")
    assert run_command("decide", [str(run), "--file=new.csv", "--out=done.csv"]) == 0
    rows = [*csv.DictReader(io.StringIO(Path("done.csv").read_text(encoding="utf-8")))]
    assert [(row["id"], row["option"], row["sure"]) for row in rows] == [("1", "broken", "yes"), ("2", "late", "no")]
    assert run_command("decide", [str(run), "--file=new.csv"]) == 0
    assert capsys.readouterr().out == Path("done.csv").read_text(encoding="utf-8")

    texts = [f"Parcel {number} {'odd' if number % 9 else 'even'}\n" for number in range(60)]
    Path("later.csv").write_text("".join(["text\n", *texts]), encoding="utf-8")
    assert run_command("decide", [str(run), "--file=later.csv", "--out=done.csv", "--drift"]) == 0
    assert "\noptions: drift, '" in capsys.readouterr().err
    Path("later.csv").write_text("".join(["text\n", *texts[:9]]), encoding="utf-8")
    with pytest.raises(FrameworkError, match="30 texts or more on each side, and there are 9 in --file"):
        run_command("decide", [str(run), "--file=later.csv", "--drift"])

    with open_decider(run) as decider:
        decisions = decider.decide(["Parcel 1 odd", {"text": "Parcel 2 even"}])
        with pytest.raises(FrameworkError, match="row 2: format decide needs some text"):
            decider.decide(["Parcel 1 odd", " "])
    assert [decision.option for decision in decisions] == ["broken", "late"]
    assert decisions[0].probability == max(decisions[0].probabilities.values())
    assert sum(decisions[0].probabilities.values()) == pytest.approx(1)


def test_runs_with_different_numbers_of_rows_tell_what_more_rows_bring(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [str(run)]
    for size, wrong in ((40, 40), (80, 20)):
        folder = Path(f"run{size}")
        shutil.copytree(run, folder)
        measured, data = records.load(EvalResult, run / "evaluate.json"), records.load(DataResult, run / "data.json")
        accuracy = measured.measures["decision_accuracy"]
        items: list[float | None] = [float(index >= wrong) for index in range(len(accuracy.items))]
        records.save(EvalResult({"decision_accuracy": replace(accuracy, items=items)}), folder / "evaluate.json")
        records.save(replace(data, train_rows=size), folder / "data.json")
        folders.append(str(folder))
    capsys.readouterr()
    assert run_command("learning-curve", [*folders, "--more=80"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == ["40 rows: 50.0% right of 80 held-out rows", "80 rows: 75.0% right of 80 held-out rows"]
    assert lines[3].startswith("80 more rows: about +")
    with pytest.raises(FrameworkError, match="different numbers of training rows"):
        run_command("learning-curve", folders[:2])
    (run / "evaluate.json").unlink()
    with pytest.raises(FrameworkError, match="has no decision_accuracy: run it with"):
        run_command("learning-curve", folders)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--file=new.csv", "text"), "give texts or --file, not both"),
        (("--out=new.csv", "text"), "--out is the file for the rows of --file"),
        (("--drift", "text"), "--drift compares the rows of --file with the held-out rows"),
        (("--file=absent.csv",), "--file=absent.csv cannot be read: No such file"),
        ((), "run: there is no such folder"),
    ],
)
def test_what_cannot_be_decided_is_refused_before_a_model_loads(
    words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(FrameworkError, match=message):
        run_command("decide", ["run", *words])


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return what a plan refuses."""
    monkeypatch.chdir(tmp_path)
    write_rows()

    def make(*words: str) -> str:
        with pytest.raises(FrameworkError) as error:
            testing.plan([*DATA, "format=decide", "method=decide", *words], run_dir=tmp_path / "run")
        return str(error.value)

    return make


def test_a_plan_names_the_labels_of_the_rows_and_refuses_options_that_are_not_there(
    refused: Callable[..., str],
) -> None:
    assert 'the rows have these labels: 0, 1. Set "format.labels=[0,1]", or the names of these ids' in refused()
    write_rows(label="late")
    assert '"format.labels=[late]"' in refused()
    labels = "format.labels=[late,broken]"
    assert "method.class_weights has the option 'brken'" in refused(labels, "method.class_weights={brken: 2}")
    assert "format.names has the option 'brken'" in refused(labels, "format.names={B: brken}")
    assert "has no {text}: add it" in refused(labels, "format.question=Which?")


def test_a_plan_advises_the_audit_and_the_evaluator_that_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows()
    plan = testing.plan(WORDS, run_dir=tmp_path / "run")
    audit, evaluator = framework_advice(plan, None)
    assert audit.endswith("set audit=[standard,decide]")
    assert evaluator.endswith(",decide]")
    assert not [*framework_advice(testing.plan([*WORDS, *EVALUATED], run_dir=tmp_path / "run"), None)]


def test_rows_of_one_label_end_the_run_and_unseen_labels_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(label="late")
    words = [*WORDS, *EVALUATED, "stages=[data]"]
    with pytest.raises(FrameworkError, match="one_option: all 160 training rows have the label 'late'"):
        pipeline.run(testing.plan(words, run_dir=tmp_path / "one"))
    write_rows()
    Path("held.jsonl").write_text('{"text": "Parcel of Anna", "label": "lost"}\n', encoding="utf-8")
    more = ["format.labels=[late,broken,lost,new]", "data.prompts_path=held.jsonl"]
    pipeline.run(testing.plan([*(word for word in words if word.partition("=")[0] not in {
        "format.labels", "data.prompts_path"}), *more], run_dir=tmp_path / "unseen"))  # fmt: skip
    found = {finding.name: finding for finding in records.load(DataResult, tmp_path / "unseen/data.json").findings}
    assert "have a label that no training row has: 'lost'" in found["unseen_options"].text
    assert "have no training row or one: 'new'" in found["rare_options"].text
