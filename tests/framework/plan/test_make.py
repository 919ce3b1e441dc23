"""A plan is frozen, knows its components, holds no secret, and is refused with all its problems at once."""

import dataclasses
import json
from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.api.schema import Affects, Stage
from framework.plan.make import make_plan
from framework.testing import compose
from tests.support.project import project


def test_a_plan_is_frozen_and_its_settings_are_instances_of_the_schemas(tmp_path: Path) -> None:
    plan = testing.plan(["trainer.max_steps=3", "adapter.r=4"], run_dir=tmp_path)
    assert plan.training.max_steps == 3
    assert (plan.adapter.component.name, plan.adapter.config.r) == ("lora", 4)
    assert type(plan.adapter.config) is plan.adapter.component.schema
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.seed = 1  # type: ignore[misc]


def test_stages_run_in_their_own_order_whatever_order_they_are_given_in(tmp_path: Path) -> None:
    plan = testing.plan(["stages=[report,data,plan]"], run_dir=tmp_path)
    assert plan.stages == (Stage.plan, Stage.data, Stage.report)


def test_several_options_of_a_group_keep_their_names(tmp_path: Path) -> None:
    plan = testing.plan(["metric=[json_valid,exact_match]", "exporter=[]"], run_dir=tmp_path)
    assert set(plan.metric) == {"json_valid", "exact_match"}
    assert plan.exporter == {}


def test_the_run_folder_is_named_by_run_and_time_where_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = compose(["name=mine"])
    folder = make_plan(config).run_dir
    assert folder.parent == tmp_path / "outputs" / "mine"
    assert make_plan(config, run_dir=tmp_path / "given").run_dir == tmp_path / "given"
    assert make_plan(compose(["run_dir=set"])).run_dir == tmp_path / "set"


def test_the_config_of_a_plan_is_plain_values_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_TOKEN", "open-sesame")
    plan = testing.plan(["name=open-sesame", "logger=[wandb]", "logger.wandb.notes=by open-sesame"], run_dir=tmp_path)
    assert plan.config["name"] == "(hidden)"
    assert plan.config["logger"]["wandb"]["notes"] == "by (hidden)"
    assert plan.config["data"]["overflow"] == "drop"
    assert plan.config["adapter"]["target_modules"] == ["all-linear"]


@pytest.mark.parametrize(
    ("words", "rate", "epochs"),
    [
        (["method=dpo"], 2e-5, 1),
        (["method=dpo", "adapter=full"], 1e-6, 1),
        (["method=kto", "trainer.learning_rate=2e-4", "trainer.num_train_epochs=3"], 2e-4, 3),  # the trainer's defaults
        (["+experiment=quickstart_dpo", "adapter.start=null"], 2e-4, 1),  # the file sets the trainer's default
        (["method=sft"], 2e-4, 3),
    ],
)
def test_a_method_brings_what_suits_it_for_a_run_that_sets_nothing(
    words: list[str], rate: float, epochs: float, tmp_path: Path
) -> None:
    given = ["model=llama1b", "data=local_file", "data.path=x.jsonl", *words]
    training = make_plan(compose(given), run_dir=tmp_path, overrides=tuple(given)).training
    assert (training.learning_rate, training.num_train_epochs) == (rate, epochs)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ["objective=exact_mtch"],
            "objective=exact_mtch: unknown metric 'exact_mtch'. Did you mean 'exact_match'? Valid: ",
        ),
        (["objective=exact_match", "evaluator=[]"], "objective=exact_match needs an evaluator, but none is"),
        (
            ["adapter=full", "quantization=nf4"],
            "adapter=full trains all weights and quantization=nf4 freezes them: set",
        ),
        (["trainer.max_seq_length=-1"], "trainer.max_seq_length=-1 must be a whole number above 0"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_cannot_work_is_refused(tmp_path: Path, words: list[str], problem: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        testing.plan(words, run_dir=tmp_path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(problem)


def test_what_cannot_work_together_is_reported_once_no_value_is_missing(tmp_path: Path) -> None:
    words = ["data=local_file", "adapter=full", "quantization=nf4"]
    with pytest.raises(FrameworkError) as caught:
        testing.plan(words, run_dir=tmp_path)
    assert str(caught.value) == "data.path has no value: set data.path=…"
    with pytest.raises(FrameworkError, match=r"^adapter=full trains all weights"):
        testing.plan([*words, "data.path=x.jsonl"], run_dir=tmp_path)


def test_problems_of_the_core_and_of_plugins_come_together(tmp_path: Path) -> None:
    words = ["trainer.logging_steps=0", "objective=nothing", "evaluator.prompts.count=0", "adapter.r=0"]
    with pytest.raises(FrameworkError) as caught:
        testing.plan(words, run_dir=tmp_path)
    text = str(caught.value)
    assert len(text.splitlines()) == 4
    assert all(key in text for key in ("trainer.logging_steps", "objective", "prompts.count", "adapter.r=0"))


def test_the_points_of_a_sweep_may_not_share_a_folder(tmp_path: Path) -> None:
    config = compose(["model=echo", "trainer=echo", f"run_dir={tmp_path}"])
    with pytest.raises(FrameworkError, match=r"set hydra\.sweep\.dir=FOLDER instead"):
        make_plan(config, run_dir=tmp_path / "0")


def test_what_keys_are_made_of_tells_apart_what_is_hidden_in_the_config(tmp_path: Path) -> None:
    switches = "model.chat_template_kwargs={a: [1]}"
    one, other = (
        testing.plan([f"format.system_prompt='Say token={word}'", switches], run_dir=tmp_path)
        for word in ("alpha", "beta")
    )
    assert one.config == other.config
    assert one.affecting(Affects.base) == other.affecting(Affects.base)
    made = one.affecting(Affects.training)
    assert made != other.affecting(Affects.training)
    assert made["model"] == ["echo", {**one.model.settings, "chat_template_kwargs": {"a": [1]}}]
    assert json.loads(json.dumps(made)) == made


def test_a_plan_refuses_what_the_whole_run_would_refuse(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes("Frage;Antwort\nWie heißt du?;Müller\n".encode("cp1252"))
    place = project(tmp_path)
    for words, told in (
        (["exporter=[ollama]"], "set exporter=[gguf,ollama]"),
        (["plan.gpu=nope"], "plan.gpu=nope: no GPU of that name is known"),
        (["data=local_file", "data.path=rows.csv"], "set data.encoding=cp1252"),
        (["checkpoint=elsewhere"], "to evaluate and export it, stages=[evaluate,export,report]"),
    ):
        done = place.run("stages=[plan]", *words)
        assert (done.code, done.out, told in done.err) == (2, "", True), done.err
    assert place.run("stages=[plan]", "data=local_file", "data.path=later.jsonl").code == 0
