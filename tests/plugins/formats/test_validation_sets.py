"""formats/files.py and evaluate/measure.py: several validation sets by name, each with its loss."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.api.records import Step
from framework.evaluate.measure import Measuring
from framework.hooks.session import current
from framework_plugins.formats.config import LocalFileConfig
from framework_plugins.formats.files import LocalFile
from tests.support.tiny import chat_rows, tiny_llama
from tests.support.training import make, opened, train


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


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """Return a base, rows to train on, and two validation sets."""
    folder, rows = tmp_path_factory.mktemp("held"), chat_rows(14)
    few, more = write(folder / "few.jsonl", rows[8:10]), write(folder / "more.jsonl", rows[10:])
    sets = f"data.validation_sets={{few: '{few}', more: '{more}'}}"
    return tiny_llama(folder / "base"), write(folder / "train.jsonl", rows[:8]), sets


def test_each_validation_of_a_training_has_the_loss_of_each_set_also_after_a_resume(
    held: tuple[Path, Path, str], tmp_path: Path
) -> None:
    base, rows, sets = held
    words = [sets, "audit=[]", "evaluator=[]", "trainer.eval_steps=1", "trainer.save_steps=2"]
    told: list[list[Step]] = []
    for _ in range(2):  # the second begins at the checkpoint of step 2
        with opened(make(base, rows, tmp_path, *words)) as (model, data):
            result, steps = train(model, data, tmp_path)
            last = {name: model.loss([row for row in data.validation if row.where.startswith(f"{name}/")])
                    for name in ("few", "more")}  # fmt: skip
        told.append(steps)
        assert steps[-1].metrics == pytest.approx({f"eval_loss_{name}": loss for name, loss in last.items()}, abs=1e-5)
    assert result.resumed == 2
    assert [step.metrics for step in told[1]] == [step.metrics for step in told[0]]
    assert len({step.metrics["eval_loss_few"] for step in told[0]}) == 4


def test_a_training_keeps_the_best_weights_and_a_sweep_chooses_by_the_loss_of_a_set(tmp_path: Path) -> None:
    rows = chat_rows(14)
    few, more = write(tmp_path / "few.jsonl", rows[8:10]), write(tmp_path / "more.jsonl", rows[10:])
    words = [
        "data=local_file", f"data.path={write(tmp_path / 'train.jsonl', rows[:8])}",
        f"data.validation_sets={{few: '{few}', more: '{more}'}}", "objective=eval_loss_more", "logger=[jsonl,html]",
        "trainer.early_stopping_metric=eval_loss_few", "trainer.eval_steps=2",
    ]  # fmt: skip
    plan = testing.plan(words, run_dir=tmp_path / "run")
    done = testing.run(plan)
    assert done is not None
    assert done.train is not None
    assert done.train.chosen_on == "eval_loss_few"
    assert done.objective.value == done.metrics["eval_loss_more"].after
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [line["metrics"] for line in lines if line["event"] == "step" and line["metrics"]]
    assert losses
    assert all([*each] == ["eval_loss_few", "eval_loss_more"] for each in losses)
    assert done.train.best_value == min(each["eval_loss_few"] for each in losses)
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert '<i class="key check-1"></i>eval_loss_few</span>' in page
    assert ": eval_loss_more " in page
    with pytest.raises(FrameworkError, match=r"Did you mean 'eval_loss_few'\?"):
        testing.plan([*words, "trainer.early_stopping_metric=eval_loss_fex"], run_dir=tmp_path / "run")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"validation_sets": {"a": "x.jsonl"}, "validation_path": "x.jsonl"}, "both say what is held out: make that"),
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
