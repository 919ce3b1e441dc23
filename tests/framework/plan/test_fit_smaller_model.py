"""framework/plan/fit.py: another model, where no change makes a run fit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from framework import FrameworkError, hookimpl
from framework.api.records import FitStatus, Forecast
from framework.hooks.manager import Plugins
from framework.hooks.session import current
from framework.memory import MemorySettings, Shape
from framework.plan import fit
from framework.plan.fit import remedy
from tests.framework.memory.test_shape import LLAMA, SMOLLM
from tests.support.forked_program import program
from tests.support.hub import HubStandIn
from tests.support.shelf import Shelf, first, plan

pytestmark = pytest.mark.usefixtures("own_cache")
GIB = 2**30
SIZES = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "tie_word_embeddings": True}
MIDDLE = LLAMA | SIZES


def told(folder: Path, *words: str) -> Forecast:
    return first(Shelf(LLAMA), plan(folder, *words))[1]


def test_the_largest_preset_that_fits_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def known(_: Plugins) -> Iterator[tuple[str, Shape]]:
        for name, config in (("same", LLAMA), ("small", SMOLLM), ("middle", MIDDLE)):
            yield name, Shape.from_config(config)

    monkeypatch.setattr(fit, "preset_shapes", known)
    found = told(tmp_path, "plan.gpu=4GiB")
    assert found.changes[-1].fit_status is FitStatus.too_large
    assert found.smaller is not None
    assert (found.smaller.overrides, found.smaller.fit_status) == (["model=middle"], FitStatus.fits)
    assert found.smaller.costs == "another model, with 1.2 instead of 8.0 billion parameters"
    assert found.smaller.saves > GIB
    assert remedy(found).endswith("Use a smaller model, such as model=middle")
    assert told(tmp_path, "plan.gpu=rtx4090").smaller is None


def test_a_model_of_the_family_goes_before_a_larger_one_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def known(_: Plugins) -> Iterator[tuple[str, Shape]]:
        for name, config in (("own", SMOLLM), ("other", MIDDLE | {"model_type": "qwen3"})):
            yield name, Shape.from_config(config)

    monkeypatch.setattr(fit, "preset_shapes", known)
    found = told(tmp_path, "plan.gpu=4GiB").smaller
    assert found is not None
    assert found.overrides == ["model=own"]


def test_a_preset_that_the_trainer_does_not_take_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Picky:
        @hookimpl
        def framework_memory(self, shape: Shape) -> list[MemorySettings]:
            if shape.family == "qwen3":
                raise FrameworkError("no such model")
            return []

    presets = (("own", MIDDLE), ("other", MIDDLE | {"model_type": "qwen3"}))
    monkeypatch.setattr(fit, "preset_shapes", lambda _: [(name, Shape.from_config(each)) for name, each in presets])
    picky = Picky()
    current().plugins.manager.register(picky, name="picky")
    try:
        found = told(tmp_path, "plan.gpu=4GiB").smaller
    finally:
        current().plugins.manager.unregister(picky)
    assert found is not None
    assert found.overrides == ["model=own"]


def test_presets_whose_config_can_be_had_are_read(tmp_path: Path) -> None:
    """Of all presets in conf/model, the Hub of this test has two. Those of the user are unfinished or wrong."""
    own = {
        "unfinished": "defaults: [local]\n",
        "wrong": "defaults: [local]\npath: {a: 1}\n",
        "unknown": "defaults: [local]\npaht: a\n",
        "bare": "path: a\n",
        "broken": "path: [\n",
    }
    (tmp_path / "conf" / "model").mkdir(parents=True)
    for name, text in own.items():
        (tmp_path / "conf" / "model" / f"{name}.yaml").write_text(text, encoding="utf-8")
    folders = {}
    for name, config in (("unsloth/Meta-Llama-3.1-8B-Instruct", LLAMA), ("unsloth/Llama-3.2-1B-Instruct", MIDDLE)):
        folders[name] = tmp_path / name.rpartition("/")[2]
        folders[name].mkdir()
        (folders[name] / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text('{"instruction": "a", "output": "b"}\n', encoding="utf-8")
    words = ["+experiment=llama8b_qlora", "data=local_file", "data.path=rows.jsonl", "stages=[plan]", "plan.gpu=4GiB"]
    with HubStandIn(folders, {}) as hub:
        done = program(*words, cwd=tmp_path, env={"HF_ENDPOINT": hub.url})
    assert done.code == 0, done.err
    assert "model=llama1b, with all of these: saves" in done.out
    assert "with 1.2 instead of 8.0 billion parameters" in " ".join(done.out.split())


def test_without_any_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "preset_shapes", lambda _: [])
    found = told(tmp_path, "plan.gpu=4GiB")
    assert found.smaller is None
    assert remedy(found).endswith("Use a smaller model")
