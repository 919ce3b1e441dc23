"""hf/load/adapter_config.py and hf/settings/checks.py: what of a model an adapter trains, by its settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from framework import FrameworkError
from framework.memory import Shape
from framework_plugins.exports.merge.merging import merge
from framework_plugins.hf.model import HFModel
from framework_plugins.hf.settings.planned_weights import targets, trained_parameters
from framework_plugins.hf.train.training import count_trainable
from tests.support.tiny import tiny_llama
from tests.support.training import make, opened, train

NAMED = "adapter.target_modules=[q_proj,v_proj]"


@pytest.fixture(scope="module")
def biased(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a base whose attention has biases, as Qwen2's."""
    folder = tiny_llama(tmp_path_factory.mktemp("biased"))
    config = AutoConfig.from_pretrained(folder)
    config.attention_bias = True
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for name, weight in model.named_parameters():
        if name.endswith(".bias"):
            torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(folder)
    return folder


def words(*more: str) -> list[str]:
    return ["audit=[]", "evaluator=[]", "stages=[data,train]", *more]


def names(model: HFModel) -> set[str]:
    """Return what is trained, by the names of the base."""
    return {
        name.removeprefix("base_model.model.").replace(".default", "")
        for name, weight in model.model.named_parameters()
        if weight.requires_grad
    }


def trained(base: Path, rows: Path, folder: Path, *more: str) -> set[str]:
    with opened(make(base, rows, folder, *words(*more))) as (model, _):
        return names(model)


def test_regular_expressions_and_names_choose_the_same_layers(base: Path, rows: Path, tmp_path: Path) -> None:
    named = trained(base, rows, tmp_path / "named", NAMED)
    assert len(named) == 2 * 2 * 2
    assert trained(base, rows, tmp_path / "regex", "adapter.target_modules=['.*self_attn\\.(q|v)_proj']") == named
    assert trained(base, rows, tmp_path / "both", "adapter.target_modules=[q_proj,'.*\\.v.*']") == named


@pytest.mark.parametrize("target", ["[q_proj,v_proj]", "[all-linear]"])
def test_blocks_are_chosen_by_their_numbers_however_the_layers_are(
    base: Path, rows: Path, tmp_path: Path, target: str
) -> None:
    every, some = (
        trained(base, rows, tmp_path / str(len(more)), f"adapter.target_modules={target}", *more)
        for more in ([], ["adapter.layers_to_transform=[1]"])
    )
    assert some == {name for name in every if ".layers.1." in name} != every


def test_a_pattern_gives_layers_another_rank_and_another_scale(base: Path, rows: Path, tmp_path: Path) -> None:
    more = ["adapter.rank_pattern={q_proj: 2, 1.mlp.up_proj: 8}", "adapter.alpha_pattern={v_proj: 100}"]
    with opened(make(base, rows, tmp_path, *words(*more))) as (model, _):
        layers = {name: part for name, part in model.model.named_modules() if hasattr(part, "lora_A")}
    ranks = {name: part.lora_A["default"].weight.shape[0] for name, part in layers.items()}
    assert {name for name, rank in ranks.items() if rank == 2} == {name for name in ranks if "q_proj" in name}
    assert {name for name, rank in ranks.items() if rank == 8} == {name for name in ranks if "1.mlp.up_proj" in name}
    scales = {name.rpartition(".")[2]: part.scaling["default"] for name, part in layers.items()}
    assert scales["v_proj"] == 100 / 4
    assert (scales["q_proj"], scales["k_proj"]) == (32 / 2, 32 / 4)


def test_biases_of_the_base_are_trained_saved_and_put_back(biased: Path, rows: Path, tmp_path: Path) -> None:
    more = words("adapter.bias=all", NAMED, "trainer.learning_rate=0.05")
    with opened(make(biased, rows, tmp_path, *more)) as (model, data):
        before = model.loss(data.validation)
        result, steps = train(model, data, tmp_path)
        after, own = model.loss(data.validation), {name for name in names(model) if name.endswith(".bias")}
        with model.as_base():
            assert model.loss(data.validation) == pytest.approx(before, abs=1e-6)
        assert model.loss(data.validation) == after == pytest.approx(steps[-1].eval_loss)
    saved = load_file(tmp_path / "checkpoint" / "adapter_model.safetensors")
    assert len(own) == len([name for name in saved if name.endswith(".bias")]) == 4 * 2
    start = load_file(biased / "model.safetensors")
    pairs = [(value, start[name.removeprefix("base_model.model.").replace(".base_layer", "")])
             for name, value in saved.items() if name.endswith(".bias")]  # fmt: skip
    assert all(not torch.equal(value, other) for value, other in pairs)
    assert result.trainable_parameters == sum(value.numel() for value in saved.values())
    with opened(make(biased, rows, tmp_path / "again", *more)) as (model, data):
        model.restore(tmp_path / "checkpoint")
        assert model.loss(data.validation) == pytest.approx(after, abs=1e-6)


@pytest.mark.parametrize(
    ("saved", "dtype"), [("embed_tokens,lm_head", "bf16"), ("norm", "fp32"), ("down_proj", "bf16")]
)
def test_modules_are_trained_whole_in_fp32_and_come_back_as_they_were(
    base: Path, rows: Path, tmp_path: Path, saved: str, dtype: str
) -> None:
    more = words(f"adapter.modules_to_save=[{saved}]", NAMED, f"trainer.dtype={dtype}", "trainer.learning_rate=0.05")
    with opened(make(base, rows, tmp_path, *more)) as (model, data):
        with model.as_base():
            before = model.loss(data.validation)
        assert {weight.dtype for weight in _trainable(model)} == {torch.float32}
        train(model, data, tmp_path)
        after = model.loss(data.validation)
        with model.as_base():
            assert model.loss(data.validation) == pytest.approx(before, abs=1e-6)
        assert model.generate(data.prompts[:1], max_new_tokens=2, batch_size=1)
    weights = load_file(tmp_path / "checkpoint" / "adapter_model.safetensors")
    whole = {name: value for name, value in weights.items() if "lora_" not in name}
    start = load_file(base / "model.safetensors")
    assert whole
    assert all(not torch.equal(value, start[name.removeprefix("base_model.model.")]) for name, value in whole.items())
    assert {value.dtype for value in whole.values()} == {torch.float32}
    assert after < before
    with opened(make(base, rows, tmp_path / "again", *more)) as (model, data):
        model.restore(tmp_path / "checkpoint")
        assert model.loss(data.validation) == pytest.approx(after, abs=1e-6 if dtype == "fp32" else 1e-3)


def _trainable(model: HFModel) -> Iterator[torch.nn.Parameter]:
    return (weight for weight in model.model.parameters() if weight.requires_grad)


@pytest.mark.parametrize(
    "more",
    [
        ["adapter.r=4"],
        ["adapter.layers_to_transform=[1]", NAMED],
        ["adapter.rank_pattern={q_proj: 8, 1.mlp.up_proj: 2}"],
        ["adapter.target_modules=['.*(q|v)_proj']", "adapter.layers_to_transform=[0]"],
        ["adapter.target_modules=['.*\\.1\\..*(q|v)_proj']"],
        ["adapter.args.exclude_modules=[q_proj,'.*0.mlp.*']"],
        ["adapter.target_modules=[q_proj,model.layers.1.mlp.up_proj]"],
        ["adapter.modules_to_save=[embed_tokens,lm_head]", NAMED],
        ["adapter.modules_to_save=[down_proj]", NAMED],
    ],
)
def test_the_plan_counts_what_is_trained(base: Path, rows: Path, tmp_path: Path, more: list[str]) -> None:
    plan = make(base, rows, tmp_path, *words(*more))
    adapter: Any = plan.adapter.config
    shape = Shape.from_config(json.loads((base / "config.json").read_text("utf-8")))
    with opened(plan) as (model, _):
        counted = count_trainable(model.model)
    planned = trained_parameters(plan, shape) or shape.lora_parameters(adapter.r, targets(adapter, shape))
    assert planned == counted


@pytest.mark.parametrize(
    "more",
    [
        ["adapter.modules_to_save=[embed_tokens,lm_head,norm]", NAMED, "adapter=rslora"],
        ["adapter.modules_to_save=[down_proj]", NAMED, "adapter.bias=all", "adapter.rank_pattern={q_proj: 2}"],
        ["adapter=dora", "adapter.rank_pattern={q_proj: 2}", "adapter.layers_to_transform=[1]"],
        ["adapter=rslora", "adapter.alpha_pattern={v_proj: 100}", "adapter.target_modules=['.*(q|v)_proj']",
         "adapter.rank_pattern={v_proj: 8}", "adapter.bias=lora_only"],
    ],
    ids=["whole modules", "biases", "dora", "patterns"],
)  # fmt: skip
def test_a_merge_has_the_logits_of_the_trained_model(biased: Path, rows: Path, tmp_path: Path, more: list[str]) -> None:
    plan = make(biased, rows, tmp_path, *words(*more, "trainer.learning_rate=0.05"))
    with opened(plan) as (model, data):
        train(model, data, tmp_path)
        ids = torch.tensor([row.input_ids[:12] for row in data.train[:4]])
        model.model.eval()
        with torch.no_grad():
            trained = model.model(ids).logits
            with model.as_base():
                before = model.model(ids).logits
    merge(plan, tmp_path / "checkpoint", tmp_path / "merged")
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)(ids).logits
    torch.testing.assert_close(merged, trained, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(merged, before, atol=1e-2)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["adapter.target_modules=['(q_proj']"], "adapter.target_modules: (q_proj is neither a name nor a regular"),
        (["adapter.target_modules=[all-linear,q_proj]"], "all-linear selects every layer: give it alone"),
        (["adapter.target_modules=['.*qq_proj.*']"], "matches no linear layer by its whole name; one is called "),
        (["adapter.layers_to_transform=[2]"], "the model has no block 2, only blocks 0 to 1"),
        (["adapter.rank_pattern={q_proj: 0}"], "adapter.rank_pattern.q_proj=0 must be a whole number above 0"),
        (["adapter.bias=all"], "have no biases, so nothing would be trained: set adapter.bias=none"),
        (["adapter.modules_to_save=[lm_haed]"], "unknown module 'lm_haed'. Did you mean 'lm_head'?"),
        (["adapter.modules_to_save=[q_proj]", NAMED], "adapter.target_modules adapts it too: take it out of one"),
        (["adapter.modules_to_save=[up_proj]"], "adapter.target_modules=[all-linear] adapts it too: name the layers"),
    ],
)  # fmt: skip
def test_what_an_adapter_cannot_be_is_refused_before_weights_are_read(
    base: Path, rows: Path, tmp_path: Path, more: list[str], told: str
) -> None:
    with pytest.raises(FrameworkError) as caught, opened(make(base, rows, tmp_path, *words(*more))):
        pass
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_noise_falls_on_the_embeddings_in_training_alone(base: Path, rows: Path, tmp_path: Path) -> None:
    """As NEFTune has it: uniform up to alpha over the root of tokens times features; a row is not shared then."""
    with opened(make(base, rows, tmp_path, *words("trainer.neftune_noise_alpha=2"))) as (model, data):
        assert model.facts["packing"].startswith("pad, not tree: neftune_noise_alpha=2 would change a shared token")
        table = model.model.get_input_embeddings()
        seen: list[tuple[bool, float, int]] = []
        ids: list[torch.Tensor] = []

        def look(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
            plain = table.weight[ids[-1]]
            seen.append((table.training, float((given[0] - plain).abs().max()), plain.shape[1] * plain.shape[2]))

        table.register_forward_pre_hook(lambda _, given: ids.append(given[0]))
        model.model.get_base_model().model.layers[0].register_forward_pre_hook(look)
        train(model, data, tmp_path)
    noisy = [(most, size) for training, most, size in seen if training]
    assert noisy
    assert all(0.8 * 2 / size**0.5 < most <= 2.001 / size**0.5 for most, size in noisy)
    still = [most for training, most, _ in seen if not training]
    assert still
    assert set(still) == {0.0}
