"""What trials of a sweep share: a trial leaves nothing in the base, and its results are those of a single run."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from framework.hooks.session import current
from framework.run import pipeline
from framework_plugins.hf.load import base_cache
from framework_plugins.hf.settings.config import Packing
from tests.support.tiny import chat_rows
from tests.support.training import make, opened, train

EVALUATED = ("baseline.json", "evaluate.json", "data.json", "train.json")
TIMES = {"seconds", "peak_memory_bytes", "cached"}
"""What differs from one run to the next in any case."""
POINTS = (("adapter.r=4",), ("adapter.r=8", "trainer.learning_rate=0.02"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in chat_rows(20)), encoding="utf-8")
    return file


@pytest.fixture
def sweep() -> Iterator[None]:
    """Keep things as in a sweep."""
    current().shared.open()
    yield
    current().shared.close()


def run(base: Path, rows: Path, folder: Path, *words: str) -> Path:
    more = (
        "evaluator=[prompts]",
        "evaluator.prompts.max_new_tokens=8",
        "exporter=[]",
        "metric=[exact_match,perplexity]",
    )
    pipeline.run(make(base, rows, folder, *more, *words))
    return folder


def in_cache(kind: str) -> Any:
    """Return the value that the session holds of a kind, whatever its key; None if there is none."""
    entry = current().shared.entries.get(kind)
    return entry.value if entry else None


def results(folder: Path) -> dict[str, Any]:
    """Return what a run came to, times left out."""
    found = {name: json.loads((folder / name).read_text(encoding="utf-8")) for name in EVALUATED}
    return {name: {key: part for key, part in whole.items() if key not in TIMES} for name, whole in found.items()}


def merged(folder: Path) -> bytes:
    return (folder / "merged" / "model.safetensors").read_bytes()


def adapter(folder: Path) -> bytes:
    return (folder / "checkpoint" / "adapter_model.safetensors").read_bytes()


def test_points_that_share_give_what_they_give_alone_bit_by_bit(base: Path, rows: Path, tmp_path: Path) -> None:
    words = "quantization=nf4", "trainer.eval_steps=2"
    for number, point in enumerate(POINTS):
        run(base, rows, tmp_path / f"alone{number}", *words, *point)
    kept: dict[str, list[Any]] = {base_cache.CACHE_KIND: [], "baseline": [], "data": []}
    current().shared.open()
    try:
        for number, point in enumerate(POINTS):
            run(base, rows, tmp_path / f"shared{number}", *words, *point)
            for kind, things in kept.items():
                things.append(in_cache(kind))
    finally:
        current().shared.close()
    same = {kind: [thing is not None and thing is things[0] for thing in things] for kind, things in kept.items()}
    assert same == dict.fromkeys(kept, [True] * len(POINTS))
    for number in range(len(POINTS)):
        alone, together = tmp_path / f"alone{number}", tmp_path / f"shared{number}"
        assert adapter(together) == adapter(alone)
        assert results(together) == results(alone)


@pytest.mark.usefixtures("sweep")
def test_the_weights_are_read_once_and_nothing_of_a_point_is_left_in_them(
    base: Path, rows: Path, tmp_path: Path
) -> None:
    plan = make(base, rows, tmp_path)
    with opened(plan) as (model, data):
        train(model, data, tmp_path)
        used = {name: part.data_ptr() for name, part in model.model.get_base_model().named_parameters()}
    kept = in_cache(base_cache.CACHE_KIND)
    names = [name for name, _ in kept.model.named_modules()]
    assert not [name for name in names if "lora" in name]
    assert not [part for part in kept.model.modules() if part._forward_hooks or part._forward_pre_hooks]  # noqa: SLF001 - no public names
    with opened(make(base, rows, tmp_path, "adapter.r=8", "seed=7")) as (model, data):
        again = {name: part.data_ptr() for name, part in model.model.get_base_model().named_parameters()}
        assert {name: again[name] for name in used if "lora_" not in name} == {
            name: place for name, place in used.items() if "lora_" not in name
        }
        assert in_cache(base_cache.CACHE_KIND) is kept


@pytest.mark.usefixtures("sweep")
def test_another_base_takes_the_place_of_the_one_that_was_kept(base: Path, rows: Path, tmp_path: Path) -> None:
    with opened(make(base, rows, tmp_path)) as (model, _):
        assert model.model is not None
    gone = weakref.ref(in_cache(base_cache.CACHE_KIND).model)
    with opened(make(base, rows, tmp_path, "trainer.dtype=bf16")) as (model, _):
        assert model.model.dtype == torch.bfloat16
        gc.collect()
        assert gone() is None


@pytest.mark.usefixtures("sweep")
def test_weights_that_were_written_to_are_read_again(base: Path, rows: Path, tmp_path: Path) -> None:
    with opened(make(base, rows, tmp_path)) as (model, _):
        weight = next(part for name, part in model.model.named_parameters() if "lora_" not in name)
        right = weight.detach().clone()
        with torch.no_grad():
            weight.add_(1)
    with opened(make(base, rows, tmp_path)) as (model, _):
        weight = next(part for name, part in model.model.named_parameters() if "lora_" not in name)
        assert torch.equal(weight, right)


@pytest.mark.usefixtures("sweep")
@pytest.mark.parametrize("words", [("adapter=full",), ("share=false",), ("quantization=int8",)])
def test_what_may_not_be_shared_is_not_kept(base: Path, rows: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    with opened(make(base, rows, tmp_path)) as (model, _):
        assert model.model is not None
    with opened(make(base, rows, tmp_path, *words)) as (model, _):
        assert model.model is not None
        assert in_cache(base_cache.CACHE_KIND) is None


def test_outside_a_sweep_nothing_is_kept(base: Path, rows: Path, tmp_path: Path) -> None:
    run(base, rows, tmp_path / "run")
    assert in_cache(base_cache.CACHE_KIND) is None


@pytest.mark.usefixtures("sweep")
def test_the_base_is_asked_once_where_it_would_answer_alike(base: Path, rows: Path, tmp_path: Path) -> None:
    keys = []
    for words in (["adapter.r=8"], ["trainer.learning_rate=0.1"], ["trainer.attention=eager"], ["adapter=dora"]):
        with opened(make(base, rows, tmp_path, *words)) as (model, _):
            keys.append(model.base_key)
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    with opened(make(base, rows, tmp_path, "adapter=full")) as (model, _):
        assert model.base_key == ""


@pytest.mark.usefixtures("sweep")
def test_how_rows_go_through_a_model_is_looked_at_once_for_one_kind_of_adapter(
    base: Path, rows: Path, tmp_path: Path
) -> None:
    passes: dict[str, list[int]] = {}
    for name, word in (("first", "seed=1"), ("alike", "trainer.learning_rate=0.1"), ("larger", "adapter.r=8")):
        told = passes.setdefault(name, [])
        with opened(make(base, rows, tmp_path, word)) as (model, data):
            body = model.model.get_base_model().base_model
            body.register_forward_pre_hook(lambda *_, told=told: told.append(1))
            evaluation = model.open_losses()
            evaluation.rehearse(data.validation)
            assert evaluation.passes.losses.packing is Packing.tree
            assert evaluation.largest_pass > 0
    assert passes["alike"] == []
    assert len(passes["first"]) == len(passes["larger"]) > 1


def test_points_that_differ_in_their_exports_train_once_and_give_what_they_give_alone(
    base: Path, rows: Path, tmp_path: Path
) -> None:
    words = "quantization=nf4", "trainer.eval_steps=2", "exporter=[merged]"
    points = [("exporter.merged.dtype=fp32",), ("exporter.merged.max_shard_size=1GB",)]
    for number, point in enumerate(points):
        run(base, rows, tmp_path / f"alone{number}", *words, *point)
    current().shared.open()
    try:
        for number, point in enumerate(points):
            run(base, rows, tmp_path / f"shared{number}", *words, *point)
    finally:
        current().shared.close()
    taken = [results(tmp_path / f"shared{number}")["train.json"].pop("taken_from") for number in range(2)]
    assert taken == ["", "../shared0"]
    for number in range(2):
        alone, together = tmp_path / f"alone{number}", tmp_path / f"shared{number}"
        assert adapter(together) == adapter(alone)
        assert results(together) | {"train.json": None} == results(alone) | {"train.json": None}
        assert merged(together) == merged(alone)
