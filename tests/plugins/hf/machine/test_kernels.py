"""The kernels that a model and an attention want are named, with the command that installs them and what they save."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from framework import testing
from framework.api.diagnostic import DiagnosticResult, State
from framework.api.plan import Plan
from framework_plugins.hf.machine import kernels

CHECKS = {
    "flash-attn": kernels.flash_attn, "fla": kernels.fla, "causal-conv1d": kernels.causal_conv1d,
    "mamba-ssm": kernels.mamba_ssm, "hub kernels": kernels.hub_kernels, "triton": kernels.triton,
}  # fmt: skip
FLASH = "trainer.attention=flash_attention_2"


def found(plan: Plan) -> dict[str, DiagnosticResult]:
    return {name: result for name, check in CHECKS.items() if (result := check(plan)) is not None}


def plan(folder: Path, config: dict[str, object], *words: str) -> Plan:
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return testing.plan(["model=local", f"model.path={folder}", "trainer=hf", *words], run_dir=folder / "run")


@pytest.mark.parametrize(
    ("config", "words", "wanted"),
    [
        ({"model_type": "llama"}, [], set()),
        ({"model_type": "llama"}, [FLASH], {"flash-attn"}),
        ({"model_type": "qwen3_next"}, [], {"fla", "causal-conv1d", "triton"}),
        ({"model_type": "acme", "text_config": {"model_type": "lfm2"}}, [], {"causal-conv1d"}),
        ({"model_type": "mamba2"}, [], {"mamba-ssm", "causal-conv1d", "triton"}),
        ({"model_type": "gpt_oss", "quantization_config": {"quant_method": "mxfp4"}}, [], {"hub kernels", "triton"}),
    ],
    ids=lambda value: str(sorted(value)) if isinstance(value, set) else str(value),
)
def test_only_the_kernels_that_a_model_or_its_attention_wants_are_named(
    config: dict[str, object], words: list[str], wanted: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(tmp_path, config, *words)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    results = found(made)
    assert results.keys() == wanted
    assert {each.state for each in results.values()} <= {State.off}
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(kernels, "installed", lambda _: None)
    for result in found(made).values():
        assert result.state is State.off
        assert "; without it, " in result.detail
        assert result.fix.startswith("pip install ")


def test_a_kernel_that_is_built_for_another_torch_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fla.py").write_text("raise OSError('undefined symbol: _ZN3c10')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(kernels, "installed", lambda _: "0.6.0")
    result = found(plan(tmp_path, {"model_type": "qwen3_next"}))["fla"]
    assert (result.state, result.version) == (State.broken, "0.6.0")
    assert "undefined symbol" in result.detail
    assert result.fix == "pip install flash-linear-attention --force-reinstall --no-deps --no-cache-dir"


@pytest.mark.parametrize(("accepted", "state"), [(True, State.ok), (False, State.broken)])
def test_a_package_that_transformers_does_not_accept_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: State, *, accepted: bool
) -> None:
    (tmp_path / "kernels.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(kernels, "installed", lambda _: "0.17.2")
    monkeypatch.setattr("transformers.utils.import_utils.is_kernels_available", lambda: accepted)
    config: dict[str, object] = {"model_type": "gpt_oss", "quantization_config": {"quant_method": "mxfp4"}}
    result = found(plan(tmp_path, config))["hub kernels"]
    assert result.state is state
    assert ("transformers does not accept this version" in result.detail) is not accepted
    assert result.fix == ("" if accepted else kernels.INSTALL["kernels"])


def test_without_a_plan_and_without_a_model_nothing_is_said(tmp_path: Path) -> None:
    assert not any(check(None) for check in CHECKS.values())
    words = ["model=local", f"model.path={tmp_path / 'nothing'}", "trainer=hf"]
    assert found(testing.plan(words, run_dir=tmp_path / "run")) == {}
