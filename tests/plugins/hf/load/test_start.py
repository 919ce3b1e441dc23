"""`adapter.start`: a training that starts from a trained adapter, beside it, or from a part of the weights."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from framework import FrameworkError, Plan, testing
from framework.api import Data, records
from framework.api.plan import START_HASH
from framework.api.records import EvalResult, Report
from framework.cli.main import run_command
from framework.plan.load import load_plan
from framework.plan.make import make_plan
from framework.run import pipeline
from framework.util.hashing import file_sha256
from framework_plugins.hf.model import HFModel
from framework_plugins.hf.plugin import framework_advice
from framework_plugins.hf.train.resume.checkpoints import settings
from tests.support.copies import in_place_of_processes
from tests.support.training import opened, train

LORA = ("adapter.r=4", "adapter.lora_alpha=6", "adapter.target_modules=[v_proj,q_proj]")
WHOLE = ("trainer.per_device_train_batch_size=12", "trainer.gradient_accumulation_steps=1", "data.validation_split=0")
"""All twelve rows in a step, so that its loss is that of the rows."""
WEIGHTS = "adapter_model.safetensors"


def plan(base: Path, rows: Path, run_dir: Path, *more: str) -> Plan:
    words = [
        "model=local", f"model.path={base}", "data=local_file", f"data.path={rows}", "logger=[]", "audit=[]",
        "evaluator=[]", "trainer.dtype=fp32", "trainer.max_steps=3", "trainer.learning_rate=0.02",
        "trainer.warmup_steps=0", "stages=[data,train]", *more,
    ]  # fmt: skip
    keys = [word.partition("=")[0] for word in words]
    words = [word for at, word in enumerate(words) if keys[at] not in keys[at + 1 :]]
    return make_plan(testing.compose(words), run_dir=run_dir, overrides=tuple(words))


@pytest.fixture(autouse=True, scope="module")
def copies() -> Iterator[None]:
    """Let conversions and llama.cpp run in copies of a Python that has imported torch."""
    with in_place_of_processes():
        yield


@pytest.fixture(scope="module")
def first(base: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that has trained an adapter of q_proj and v_proj; no test may change it."""
    run_dir = tmp_path_factory.mktemp("first") / "run"
    pipeline.run(plan(base, rows, run_dir, *LORA, "trainer.learning_rate=0.05", "adapter.lora_dropout=0.1"))
    return run_dir


def losses(model: HFModel, data: Data) -> tuple[float, float]:
    """Return the loss of the model, and that of its base."""
    with model.as_base():
        before = model.loss(data.train)
    return model.loss(data.train), before


@contextmanager
def given(base: Path, rows: Path, checkpoint: Path, folder: Path, *more: str) -> Iterator[tuple[HFModel, Data]]:
    """Open a model with weights that lie elsewhere."""
    words = (f"checkpoint={checkpoint}", "stages=[evaluate]", *WHOLE, *more)
    with opened(plan(base, rows, folder, *words)) as (model, data):
        model.restore(checkpoint)
        yield model, data


def test_the_first_loss_is_that_of_the_adapter(base: Path, rows: Path, first: Path, tmp_path: Path) -> None:
    with given(base, rows, first / "checkpoint", tmp_path / "given") as (model, data):
        evaluated = losses(model, data)
    made = plan(base, rows, tmp_path / "again", f"adapter.start={first}", *WHOLE)
    config: Any = made.adapter.config
    assert (config.r, config.lora_alpha, config.target_modules) == (4, 6, ["q_proj", "v_proj"])
    assert (config.lora_dropout, made.config["adapter"]["r"]) == (0.0, 4)
    with opened(made) as (model, data):
        assert losses(model, data) == pytest.approx(evaluated, abs=1e-6)
        _, steps = train(model, data, tmp_path)
        after = losses(model, data)
        assert "the verdict compares with it, then with" in model.facts["starts from"]
    assert steps[0].loss == pytest.approx(evaluated[0], abs=1e-6)
    assert after[0] < evaluated[0] < evaluated[1]
    assert after[1] == pytest.approx(evaluated[1], abs=1e-6)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["adapter=dora"], "adapter=dora, and the adapter of adapter.start=RUN is lora: set adapter=lora, or"),
        (["adapter.r=16"], "adapter.r=16, and the adapter of adapter.start=RUN has 4: leave adapter.r out, or"),
        (["adapter.bias=all"], "adapter.bias=all, and the adapter of adapter.start=RUN has none: leave"),
        (["adapter.args.exclude_modules=[q_proj]"], "adapter.args.exclude_modules is set, and the adapter of"),
        (["model.new_tokens=['<a>']"], "keeps its own tokens: leave model.new_tokens out, or set"),
        (["adapter.start=nowhere/at/all"], "adapter.start=nowhere/at/all: there is no such folder"),
        (["adapter.start=BASE"], "has no adapter_config.json, no checkpoint/ with one, and no trained runs: give the"),
        (["adapter.merge_first=true", "adapter=dora"], "a sum cannot have magnitudes: merge it, stages=[export]"),
        (["checkpoint=RUN/checkpoint"], "is evaluated and exported, not trained: to train on from it, set"),
    ],
)
def test_what_does_not_suit_the_adapter_is_told_in_the_plan(
    base: Path, rows: Path, first: Path, tmp_path: Path, more: list[str], told: str
) -> None:
    words = [word.replace("RUN", str(first)).replace("BASE", str(base)) for word in more]
    with pytest.raises(FrameworkError, match=re.escape(told.replace("RUN", str(first)))):
        plan(base, rows, tmp_path / "run", f"adapter.start={first}", *words)


def test_merge_first_needs_an_adapter_and_a_start_is_one(base: Path, rows: Path, tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match="start is for adapters: adapter=full starts from a whole model"):
        load_plan(["adapter=full", "adapter.start=run"])
    with pytest.raises(FrameworkError, match=re.escape("needs the trained adapter: set adapter.start=RUN_DIR|FOLDER")):
        plan(base, rows, tmp_path, "adapter.merge_first=true")


@pytest.mark.parametrize(
    ("change", "more", "told"),
    [
        ({"base_model_name_or_path": "acme/b"}, [], r"adapter.start=\S+ was trained on acme/b, and the base here is"),
        ({"peft_type": "LOHA"}, [], "has peft_type=LOHA, and only LORA is trained here"),
        ({}, ["adapter.target_modules=[q_proj]"], r"adapts 2 layers \(q_proj\), and the adapter of adapter.start=\S+ "
         r"has 4 layers \(q_proj, v_proj\): leave"),
        ({"r": 8}, [], "does not fit this model and adapter"),
    ],
)  # fmt: skip
def test_an_adapter_of_something_else_is_refused_before_weights_are_read(
    base: Path, rows: Path, first: Path, tmp_path: Path, change: dict[str, Any], more: list[str], told: str
) -> None:
    other = Path(shutil.copytree(first / "checkpoint", tmp_path / "other"))
    file = other / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | change), "utf-8")
    with pytest.raises(FrameworkError, match=told):
        pipeline.run(plan(base, rows, tmp_path / "run", f"adapter.start={other}", *more))
    assert not (tmp_path / "run").exists()


def test_of_a_folder_of_runs_the_newest_is_taken(base: Path, rows: Path, first: Path, tmp_path: Path) -> None:
    start = plan(base, rows, tmp_path / "run", f"adapter.start={first.parent}").start(weights=True)
    assert start is not None
    assert start.folder == first / "checkpoint"


def test_a_run_does_not_start_from_itself(base: Path, rows: Path, first: Path) -> None:
    with pytest.raises(FrameworkError, match="is in the folder of this run, which would replace it: set another run_"):
        plan(base, rows, first, f"adapter.start={first}")


def test_a_low_rate_is_fine_for_an_adapter_that_was_trained(
    base: Path, rows: Path, first: Path, tmp_path: Path
) -> None:
    for more, expected in (([], True), ([f"adapter.start={first}"], False)):
        advice = framework_advice(plan(base, rows, tmp_path, "trainer.learning_rate=1e-5", *more), None)
        assert ("starts from nothing" in " ".join(advice)) is expected


def changed(file: Path) -> None:
    """Write other weights into a file."""
    save_file({name: value + 1 for name, value in load_file(file).items()}, file)


def test_other_weights_in_the_same_place_are_another_training(
    base: Path, rows: Path, first: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(first / "checkpoint", tmp_path / "other"))
    made = plan(base, rows, tmp_path / "run", f"adapter.start={other}")
    before = settings(made)
    changed(other / WEIGHTS)
    after = settings(made)
    assert {name for name in after if after[name] != before[name]} == {START_HASH}


NEW = ("adapter.r=2", "adapter.target_modules=[all-linear]", "trainer.learning_rate=0.005")


@pytest.mark.parametrize(
    "more",
    [
        ("adapter.merge_first=true", *NEW),
        ("adapter.merge_first=true", *NEW, "adapter=rslora", "quantization=nf4"),
        ("adapter.args.init_lora_weights=pissa", "adapter.rank_pattern={q_proj: 3}"),
        ("adapter.args.init_lora_weights=olora", "adapter=rslora"),
    ],
    ids=" ".join,
)
def test_a_frozen_adapter_leaves_the_base_and_is_saved_with_the_trained_one(
    base: Path, rows: Path, first: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    beside, quantized = "adapter.merge_first=true" in more, [word for word in more if word == "quantization=nf4"]
    more = (*more, f"adapter.start={first}") if beside else (*more, "adapter.r=4")
    with given(base, rows, first / "checkpoint", tmp_path / "given", *quantized) as (model, data):
        began, of_base = losses(model, data)
    began = began if beside else of_base
    with opened(plan(base, rows, tmp_path / "run", *more, *WHOLE)) as (model, data):
        assert losses(model, data) == pytest.approx((began, of_base), abs=1e-5)
        _, steps = train(model, data, tmp_path)
        after = losses(model, data)
        assert steps[0].loss == pytest.approx(began, abs=1e-5)
        assert after[0] < began - 0.01
        assert after[1] == pytest.approx(of_base, abs=1e-5)
        model.restore(tmp_path / "checkpoint")
        assert losses(model, data) == pytest.approx(after, abs=1e-5)
    with given(base, rows, tmp_path / "checkpoint", tmp_path / "given", *quantized) as (model, data):
        assert losses(model, data) == pytest.approx(after, abs=1e-5)
    saved = json.loads((tmp_path / "checkpoint" / "adapter_config.json").read_text("utf-8"))
    assert (saved["r"], saved["lora_alpha"]) == ((4 + 2,) * 2 if beside else (4 + 4,) * 2)
    assert not any(saved[name] for name in ("rank_pattern", "alpha_pattern", "use_rslora"))


def test_a_second_stage_has_its_lineage_and_is_judged_against_its_start(
    base: Path,
    rows: Path,
    first: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stage one on one format, stage two on another from its adapter, stage three beside the adapter of stage two."""
    monkeypatch.chdir(tmp_path)
    chats = tmp_path / "chats.jsonl"
    turns = [
        [
            {"role": "user", "content": f"Say even or odd: {n}"},
            {"role": "assistant", "content": "odd" if n % 2 else "even"},
        ]
        for n in range(12)
    ]
    chats.write_text("".join(json.dumps({"messages": each}) + "\n" for each in turns), "utf-8")
    every = ("stages=[plan,data,baseline,train,evaluate,export,report]", "evaluator=[prompts]",
             "evaluator.prompts.max_new_tokens=3", "exporter=[adapter,merged,gguf_adapter,model_card]")  # fmt: skip
    more = (f"adapter.start={first}", "logger=[html]", "exporter=[adapter]")
    report = pipeline.run(plan(base, chats, tmp_path / "second", *every, *more))
    beside = ("adapter.start=second", "adapter.merge_first=true", "adapter.r=2", "trainer.learning_rate=1e-9")
    last = pipeline.run(plan(base, rows, tmp_path / "third", *every, *beside))
    assert report
    assert report.train
    assert report.verdict
    assert last
    assert last.train
    hashes = [file_sha256(run / "checkpoint" / WEIGHTS) for run in (tmp_path / "second", first)]
    assert [one.sha256 for one in last.train.lineage] == hashes
    assert [one.merged for one in last.train.lineage] == [True, False]
    assert report.train.lineage == last.train.lineage[1:]
    assert records.load(Report, tmp_path / "third" / "report.json").train == last.train
    before = records.load(EvalResult, tmp_path / "second" / "baseline.json")
    with given(base, chats, first / "checkpoint", tmp_path / "given", "data.validation_split=0.1") as (model, data):
        assert report.metrics["eval_loss"].before == pytest.approx(model.loss(data.validation), abs=1e-6)
        with model.as_base():
            assert before.base["eval_loss"].value == pytest.approx(model.loss(data.validation), abs=1e-6)
    assert report.verdict.lines[1].startswith("over the base: ")
    assert last.verdict
    assert last.verdict.summary.startswith("The training changed nothing: ")
    card = (tmp_path / "third" / "merged" / "README.md").read_text("utf-8")
    assert all(f"SHA-256 `{each}`" in card for each in hashes)
    assert str(tmp_path) not in card
    assert hashes[1][:12] in (tmp_path / "second" / "report.html").read_text("utf-8")
    capsys.readouterr()
    run_command("diff", ["second", "third", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["config"]["adapter.start.sha256"] == {"A": hashes[1], "B": hashes[0]}
    changed(tmp_path / "second" / "checkpoint" / WEIGHTS)
    with pytest.raises(FrameworkError, match=rf"second/checkpoint/{WEIGHTS} is not what its training wrote"):
        run_command("rerun", ["third", "run_dir=fourth"])
    with pytest.raises(FrameworkError, match=rf"second/checkpoint/{WEIGHTS} is not what its training wrote"):
        pipeline.run(plan(base, chats, tmp_path / "second", "stages=[evaluate]", "evaluator=[prompts]"))
    (tmp_path / "second" / "train.json").unlink()  # as an adapter of elsewhere
    with pytest.raises(FrameworkError, match=r"adapter\.start=\S*second has changed: the SHA-256 of its weights was"):
        run_command("rerun", ["third", "run_dir=fourth"])


def test_preferences_after_a_first_training_are_judged_against_it(base: Path, first: Path, tmp_path: Path) -> None:
    """Of a DPO that changes nothing, the verdict claims none of what the first training gained."""
    file = tmp_path / "pairs.jsonl"
    pairs = ({"prompt": f"is {n} odd", "chosen": "yes", "rejected": "never mind"} for n in range(24))
    file.write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    words = (
        "method=dpo", f"adapter.start={first}", "data.validation_split=0.25", "trainer.learning_rate=1e-9",
        "trainer.max_steps=1", "stages=[data,baseline,train,evaluate,report]", "evaluator=[prompts]",
        "evaluator.prompts.max_new_tokens=4", "metric=[stopped]", "exporter=[]",
    )  # fmt: skip
    report = pipeline.run(plan(base, file, tmp_path / "run", *words))
    assert report
    assert report.verdict
    before = records.load(EvalResult, tmp_path / "run" / "baseline.json")
    for name, change in report.metrics.items():
        if name in before.measures and change.before is not None:
            assert change.before == pytest.approx(before.measures[name].value, abs=1e-6)
            assert change.after == pytest.approx(change.before, abs=1e-4)
    assert not report.verdict.summary.startswith(("Better", "Worse"))
    assert before.base["eval_loss"].value != pytest.approx(before.measures["eval_loss"].value, abs=1e-3)


@pytest.mark.parametrize(
    ("start", "told"),
    [("loftq", "that error would count twice"), ("corda", "reads rows before the training"), ("pissa", "in few bits")],
)
def test_ways_to_begin_that_would_not_be_exact_are_refused(
    base: Path, rows: Path, tmp_path: Path, start: str, told: str
) -> None:
    with pytest.raises(FrameworkError, match=told):
        plan(base, rows, tmp_path, f"adapter.args.init_lora_weights={start}", "quantization=nf4")


def test_eva_begins_with_what_the_layers_see(base: Path, rows: Path, tmp_path: Path) -> None:
    shares = {}
    for start in ("true", "eva"):
        words = (f"adapter.args.init_lora_weights={start}", "adapter.r=3", "trainer.learning_rate=1e-9", *WHOLE)
        with opened(plan(base, rows, tmp_path / start, *words)) as (model, data):
            _, before = losses(model, data)
            train(model, data, tmp_path / start)
            assert losses(model, data) == pytest.approx((before, before), abs=1e-5)
            seen: list[torch.Tensor] = []
            layer = model.model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
            hook = layer.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].flatten(0, -2)))
            with model.as_base():
                model.loss(data.train)
            hook.remove()
            basis = torch.linalg.qr(layer.lora_A["default"].weight.detach().T)[0]
        varied = torch.cat(seen) - torch.cat(seen).mean(0)
        shares[start] = float((varied @ basis).square().sum() / varied.square().sum())
    assert shares["eva"] > 2 * shares["true"]


@pytest.fixture(scope="module")
def tied(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a base whose head is its embedding."""
    folder = Path(shutil.copytree(base, tmp_path_factory.mktemp("tied") / "base"))
    config = AutoConfig.from_pretrained(folder)
    config.tie_word_embeddings = True
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["base", "tied"])
def test_new_tokens_are_trained_saved_and_exported_with_parity(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    folder, file = request.getfixturevalue(kind), tmp_path / "tools.jsonl"
    calls = [{"instruction": f"call {n}", "output": f"<tool>{n}"} for n in range(12)]
    file.write_text("".join(json.dumps(call) + "\n" for call in calls), "utf-8")
    words = (*LORA, *WHOLE, "model.new_tokens=['<tool>']", "trainer.max_steps=6", "trainer.learning_rate=0.05")
    exports = ("stages=[data,train,export]", "exporter=[adapter,merged,gguf,model_card]",
               "exporter.gguf.quantizations=[f16]")  # fmt: skip
    pipeline.run(plan(folder, file, tmp_path / "run", *words, *exports))
    config = json.loads((tmp_path / "run" / "merged" / "config.json").read_text("utf-8"))
    vocabulary = json.loads((folder / "config.json").read_text("utf-8"))["vocab_size"]
    assert (config["vocab_size"], config["tie_word_embeddings"]) == (vocabulary + 1, kind == "tied")
    saved = load_file(tmp_path / "run" / "checkpoint" / WEIGHTS)
    assert len([name for name in saved if "trainable_tokens_delta" in name]) == (1 if kind == "tied" else 2)
    plain = AutoModelForCausalLM.from_pretrained(folder)
    plain.resize_token_embeddings(vocabulary + 1, mean_resizing=False)  # as the card says
    assert "base.resize_token_embeddings(" in (tmp_path / "run" / "adapter" / "README.md").read_text("utf-8")
    both = [PeftModel.from_pretrained(plain, tmp_path / "run" / "adapter"),
            AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "merged")]  # fmt: skip
    with torch.no_grad():
        adapted, merged = (each(torch.tensor([[5, vocabulary, 7]])).logits for each in both)
    torch.testing.assert_close(adapted, merged, rtol=1e-4, atol=1e-4)
    with opened(plan(folder, file, tmp_path / "new", *words)) as (model, data):
        assert model.new_ids == [vocabulary]
        assert all(vocabulary in row.input_ids for row in data.train)
        before = losses(model, data)
    with given(folder, file, tmp_path / "run" / "adapter", tmp_path / "given") as (model, data):
        after = losses(model, data)
    assert after[0] < before[0] - 0.1
    assert after[1] == pytest.approx(before[1], abs=1e-6)
    with opened(plan(folder, file, tmp_path / "again", f"adapter.start={tmp_path / 'run'}", *WHOLE)) as (model, data):
        assert losses(model, data) == pytest.approx(after, abs=1e-6)


def test_a_token_that_exists_is_refused(base: Path, rows: Path, tmp_path: Path) -> None:
    told = r"the tokenizer has the token <\|eot_id\|> already, with the id \d+: leave it out; to train its row, set"
    with pytest.raises(FrameworkError, match=told):
        pipeline.run(plan(base, rows, tmp_path / "run", "model.new_tokens=['<|eot_id|>']"))
    for more, said in (
        (["model.new_tokens=['<a>','<a>']"], "<a> is there twice"),
        (["model.new_tokens=[' ']"], "a token is blank"),
        (["model.new_tokens=['<a>']", "adapter=full"], "adapter=full has none: set adapter=lora"),
    ):
        with pytest.raises(FrameworkError, match=said):
            plan(base, rows, tmp_path / "run", *more)
