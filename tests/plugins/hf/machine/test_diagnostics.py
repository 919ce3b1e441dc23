"""Which plans need what the doctor looks at."""

from pathlib import Path

import pytest

from framework import testing
from framework.api.diagnostic import Diagnostic
from framework.api.plan import Plan
from framework_plugins.hf.machine.diagnostics import billions, diagnostics

DIAGNOSTICS: dict[str, Diagnostic] = {each.name: each for each in diagnostics()}


def needs(plan: Plan) -> set[str]:
    return {name for name, each in DIAGNOSTICS.items() if each.needed(plan)}


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["trainer=echo"], set()),
        (["trainer=hf"], {"torch", "transformers", "peft", "trl"}),
        (["trainer=hf", "quantization=nf4"], {"torch", "transformers", "peft", "trl", "bitsandbytes", "NF4"}),
        (["trainer=hf", "quantization=int8"], {"torch", "transformers", "peft", "trl", "bitsandbytes"}),
        (["trainer=hf", "trainer.device=cuda"], {"torch", "transformers", "peft", "trl", "GPU"}),
        (
            ["trainer=hf", "trainer.attention=flash_attention_2"],
            {"torch", "transformers", "peft", "trl", "flash-attn"},
        ),
        (["trainer=hf", "model=llama8b"], {"torch", "transformers", "peft", "trl", "GPU"}),
        (["trainer=hf", "model=llama8b", "trainer.device=cpu"], {"torch", "transformers", "peft", "trl"}),
        (["trainer=hf", "model=llama1b"], {"torch", "transformers", "peft", "trl"}),
    ],
    ids=lambda given: " ".join(sorted(given)),
)
def test_a_plan_needs_what_it_uses(words: list[str], needed: set[str], tmp_path: Path) -> None:
    assert needs(testing.plan(words, run_dir=tmp_path)) == needed


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("unsloth/Meta-Llama-3.1-8B-Instruct", 8.0),
        ("Qwen/Qwen2.5-0.5B", 0.5),
        ("unsloth/gemma-3-4b-it", 4.0),
        ("/models/70B/phi", 0.0),
        ("mistralai/Mixtral-8x7B-v0.1", 0.0),
        ("acme/2bits", 0.0),
        ("", 0.0),
    ],
)
def test_the_size_of_a_model_is_read_from_its_name(path: str, number: float) -> None:
    assert billions(path) == number
