"""unsloth/compare.py: a step that is not that of plain transformers and peft is found out, with `trainer=hf`.

`test_process.py` makes the comparison with Unsloth.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from framework import FrameworkError, testing
from framework.api import ProcessError
from framework.api.plan import Plan
from framework_plugins.hf.backend import HFBackend
from framework_plugins.hf.model import HFModel
from framework_plugins.hf.train.step_runner import StepRunner
from framework_plugins.unsloth import compare
from framework_plugins.unsloth.twin import GRADIENTS
from tests.support.copies import in_place_of_processes
from tests.support.pairs import pairs
from tests.support.tiny import tiny_chatml

V = "base_model.model.model.layers.0.self_attn.v_proj.lora_A.default.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chatml(tmp_path_factory.mktemp("base"))


def plan(base: Path, folder: Path, *words: str) -> Plan:
    asked = ["trainer=hf", "trainer.dtype=fp32", "trainer.device=cpu", "model=local", f"model.path={base}", *words]
    return testing.plan(asked, run_dir=folder / "run")


@pytest.fixture(scope="module")
def opened(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HFModel]:
    asked = plan(base, tmp_path_factory.mktemp("opened"), "adapter.lora_dropout=0.1")
    with HFBackend(asked.trainer.config).open(asked) as model:
        yield model


@pytest.fixture(scope="module")
def plainly(opened: HFModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The folder and the loss of the plain step, which is made once."""
    place = tmp_path_factory.mktemp("plain")
    config = json.loads((opened.place.folder / "config.json").read_text(encoding="utf-8"))
    with in_place_of_processes():
        return place, compare.plain(opened, config, place)


def problem(opened: HFModel, plainly: tuple[Path, float]) -> str:
    return compare.problem(opened, HFBackend, *plainly)


def test_the_rows_are_cut_as_those_of_a_run_may_be() -> None:
    rows = compare.rows()
    shortest = min(len(row.input_ids) for row in rows)
    beginnings = {tuple(row.input_ids[: compare.SHARED_TOKENS]) for row in rows}
    assert (len(rows), len(beginnings)) == (compare.ROWS, 1)
    assert 16 < compare.SHARED_TOKENS < shortest
    assert len({len(row.input_ids) for row in rows}) == len({tuple(row.input_ids[:shortest]) for row in rows}) == 6
    assert compare.PASSES > 1
    assert compare.ROWS > compare.PASSES


def test_a_right_one_is_the_same_also_where_the_adapter_drops(opened: HFModel, plainly: tuple[Path, float]) -> None:
    assert problem(opened, plainly) == ""


def test_the_step_has_the_plain_loss_whatever_a_run_learns_by(
    base: Path, plainly: tuple[Path, float], tmp_path: Path
) -> None:
    with pairs():
        asked = plan(base, tmp_path, "method=pairs", "format=preference", "optimizer=sgd", "schedule=constant")
        with HFBackend(asked.trainer.config).open(asked) as model:
            assert problem(model, plainly) == ""


def test_another_gradient_is_found_out(opened: HFModel, plainly: tuple[Path, float]) -> None:
    file = plainly[0] / GRADIENTS
    right = load_file(file)
    try:
        save_file({**right, V: -right[V]}, file)
        assert problem(opened, plainly) == f"the gradient of {V} differs by 200.0% of its size"
        save_file({name: gradient for name, gradient in right.items() if name != V}, file)
        assert problem(opened, plainly) == f"{V} is trained by only one of the two"
    finally:
        save_file(right, file)


def test_several_passes_that_are_scaled_wrongly_are_found_out(
    opened: HFModel, plainly: tuple[Path, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = StepRunner.one_pass

    def scaled(self: Any, part: Any, **more: Any) -> Any:
        return right(self, {**part, "count": part["count"] / compare.PASSES}, **more)

    monkeypatch.setattr(StepRunner, "one_pass", scaled)
    assert problem(opened, plainly).startswith("the loss in training is ")


def test_another_loss_in_evaluation_is_found_out(
    opened: HFModel, plainly: tuple[Path, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = HFModel.loss
    monkeypatch.setattr(HFModel, "loss", lambda self, rows: right(self, rows) * 1.1)
    assert problem(opened, plainly).startswith("the loss in evaluation is ")


def test_prompts_that_begin_alike_have_to_be_answered(
    opened: HFModel, plainly: tuple[Path, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AttributeError("'tuple' object has no attribute 'layers'\nand more")

    monkeypatch.setattr("framework_plugins.hf.model.complete", fail)
    assert problem(opened, plainly) == "AttributeError: 'tuple' object has no attribute 'layers'"


def test_unsloth_is_never_imported_after_what_it_changes() -> None:
    with pytest.raises(FrameworkError, match=r"transformers.* was imported in this process before unsloth"):
        importlib.import_module("framework_plugins.unsloth.import_unsloth")


class TestCheck:
    """What is kept and what is said, with the step itself replaced."""

    @pytest.fixture(autouse=True)
    def _cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache"))

    @pytest.fixture
    def found(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """In what the next steps differ."""
        found: list[str] = []
        monkeypatch.setattr(compare, "problem", lambda *_: found.pop() if found else "")
        return found

    @pytest.fixture
    def calls(self, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        """The folders of the plain steps."""
        calls: list[Path] = []

        def plain(_: HFModel, __: Any, place: Path) -> float:
            calls.append(place)
            return 6.0

        monkeypatch.setattr(compare, "plain", plain)
        return calls

    @pytest.mark.usefixtures("found")
    def test_it_is_done_once_for_settings_that_matter(self, base: Path, tmp_path: Path, calls: list[Path]) -> None:
        for number, words in enumerate([
            (), (), ("adapter.r=7", "trainer.learning_rate=1e-3"), ("trainer.packing=pad",), ("adapter=dora",),
            ("adapter.lora_dropout=0.1",),
        ]):  # fmt: skip
            asked = plan(base, tmp_path, *words)
            with HFBackend(asked.trainer.config).open(asked) as model:
                assert compare.check(model, HFBackend) == ""
            assert len(calls) == (1 if number < 3 else number - 1)

    def test_a_difference_ends_the_run_and_is_not_kept(
        self, opened: HFModel, found: list[str], calls: list[Path]
    ) -> None:
        told = (
            "trainer=hf does not train llama with adapter=lora quantization=none on this CPU as transformers and peft "
            "do: the loss in training is 1, and theirs 2. Set trainer=hf"
        )
        for _ in range(2):
            found.append("the loss in training is 1, and theirs 2")
            with pytest.raises(FrameworkError) as refused:
                compare.check(opened, HFBackend)
            assert str(refused.value) == told
        assert compare.check(opened, HFBackend) == ""
        assert len(calls) == 3

    def test_without_a_plain_step_it_is_said_why(
        self, opened: HFModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> float:
            raise FrameworkError("KeyError: 'layers'")

        monkeypatch.setattr(compare, "plain", fail)
        assert compare.check(opened, HFBackend) == "they cannot make a tiny model of it: KeyError: 'layers'"

        def crash(*_: Any) -> float:
            raise ProcessError("its Python process was killed by SIGKILL")

        monkeypatch.setattr(compare, "plain", crash)
        with pytest.raises(
            FrameworkError, match=r"has no result: its Python process was killed by SIGKILL\. Set trainer=hf"
        ):
            compare.check(opened, HFBackend)
        own = tmp_path / "own"
        own.mkdir()
        (own / "config.json").write_text('{"model_type": "mine", "auto_map": {}}', encoding="utf-8")
        monkeypatch.setattr(opened, "place", type(opened.place)(own, "own"))
        assert compare.check(opened, HFBackend) == "the model has its own code"
