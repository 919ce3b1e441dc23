"""framework/plan/load.py: what a run was made of, whatever has changed since then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework.api.plan import Plan
from framework.api.run_folder import ENVIRONMENT
from framework.plan.load import saved_plan
from framework.run import pipeline
from framework.rundir.read import read_run
from framework.util.redact import HIDDEN

MIX = "data.mix=[{path: rows.jsonl, weight: 0.5}]"


def make(place: Path, *words: str) -> Plan:
    plan = testing.plan(["data=local_file", "data.path=rows.jsonl", *words], run_dir=place / "run")
    pipeline.run(plan)
    return plan


def edit(run: Path, key: str, value: Any) -> None:
    """Change what a run saved, as if it had been made that way."""
    saved = json.loads((run / "plan.json").read_text(encoding="utf-8"))
    group, name = key.split(".")
    saved[group][name] = value
    (run / "plan.json").write_text(json.dumps(saved), encoding="utf-8")


def test_the_plan_is_what_the_run_was_made_of(place: Path) -> None:
    words = [
        "adapter=dora",
        "adapter.r=3",
        "optimizer=adamw_8bit",
        "optimizer.eps=1e-6",
        "seed=7",
        "format.columns={output: output}",
    ]
    made = make(place, *words, "model.chat_template_kwargs={thinking: false}")
    again = saved_plan(read_run(made.run_dir))
    for group in (
        "model",
        "quantization",
        "adapter",
        "data",
        "format",
        "trainer",
        "optimizer",
        "schedule",
        "sampler",
        "launch",
    ):
        assert getattr(again, group) == getattr(made, group)
    assert (again.seed, again.run_dir, again.checkpoint) == (7, made.run_dir, made.checkpoint)


def test_a_run_from_before_methods_and_losses_was_supervised(place: Path) -> None:
    made = make(place)
    file = made.run_dir / "plan.json"
    saved = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({key: saved[key] for key in saved if key not in {"method", "loss"}}), encoding="utf-8")
    again = saved_plan(read_run(made.run_dir))
    assert (again.options["method"], again.options["loss"]) == ("sft", "cross_entropy")


def test_rows_that_were_mixed_in_are_in_it(place: Path) -> None:
    made = make(place, MIX)
    assert saved_plan(read_run(made.run_dir)).data == made.data


def test_what_measures_and_exports_is_left_out(place: Path) -> None:
    made = make(place, "metric=[exact_match,json_valid]", "objective=exact_match", "logger=[jsonl]")
    again = saved_plan(read_run(made.run_dir))
    assert not {**again.audit, **again.metric, **again.evaluator, **again.exporter, **again.logger}


def test_a_preset_or_an_experiment_that_has_changed_since_changes_nothing(place: Path) -> None:
    (place / "conf" / "experiment").mkdir(parents=True)
    file = place / "conf" / "experiment" / "mine.yaml"
    file.write_text("# @package _global_\ndefaults:\n  - override /adapter: dora\nadapter:\n  r: 5\n", encoding="utf-8")
    made = make(place, "+experiment=mine")
    assert made.adapter.config.r == 5
    file.unlink()
    assert saved_plan(read_run(made.run_dir)).adapter == made.adapter


def test_a_run_without_an_environment_is_made_of_its_words(place: Path) -> None:
    made = make(place, "adapter=dora", "adapter.r=5")
    (made.run_dir / ENVIRONMENT).unlink()
    edit(made.run_dir, "adapter.lora_alpha", 99)
    again = saved_plan(read_run(made.run_dir)).adapter
    assert (again.component.name, again.config.r, again.config.lora_alpha) == ("dora", 5, 99)


def test_settings_that_are_given_win(place: Path) -> None:
    made = make(place, "trainer.learning_rate=3e-4", "adapter=dora", "adapter.r=5")
    run = read_run(made.run_dir)
    assert saved_plan(run, ["trainer.learning_rate=1e-4"]).training.learning_rate == 1e-4
    other = saved_plan(run, ["adapter=lora"]).adapter
    assert (other.component.name, other.config.r) == ("lora", 16)
    (place / "elsewhere").mkdir()
    assert saved_plan(run, ["checkpoint=elsewhere"]).checkpoint == place / "elsewhere"
    with pytest.raises(FrameworkError, match=r"Did you mean 'trainer.learning_rate'\?"):
        saved_plan(run, ["trainer.lerning_rate=1"])
    with pytest.raises(FrameworkError, match="unknown adapter 'loro'"):
        saved_plan(run, ["adapter=loro"])


def test_a_secret_that_was_not_saved_and_a_setting_of_another_version_are_passed_over(place: Path) -> None:
    made = make(place)
    edit(made.run_dir, "model.revision_of_tomorrow", 3)
    edit(made.run_dir, "model.chat_template", HIDDEN)
    assert saved_plan(read_run(made.run_dir)).model == made.model


def test_paths_are_those_of_the_folder_where_the_run_was_started(
    place: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(place)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    saved_plan(read_run(made.run_dir))
    assert Path.cwd() == place
