"""Model folders with odd settings, tokenizers without an end, and adapters that are not whole: refused in one line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from framework.run import pipeline
from framework.util.errors import FrameworkError
from tests.support.bases import adapted
from tests.support.tiny import chat_rows, tiny_llama
from tests.support.training import make, opened

Change = Callable[[Path], Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folders")
    adapted(tiny_llama(folder / "base"), folder / "adapter", r=2)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chat_rows(12)), encoding="utf-8")
    return folder


def settings(file: str, **changes: Any) -> Change:
    """Change settings in a JSON file; None takes one away."""

    def write(folder: Path) -> None:
        held = json.loads((folder / file).read_text(encoding="utf-8")) | changes
        (folder / file).write_text(json.dumps({key: value for key, value in held.items() if value is not None}))

    return write


def unreadable_template(folder: Path) -> None:
    settings("tokenizer_config.json", chat_template=5)(folder)
    (folder / "chat_template.jinja").unlink()


def dropout(folder: Path) -> None:
    held = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    settings("tokenizer.json", model=held["model"] | {"dropout": 0.5})(folder)


def text(file: str, content: str) -> Change:
    return lambda folder: (folder / file).write_text(content, encoding="utf-8")


def pipe(file: str) -> Change:
    """Put a named pipe there: whoever opens it waits."""

    def write(folder: Path) -> None:
        (folder / file).unlink()
        os.mkfifo(folder / file)

    return write


def weights(change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    """Change all weights of an adapter."""

    def write(folder: Path) -> None:
        file = folder / "adapter_model.safetensors"
        save_file({name: change(held) for name, held in load_file(file).items()}, file)

    return write


def endless(folder: Path) -> None:
    """Take what ends an answer away, wherever it is named."""
    settings("tokenizer_config.json", eos_token=None, pad_token=None)(folder)
    settings("generation_config.json", eos_token_id=None)(folder)


def refused(place: Path, tmp_path: Path, message: str, *words: str) -> None:
    """Run, and see that it ends in one or two lines with nothing left behind."""
    with pytest.raises(FrameworkError, match=message) as caught:
        pipeline.run(make(place, place.parent / "rows.jsonl", tmp_path / "run", *words))
    assert len(str(caught.value).splitlines()) <= 2
    assert not (tmp_path / "run").exists()


MODELS: dict[str, tuple[Change, str]] = {
    "a list": (text("config.json", "[]"), r"model\.path=.*: config\.json holds a list instead of settings"),
    "deep": (text("config.json", "[" * 100_000), r"config\.json is not valid JSON"),
    "no heads": (settings("config.json", num_attention_heads=0), r"has num_attention_heads=0, which must be a whole"),
    "adapter": (text("adapter_config.json", "{}"), r"holds adapter_config\.json beside the weights of a model"),
    "large": (text("config.json", " " * 17_000_000), r"config\.json has 17\.0 MB, and at most 16\.8 MB are read"),
    "pipe": (pipe("chat_template.jinja"), r"chat_template\.jinja is a named pipe, not a file"),
    "gptq": (
        settings("config.json", quantization_config={"quant_method": "gptq", "bits": 4}),
        r"its weights are quantized by gptq, .*, and they cannot be loaded: ImportError: .*: install what is missing",
    ),
    "other bits": (
        settings("config.json", quantization_config={"quant_method": "frob"}),
        r"unknown quant_method 'frob'\. Valid: aqlm, .*, gptq",
    ),
    "positions": (
        settings("config.json", max_position_embeddings=8),
        r"^\d+ of \d+ rows are longer than the 8 tokens that the model reads .* rows\.jsonl:\d+ has \d+ tokens: set",
    ),
    "odd heads": (settings("config.json", num_attention_heads=7), r"transformers cannot build it from config\.json"),
    "dtype": (settings("config.json", dtype="float99"), r"transformers cannot build it from config\.json: .*float99"),
    "type": (settings("config.json", model_type=["llama"]), r"config\.json has a model_type that is a list"),
    "many stops": (settings("config.json", eos_token_id=list(range(5000))), r"lists 5,000 tokens as eos_token_id"),
    "endless": (endless, r"names a token that ends an answer"),
    "unknown stop": (
        settings("tokenizer_config.json", eos_token="<nope>"),  # noqa: S106 - a token of a text
        r"the token \d+ \(<nope>\) begins, ends or pads a row, and the model has \d+ tokens",
    ),
    "empty stop": (settings("tokenizer_config.json", eos_token=""), r"the tokenizer has an empty eos_token"),
    "stop beyond": (settings("generation_config.json", eos_token_id=[2, 4000]), r"the token 4000 begins, ends or pads"),
    "stops": (settings("generation_config.json", eos_token_id=list(range(5000))), r"eos_token_id holds 5000 entries"),
    "generation": (text("generation_config.json", "{,"), r"generation_config\.json cannot be read"),
    "tokenizer": (text("tokenizer.json", "{}"), r"the tokenizer cannot be read: .*: restore tokenizer\.json and"),
    "random tokenizer": (dropout, r"tokenizer\.json has dropout=0\.5: set it to null"),
    "another tokenizer": (
        settings("tokenizer_config.json", tokenizer_class="BertTokenizer"),
        r"cannot tokenize: .*UNK",
    ),
    "lossy tokenizer": (
        settings("tokenizer.json", normalizer={"type": "Replace", "pattern": {"Regex": "[0-9]"}, "content": ""}),
        r"rows\.jsonl:\d+: the tokenizer drops or changes characters of an answer, such as '.*\(the same in \d+ rows\)",
    ),
    "endless tokenizer": (settings("tokenizer_config.json", model_max_length="many"), r"the tokenizer cannot tokenize"),
    "template": (
        unreadable_template,
        r"tokenizer_config\.json: chat_template=5 is not text",
    ),
    "template bytes": (
        lambda folder: (folder / "chat_template.jinja").write_bytes(b"\xff"),
        r"chat_template\.jinja cannot be read: UnicodeDecodeError: .*: save it as UTF-8",
    ),
    "no special tokens": (
        lambda folder: (folder / "tokenizer_config.json").unlink(),
        r"the chat template writes bos_token, and no file says which token that is: restore tokenizer_config\.json",
    ),
    "tokenizer list": (text("tokenizer_config.json", "[]"), r"tokenizer_config\.json holds a list instead of settings"),
    "tokenizer code": (
        settings("tokenizer_config.json", auto_map={"AutoTokenizer": ["x.T", None]}, tokenizer_class="XTok"),
        r"brings Python code of its own: read it, then set model\.trust_remote_code=true",
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_folder_that_makes_no_sense_is_refused_before_the_data(name: str, place: Path, tmp_path: Path) -> None:
    change, message = MODELS[name]
    model = shutil.copytree(place / "base", tmp_path / "model")
    shutil.copy(place / "rows.jsonl", tmp_path)
    change(model)
    refused(model, tmp_path, message)


def test_a_stop_token_of_the_generation_config_alone_is_enough(place: Path, tmp_path: Path) -> None:
    model = shutil.copytree(place / "base", tmp_path / "model")
    settings("tokenizer_config.json", eos_token=None, pad_token=None)(model)
    with opened(make(model, place / "rows.jsonl", tmp_path / "run", "data.proof=warn")) as (loaded, data):
        assert loaded.stop_ids
        assert loaded.pad_id in loaded.stop_ids
        assert loaded.loss(data.train) > 0


def test_answers_that_a_tokenizer_writes_with_other_characters_are_a_finding(place: Path, tmp_path: Path) -> None:
    model = shutil.copytree(place / "base", tmp_path / "model")
    settings("tokenizer.json", normalizer={"type": "NFKC"})(model)
    answers = ["x\u00b2", "x2", "y"] * 4
    lines = [json.dumps({"instruction": f"Say {number}", "output": each}) for number, each in enumerate(answers)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with opened(make(model, tmp_path / "rows.jsonl", tmp_path / "run")) as (_, data):
        (found,) = (each for each in data.result.findings if each.name == "normalized_answers")
    assert (found.rows, found.examples[0]) == (4, "rows.jsonl:1")


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_the_attention_that_config_json_names_is_not_used(key: str, place: Path, tmp_path: Path) -> None:
    model = shutil.copytree(place / "base", tmp_path / "model")
    settings("config.json", **{key: "flash_attention_2"})(model)
    with opened(make(model, place / "rows.jsonl", tmp_path / "run")) as (loaded, _):
        assert loaded.facts["attention"] == "sdpa (config.json names flash_attention_2, and trainer.attention chooses)"
        assert loaded.model is not None


def without(count: int) -> Change:
    """Take tensors out of an adapter."""

    def write(folder: Path) -> None:
        held = load_file(folder / "adapter_model.safetensors")
        save_file(dict(sorted(held.items())[count:]), folder / "adapter_model.safetensors")

    return write


ADAPTERS: dict[str, tuple[Change, str]] = {
    "no type": (text("adapter_config.json", "{}"), r"peft_type=None: valid are those that change layers, LORA"),
    "a list": (text("adapter_config.json", "[]"), r"adapter_config\.json holds a list instead of settings"),
    "no alpha": (settings("adapter_config.json", lora_alpha=0), r"has lora_alpha=0, which must be a number above 0"),
    "more layers": (
        settings("adapter_config.json", layer_replication=[[0, 2]] * 100_000),
        r"sets layer_replication: it changes the base",
    ),
    "aLoRA": (settings("adapter_config.json", alora_invocation_tokens=[1]), r"sets alora_invocation_tokens: such an"),
    "a classifier": (
        settings("adapter_config.json", task_type="SEQ_CLS"),
        r"has task_type=SEQ_CLS: only adapters for CAUSAL_LM are read",
    ),
    "int8": (weights(lambda held: held.to(torch.int8)), r"28 tensors of its weights cannot be used: .* as I8\)"),
    "NaN": (weights(lambda held: held * torch.nan), r"holds NaN or infinity"),
    "pipe": (pipe("adapter_model.safetensors"), r"adapter_model\.safetensors is a named pipe, not a file"),
    "prompts": (
        settings("adapter_config.json", peft_type="PROMPT_TUNING", num_virtual_tokens=4),
        r"adapter_config\.json (cannot be read|sets)|peft_type=PROMPT_TUNING puts tokens before the text",
    ),
    "a field": (settings("adapter_config.json", frobnicate=1), r"sets frobnicate, which peft .* does not know"),
    "no config": (lambda folder: (folder / "adapter_config.json").unlink(), r"the folder lacks adapter_config\.json"),
    "another base": (
        settings("adapter_config.json", base_model_name_or_path="meta-llama/Other"),
        r"was trained on meta-llama/Other, and the base here is",
    ),
    "another rank": (settings("adapter_config.json", r=64), r"\d+ tensors are of another shape"),
    "a tensor less": (without(1), r"does not fit this model and adapter: 1 tensor is missing"),
    "half": (
        lambda folder: (folder / "adapter_model.safetensors").write_bytes(
            (folder / "adapter_model.safetensors").read_bytes()[:5000]
        ),
        r"adapter_model\.safetensors is not a complete safetensors file",
    ),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_that_is_not_whole_or_of_another_base_is_refused(name: str, place: Path, tmp_path: Path) -> None:
    change, message = ADAPTERS[name]
    change(shutil.copytree(place / "adapter", tmp_path / "adapter"))
    refused(place / "base", tmp_path, message, f"checkpoint='{tmp_path / 'adapter'}'", "stages=[evaluate]")


def test_weights_of_all_layers_that_lie_elsewhere_are_checked_as_a_base_is(place: Path, tmp_path: Path) -> None:
    settings("config.json", attention_dropout=5)(shutil.copytree(place / "base", tmp_path / "tuned"))
    words = (f"checkpoint='{tmp_path / 'tuned'}'", "adapter=full", "stages=[evaluate]")
    refused(place / "base", tmp_path, r"^checkpoint=.*: config\.json has attention_dropout=5, which must be", *words)


def test_a_setting_that_this_peft_does_not_know_and_that_is_off_changes_nothing(place: Path, tmp_path: Path) -> None:
    settings("adapter_config.json", frobnicate=False)(shutil.copytree(place / "adapter", tmp_path / "adapter"))
    words = (f"checkpoint='{tmp_path / 'adapter'}'", "stages=[evaluate]", "evaluator=[]")
    with opened(make(place / "base", place / "rows.jsonl", tmp_path / "run", *words)) as (model, _):
        model.restore(tmp_path / "adapter")
        without(3)(tmp_path / "adapter")
        with pytest.raises(FrameworkError, match="3 tensors are missing"):
            model.restore(tmp_path / "adapter")
