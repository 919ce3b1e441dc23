"""A GGUF adapter on the base is the adapted model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from framework.util.errors import FrameworkError
from framework_plugins.exports.gguf.convert.lora import check_plain
from tests.support.adapted_llama import AdaptedLlama
from tests.support.bases import adapted
from tests.support.ggufs import CONVERTERS, converted, run, tiny_model

# peft reads a name that transformers 5.24 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

IDS = [int(number) for number in np.random.default_rng(1).integers(3, 300, 40)]
KINDS: dict[str, dict[str, Any]] = {
    "rslora": {"r": 4, "lora_alpha": 16, "use_rslora": True},
}
FAMILIES = ("llama", "phi3")


@pytest.fixture(scope="module", params=CONVERTERS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with bases, adapters and their GGUF files, all converted in two processes."""
    tree = request.param and request.getfixturevalue(request.param)
    target = tmp_path_factory.mktemp("loras")
    bases = [tiny_model(target / name, name) for name in FAMILIES]
    converted(bases, target, tree=tree)
    jobs = []
    for base in bases:
        for kind, settings in KINDS.items():
            adapter = target / f"{base.name}-{kind}"
            adapted(base, adapter, **settings)
            file = str(target / f"{adapter.name}.gguf")
            jobs.append({"adapter": str(adapter), "base": str(base), "target": file, "dtype": "f32", "tree": tree})
    run("framework_plugins.exports.gguf.convert.lora", jobs)
    return target


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_base_and_adapter_are_the_adapted_model(made: Path, family: str, kind: str) -> None:
    base = AutoModelForCausalLM.from_pretrained(made / family, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(base, made / f"{family}-{kind}").eval()
    with torch.no_grad():
        expected = theirs(torch.tensor([IDS])).logits[0].numpy()
        with theirs.disable_adapter():
            plain = theirs(torch.tensor([IDS])).logits[0].numpy()
    with AdaptedLlama(made / f"{family}.gguf", threads=1) as llama:
        before = llama.logits(IDS)
        llama.use_adapter(made / f"{family}-{kind}.gguf")
        after = llama.logits(IDS)
    effect = np.abs(expected - plain).mean()
    assert np.abs(before - plain).mean() < 0.05 * effect
    assert np.abs(after - expected).mean() < 0.05 * effect


def test_an_adapter_of_another_base_is_refused(made: Path) -> None:
    with AdaptedLlama(made / "phi3.gguf", threads=1) as llama:
        before = llama.logits(IDS)
        with pytest.raises(ValueError, match=r"cannot put the adapter .*llama-rslora\.gguf on .*phi3\.gguf: \w+"):
            llama.use_adapter(made / "llama-rslora.gguf")
        assert np.array_equal(llama.logits(IDS), before)


PLAIN = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none"}


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"peft_type": "IA3"}, "is not a LoRA adapter"),
        ({"use_dora": True}, "has the magnitudes of DoRA"),
        ({"modules_to_save": ["lm_head"]}, "holds whole layers"),
        ({"trainable_token_indices": [3]}, "holds new tokens"),
        ({"bias": "lora_only"}, "holds biases"),
        ({"rank_pattern": {"q_proj": 2}}, "has several ranks"),
    ],
)
def test_what_gguf_has_no_place_for_is_refused(more: dict[str, Any], problem: str) -> None:
    check_plain(PLAIN)
    with pytest.raises(FrameworkError, match=f"the adapter {problem}.*set exporter=\\[gguf\\]"):
        check_plain({**PLAIN, **more})


def test_a_layer_that_is_stored_otherwise_is_refused(made: Path, tmp_path: Path) -> None:
    """A LoRA of the embedding has its matrices the other way round."""
    folder = tmp_path / "embedding"
    shutil.copytree(made / "llama-rslora", folder)
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "adapter_model.safetensors")
    weights["base_model.model.model.embed_tokens.lora_embedding_A"] = torch.zeros(4, 300)
    save_file(weights, folder / "adapter_model.safetensors")
    assert json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["peft_type"] == "LORA"
    from framework_plugins.exports.llama import process

    with pytest.raises(FrameworkError, match=r"embed_tokens\.lora_embedding_A, which is not a pair of LoRA matrices"):
        process.run_in_process(
            "the conversion", "framework_plugins.exports.gguf.convert.lora:convert", tmp_path / "log",
            adapter=str(folder), base=str(made / "llama"), target=str(tmp_path / "a.gguf"), dtype="f16",
        )  # fmt: skip
