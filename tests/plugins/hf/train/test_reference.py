"""hf/train/reference.py: the reference is the model that the training starts from, and anything else is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM

from framework import Plan
from framework.api import cache_dir, records
from framework.api.protocols import TrainRun
from framework.api.records import Step
from framework.run import pipeline
from framework.util.errors import FrameworkError
from framework_plugins.hf.model import HFModel
from framework_plugins.hf.train.reference import at_start, check_model, fingerprints
from tests.support.pairs import pair_rows
from tests.support.training import make, opened

WORDS = ("method=dpo", "format=preference", "data.validation_split=0.25", "trainer.max_steps=3")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache"))


def _say(model: Any) -> None:
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data += 0.1


def trained(base: Path, rows: Path, folder: Path, *words: str) -> tuple[list[Step], str]:
    """Train three steps, and return them and what the run says of the reference."""
    steps: list[Step] = []
    with opened(make(base, rows, folder, *WORDS, *words)) as (model, data):
        run = TrainRun(folder / "checkpoint", folder / "scratch", steps.append)
        model.train(data.train_groups, data.validation_groups, run)
        return steps, model.facts["reference"]


@pytest.mark.usefixtures("own_cache")
def test_the_reference_is_kept_for_other_runs_and_is_the_adapter_that_a_training_starts_from(
    base: Path, pairs_file: Path, tmp_path: Path
) -> None:
    steps, fact = trained(base, pairs_file, tmp_path / "one")
    assert steps[0].loss == pytest.approx(math.log(2), abs=1e-6)
    assert fact == "the model before the training, 24 rows, 0 from the cache; the first loss is 0.693147"
    again, fact = trained(base, pairs_file, tmp_path / "two", "method.beta=0.5")
    assert "24 rows, 24 from the cache" in fact
    assert again[0].loss == pytest.approx(math.log(2), abs=1e-6)
    assert again[-1].loss < steps[-1].loss
    second, fact = trained(base, pairs_file, tmp_path / "three", f"adapter.start={tmp_path / 'one/checkpoint'}")
    assert fact.startswith(f"adapter.start={tmp_path / 'one/checkpoint'}, 24 rows, 0 from the cache")
    assert second[0].loss == pytest.approx(math.log(2), abs=1e-6)
    words = f"adapter.start={tmp_path / 'one/checkpoint'}", "adapter.merge_first=true"
    beside, fact = trained(base, pairs_file, tmp_path / "beside", *words)
    assert "24 rows, 0 from the cache" in fact  # the new adapter adds nothing, and the frozen one does
    assert beside[0].loss == pytest.approx(math.log(2), abs=1e-6)
    assert len([*(cache_dir() / "reference").iterdir()]) == 3
    full, _ = trained(base, pairs_file, tmp_path / "full", "adapter=full", "trainer.learning_rate=1e-3")
    assert full[0].loss == pytest.approx(math.log(2), abs=1e-6)
    assert full[-1].loss < full[0].loss


def test_a_run_reports_the_preferences_of_held_out_pairs(base: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(pair_rows(40), encoding="utf-8")
    words = ("evaluator=[]", "exporter=[]", "data.validation_split=0.5", "trainer.max_steps=6")
    pipeline.run(make(base, tmp_path / "pairs.jsonl", tmp_path / "run", *WORDS, *words))
    report = records.load(records.Report, tmp_path / "run/report.json")
    margin = report.metrics["preference_margin"]
    assert (margin.pairs, margin.outcome, margin.unit) == (20, records.Outcome.better, "nats")
    assert margin.low is not None
    assert margin.low > 0
    assert report.metrics["preference_accuracy"].pairs == 20


@pytest.mark.parametrize("merged", [False, True])
def test_preferences_are_judged_against_the_run_that_they_go_on_from(
    base: Path, pairs_file: Path, tmp_path: Path, *, merged: bool
) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(pair_rows(40), encoding="utf-8")
    first, second = tmp_path / "first", tmp_path / "second"
    words = ("exporter=[adapter]", "evaluator=[prompts]", "evaluator.prompts.max_new_tokens=3", "audit=[]")
    pipeline.run(
        make(base, pairs_file, first, *words, "format=preference", "trainer.max_steps=6")
    )  # sft, on the chosen
    start = (f"adapter.start={first}", f"adapter.merge_first={str(merged).lower()}")
    rate = ("data.validation_split=0.5", "trainer.learning_rate=1e-9")
    report = pipeline.run(make(base, pairs, second, *WORDS, *words, *start, *rate))
    assert report
    assert report.verdict
    before = records.load(records.EvalResult, second / "baseline.json")
    margin = report.metrics["preference_margin"]
    assert margin.before == pytest.approx(before.measures["preference_margin"].value)
    assert margin.before != pytest.approx(before.base["preference_margin"].value, abs=1e-3)  # the first has moved it
    assert report.verdict.summary.startswith("The training changed nothing: ")
    assert report.verdict.lines[1].startswith("over the base: ")


@pytest.mark.parametrize("change", [_say, lambda _: None])
def test_a_trained_model_is_what_its_training_began_with_for_a_while(
    change: Callable[[Any], Any], base: Path, pairs_file: Path, tmp_path: Path
) -> None:
    """A copy of an adapter that says something is kept; one that says nothing is switched off."""
    plan = make(base, pairs_file, tmp_path, *WORDS)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=4))
    change(model)
    ids = torch.arange(3, 9)[None]
    with torch.no_grad():
        first, start = model(ids).logits, at_start(plan, model)
        _say(model)
        trained = model(ids).logits
        with start():
            torch.testing.assert_close(model(ids).logits, first)
        assert torch.equal(model(ids).logits, trained)
        assert not torch.allclose(trained, first)


@pytest.mark.usefixtures("own_cache")
def test_kept_scores_of_something_else_are_refused(base: Path, pairs_file: Path, tmp_path: Path) -> None:
    trained(base, pairs_file, tmp_path / "one")
    (file,) = (cache_dir() / "reference").iterdir()
    content = dict(np.load(file))

    def refused(message: str, **changed: Any) -> None:
        np.savez(file, **(content | changed))
        with pytest.raises(FrameworkError, match=message):
            trained(base, pairs_file, tmp_path / "two")

    refused("the first loss is .* other weights: remove the file", values=content["values"] + np.float32(0.5))
    for name, what in (("template", "another chat template"), ("base", "another base")):
        identity = content["identity"].tobytes().replace(f'"{name}": "'.encode(), f'"{name}": "0'.encode())
        refused(f"{file} are of {what}.*remove the file", identity=np.frombuffer(identity, np.uint8))
    for damaged in (b"half", b""):
        file.write_bytes(damaged)
        assert "0 from the cache" in trained(base, pairs_file, tmp_path / f"damaged{len(damaged)}")[1]


@contextmanager
def adapted(base: Path, rows: Path, folder: Path, *words: str) -> Iterator[tuple[Plan, HFModel]]:
    plan = make(base, rows, folder, *WORDS, *words)
    with opened(plan) as (model, _):
        model.model.eval()
        check_model(plan, model.model)
        yield plan, model


def _switch_off(model: Any) -> None:
    model.base_model.disable_adapter_layers()


def _drop(model: Any) -> None:
    model.train()
    next(module for module in model.modules() if isinstance(module, torch.nn.Dropout)).p = 0.1


MISTAKES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "merged base": (lambda model: model.merge_adapter(), "the adapter is merged into the base"),
    "adapter off": (_switch_off, "the adapter is switched off"),
    "dropout on": (_drop, "dropout is on"),
    "adapter left on": (_say, "the new adapter is on and trained already"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_model_that_is_not_the_start_is_refused_by_name(
    mistake: str, base: Path, pairs_file: Path, tmp_path: Path
) -> None:
    plant, message = MISTAKES[mistake]
    with adapted(base, pairs_file, tmp_path, "adapter.lora_dropout=0.1") as (plan, model):
        plant(model.model)
        with pytest.raises(FrameworkError, match=f"method=dpo would train against the wrong reference.*{message}"):
            check_model(plan, model.model)


def test_another_adapter_than_that_of_the_start_is_refused(base: Path, pairs_file: Path, tmp_path: Path) -> None:
    with adapted(base, pairs_file, tmp_path / "one") as (_, model):
        _say(model.model)
        model.model.save_pretrained(tmp_path / "adapter")
    with adapted(base, pairs_file, tmp_path / "two", f"adapter.start={tmp_path / 'adapter'}") as (plan, model):
        _say(model.model)
        with pytest.raises(FrameworkError, match="of the adapter is not that of adapter"):
            check_model(plan, model.model)


def _scale(model: Any) -> None:
    _say(model)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.scaling["default"] = 3.0


def _change_a_weight(model: Any) -> None:
    model.get_input_embeddings().weight.data.flatten()[-2] += 1


def _change_a_buffer(model: Any) -> None:
    next(buffer for _, buffer in model.named_buffers()).mul_(2)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "an adapter that says something": _say,
    "the same with another scale": _scale,
    "a single number of a weight": _change_a_weight,
    "a buffer": _change_a_buffer,
    "the config": lambda model: setattr(model.config, "rms_norm_eps", 0.5),
}


def test_scores_are_kept_under_all_that_they_depend_on(base: Path) -> None:
    def made(rank: int = 4, change: Callable[[Any], Any] = lambda _: None, *, new: bool = True) -> tuple[str, str]:
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=rank))
        change(model)
        return fingerprints(model, is_new=new)

    plain = made()
    assert made(rank=8) == plain  # a new adapter adds nothing, whatever its rank
    seen = {plain, made(new=False)} | {made(change=change) for change in CHANGES.values()}
    assert len(seen) == 2 + len(CHANGES)
