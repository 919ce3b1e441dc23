"""The report puts the results of the stages together and leaves out what never ran."""

import dataclasses
from pathlib import Path

import pytest

from framework import testing
from framework.api.records import (
    Artifact,
    Change,
    EvalResult,
    ExportResult,
    Measure,
    MeasureKind,
    Objective,
    Outcome,
    Sample,
    TrainResult,
)
from framework.hooks.session import current
from framework.run.report import make_report, pair
from framework.rundir.environment import versions

TRAINED = TrainResult(4, 1.0, 0.5, 0.25, 2.0, 100, 40, 3, 9, 1024, "checkpoint")


def matched(right: int) -> Measure:
    items: list[float | None] = [*[1.0] * right, *[0.0] * (8 - right)]
    return Measure(right / 8, items, higher_is_better=True, kind=MeasureKind.content)


BEFORE = EvalResult(
    {"eval_loss": Measure(3.0), "exact_match": matched(0)}, [Sample("q", "a", "b", stopped=True, scores={})]
)
AFTER = EvalResult(
    {"eval_loss": Measure(1.0), "exact_match": matched(6)}, [Sample("q", "b", "b", stopped=True, scores={})]
)


@pytest.mark.parametrize(
    ("different", "drift", "unchanged"), [(0, 0.003, True), (1, 0.003, True), (2, 0.003, False), (0, 0.3, False)]
)
def test_a_training_that_did_nothing_is_known(
    tmp_path: Path,
    different: int,
    drift: float,
    unchanged: bool,  # noqa: FBT001 - a column of the table
) -> None:
    changed = Measure(drift, unit="nats", kind=MeasureKind.change)
    before, after = (
        EvalResult(
            {"far": changed},
            [Sample(f"q{n}", "b" if n < new else "a", None, stopped=True, scores={}) for n in range(30)],
        )
        for new in (0, different)
    )
    plan = testing.plan([], run_dir=tmp_path)
    report = make_report(plan, {}, {}, None, before, TRAINED, after, None, current().plugins)
    assert report.verdict is not None
    assert report.verdict.unchanged is unchanged


@pytest.mark.parametrize(
    ("name", "objective"),
    [
        ("eval_loss", Objective("eval_loss", 1.0, higher_is_better=False)),
        ("train_loss", Objective("train_loss", 0.5, higher_is_better=False)),
        ("exact_match", Objective("exact_match", 0.75, higher_is_better=True)),
        ("verdict.score", Objective("verdict.score", 0.125486, higher_is_better=True)),
    ],
)
def test_the_objective_is_the_value_after_training(tmp_path: Path, name: str, objective: Objective) -> None:
    plan = testing.plan([f"objective={name}"], run_dir=tmp_path)
    exported = ExportResult([Artifact("adapter", "adapter", 5)])
    report = make_report(
        plan, {"device": "cpu"}, {"train": 2.0}, None, BEFORE, TRAINED, AFTER, exported, current().plugins
    )
    assert report.objective.value == pytest.approx(objective.value, abs=1e-6)
    assert dataclasses.replace(report.objective, value=objective.value) == objective
    assert report.metrics["eval_loss"] == Change(3.0, 1.0, higher_is_better=False)  # without items, there is no test
    change = report.metrics["exact_match"]
    assert (change.before, change.after, change.pairs, change.outcome) == (0.0, 0.75, 8, Outcome.better)
    assert (report.tokens_per_second, report.supervised_tokens_per_second) == (50, 20)
    assert (report.artifacts, report.hardware, report.peak_memory_bytes) == (
        exported.artifacts,
        {"device": "cpu"},
        1024,
    )


@pytest.mark.parametrize(
    ("objective", "sweep", "said"),
    [
        ("exact_match", "rates", "chosen: this is a trial of a sweep that chooses by the prompts of this verdict"),
        ("train_loss", "rates", "chosen: this is one trial of a sweep: the more trials, the likelier"),
        ("exact_match", "", ""),
    ],
)
def test_a_trial_says_how_it_is_chosen(tmp_path: Path, objective: str, sweep: str, said: str) -> None:
    plan = dataclasses.replace(testing.plan([f"objective={objective}"], run_dir=tmp_path), sweep=sweep)
    verdict = make_report(plan, {}, {}, None, BEFORE, TRAINED, AFTER, None, current().plugins).verdict
    assert verdict is not None
    assert [line[: len(said)] for line in verdict.lines if line.startswith("chosen")] == ([said] if said else [])


@pytest.mark.parametrize("name", ["eval_loss", "train_loss", "exact_match"])
def test_stages_that_never_ran_are_none(tmp_path: Path, name: str) -> None:
    plan = testing.plan([f"objective={name}"], run_dir=tmp_path)
    report = make_report(plan, {}, {}, None, BEFORE, None, None, None, current().plugins)
    assert report.objective.value is None
    assert report.metrics["exact_match"] == Change(
        0.0, None, higher_is_better=True, kind=MeasureKind.content, primary=True
    )
    assert (report.train, report.tokens_per_second, report.artifacts) == (None, None, [])


def test_a_secret_in_the_name_is_hidden_as_in_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_TOKEN", "open-sesame")
    plan = testing.plan(["name=open-sesame"], run_dir=tmp_path / "open-sesame")
    report = make_report(plan, {}, {}, None, None, None, None, None, current().plugins)
    assert (report.name, report.run_dir) == (plan.config["name"], f"{tmp_path}/(hidden)")
    assert report.name == "(hidden)"


def test_answers_are_paired_by_their_prompts() -> None:
    new = Sample("new", "c", None, stopped=True, scores={})
    after = EvalResult({}, [new, *AFTER.samples])
    assert list(pair(BEFORE, after)) == [(None, new), (BEFORE.samples[0], AFTER.samples[0])]
    assert list(pair(None, AFTER)) == [(None, AFTER.samples[0])]
    assert list(pair(BEFORE, None)) == []


def test_the_versions_are_those_of_what_took_part(tmp_path: Path) -> None:
    report = make_report(testing.plan([], run_dir=tmp_path), {}, {}, None, None, None, None, None, current().plugins)
    assert report.versions == versions()
    assert {"python", "framework-finetune", "hydra-core"} <= report.versions.keys()
