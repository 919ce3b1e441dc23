"""The main job with `trainer=unsloth` on SmolLM2: trained, measured, saved, read by plain peft, merged, made a GGUF.

And what `trainer=hf` makes of it, and the other way round: the two differ in who loads the model, in nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.plugins.unsloth.runs import BARE, Done, copied, run
from tests.support import plain_peft
from tests.support.program import environment

pytestmark = pytest.mark.unsloth
JOB = (
    "+experiment=quickstart", "trainer.max_steps=8", "trainer.warmup_steps=2", "data.max_rows=100", "audit=[]",
    "evaluator=[prompts]", "evaluator.prompts.count=2", "logger=[console,jsonl]",
    # In bf16 two prompts together are rounded differently from one, and after eight steps a city is nearly a draw.
    "trainer.dtype=fp32",
)  # fmt: skip
COMPARED = "parity={prompts: 1, max_new_tokens: 16}"
"""Enough to see whether an export is what was trained; the tests of the exporters look closer."""
EXPORTS = (
    "exporter=[adapter,merged,gguf]", "exporter.gguf.quantizations=[q8_0]", "exporter.merged.dtype=fp32",
    f"exporter.merged.{COMPARED}", f"exporter.gguf.{COMPARED}",
)  # fmt: skip
SAME = 0.01
"""How far the losses of the two may lie apart, as a share."""
LATER = (
    "stages=[evaluate,export,report]", "exporter=[adapter,merged]", "exporter.merged.dtype=fp32",
    f"exporter.merged.{COMPARED}",
)  # fmt: skip


@pytest.fixture(scope="module")
def unsloth(tmp_path_factory: pytest.TempPathFactory) -> Done:
    done = run(tmp_path_factory.mktemp("unsloth"), *JOB, *EXPORTS, "trainer=unsloth")
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="module")
def hf(tmp_path_factory: pytest.TempPathFactory) -> Done:
    done = copied(tmp_path_factory.mktemp("hf"), "hf", *JOB, "exporter=[adapter]")
    assert done.code == 0, done.err
    return done


def test_it_learns_and_is_measured_before_and_after(unsloth: Done) -> None:
    loss = unsloth.report["metrics"]["eval_loss"]
    assert loss["after"] < loss["before"] / 2
    assert unsloth.report["hardware"]["unsloth"] == f"{unsloth.report['versions']['unsloth']} on a CPU"
    assert [step["step"] for step in unsloth.steps] == list(range(1, 9))
    assert "Unsloth" not in unsloth.out.replace("unsloth", "")  # what it prints goes to the log
    samples = json.loads((unsloth.folder / "evaluate.json").read_text(encoding="utf-8"))["samples"]
    assert len(samples) == 2


@pytest.mark.slow  # the losses of its first steps are compared below
def test_trainer_hf_learns_with_the_same_versions(hf: Done) -> None:
    loss = hf.report["metrics"]["eval_loss"]
    assert loss["after"] < loss["before"] / 2
    assert hf.report["versions"]["transformers"].startswith("5.17.")
    assert "trl" not in hf.report["versions"]  # which lists what the run has imported
    assert "unsloth" not in hf.report["hardware"]
    assert (hf.folder / "adapter" / "adapter_model.safetensors").is_file()


def test_plain_peft_in_another_process_gives_the_same_text(unsloth: Done) -> None:
    samples = json.loads((unsloth.folder / "evaluate.json").read_text(encoding="utf-8"))["samples"]
    dtype = unsloth.report["hardware"]["dtype"].split()[0]
    prompts = [sample["prompt"] for sample in samples]
    env = environment(unsloth.folder.parent)
    there = plain_peft.answers(unsloth.folder / "adapter", prompts, max_new_tokens=64, dtype=dtype, env=env)
    assert there == [sample["answer"] for sample in samples]


def test_it_is_merged_and_made_a_gguf_file(unsloth: Done) -> None:
    paths = {artifact["path"] for artifact in unsloth.report["artifacts"]}
    assert {"adapter", "merged", "gguf/quickstart-Q8_0.gguf"} <= paths
    assert (unsloth.folder / "merged" / "model.safetensors").stat().st_size > 200e6
    assert not (unsloth.folder / "rejected").exists()  # the comparison with the trained model went through


@pytest.mark.slow  # one whole run more for each, on a real model
@pytest.mark.parametrize(("first", "second"), [("unsloth", "hf"), ("hf", "unsloth")])
def test_an_adapter_of_one_is_evaluated_merged_and_exported_with_the_other(
    first: str, second: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    trained: Done = request.getfixturevalue(first)
    done = copied(tmp_path, second, *JOB, *LATER, f"checkpoint={trained.folder / 'checkpoint'}")
    assert done.code == 0, done.err
    before, after = (each.report["metrics"]["eval_loss"]["after"] for each in (trained, done))
    assert after == pytest.approx(before, rel=SAME)
    assert {artifact["path"] for artifact in done.report["artifacts"]} == {"adapter", "merged"}
    assert ("unsloth" in done.report["hardware"]) is (second == "unsloth")


TRAINING = ("exporter=[]", "stages=[data,train]", "objective=train_loss")


def test_the_losses_of_its_steps_are_those_of_trainer_hf(unsloth: Done, tmp_path: Path) -> None:
    hf = copied(tmp_path, "hf", *JOB, *TRAINING)
    assert hf.code == 0, hf.err
    assert [step["loss"] for step in unsloth.steps] == pytest.approx([step["loss"] for step in hf.steps], rel=SAME)


def test_in_bf16_the_losses_of_the_first_steps_are_those_of_trainer_hf(tmp_path: Path) -> None:
    # A processor without bf16 instructions takes 150 ms for each bf16 token, so this case is a short one.
    words = (
        "+experiment=quickstart", "trainer.max_steps=4", "trainer.per_device_train_batch_size=1", "data.max_rows=40",
        "trainer.dtype=bf16", "stages=[data,train]", "objective=train_loss", *BARE,
    )  # fmt: skip
    ran = [copied(tmp_path, trainer, *words, name=trainer) for trainer in ("hf", "unsloth")]
    assert [each.code for each in ran] == [0, 0], ran[1].err
    hf, unsloth = ([step["loss"] for step in each.steps] for each in ran)
    assert len(hf) == 4
    assert unsloth == pytest.approx(hf, rel=SAME)
