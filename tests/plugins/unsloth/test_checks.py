"""unsloth/checks.py: what is refused in a plan, why, and what works instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework.api.plan import Plan
from framework_plugins.unsloth import capabilities as asked
from framework_plugins.unsloth import checks, versions
from framework_plugins.unsloth.capabilities import Capabilities
from framework_plugins.unsloth.plugin import framework_check_model, framework_check_plan

LLAMA = {"model_type": "llama", "hidden_size": 64}
TWO = ("launch=ddp", "launch.processes=2", "trainer.device=cpu")


def plan(path: Path, *words: str) -> Plan:
    return testing.plan(["trainer=unsloth", "stages=[plan]", *words], run_dir=path / "run")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "installed", lambda: "2026.10.9")
    monkeypatch.setattr(versions, "problems", lambda: iter(()))


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """What works instead is looked for by instead.py; here nothing is asked."""
    monkeypatch.setattr(checks, "instead", lambda *_: "Set trainer=hf")


def answers(monkeypatch: pytest.MonkeyPatch, problem: str, device: str = "cpu") -> None:
    monkeypatch.setattr(checks, "capabilities", lambda *_: Capabilities(device, problem))


def test_constants_that_are_not_quantized_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=r"quantization.double_quant=false: trainer=unsloth always .* trainer=hf"):
        plan(tmp_path, "quantization=nf4", "quantization.double_quant=false")


def test_without_unsloth_a_run_is_refused_and_a_plan_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "installed", str)
    with pytest.raises(FrameworkError, match="trainer=unsloth needs unsloth, which is not installed: pip install "):
        testing.plan(["trainer=unsloth"], run_dir=tmp_path / "run")
    assert list(checks.model(plan(tmp_path), LLAMA)) == []


@pytest.mark.usefixtures("installed")
def test_a_plan_for_another_gpu_is_not_asked_about_this_machine(tmp_path: Path) -> None:
    assert list(framework_check_model(plan(tmp_path, "plan.gpu=24GiB"), LLAMA)) == []


@pytest.mark.usefixtures("installed", "elsewhere")
def test_what_unsloth_cannot_do_is_told_with_the_nearest_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, "it did not quantize")
    (problem,) = framework_check_model(plan(tmp_path, "quantization=int8"), LLAMA)
    assert problem == (
        "trainer=unsloth does not work for llama with adapter=lora quantization=int8 on this CPU: it did not quantize. "
        "Set trainer=hf"
    )
    (problem,) = framework_check_model(plan(tmp_path, *TWO), LLAMA)
    assert problem.startswith(
        "trainer=unsloth does not work for llama with adapter=lora quantization=none launch=ddp on"
    )
    answers(monkeypatch, "")
    assert list(framework_check_model(plan(tmp_path), LLAMA)) == []


@pytest.mark.usefixtures("elsewhere")
def test_wrong_accumulation_names_versions_that_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "problems", lambda: iter(()))
    answers(monkeypatch, "accumulation is wrong: 8x1 has the loss 1, 4x2 of the same rows 2", "cuda")
    told = "on this CUDA: accumulation is wrong: 8x1 has the loss 1, 4x2 of the same rows 2. "
    for installed, right in (("2026.9.1", "pip install unsloth==2026.10.9. "), ("2026.10.9", "")):
        monkeypatch.setattr(versions, "installed", lambda installed=installed: installed)
        (problem,) = framework_check_model(plan(tmp_path), LLAMA)
        assert problem.endswith(f"{told}{right}Set trainer=hf")


@pytest.mark.usefixtures("installed", "elsewhere")
def test_one_that_cannot_be_asked_is_told_with_what_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: Any) -> Capabilities:
        message = "trainer=unsloth cannot be imported here, with unsloth 1: no driver"
        raise FrameworkError(message)

    monkeypatch.setattr(checks, "capabilities", ask)
    (problem,) = framework_check_model(plan(tmp_path), LLAMA)
    assert problem == "trainer=unsloth cannot be imported here, with unsloth 1: no driver. Set trainer=hf"


def test_other_trainers_are_not_looked_at(tmp_path: Path) -> None:
    other = testing.plan(
        ["trainer=hf", "quantization=nf4", "quantization.double_quant=false"], run_dir=tmp_path / "run"
    )
    assert list(framework_check_plan(other)) == []
    assert list(framework_check_model(other, LLAMA)) == []


@pytest.mark.usefixtures("installed")
class TestAsked:
    """plugins/framework_plugins/unsloth/capabilities.py, with the process replaced."""

    def test_it_is_asked_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[dict[str, Any]] = []

        def answer(_: Plan, config: dict[str, Any]) -> dict[str, Any]:
            calls.append(config)
            return {"device": "cpu", "problem": config["model_type"]}

        monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(asked, "_ask", answer)
        monkeypatch.setattr(asked, "installed", lambda _: "1")
        for words in ((), (), ("trainer.learning_rate=1e-3",)):
            assert asked.capabilities(plan(tmp_path, *words), LLAMA).problem == "llama"
        assert len(calls) == 1
        others = (
            ("adapter=dora",), ("quantization=nf4",), ("trainer.packing=pad",), ("trainer=hf",), TWO[2:], TWO,
            ("launch=fsdp2", *TWO[1:]),
        )  # fmt: skip
        for other in others:
            asked.capabilities(plan(tmp_path, *other), LLAMA)
        asked.capabilities(plan(tmp_path, *TWO, "launch.processes=3"), LLAMA)  # two are asked
        assert asked.capabilities(plan(tmp_path), {**LLAMA, "model_type": "phi3"}).problem == "phi3"
        assert len(calls) == 2 + len(others)

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
        told = r"trainer=unsloth cannot be tried here, with unsloth 2026.10.9: OSError: a driver is missing \(.*:1\)$"
        with pytest.raises(FrameworkError, match=told):
            asked.capabilities(plan(tmp_path), LLAMA)
        assert not list((tmp_path / "cache").rglob("asked-*"))
