"""plugins/framework_unsloth/checks.py: what is refused in a plan, why, and what works instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework.plan import Plan
from framework_unsloth import capabilities as asked
from framework_unsloth import checks, versions
from framework_unsloth.capabilities import Capabilities
from framework_unsloth.plugin import framework_check_model, framework_check_plan

LLAMA = {"model_type": "llama", "hidden_size": 64}


def plan(path: Path, *words: str) -> Plan:
    return testing.plan(["trainer=unsloth", "stages=[plan]", *words], run_dir=path / "run")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "installed", lambda: "2026.10.9")
    monkeypatch.setattr(versions, "problems", lambda: iter(()))


def answers(monkeypatch: pytest.MonkeyPatch, problem: str, device: str = "cpu") -> None:
    monkeypatch.setattr(checks, "capabilities", lambda *_: Capabilities(device, 0, problem))


def test_constants_that_are_not_quantized_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=r"quantization.double_quant=false: trainer=unsloth always .* trainer=hf"):
        plan(tmp_path, "quantization=nf4", "quantization.double_quant=false")


@pytest.mark.usefixtures("installed")
def test_a_group_of_processes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=r"launch=ddp trains with several processes, .* set trainer=hf"):
        plan(tmp_path, "launch=ddp", "launch.processes=2")


def test_without_unsloth_a_run_is_refused_and_a_plan_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "installed", str)
    with pytest.raises(FrameworkError, match="trainer=unsloth needs unsloth, which is not installed: pip install "):
        testing.plan(["trainer=unsloth"], run_dir=tmp_path / "run")
    assert list(checks.model(plan(tmp_path), LLAMA)) == []


@pytest.mark.usefixtures("installed")
def test_a_plan_for_another_gpu_is_not_asked_about_this_machine(tmp_path: Path) -> None:
    assert list(framework_check_model(plan(tmp_path, "plan.gpu=24GiB"), LLAMA)) == []


@pytest.mark.usefixtures("installed")
def test_what_unsloth_cannot_do_is_told_with_the_nearest_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, "it did not quantize")
    (problem,) = framework_check_model(plan(tmp_path, "quantization=int8"), LLAMA)
    assert problem == (
        "trainer=unsloth does not work for llama with adapter=lora quantization=int8 on this CPU: it did not quantize: "
        "set trainer=hf"
    )
    answers(monkeypatch, "")
    assert list(framework_check_model(plan(tmp_path), LLAMA)) == []


@pytest.mark.usefixtures("installed")
def test_wrong_accumulation_names_versions_that_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "accumulation is wrong: 8x1 has the loss 1, 4x2 of the same rows 2", "cuda")
    (problem,) = framework_check_model(plan(tmp_path), LLAMA)
    assert problem.endswith(
        "on this CUDA: accumulation is wrong: 8x1 has the loss 1, 4x2 of the same rows 2. "
        "pip install unsloth==2026.10.9, or set trainer=hf"
    )


def test_other_trainers_are_not_looked_at(tmp_path: Path) -> None:
    other = testing.plan(
        ["trainer=hf", "quantization=nf4", "quantization.double_quant=false"], run_dir=tmp_path / "run"
    )
    assert list(framework_check_plan(other)) == []
    assert list(framework_check_model(other, LLAMA)) == []


@pytest.mark.usefixtures("installed")
class TestAsked:
    """plugins/framework_unsloth/capabilities.py, with the process replaced."""

    def test_it_is_asked_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[dict[str, Any]] = []

        def answer(_: Plan, config: dict[str, Any]) -> dict[str, Any]:
            calls.append(config)
            return {"device": "cpu", "gpus": 0, "problem": config["model_type"]}

        monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(asked, "_ask", answer)
        monkeypatch.setattr(asked, "version", lambda _: "1")
        for words in ((), (), ("trainer.learning_rate=1e-3",)):
            assert asked.capabilities(plan(tmp_path, *words), LLAMA).problem == "llama"
        assert len(calls) == 1
        for words in (("adapter=dora",), ("quantization=nf4",), ("trainer.packing=pad",)):
            asked.capabilities(plan(tmp_path, *words), LLAMA)
        assert asked.capabilities(plan(tmp_path), {**LLAMA, "model_type": "phi3"}).problem == "phi3"
        assert len(calls) == 5

    def test_one_that_does_not_start_is_told_with_the_last_it_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        site = tmp_path / "site"
        for name, source in (("unsloth", "raise OSError('a driver is missing')\n"), ("unsloth_zoo", "")):
            (site / name).mkdir(parents=True)
            (site / name / "__init__.py").write_text(source, encoding="utf-8")
            about = site / f"{name}-2026.10.9.dist-info"
            about.mkdir()
            text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 2026.10.9\n"
            (about / "METADATA").write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(site)
        monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache"))
        told = "unsloth 2026.10.9 cannot be imported here: OSError: a driver is missing. Set trainer=hf"
        with pytest.raises(FrameworkError, match=told):
            asked.capabilities(plan(tmp_path), LLAMA)
        assert not list((tmp_path / "cache").rglob("asked-*"))
