"""What cannot be merged exactly is an error of one line that names the place, and nothing is left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from framework.util.errors import FrameworkError
from framework_plugins.exports.config import Dtype
from framework_plugins.exports.merge.merging import merge
from tests.plugins.exports.merge.test_merging import plan_for
from tests.support.bases import adapted, tiny_base


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a base of several shards and an adapter for it."""
    folder = tmp_path_factory.mktemp("made")
    base = tiny_base(folder / "base", "llama", dtype="bfloat16", shards="40KB")
    adapted(base, folder / "adapter")
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """Return a copy of it to break."""
    for name in ("base", "adapter"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


def refusal(place: Path, **options: Any) -> str:
    """Merge what is there and return what is said against it; nothing is left half made."""
    with pytest.raises(FrameworkError) as caught:
        merge(plan_for(place / "base"), place / "adapter", place / "merged", **options)
    assert not (place / "merged.part").exists()
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | values), encoding="utf-8")


def cut(file: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])


def first_shard(place: Path) -> Path:
    return min((place / "base").glob("*.safetensors"))


def rename_target(place: Path) -> None:
    file = place / "adapter" / "adapter_model.safetensors"
    save_file({name.replace("q_proj", "w_proj"): weight for name, weight in load_file(file).items()}, file)


def drop_half(place: Path) -> None:
    file = place / "adapter" / "adapter_model.safetensors"
    save_file({name: weight for name, weight in load_file(file).items() if "v_proj.lora_B" not in name}, file)


def poison(place: Path) -> None:
    file = place / "adapter" / "adapter_model.safetensors"
    save_file({name: weight * float("nan") for name, weight in load_file(file).items()}, file)


def longer_index(place: Path) -> None:
    index = place / "base" / "model.safetensors.index.json"
    known = json.loads(index.read_text(encoding="utf-8"))
    index.write_text(json.dumps({**known, "weight_map": {**known["weight_map"], "x": "model-9.safetensors"}}), "utf-8")


def lose_tensors(place: Path) -> None:
    shard = first_shard(place)
    save_file(dict(list(load_file(shard).items())[1:]), shard, {"format": "pt"})


def lose_tokenizer(place: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (place / "base" / name).unlink()


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a truncated base": (lambda place: cut(first_shard(place), 1000), "model-00001-of"),
    "a truncated adapter": (lambda place: cut(place / "adapter" / "adapter_model.safetensors", 900), "adapter_model"),
    "a missing shard": (lambda place: first_shard(place).unlink(), "lacks model-00001-of"),
    "a shard that lies elsewhere": (
        lambda place: (place / "base" / "model.safetensors.index.json").write_text(
            '{"weight_map": {"x": "../secret.safetensors"}}'
        ),
        "names the file '../secret.safetensors', which is not in the folder",
    ),
    "missing tensors": (
        lose_tensors,
        "no tensor in its files becomes model.embed_tokens.weight, which config.json describes",
    ),
    "no weights of the adapter": (
        lambda place: (place / "adapter" / "adapter_model.safetensors").unlink(),
        "has no adapter_model.safetensors",
    ),
    "no settings of the adapter": (
        lambda place: (place / "adapter" / "adapter_config.json").unlink(),
        "holds no adapter (adapter_config.json) and no model (config.json)",
    ),
    "settings of noise": (lambda place: cut(place / "adapter" / "adapter_config.json", 30), "is not valid JSON"),
    "half an adapter": (drop_half, "holds only A of model.layers.0.self_attn.v_proj"),
    "numbers that are none": (poison, "would hold numbers that are not finite: it is damaged"),
    "layers that the base lacks": (rename_target, "w_proj.weight, which the base does not have"),
    "another rank": (lambda place: change(place / "adapter" / "adapter_config.json", r=8), "has rank 4 and"),
    "no tokenizer": (
        lose_tokenizer,
        "there is no tokenizer.json",
    ),
    "a quantized base": (
        lambda place: change(place / "base" / "config.json", quantization_config={"quant_method": "gptq"}),
        "quantized (gptq): choose the model in 16 bits",
    ),
    "eight bits": (
        lambda place: save_file(
            {name: weight.to(torch.float8_e4m3fn) for name, weight in load_file(first_shard(place)).items()},
            first_shard(place),
        ),
        "is stored as F8_E4M3: choose the model in 16 bits",
    ),
    "another kind": (
        lambda place: change(place / "adapter" / "adapter_config.json", peft_type="LOHA"),
        "peft_type=LOHA cannot be merged. Valid: LORA",
    ),
    "no such experts": (
        lambda place: change(place / "adapter" / "adapter_config.json", target_parameters=5),
        "peft cannot make its adapter on the base: TypeError",
    ),
    "a changed base": (
        lambda place: change(place / "adapter" / "adapter_config.json", init_lora_weights="pissa"),
        "init_lora_weights=pissa changed the base",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_merged_is_refused(case: str, place: Path) -> None:
    damage, said = BROKEN[case]
    damage(place)
    assert said in refusal(place)
    assert not (place / "merged").exists()


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("owner/Base", True),
        ("unsloth/base-unsloth-bnb-4bit", True),
        ("owner/base-instruct", False),
        ("/cache/hub/models--owner--base/snapshots/0123abc", True),
        ("/cache/hub/models--owner--other/snapshots/0123abc", False),
    ],
)
def test_a_base_is_the_same_wherever_it_lies(name: str, place: Path, *, same: bool) -> None:
    change(place / "adapter" / "adapter_config.json", base_model_name_or_path=name)
    if same:
        merge(plan_for(place / "base"), place / "adapter", place / "merged")
    else:
        assert "choose that base, or, if both are the same weights, write" in refusal(place)


def test_an_adapter_of_another_size_is_refused_with_both_shapes(place: Path) -> None:
    shutil.rmtree(place / "base")
    tiny_base(place / "base", "llama", hidden_size=48, head_dim=12)
    said = refusal(place)
    assert "does not belong to" in said
    assert "model.layers.0.mlp.down_proj.weight of the base is 48 x 64, which needs 48 x 4" in said


@pytest.mark.filterwarnings("ignore")  # peft warns of embeddings
def test_an_embedding_of_another_vocabulary_is_refused(place: Path) -> None:
    adapted(place / "base", place / "adapter", modules_to_save=["embed_tokens"])
    vocab = json.loads((place / "base" / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    shutil.rmtree(place / "base")
    tiny_base(place / "base", "llama", vocab_size=vocab + 5)
    assert f"is {vocab} x 32, and model.embed_tokens.weight of the base is {vocab + 5} x 32" in refusal(place)


def test_a_tokenizer_with_tokens_that_were_not_trained_is_refused(place: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place / "base")
    tokenizer.add_tokens(["<|call|>"])
    tokenizer.save_pretrained(place / "adapter")
    assert f"its tokenizer has {len(tokenizer)} tokens and the embedding {len(tokenizer) - 1} rows" in refusal(place)


def test_a_folder_that_no_exporter_made_is_left_alone(place: Path) -> None:
    (place / "merged").mkdir()
    (place / "merged" / "thesis.tex").write_text("years of work", encoding="utf-8")
    assert "no exporter made it" in refusal(place)
    assert (place / "merged" / "thesis.tex").read_text(encoding="utf-8") == "years of work"
    (place / "merged" / "thesis.tex").unlink()
    for _ in range(2):  # into the empty folder, and over the export
        merge(plan_for(place / "base"), place / "adapter", place / "merged")
        assert (place / "merged" / "model.safetensors").is_file()


def test_a_failed_export_leaves_the_earlier_one(place: Path) -> None:
    merge(plan_for(place / "base"), place / "adapter", place / "merged")
    before = (place / "merged" / "model.safetensors").read_bytes()
    drop_half(place)
    refusal(place)
    assert (place / "merged" / "model.safetensors").read_bytes() == before


def test_a_full_disk_is_seen_before_it_is_written_to(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage(place)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    said = refusal(place)
    assert " are free: make room" in said
    assert not (place / "merged").exists()


def test_numbers_too_large_for_fp16_are_refused_with_the_type_that_holds_them(place: Path) -> None:
    shard = first_shard(place)
    save_file({name: weight * 1e7 for name, weight in load_file(shard).items()}, shard, {"format": "pt"})
    assert "too large for fp16, choose bf16" in refusal(place, dtype=Dtype.fp16)
    merge(plan_for(place / "base"), place / "adapter", place / "merged", dtype=Dtype.bf16)


def test_a_whole_model_without_tokenizer_needs_a_base_of_its_kind(place: Path) -> None:
    shutil.rmtree(place / "adapter")
    shutil.copytree(place / "base", place / "adapter")
    (place / "adapter" / "tokenizer.json").unlink()
    change(place / "base" / "config.json", vocab_size=999)
    assert "has no tokenizer, and that of" in refusal(place)
