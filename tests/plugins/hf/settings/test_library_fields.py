"""hf/settings/library_fields.py: fields of SFTConfig and LoraConfig, as installed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from packaging.version import Version
from peft import LoraConfig
from safetensors.torch import load_file
from trl import SFTConfig

from framework import FrameworkError
from framework.api.fields import fields
from framework.config.check import check
from framework.plan.diagnose import diagnose
from framework.plan.make import make_plan
from framework.testing import compose
from framework_plugins.hf.model import HFModel
from framework_plugins.hf.settings import library_fields
from framework_plugins.hf.settings.library_fields import LoraArgs, SFTArgs, non_default
from framework_plugins.hf.train import trainer as trainer_module
from framework_plugins.hf.train.trainer import SupervisedTrainer
from framework_plugins.methods.trl_fields import INSTEAD
from tests.support import library_fields as field_tables
from tests.support.examples import examples
from tests.support.training import make, opened, train

LIBRARIES = {
    "trl": (SFTConfig, SFTArgs, library_fields.SFT_SETTINGS, library_fields.SFT_REASONS),
    "peft": (LoraConfig, LoraArgs, library_fields.LORA_SETTINGS, library_fields.LORA_REASONS),
}
NEWEST = {"trl": "1.16.0", "peft": "0.21.2"}
"""The newest version of each library whose fields are in the tables."""
OF_A_RUN = ["model=llama1b", "data=local_file", "data.path=x.jsonl"]


def refused(*words: str) -> str:
    """Return how the plan of a run refuses words."""
    overrides = [*OF_A_RUN, *words]
    with pytest.raises(FrameworkError) as caught:
        planned(overrides)
    return str(caught.value)


def planned(overrides: list[str]) -> None:
    try:
        config = compose(overrides)
    except Exception as error:
        raise diagnose(error, overrides) from error
    check(config, overrides)
    make_plan(config, run_dir=Path("unused"))


def test_modules_that_a_quantization_stores_in_few_bits_are_refused_by_the_plan() -> None:
    words = ("adapter.modules_to_save=[mlp]", "adapter.target_modules=[embed_tokens]", "quantization=int8")
    told = "adapter.modules_to_save=[mlp]: quantization=int8 stores it in few bits, which cannot be trained: set"
    assert told in refused(*words)


def problem_of(word: str) -> str:
    """Return how the plan of a run refuses a word; empty if it takes it."""
    try:
        planned([*OF_A_RUN, word])
    except FrameworkError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_field_of_the_installed_version_is_admitted_ours_or_has_a_reason(library: str) -> None:
    theirs, ours, own, reasons = LIBRARIES[library]
    parts = [{field.name for field in dataclasses.fields(ours)}, {*own}, {*reasons}]
    answered = set().union(*parts)
    assert len(answered) == sum(map(len, parts))  # each is one of them
    assert not answered & library_fields.SFT_OLDER.keys()
    names, installed = {field.name for field in dataclasses.fields(theirs) if field.init}, Version(version(library))
    if installed > Version(NEWEST[library]):
        pytest.skip(f"{library} {installed} is newer than the tables")
    assert names <= answered
    assert names == answered or installed < Version(NEWEST[library])


@pytest.mark.filterwarnings("ignore:You are importing")
def test_each_field_of_the_configs_of_methods_is_answered_and_the_page_says_so() -> None:
    configs = field_tables.methods()
    named = {
        title: [each.name for each in dataclasses.fields(theirs) if each.init] for title, (theirs, _) in configs.items()
    }
    silent = [
        f"{title}.{name}"
        for title, names in named.items()
        for name in names
        if not field_tables.answer(name, configs[title][1])
    ]
    assert silent == []
    assert {*INSTEAD} <= set().union(*named.values())
    page = field_tables.PAGE.read_text("utf-8")
    if f"TRL {version('trl')};" in page:
        assert page == field_tables.page()


@pytest.mark.parametrize("library", LIBRARIES)
def test_admitted_fields_have_the_defaults_of_the_library_and_pass_nothing_on_where_they_are_left(library: str) -> None:
    theirs, ours, _, _ = LIBRARIES[library]
    defaults = {field.name: field_tables.default_of(field) for field in dataclasses.fields(theirs)}
    for field in fields(ours):
        assert (field.default or None) == (defaults[field.name] or None)
    assert non_default(ours()) == {}


def test_every_setting_that_a_field_is_said_to_be_is_one() -> None:
    config = compose([*OF_A_RUN, "exporter=[adapter,push]", "exporter.push.repo_id=a/b", "logger=[wandb]"])
    for key in {
        *library_fields.SFT_SETTINGS.values(),
        *library_fields.SFT_OLDER.values(),
        *library_fields.LORA_SETTINGS.values(),
    }:
        for word in key.replace(" and ", ", ").split(", "):
            place = word.partition("=")[0].partition(" ")[0]
            if place in {"which", "without", "such", "whose", "or"}:
                continue
            node: Any = config
            for part in place.split("."):
                assert part in {*node}, key
                node = {} if OmegaConf.is_missing(node, part) else node[part]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["+trainer.train_on_inputs=true"], "it is data.learn=everything here"),
        (["trainer.micro_batch_size=1"], "it is called trainer.per_device_train_batch_size here"),
        (["trainer.args.max_length=512"], "max_length is called trainer.max_seq_length here"),
        (["+trainer.args.max_length=512"], "max_length is called trainer.max_seq_length here"),
        (["trainer.args.max_lenght=512"], "Did you mean 'max_length'? It is called trainer.max_seq_length here."),
        (["trainer.args.label_smoothing_factor=0.1"], "label_smoothing_factor is not used here: the loss is computed"),
        (["trainer.args.torch_empty_cache_stesp=2"], "Did you mean 'trainer.args.torch_empty_cache_steps'?"),
        (["trainer.args.torch_empty_cache_steps=often"], "must be a whole number above 0, or null"),
        (["trainer.args.torch_empty_cache_steps=0"], "must be a whole number above 0, or null"),
        (["trainer.args.dataloader_persistent_workers=maybe"], "must be true or false"),
        (["trainer.args.dataloader_prefetch_factor=4"], "there are none: set trainer.dataloader_num_workers=2"),
        (["trainer.bf16=true"], "bf16 is trainer.dtype=bf16 here"),
        (["trainer.torch_empty_cache_steps=2"],
         "torch_empty_cache_steps is called trainer.args.torch_empty_cache_steps here"),
        (["trainer.beta=0.1"], "it is method.beta=0.1 here, a setting of method=cpo|dpo|grpo|kto|orpo|simpo"),
        (["num_generations=4"], "it is method.num_generations=4 here, a setting of method=best_of_n|grpo"),
        (["trainer.use_vllm=true"], "use_vllm is rollout=vllm here"),
        (["method=dpo", "method.sync_ref_model=true"], "sync_ref_model is not used here: the reference is the model"),
        (["adapter.args.use_dora=true"], "use_dora is adapter=dora here"),
        (["adapter.init_lora_weights=gaussian"], "init_lora_weights is called adapter.args.init_lora_weights here"),
        (["adapter.args.init_lora_weights=gaussain"], "must be one of true, false, gaussian, orthogonal, eva, pissa, "
         "pissa_niter_16, olora. Did you mean 'gaussian'?"),
        (["adapter.args.init_lora_weights=pissa_niter_0"], "must be one of true, false"),
        (["adapter.args.init_lora_weights=orthogonal", "adapter.r=3"], "needs an even adapter.r, not 3"),
        (["adapter.args.exclude_modules=['(']"], "adapter.args.exclude_modules: ( is neither a name nor a regular"),
        (["adapter.args.lora_bias=true"], "lora_bias is not used here: no exporter can merge an adapter with it"),
    ],
)  # fmt: skip
def test_what_is_no_field_here_is_refused_with_what_it_is(words: list[str], told: str) -> None:
    text = refused(*words)
    assert told in text
    assert len(text.splitlines()) == 1


VALUES = st.sampled_from(["", "x", "-1", "0.5", "true", "[a]", "{a: 1}", "null", "pissa", "1e9", "'a b'"])


PLACES = {
    "trainer.args": (SFTArgs.instead, [field.name for field in dataclasses.fields(SFTArgs)]),
    "adapter.args": (LoraArgs.instead, [field.name for field in dataclasses.fields(LoraArgs)]),
}


@st.composite
def wrong(draw: st.DrawFn) -> tuple[str, str]:
    """Draw a field of a library that is not admitted, or a misspelled one, and a value; and the name that was meant."""
    place = draw(st.sampled_from([*PLACES]))
    refusals, admitted = PLACES[place]
    known = sorted([*refusals, *admitted])
    name = meant = draw(st.sampled_from(known))
    at = draw(st.integers(1, len(name) - 1))
    match draw(st.sampled_from(["as it is", "doubled", "swapped", "left out"])):
        case "doubled":
            name = name[:at] + name[at - 1] + name[at:]
        case "swapped" if name[at - 1] != name[at]:
            name = name[: at - 1] + name[at] + name[at - 1] + name[at + 1 :]
        case "left out" if len(name) > 3:
            name = name[:at] + name[at + 1 :]
    if name == meant and name in admitted:
        name = f"{name}z"
    return f"{place}.{name}={draw(VALUES)}", meant if name not in known else ""


@settings(derandomize=True, max_examples=examples(200), deadline=None)
@given(wrong())
def test_two_hundred_wrong_fields_are_refused_in_two_lines_with_the_nearest_name(pair: tuple[str, str]) -> None:
    word, meant = pair
    text = refused(word)
    assert len(text.splitlines()) <= 2
    if meant:
        assert "Did you mean '" in text or f"'{meant}' is not used here" in text or len(meant) < 3
    else:
        assert " here" in text
        assert "Valid" not in text


def words(*more: str) -> list[str]:
    return ["audit=[]", "evaluator=[]", "stages=[data,train]", *more]


def matrices(model: HFModel) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    for name, part in model.model.named_modules():
        if hasattr(part, "lora_A") and "default" in part.lora_A:
            yield name, part.lora_A["default"].weight, part.lora_B["default"].weight


def test_memory_is_given_back_in_the_steps_that_torch_empty_cache_steps_says(
    base: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    whole = SupervisedTrainer.training_step
    at: list[SupervisedTrainer] = []

    def step(self: SupervisedTrainer, *arguments: Any, **more: Any) -> Any:
        at[:] = [self]
        return whole(self, *arguments, **more)

    monkeypatch.setattr(SupervisedTrainer, "training_step", step)
    monkeypatch.setattr(trainer_module, "clear_device_cache", lambda: steps.append(at[0].state.global_step))
    with opened(make(base, rows, tmp_path, *words("trainer.args.torch_empty_cache_steps=2"))) as (model, data):
        train(model, data, tmp_path)
    assert steps == [2, 4]


def test_the_loader_of_rows_is_made_as_its_fields_say(
    base: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaders: list[Any] = []
    whole = SupervisedTrainer.loader

    def noted(self: SupervisedTrainer) -> Any:
        loaders.append(whole(self))
        return loaders[-1]

    monkeypatch.setattr(SupervisedTrainer, "loader", noted)
    asked = ["trainer.args.dataloader_prefetch_factor=3", "trainer.args.dataloader_persistent_workers=true"]
    for number, more in enumerate(([], asked)):
        with opened(make(base, rows, tmp_path / str(number), *words("trainer.dataloader_num_workers=1", *more))) as (
            model,
            data,
        ):
            train(model, data, tmp_path / str(number))
    assert [(each.prefetch_factor, each.persistent_workers) for each in loaders] == [(2, False), (3, True)]
    first, second = (load_file(tmp_path / name / "checkpoint/adapter_model.safetensors") for name in "01")
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not (tmp_path / "0/checkpoint/README.md").exists()  # peft writes an empty form


@pytest.mark.parametrize("start", ["true", "false", "gaussian", "orthogonal"])
def test_the_matrices_begin_as_init_lora_weights_says(base: Path, rows: Path, tmp_path: Path, start: str) -> None:
    with opened(make(base, rows, tmp_path, *words(f"adapter.args.init_lora_weights={start}", "adapter.r=32"))) as (
        model, data,
    ):  # fmt: skip
        begun = [(a.detach().clone(), b.detach().clone()) for _, a, b in matrices(model)]
        with model.as_base():
            base_loss = model.loss(data.validation)
        same = model.loss(data.validation) == pytest.approx(base_loss, abs=1e-6)
        train(model, data, tmp_path)
        with model.as_base():
            assert model.loss(data.validation) == pytest.approx(base_loss, abs=1e-6)
    zero = all(not b.any() for _, b in begun)
    assert (same, zero) == {"true": (True, True), "gaussian": (True, True), "false": (False, False)}.get(
        start, (True, False)
    )
    a = begun[0][0]
    if start == "gaussian":
        assert float(a.std()) == pytest.approx(1 / 32, rel=0.1)  # peft: a standard deviation of 1 / r
    if start == "true":
        assert float(a.abs().max()) <= (1 / a.shape[1]) ** 0.5 * 1.01  # Kaiming with a = sqrt(5), uniform


def test_excluded_layers_are_not_adapted(base: Path, rows: Path, tmp_path: Path) -> None:
    found = []
    for number, more in enumerate(
        (
            [],
            ["adapter.args.exclude_modules=[down_proj]"],
            ["adapter.args.exclude_modules=['.*\\.1\\..*',up_proj]"],
            ["adapter.args.exclude_modules=[up_proj]", "adapter.layers_to_transform=[0]"],
        )
    ):
        with opened(make(base, rows, tmp_path / str(number), *words(*more))) as (model, _):
            found.append({name for name, _, _ in matrices(model)})
    every, named, both, blocks = found
    assert named == {name for name in every if "down_proj" not in name} != every
    assert both == blocks == {name for name in every if "layers.0." in name and "up_proj" not in name}


def test_embeddings_of_single_tokens_are_trained_and_saved(base: Path, rows: Path, tmp_path: Path) -> None:
    more = words("adapter.args.trainable_token_indices=[5,7]", "trainer.learning_rate=0.05")
    with opened(make(base, rows, tmp_path, *more)) as (model, data):
        with model.as_base():
            before = model.loss(data.validation)
        train(model, data, tmp_path)
        after = model.loss(data.validation)
        with model.as_base():
            assert model.loss(data.validation) == pytest.approx(before, abs=1e-6)
    saved = load_file(tmp_path / "checkpoint/adapter_model.safetensors")
    delta = next(value for name, value in saved.items() if "trainable_tokens_delta" in name)
    start = load_file(base / "model.safetensors")["model.embed_tokens.weight"]
    assert delta.shape == (2, start.shape[1])
    with opened(make(base, rows, tmp_path / "again", *more)) as (model, data):
        model.restore(tmp_path / "checkpoint")
        assert model.loss(data.validation) == pytest.approx(after, abs=1e-6)
