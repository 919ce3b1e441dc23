"""hf/load/weight_files.py: weights that are incomplete, another model's or NaN are refused before the data."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from framework.api.run_folder import RunFolder
from framework.run import pipeline
from framework.util.errors import FrameworkError
from framework_plugins.lib.weight_files import read_headers
from tests.support.bases import FAMILIES, tiny_base
from tests.support.tiny import tiny_llama
from tests.support.training import make, opened

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("whole") / "base")


def tensors(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def write(model: Path) -> None:
        weights = load_file(model / WEIGHTS)
        change(weights)
        save_file(weights, model / WEIGHTS, metadata={"format": "pt"})

    return write


def raw(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def write(model: Path) -> None:
        (model / WEIGHTS).write_bytes(change((model / WEIGHTS).read_bytes()))

    return write


def config(**changes: Any) -> Callable[[Path], None]:
    def write(model: Path) -> None:
        file = model / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")

    return write


def index(content: str) -> Callable[[Path], None]:
    def write(model: Path) -> None:
        (model / WEIGHTS).rename(model / "x.safetensors")
        (model / "model.safetensors.index.json").write_text(content, encoding="utf-8")

    return write


def cast(dtype: torch.dtype, *names: str) -> Callable[[Path], None]:
    """Store the named weights, or all, in another type."""
    return tensors(lambda held: held.update({name: held[name].to(dtype) for name in names or list(held)}))


def renamed(model: Path) -> None:
    (model / WEIGHTS).rename(model / "x.safetensors")


DOWN = "model.layers.1.mlp.down_proj.weight"
BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "one missing": (tensors(lambda held: held.pop(DOWN)), rf"1 tensor is missing \({DOWN}\)\n"),
    "several missing": (
        tensors(lambda held: [held.pop(name) for name in list(held) if "layers.0" in name]),
        r"9 tensors are missing \(model\.layers\.0\.input_layernorm\.weight, .* and 6 others\)",
    ),
    "one too many": (
        tensors(lambda held: held.update({"model.layers.7.mlp.down_proj.weight": torch.zeros(2)})),
        r"1 tensor is not of this model \(model\.layers\.7",
    ),
    "another shape": (
        tensors(lambda held: held.update({DOWN: held[DOWN][:2].clone()})),
        rf"1 tensor is of another shape \({DOWN} \(2 x 128, not 64 x 128\)\)",
    ),
    "another model type": (
        config(model_type="bert", architectures=["BertModel"]),
        r"weights of a BertLMHeadModel, which would start from random numbers: .* tensors are missing",
    ),
    "cut in half": (raw(lambda content: content[: len(content) // 2]), "is not a complete safetensors file"),
    "a header of 2^63 bytes": (
        raw(lambda content: struct.pack("<Q", 2**63) + content[8:]),
        "not a complete safetensors",
    ),
    "all int8": (cast(torch.int8), r"21 tensors of its weights cannot be used: lm_head\.weight \(stored as I8\)"),
    "fp8 without scales": (cast(torch.float8_e4m3fn, DOWN), r"stored as F8_E4M3"),
    "NaN": (tensors(lambda held: held[DOWN].view(-1)[7].fill_(torch.nan)), rf"{DOWN} \(holds NaN or infinity\)"),
    "few bits that are none": (
        config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        r"hold no weights in few bits: take quantization_config out",
    ),
    "no file of that name": (renamed, "has no model"),
    "an index of nothing": (index("[]"), "is not an index of weights"),
    "an empty map": (
        index('{"metadata": {}, "weight_map": {}}'),
        r"names no file in weight_map: fetch the model",
    ),
    "an index without metadata": (index('{"weight_map": {}}'), r'has no "metadata", which transformers reads'),
    "an index of more": (
        index('{"metadata": {}, "weight_map": {"a": "x.safetensors", "b": "y.safetensors"}}'),
        r"lacks y\.safetensors",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_base_that_is_not_whole_is_refused_before_the_data_are_read(
    name: str, llama: Path, rows: Path, tmp_path: Path
) -> None:
    change, message = BROKEN[name]
    change(shutil.copytree(llama, tmp_path / "model"))
    with pytest.raises(FrameworkError, match=message) as caught:
        pipeline.run(make(tmp_path / "model", rows, tmp_path / "run"))
    assert len(str(caught.value).splitlines()) <= 2
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:.*did not match any targeted module:RuntimeWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_whole_base_of_each_family_is_taken_and_one_without_a_tensor_is_not(
    family: str, rows: Path, tmp_path: Path
) -> None:
    base = tiny_base(tmp_path / "base", family, shards="40KB")
    plan = make(base, rows, tmp_path / "run")
    with opened(plan) as (model, _):
        assert model.model is not None  # what was loaded is checked again
    files, images = base.glob("*.safetensors"), re.compile("vision|multi_modal")  # a text-only class may be opened
    shard, lost = max((file, name) for file in files for name in load_file(file) if not images.search(name))
    held = load_file(shard)
    del held[lost]
    save_file(held, shard, metadata={"format": "pt"})
    with pytest.raises(FrameworkError, match=r"do not hold the weights of a .* \d+ tensors? (is|are)"):
        pipeline.run(plan)


def test_weights_in_four_bits_are_whole_without_any_of_their_tables(llama: Path, rows: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    four_bits = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    base = shutil.copytree(llama, tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(llama, quantization_config=four_bits, device_map={"": "cpu"})
    model.save_pretrained(base)
    with opened(make(base, rows, tmp_path / "run", "quantization=none")) as (loaded, _):
        assert loaded.model is not None
    tensors(lambda held: held.pop(DOWN))(base)
    with pytest.raises(FrameworkError, match=rf"1 tensor is missing \({DOWN}\)"):
        pipeline.run(make(base, rows, tmp_path / "again"))


def test_tables_that_older_versions_saved_may_be_integers_and_infinite(rows: Path, tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base", "gpt2")
    masks = {0: torch.ones(1, 1, 256, 256, dtype=torch.bool), 1: torch.full((1, 1, 256, 256), -torch.inf)}
    tensors(lambda held: held.update({f"transformer.h.{n}.attn.bias": mask for n, mask in masks.items()}))(base)
    with opened(make(base, rows, tmp_path / "run")) as (model, _):
        assert model.model is not None


def test_a_file_that_may_not_be_read_is_not_called_damaged(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(self: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", forbidden)  # root may read all files
    with pytest.raises(FrameworkError, match=r"cannot be read: Permission denied: make it readable for this user$"):
        read_headers([llama / WEIGHTS])


def test_a_base_whose_loss_is_not_a_number_is_refused_before_the_training(
    llama: Path, rows: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(llama, tmp_path / "model")
    tensors(lambda held: held["lm_head.weight"].fill_(3e38))(base)
    with pytest.raises(FrameworkError, match=r"^the base model has a loss of nan before any training, on \d+ of"):
        pipeline.run(make(base, rows, tmp_path / "run", "metric=[]", "evaluator=[]"))
    status = RunFolder(tmp_path / "run").status()
    assert (status["state"], status["stage"]) == ("failed", "baseline")
    assert status["error"].startswith("the base model has a loss of nan before any training")
