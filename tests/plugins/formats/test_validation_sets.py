"""formats/files.py and evaluate/measure.py: several validation sets by name, each with its loss."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from framework import FrameworkError
from framework.evaluate.measure import Measuring
from framework.hooks.session import current
from framework_plugins.formats.config import LocalFileConfig
from framework_plugins.formats.files import LocalFile
from tests.support.tiny import chat_rows, tiny_llama
from tests.support.training import make, opened


def write(file: Path, rows: list[dict[str, str]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_each_set_has_the_loss_of_its_rows_and_all_together_theirs(tmp_path: Path) -> None:
    rows = chat_rows(14)
    train = write(tmp_path / "rows/train.jsonl", rows[:8])
    first, second = write(tmp_path / "rows/held.jsonl", rows[8:10]), write(tmp_path / "b/held.jsonl", rows[10:])
    sets = f"data.validation_sets={{few: '{first}', more: '{second.parent}'}}"
    plan = make(tiny_llama(tmp_path / "base"), train.parent, tmp_path / "run", sets, "audit=[]", "evaluator=[]")
    with opened(plan) as (model, data):
        assert (len(data.train), len(data.validation)) == (8, 6)  # the files of the sets are not trained on
        found = Measuring(plan, model, data, {}, {}, current()).now().measures
        few, more = ([row for row in data.validation if row.where.startswith(name)] for name in ("few/", "more/"))
        assert (len(few), len(more)) == (2, 4)
        assert [*found] == ["eval_loss", "eval_loss_few", "eval_loss_more"]
        for name, part in (("few", few), ("more", more)):
            assert found[f"eval_loss_{name}"].value == pytest.approx(model.loss(part), abs=1e-5)
        assert found["eval_loss"].value == pytest.approx(model.loss(data.validation), abs=1e-5)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"validation_sets": {"a": "x.jsonl"}, "validation_path": "x.jsonl"}, "both say what is held out: make it one"),
        ({"validation_sets": {"a b": "x.jsonl"}}, "data.validation_sets.a b: a name has letters, digits"),
        ({"validation_sets": {"a": "x.jsonl", "b": "x.jsonl"}}, "x.jsonl is in the set a too: leave it out of one"),
        ({"validation_sets": {"a": "none.jsonl"}}, "there is no data file none.jsonl"),
    ],
)  # fmt: skip
def test_what_is_no_set_is_refused(
    given: dict[str, object], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("x.jsonl"), chat_rows(2))
    write(Path("train.jsonl"), chat_rows(2))
    with pytest.raises(FrameworkError) as caught:
        LocalFile(LocalFileConfig(path="train.jsonl", **given)).check()  # type: ignore[arg-type]
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
