"""unsloth/checks.py: what is refused in a plan, and what is reported there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.api import Gpu
from framework.api.plan import Plan
from framework.plan import make
from framework_plugins.unsloth import versions
from framework_plugins.unsloth.plugin import framework_advice, framework_check_plan

MORE = ("adapter.modules_to_save=[lm_head]", "trainer.neftune_noise_alpha=5", "optimizer=adamw_8bit")
TWO = ("launch.processes=2", "trainer.device=cpu")


def plan(path: Path, *words: str) -> Plan:
    return testing.plan(["trainer=unsloth", *words], run_dir=path / "run")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "installed", lambda: "2026.10.9")
    monkeypatch.setattr(make, "installed", lambda _: "2026.10.9")
    monkeypatch.setattr(versions, "problems", lambda: iter(()))
    monkeypatch.setattr(Gpu, "count", int)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("quantization=nf4", "quantization.double_quant=false"),
            "quantization.double_quant=false: trainer=unsloth always quantizes the constants too: set it true, or set "
            "trainer=hf",
        ),
        (
            ("quantization=int8",),
            "quantization=int8: Unsloth does not quantize to 8 bits on a CPU: set quantization=none, or set trainer=hf",
        ),
        (
            ("launch=fsdp2", *TWO),
            "launch=fsdp2: with several processes trainer=unsloth trains with launch=ddp only: set launch=ddp, or set "
            "trainer=hf on GPUs",
        ),
        (
            ("method=dpo", "stages=[plan]", "plan.gpu=24GiB"),
            "on a GPU Unsloth computes the mean loss of all learned tokens only: leave both out, or set trainer=hf",
        ),
        (("adapter.rank_pattern={q_proj: 8}",), "adapter.rank_pattern is not supported by trainer=unsloth"),
        (("adapter.layers_to_transform=[0]",), "adapter.layers_to_transform is not supported by trainer=unsloth"),
        (
            ("adapter.target_modules=['.*q_proj']",),
            "with a regular expression is not supported by trainer",
        ),
        (("adapter.args.init_lora_weights=gaussian",), "adapter.args.init_lora_weights is not supported by"),
        (("adapter.modules_to_save=[norm]",), "Unsloth trains only embed_tokens and lm_head: set trainer=hf"),
    ],
)
def test_what_unsloth_ignores_or_cannot_do_is_refused(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    with pytest.raises(FrameworkError) as refused:
        plan(tmp_path, *words)
    assert told in str(refused.value)


@pytest.mark.usefixtures("installed")
def test_what_it_can_do_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in ((), ("quantization=nf4",), ("launch=ddp", *TWO), ("adapter=full",), ("adapter=dora",), MORE):
        assert list(framework_check_plan(plan(tmp_path, *words))) == []
    assert list(framework_check_plan(plan(tmp_path, "quantization=int8", "stages=[plan]", "plan.gpu=24GiB"))) == []
    monkeypatch.setattr(Gpu, "count", lambda: 1)
    assert list(framework_check_plan(plan(tmp_path, "quantization=int8"))) == []


@pytest.mark.usefixtures("installed")
def test_an_adapter_with_what_it_does_not_make_is_no_start(tmp_path: Path) -> None:
    adapter = {"peft_type": "LORA", "r": 8, "lora_alpha": 8, "target_modules": ["q_proj"], "init_lora_weights": "eva"}
    file, words = tmp_path / "adapter_config.json", ("model=llama1b", f"adapter.start={tmp_path}", "adapter=lora")
    file.write_text(json.dumps(adapter), encoding="utf-8")
    assert list(framework_check_plan(plan(tmp_path, *words))) == []
    file.write_text(json.dumps(adapter | {"trainable_token_indices": [3]}), encoding="utf-8")
    with pytest.raises(
        FrameworkError, match=r"trainable_token_indices of the adapter of adapter\.start=\S+ is not supp"
    ):
        plan(tmp_path, *words)


def test_another_unsloth_than_the_tested_one_is_refused_on_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "installed", lambda: "2026.11.1")
    monkeypatch.setattr(make, "installed", lambda _: "2026.11.1")
    monkeypatch.setattr(versions, "problems", lambda: iter(()))
    monkeypatch.setattr(Gpu, "count", lambda: 1)
    told = (
        "trainer=unsloth: unsloth 2026.11.1 is installed, and on a GPU only 2026.10.9 is used, the version that the "
        "tests ran: pip install unsloth==2026.10.9, or set trainer=hf"
    )
    with pytest.raises(FrameworkError) as refused:
        plan(tmp_path)
    assert told in str(refused.value)
    assert list(framework_check_plan(plan(tmp_path, "trainer.device=cpu"))) == []
    monkeypatch.setattr(Gpu, "count", int)
    assert list(framework_check_plan(plan(tmp_path))) == []


def test_without_unsloth_a_run_is_refused_and_a_plan_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "installed", str)
    with pytest.raises(FrameworkError, match="trainer=unsloth needs unsloth, which is not installed: pip install "):
        plan(tmp_path)
    assert list(framework_check_plan(plan(tmp_path, "stages=[plan]"))) == []


def test_versions_that_were_not_tested_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "untested", lambda: "trl 1.14.0 is installed, but 1.15.0 was tested")
    (advice,) = framework_advice(plan(tmp_path, "stages=[plan]"), None)
    assert advice == "trainer=unsloth: trl 1.14.0 is installed, but 1.15.0 was tested"


def test_other_trainers_are_not_looked_at(tmp_path: Path) -> None:
    words = ["trainer=hf", "quantization=nf4", "quantization.double_quant=false"]
    other = testing.plan(words, run_dir=tmp_path / "run")
    assert list(framework_check_plan(other)) == []
    assert list(framework_advice(other, None)) == []
