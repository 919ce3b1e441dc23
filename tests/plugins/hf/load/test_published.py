"""An adapter works in the class that config.json names: what a run saves, and what peft makes of that class."""

from __future__ import annotations

import copy
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora.layer import LoraLayer
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from framework import FrameworkError
from framework.run import pipeline
from framework_plugins.exports.merge.merging import merge
from framework_plugins.hf.load.adapter_targets import choose_layers
from framework_plugins.hf.load.preset_configs import CONFIGS as PRESETS
from framework_plugins.hf.load.published import AdapterNames, adapter_names, publish
from framework_plugins.hf.model import HFModel
from framework_plugins.hf.settings.config import ALL_EXPERTS
from framework_plugins.lib.auto_class import auto_class
from tests.support.tiny import chat_rows
from tests.support.training import make, opened
from tests.support.twins import THINKS_NOT, TWINS, WINDOW, Twin, _sees, _text

WEIGHTS = "adapter_model.safetensors"
IDS = torch.arange(3, 40)[None]
VOCABULARY = 96
QWEN, QWEN_MOE = "Qwen3.5, Qwen3.6", "Qwen3.5 MoE"
MORE = {
    "Laguna": _text("laguna", num_experts=4, num_experts_per_tok=2, shared_expert_intermediate_size=16, **WINDOW),
    "Llama 3.2 Vision": _sees(
        "mllama", _text("mllama_text_model", cross_attention_layers=[1, 3], head_dim=None),
        {"num_global_layers": 1, "attention_heads": 2, "image_size": 16, "patch_size": 8, "vision_output_dim": 32,
         "intermediate_layers_indices": [0], "max_num_tiles": 1, "supported_aspect_ratios": [[1, 1]]},
    ),
}  # fmt: skip
"""Families that are in no line of the page."""
CONFIGS = {**{name: twin.config for name, twin in TWINS.items()}, **MORE}


def folder_of(name: str, folder: Path) -> Path:
    """Write the config.json of a family as it is published."""
    settings = CONFIGS[name](VOCABULARY)
    for part in (settings, *([settings["text_config"]] if "text_config" in settings else [])):
        part.update(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    config = AutoConfig.for_model(**settings)
    kind = transformers.AutoModelForMultimodalLM if "vision_config" in settings else auto_class(transformers, settings)
    config.architectures = [kind._model_mapping[type(config)].__name__]  # noqa: SLF001 - the class without its weights
    config.save_pretrained(folder)
    return folder


def published_kind(folder: Path) -> Any:
    return getattr(transformers, json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0])


def adapter(names: AdapterNames, folder: Path, **settings: Any) -> dict[str, torch.Tensor]:
    """Write an adapter of the opened model as peft does, and then its published names; return its tensors."""
    config = LoraConfig(
        **{"task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": "all-linear"} | settings
    )
    base = copy.deepcopy(names.opened)
    choose_layers(base, config)
    adapted = get_peft_model(base, config, low_cpu_mem_usage=True)
    shapes = {
        name: each.shape for name, each in get_peft_model_state_dict(adapted, save_embedding_layers=False).items()
    }
    tensors = {name: torch.randn(shape) for name, shape in shapes.items()}
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / WEIGHTS)
    adapted.peft_config["default"].save_pretrained(str(folder))
    assert publish(folder, names, tensors) == ""
    return tensors


def loaded(base: Path, folder: Path) -> tuple[dict[str, torch.Tensor], PeftModel]:
    """Load an adapter into the class of config.json by plain peft; return its tensors by their places in a block."""
    with torch.device("meta"):
        model = published_kind(base)(AutoConfig.from_pretrained(base))
    model = model.to_empty(device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # peft warns of what it does not find
        warnings.filterwarnings("ignore", category=FutureWarning)
        found = PeftModel.from_pretrained(model, folder, torch_device="cpu")
    state = get_peft_model_state_dict(found, save_embedding_layers=False)
    return {place(name): tensor for name, tensor in state.items()}, found


def place(name: str) -> str:
    """Return the end of a name, from the list of layers on."""
    return re.sub(r"^.*?(layers\.|embed_tokens|lm_head|norm\.)", r"\1", name)


def assert_same(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> None:
    assert {place(name) for name in expected} == {*found}
    assert [name for name, tensor in expected.items() if not torch.equal(tensor, found[place(name)])] == []


@pytest.mark.parametrize("name", CONFIGS)
def test_peft_loads_the_adapter_of_a_family_into_its_published_class(name: str, tmp_path: Path) -> None:
    if name in TWINS and TWINS[name].package:
        pytest.importorskip(TWINS[name].package)
    base = folder_of(name, tmp_path / "base")
    experts = {"target_parameters": [ALL_EXPERTS]} if name == "Qwen3 MoE, experts" else {}
    tensors = adapter(adapter_names(base, trust=False), tmp_path / "adapter", **experts)
    assert tensors
    assert_same(tensors, loaded(base, tmp_path / "adapter")[0])


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=[] if path == "Qwen/Qwen3.5-4B" else pytest.mark.slow) for path in PRESETS]
)
def test_peft_loads_the_adapter_of_a_preset_into_its_published_class(path: str, tmp_path: Path) -> None:
    AutoConfig.for_model(**json.loads(json.dumps(PRESETS[path]))).save_pretrained(tmp_path)
    kind, names = published_kind(tmp_path), adapter_names(tmp_path, trust=False)
    assert type(names.published) is kind
    config, base = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear"), copy.deepcopy(names.opened)
    choose_layers(base, config)
    adapted = get_peft_model(base, config, low_cpu_mem_usage=True)
    state = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    _, keys = names.file(adapted.peft_config["default"], {name: tuple(each.shape) for name, each in state.items()})
    assert len({*keys.values()}) == len(state)


PATTERN = r"model\.layers\.[02]\..*(?:q_proj|up_proj|out_proj)"


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (QWEN, {"target_modules": PATTERN, "use_rslora": True}),
        (QWEN, {"rank_pattern": {r"model\.layers\.0\..*up_proj": 3}, "alpha_pattern": {"q_proj": 7}}),
        (QWEN, {"modules_to_save": ["norm"]}),
        (QWEN, {"trainable_token_indices": [1, 7]}),
        (QWEN_MOE, {"target_parameters": [ALL_EXPERTS]}),
        ("Llama 4", {"target_modules": ["q_proj"], "rank_pattern": {r"model\.layers\.1\.self_attn\.q_proj": 4}}),
    ],
    ids=str,
)
def test_settings_of_layers_mean_the_same_layers_in_the_published_class(
    name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    base = folder_of(name, tmp_path / "base")
    names = adapter_names(base, trust=False)
    tensors = adapter(names, tmp_path / "adapter", **settings)
    found, model = loaded(base, tmp_path / "adapter")
    assert_same(tensors, found)
    meant = names.opened_settings(LoraConfig.from_pretrained(tmp_path / "adapter"))
    again = get_peft_model(copy.deepcopy(names.opened), meant, low_cpu_mem_usage=True)
    scales = [
        {place(layer): part.scaling["default"] for layer, part in each.named_modules() if isinstance(part, LoraLayer)}
        for each in (model.get_base_model(), again.get_base_model())
    ]
    assert scales[0] == scales[1]
    assert (len({*scales[0].values()}) > 1) == ("rank_pattern" in settings)


def test_what_peft_would_lose_is_an_error_that_names_the_tensors(tmp_path: Path) -> None:
    base = folder_of(QWEN, tmp_path / "base")
    names = adapter_names(base, trust=False)
    tensors = adapter(names, tmp_path / "adapter", target_modules=["q_proj"])
    some = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    config = LoraConfig(r=2, target_modules=["q_proj"])
    lost = "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"
    with pytest.raises(
        FrameworkError, match=r"peft does not load .*up_proj\.lora_A.* into Qwen3_5ForCond.*leave these"
    ):
        names.file(config, {**some, lost: (2, 32)})
    for name, key in names.file(config, some)[1].items():
        tensors[name] = load_file(tmp_path / "adapter" / WEIGHTS)[key]
    first = min(tensors)
    (tmp_path / "old").mkdir()
    save_file(tensors, tmp_path / "old" / WEIGHTS)
    config.save_pretrained(str(tmp_path / "old"))
    problem = publish(tmp_path / "old", names, {**tensors, first: tensors[first] + 1})
    assert problem.endswith("q_proj.lora_A.weight in adapter_model.safetensors are not what was trained")


@pytest.fixture(scope="module", params=[QWEN, "Laguna"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a base, its rows and a run that has trained an adapter; no test may change it."""
    folder = tmp_path_factory.mktemp("published")
    twin = TWINS.get(request.param) or Twin(CONFIGS[request.param], "qwen3_published")
    twin.write(folder / "model")
    rows = "".join(json.dumps(row) + "\n" for row in chat_rows(12))
    (folder / "rows.jsonl").write_text(rows, encoding="utf-8")
    pipeline.run(planned(folder, "run", "stages=[data,train]"))
    return folder


def planned(folder: Path, name: str, *words: str) -> Any:
    settings = ("trainer.max_steps=2", "trainer.dtype=fp32", "trainer.learning_rate=0.02", "audit=[]", "evaluator=[]")
    return make(folder / "model", folder / "rows.jsonl", folder / name, *settings, *THINKS_NOT, *words)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=IDS, use_cache=False).logits
    return found


def in_published(folder: Path, adapter: Path | None = None) -> Any:
    base = published_kind(folder / "model").from_pretrained(folder / "model", dtype=torch.float32)
    return PeftModel.from_pretrained(base, adapter, torch_device="cpu") if adapter else base


def restored(folder: Path, checkpoint: Path, *words: str) -> torch.Tensor:
    with opened(planned(folder, "again", f"checkpoint={checkpoint}", "stages=[evaluate]", *words)) as (model, _):
        assert isinstance(model, HFModel)
        model.restore(checkpoint)
        return logits(model.model)


def test_the_adapter_of_a_run_changes_the_published_class_as_it_changes_the_run(run: Path) -> None:
    checkpoint = run / "run" / "checkpoint"
    trained = restored(run, checkpoint)
    assert (trained - logits(in_published(run))).abs().max() > 1e-2
    torch.testing.assert_close(logits(in_published(run, checkpoint)), trained, rtol=0, atol=1e-4)


def test_an_adapter_that_an_earlier_version_saved_is_read_and_exported_with_the_published_names(
    run: Path, tmp_path: Path
) -> None:
    checkpoint, names = run / "run" / "checkpoint", adapter_names(run / "model", trust=False)
    config = names.opened_settings(LoraConfig.from_pretrained(checkpoint))
    config.base_model_name_or_path = None
    own = get_peft_model_state_dict(get_peft_model(copy.deepcopy(names.opened), config, low_cpu_mem_usage=True))
    old = {names.in_opened(key, own): tensor for key, tensor in load_file(checkpoint / WEIGHTS).items()}
    assert old.keys() != load_file(checkpoint / WEIGHTS).keys()
    save_file(old, tmp_path / WEIGHTS, metadata={"format": "pt"})
    config.base_model_name_or_path = str(run / "model")
    config.save_pretrained(str(tmp_path))
    torch.testing.assert_close(restored(run, tmp_path), restored(run, checkpoint), rtol=0, atol=0)
    with opened(planned(run, "old", f"checkpoint={tmp_path}", "stages=[export]")) as (model, _):
        assert isinstance(model, HFModel)
        assert model.published(checkpoint) == checkpoint
        published = model.published(tmp_path)
        assert load_file(published / WEIGHTS).keys() == load_file(checkpoint / WEIGHTS).keys()
        torch.testing.assert_close(logits(in_published(run, published)), restored(run, checkpoint), rtol=0, atol=1e-4)


@pytest.fixture
def elsewhere(run: Path, tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """Write an adapter that peft makes on the published class, with a regular expression; return what it says."""
    if not (run / "model" / "config.json").read_text(encoding="utf-8").count("Qwen3_5"):
        pytest.skip("the class that is opened")
    targets = r"model\.language_model\.layers\.\d+\..*(?:q_proj|in_proj_qkv|down_proj)|model\.visual\..*qkv"
    adapted = get_peft_model(in_published(run), LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=targets))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3, generator=torch.Generator().manual_seed(len(name)))
    adapted.peft_config["default"].base_model_name_or_path = str(run / "model")
    adapted.save_pretrained(tmp_path)
    return tmp_path, logits(adapted)


def test_an_adapter_that_peft_makes_on_the_published_class_is_measured_and_merged(
    run: Path, elsewhere: tuple[Path, torch.Tensor], tmp_path: Path
) -> None:
    adapter, said = elsewhere
    torch.testing.assert_close(restored(run, adapter), said, rtol=0, atol=1e-4)
    with opened(planned(run, "merged", f"checkpoint={adapter}", "stages=[export]")) as (model, _):
        assert isinstance(model, HFModel)
        assert model.published(adapter) == adapter
        merge(model.plan, adapter, tmp_path / "merged")
    whole = published_kind(run / "model").from_pretrained(tmp_path / "merged", dtype=torch.float32)
    torch.testing.assert_close(logits(whole), said, rtol=0, atol=1e-4)
    visual = [name for name, weight in whole.named_parameters() if ".qkv.weight" in name]
    base = dict(in_published(run).named_parameters())
    assert visual
    assert not [name for name in visual if torch.equal(dict(whole.named_parameters())[name], base[name])]


def test_a_training_starts_from_an_adapter_that_peft_makes_on_the_published_class(
    run: Path, elsewhere: tuple[Path, torch.Tensor], tmp_path: Path
) -> None:
    adapter, said = elsewhere
    with pytest.raises(FrameworkError, match=r"also changes parts that read no text, such as .*visual.*qkv"):
        pipeline.run(planned(run, "started", "stages=[data,train]", f"adapter.start={adapter}"))
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    text = {name: tensor for name, tensor in load_file(adapter / WEIGHTS).items() if "visual" not in name}
    save_file(text, adapter / WEIGHTS, metadata={"format": "pt"})
    config["target_modules"] = config["target_modules"].partition("|model\\.visual")[0]
    (adapter / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    with opened(planned(run, "started", "stages=[data,train]", f"adapter.start={adapter}")) as (model, _):
        torch.testing.assert_close(logits(model.model), said, rtol=0, atol=1e-4)
        model.save_adapter(tmp_path / "saved")
    assert load_file(tmp_path / "saved" / WEIGHTS).keys() == text.keys()
    torch.testing.assert_close(logits(in_published(run, tmp_path / "saved")), said, rtol=0, atol=1e-4)
