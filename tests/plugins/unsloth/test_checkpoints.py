"""unsloth/checkpoints.py: whose 4-bit weights are taken, by a table made up here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework.api.plan import Plan
from framework.api.protocols import ModelPlace
from framework_plugins.unsloth import checkpoints

TABLE = 'FLOAT_TO_INT_MAPPER = {"Acme/Small-1B": "unsloth/small-1b-bnb-4bit", "acme/moe": "unsloth/moe-it"}\n'
SHAPE = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, "vocab_size": 300}
HERE = "quantized here: unsloth/small-1b-bnb-4bit"
QUANTIZED = {"quantization_config": {"bnb_4bit_quant_type": "nf4"}}


@pytest.fixture(autouse=True)
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put a package named unsloth before all others, which cannot be imported: only its table may be read."""
    package = tmp_path / "site" / "unsloth"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    (package / "models" / "mapper.py").write_text(TABLE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "site")
    checkpoints.table.cache_clear()
    yield
    checkpoints.table.cache_clear()


def plan(path: Path, *words: str) -> Plan:
    asked = ["trainer=unsloth", "quantization=nf4", "model=local", "model.path=acme/small-1b", "stages=[plan]"]
    return testing.plan([*asked, *words], run_dir=path / "run")


def place(folder: Path, **config: Any) -> ModelPlace:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return ModelPlace(folder, folder.name)


def test_the_table_is_read_without_importing_unsloth(tmp_path: Path) -> None:
    assert checkpoints.table() == {"acme/small-1b": "unsloth/small-1b-bnb-4bit"}
    assert checkpoints.published_weights(plan(tmp_path)) == "unsloth/small-1b-bnb-4bit"


def test_a_table_that_has_moved_is_not_an_empty_one(tmp_path: Path) -> None:
    table = tmp_path / "site" / "unsloth" / "models" / "mapper.py"
    for change in (lambda: table.write_text("OTHER = {}", encoding="utf-8"), table.unlink):
        change()
        with pytest.raises(
            FrameworkError, match=r"has no FLOAT_TO_INT_MAPPER in models/mapper.py, .*: set trainer.opt"
        ):
            checkpoints.table()


@pytest.mark.parametrize(
    "word",
    [
        "quantization=none",
        "model.path=acme/other",
        "model.path=acme/moe",
        "model.revision=v2",
        "trainer.optimised_checkpoints=false",
        "trainer=hf",
    ],
)
def test_nothing_is_taken_where_none_is_asked_for_or_known(tmp_path: Path, word: str) -> None:
    assert checkpoints.published_weights(plan(tmp_path, word)) == ""


def test_a_folder_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "acme" / "small-1b").mkdir(parents=True)
    assert checkpoints.published_weights(plan(tmp_path)) == ""


class Source:
    def __init__(self, found: ModelPlace | FrameworkError) -> None:
        self.found = found

    def fetch(self, *, weights: bool) -> ModelPlace:
        assert not weights
        if isinstance(self.found, FrameworkError):
            raise self.found
        return self.found


def test_weights_like_the_base_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = place(tmp_path / "theirs", **SHAPE, **QUANTIZED)
    monkeypatch.setattr(checkpoints, "source", lambda _: Source(theirs))
    found, told = checkpoints.find_published_weights(plan(tmp_path), place(tmp_path / "base", **SHAPE))
    assert (found, told) == (theirs, "unsloth/small-1b-bnb-4bit, quantized by Unsloth")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (
            {**SHAPE, "vocab_size": 301, **QUANTIZED},
            f"{HERE} differs from base in vocab_size",
        ),
        (SHAPE, f"{HERE} is not in NF4"),
        (None, f"{HERE} is not available (no network)"),
    ],
)
def test_others_are_not_and_it_is_said_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any] | None, told: str
) -> None:
    found = FrameworkError("no network\nmore") if config is None else place(tmp_path / "theirs", **config)
    monkeypatch.setattr(checkpoints, "source", lambda _: Source(found))
    assert checkpoints.find_published_weights(plan(tmp_path), place(tmp_path / "base", **SHAPE)) == (None, told)


def test_the_plan_says_whose_weights_it_takes(tmp_path: Path) -> None:
    from framework_plugins.unsloth.plugin import framework_advice

    (advice,) = framework_advice(plan(tmp_path), None)
    assert "the run loads unsloth/small-1b-bnb-4bit" in advice
    assert list(framework_advice(plan(tmp_path, "trainer=hf"), None)) == []
