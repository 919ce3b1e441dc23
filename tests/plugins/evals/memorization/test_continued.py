"""One pass over a row gives the same tokens as generating from every prefix."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

from framework.api.records import TokenRow
from framework_plugins.evals.memorization.recital import answer_row, recital
from framework_plugins.hf.model import HFModel
from tests.support.tiny import tiny_chatml
from tests.support.training import make, opened, train

MOST = 12
Rows = list[dict[str, str]]


def true_tokens_from(model: HFModel, row: TokenRow, stops: frozenset[int]) -> list[int]:
    """Return how many true tokens the model says when it is continued from each place of the answer on."""
    begins = len(row.input_ids) - row.supervised
    places = range(begins, len(row.input_ids))
    answers = model.complete([row.input_ids[:at] for at in places], max_new_tokens=row.supervised, batch_size=8)
    found = []
    for place, answer in zip(places, answers, strict=True):
        true = row.input_ids[place:]
        stop = [true[-1]] if answer.stopped and true[-1] in stops else []
        pairs = zip([*answer.ids, *stop], true, strict=False)
        found.append(len(list(takewhile(lambda pair: pair[0] == pair[1], pairs))))
    return found


def test_a_pass_over_a_row_is_as_good_as_continuing_it_from_each_of_its_tokens(
    tmp_path: Path, write_rows: Callable[[Rows], Path]
) -> None:
    words = ["red fox"] * 5 + ["old mill", "tin can", "deep sea"]  # what most rows say is learned first
    rows = [{"instruction": f"say {n}", "input": "", "output": f"It is a {word}."} for n, word in enumerate(words)]
    settings = ["trainer.max_steps=50", "data.validation_split=0", "objective=train_loss"]
    plan = make(tiny_chatml(tmp_path / "base"), write_rows(rows), tmp_path / "run", *settings, "adapter=full")
    seen: list[float] = []
    with opened(plan) as (model, data):
        train(model, data, tmp_path / "run")
        cut = [answer_row(row, MOST) for row in data.train]
        for row, told in zip(cut, model.score(cut), strict=True):
            found = recital(row, told)
            said = true_tokens_from(model, row, model.stop_ids)
            assert (found.run == 1) is (said[0] == row.supervised)
            assert found.run == max(said) / row.supervised
            seen.append(found.run)
    assert {1.0} < {*seen}
