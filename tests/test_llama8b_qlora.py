"""The walkthrough `+experiment=llama8b_qlora`, unmodified but for the number of steps.

A Hub on loopback serves a tiny random Llama under the model's id and a small data set under the data's: the real
loading code, bitsandbytes' NF4 and TRL run; only the weights are small.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tests.support.forked_program import forked, program
from tests.support.forks import STARTS, Forks
from tests.support.hub import HubStandIn
from tests.support.program import environment
from tests.support.tiny import chat_rows, tiny_llama

MODEL = "unsloth/Meta-Llama-3.1-8B-Instruct"
LARGE = "acme/large"
DATA = "yahma/alpaca-cleaned"
WALKTHROUGH = "+experiment=llama8b_qlora"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubStandIn]:
    model = tiny_llama(tmp_path_factory.mktemp("model"))
    data = tmp_path_factory.mktemp("data")
    rows = "".join(json.dumps(row) + "\n" for row in chat_rows(40))
    (data / "train.jsonl").write_text(rows, encoding="utf-8")
    models = {MODEL: model, "acme/gated": model, LARGE: config_of_8b(tmp_path_factory.mktemp("large"))}
    with HubStandIn(models, {DATA: data}, gated=frozenset({"acme/gated"})) as stand_in:
        yield stand_in


def config_of_8b(folder: Path) -> Path:
    """Return a folder with the config of the real Llama 3.1 8B, and no weights."""
    model = tiny_llama(folder / "model")
    (model / "model.safetensors").unlink()
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    real = {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256,
    }  # fmt: skip
    (model / "config.json").write_text(json.dumps(config | real), encoding="utf-8")
    return model


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for the cache of what comes from the Hub."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def forks(hub: HubStandIn, place: Path) -> Forks:
    """Return a Python that has imported what opens a model, with the Hub on loopback."""
    return Forks(environment(place, HF_ENDPOINT=hub.url), *STARTS, "framework_plugins.hf.backend")


def test_the_walkthrough_runs_from_the_hub_to_an_adapter(
    forks: Forks, hub: HubStandIn, place: Path, tmp_path: Path
) -> None:
    cwd = tmp_path / "work"
    cwd.mkdir()
    words = [WALKTHROUGH, "trainer.max_steps=3", "run_dir=run", "logger.console.details=true"]
    done = forked(forks, ["-m", "framework", *words], cwd, environment(place, HF_ENDPOINT=hub.url))
    assert done.code == 0, done.err
    report = json.loads((cwd / "run" / "report.json").read_text(encoding="utf-8"))
    assert report["train"]["steps"] == 3
    assert report["hardware"]["optimizer"].startswith(("adamw_8bit", "adamw_torch (adamw_8bit does not run"))
    assert report["hardware"]["optimizer"] in done.out.replace("\n", " ").replace("  ", " ")
    assert report["metrics"]["eval_loss"]["after"] < report["metrics"]["eval_loss"]["before"]

    adapter = cwd / "run" / "adapter"
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (32, 32, 0.05)
    assert set(config["target_modules"]) == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"
    }  # fmt: skip
    assert config["base_model_name_or_path"] == MODEL
    assert config["revision"] == hub.repositories["models", MODEL].commit
    assert (adapter / "tokenizer.json").is_file()
    assert (adapter / "chat_template.jinja").is_file()
    settings = json.loads((adapter / "run_config.json").read_text(encoding="utf-8"))
    assert settings["quantization"] == {"double_quant": True, "experts": "auto"}
    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as weights:
        assert len(weights.keys()) == 2 * 7 * 2  # two layers, seven linear layers, two matrices each


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model.path=acme/absent"], "no such folder here and no such model on the Hub"),
        (["model.path=acme/gated"], "the model is gated. Accept its terms"),
        (["model.revision=v9"], "has no revision v9"),
    ],
)
def test_what_the_hub_does_not_give_is_reported_in_words(
    forks: Forks, hub: HubStandIn, place: Path, tmp_path: Path, words: list[str], told: str
) -> None:
    cwd = tmp_path / "work"
    cwd.mkdir()
    done = forked(forks, ["-m", "framework", WALKTHROUGH, *words], cwd, environment(place, HF_ENDPOINT=hub.url))
    assert done.code == 2
    assert told in done.err
    assert len(done.err.strip().splitlines()) <= 2, done.err
    assert list(cwd.iterdir()) == []


def test_without_a_network_it_says_what_is_missing_and_what_to_do(tmp_path: Path) -> None:
    cwd = tmp_path / "work"
    cwd.mkdir()
    done = program(WALKTHROUGH, cwd=cwd)
    assert done.code == 2
    assert "not on this machine, and the Hub cannot be reached" in done.err
    assert "model=local model.path=FOLDER" in done.err
    assert len(done.err.strip().splitlines()) <= 2, done.err
    assert list(cwd.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells what happens without a GPU")
def test_without_a_gpu_a_model_of_that_size_is_refused_before_its_weights_are_fetched(
    forks: Forks, hub: HubStandIn, place: Path, tmp_path: Path
) -> None:
    """The size is known from the config alone."""
    cwd = tmp_path / "work"
    cwd.mkdir()
    words = [WALKTHROUGH, f"model.path={LARGE}"]
    done = forked(forks, ["-m", "framework", *words], cwd, environment(place, HF_ENDPOINT=hub.url))
    assert done.code == 2
    assert f"no GPU found, and {LARGE} has 8.0 billion parameters" in done.err
    assert "trainer.device=cpu" in done.err
    assert list(cwd.iterdir()) == []
