"""What the end of a sweep says about its trials, from what they stored."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from framework.api import records
from framework.api.records import EvalResult, Measure, MeasureKind, Standing, Sweep
from framework.api.text import facts_of, winner_text
from framework.sweep.folder import read_sweep

ASKED = [f"rows.jsonl:{number}" for number in range(1, 31)]
JUDGED = [f"prompts.jsonl:{number}" for number in range(1, 61)]


def shares(right: int, where: Sequence[str], *, first: int = 0) -> Measure:
    """Return a metric that some of the prompts are right for, from the `first` on."""
    items: list[float | None] = [float(first <= number < first + right) for number in range(len(where))]
    return Measure(right / len(where), items, higher_is_better=True, kind=MeasureKind.content, where=[*where])


def write(
    folder: Path,
    chosen: Sequence[Measure],
    words: Sequence[str],
    steps: Sequence[int] = (),
    *,
    judged: Sequence[int] = (),
) -> Sweep:
    """Write the folders of trials, and return the sweep."""
    for number, one in enumerate(chosen):
        run = folder / str(number)
        run.mkdir()
        loss = Measure(1.0 - number / 100, [1.0 - number / 100], kind=MeasureKind.loss)
        measures = {"eval_loss": loss, "exact_match": shares(judged[number] if judged else 30, JUDGED)}
        records.save(EvalResult(measures, selection={"exact_match": one}), run / "evaluate.json")
        report = {
            "objective": {"name": "exact_match", "value": one.value, "higher_is_better": True},
            "metrics": {"exact_match": {"p_value": 0.01}, "eval_loss": {"after": loss.value}},
            "verdict": {"primary": "exact_match", "gained": "better", "score": 0.5, "confidence": 0.95, "lines": []},
            "train": {"steps": steps[number] if steps else 10, "trainable_parameters": 1000},
        }
        (run / "report.json").write_text(json.dumps(report), encoding="utf-8")
        (run / "overrides.json").write_text(json.dumps(["data=orders", *words[number].split()]), encoding="utf-8")
        (run / "forecast.json").write_text(json.dumps({"memory": {"reserved": 1000}}), encoding="utf-8")
    return read_sweep(folder)


def said(sweep: Sweep) -> dict[str, str]:
    return {fact.name: fact.text for fact in facts_of(sweep)}


RATES = [f"trainer.learning_rate={rate}" for rate in ("1e-5", "1e-4", "1e-3")]


def test_a_winner_is_named_with_its_lead_and_settled_by_prompts_that_chose_no_trial(tmp_path: Path) -> None:
    sweep = write(tmp_path, [shares(count, ASKED) for count in (3, 29, 12)], RATES, judged=(3, 50, 20))
    found = said(sweep)
    assert (sweep.best, sweep.why) == (1, "")
    assert found["winner"].startswith("trial 1: exact_match of 30 prompts is better than for any other trial, +")
    assert found["best"] == "trial 1 (trainer.learning_rate=1e-4)"
    assert found["confirmed"].startswith("on 60 prompts by which no trial was chosen, exact_match is 83% for trial 1 ")
    assert "and 33% for trial 2, a difference of +" in found["confirmed"]
    assert found["other measures"].startswith("eval_loss is best in trial 2, 0.98; trial 1: 0.99. ")
    assert winner_text(sweep) == "trial 1, exact_match 97%, better than each other trial"


def test_prompts_that_chose_a_trial_do_not_confirm_it(tmp_path: Path) -> None:
    write(tmp_path, [shares(count, ASKED) for count in (3, 29)], RATES)
    for number in range(2):
        file = tmp_path / str(number) / "evaluate.json"
        records.save(replace(records.load(EvalResult, file), selection={}), file)
    sweep = read_sweep(tmp_path)
    assert not sweep.judged_apart
    assert said(sweep)["not confirmed"].startswith("the best trial was chosen on the rows that its verdict is based on")


def test_the_highest_value_is_the_best_with_what_a_cheaper_trial_may_cost(tmp_path: Path) -> None:
    sweep = write(tmp_path, [shares(count, ASKED) for count in (3, 27, 28)], RATES, steps=(5, 10, 20))
    found = said(sweep)
    assert sweep.best == 2
    none = "none: no significant difference in exact_match of 30 prompts between trials 1 and 2, at 95% confidence"
    assert found["winner"] == none
    assert found["worse"] == "trial 0, than trial 2; corrected for all pairs of trials"
    cheaper = "the best value; trial 1 is cheaper (10 steps, not up to 20 steps) and may cost up to "
    assert cheaper in found["best"]
    assert found["not confirmed"].endswith("a difference of -5 to +5 points")
    assert winner_text(sweep) == "trial 2, exact_match 93%, one of 2 that may be the best"


def test_a_cheaper_trial_is_the_best_if_a_loss_above_the_margin_is_ruled_out(tmp_path: Path) -> None:
    asked = [f"rows.jsonl:{number}" for number in range(1, 401)]
    sweep = write(tmp_path, [shares(count, asked) for count in (40, 359, 360)], RATES, steps=(5, 10, 20))
    assert sweep.best == 1
    assert said(sweep)["best"].startswith(
        "trial 1 (trainer.learning_rate=1e-4), cheaper than trial 2 (10 steps, not up to 20 steps) and at most "
    )


def test_trials_that_differ_in_the_seed_alone_are_one_point(tmp_path: Path) -> None:
    words = [f"{rate} seed={seed}" for rate in RATES[:2] for seed in (1, 2)]
    sweep = write(tmp_path, [shares(count, ASKED) for count in (10, 12, 25, 27)], words)
    assert sweep.ranking is not None
    assert [point.trials for point in sweep.ranking.points] == [[0, 1], [2, 3]]
    assert sweep.best == 3
    found = said(sweep)
    assert found["seeds"].startswith("up to 2 of one setting: their standard deviation is 4.7 points, ")
    assert "87% in the mean of 2 seeds" in found["value"]


def test_seeds_alone_are_one_point_without_a_winner(tmp_path: Path) -> None:
    sweep = write(tmp_path, [shares(count, ASKED) for count in (20, 22, 24)], ["seed=1", "seed=2", "seed=3"])
    found = said(sweep)
    assert "winner" not in found
    assert "73% in the mean of 3 seeds" in found["value"]
    assert found["seeds"].startswith("up to 3 of one setting: their standard deviation is 6.7 points")


def test_what_is_better_by_chance_is_counted_and_corrected(tmp_path: Path) -> None:
    sweep = write(tmp_path, [shares(count, ASKED) for count in (20, 22, 24)], RATES)
    assert sweep.still_better == 3
    assert said(sweep)["by chance"] == (
        "the verdicts call 3 of 3 trials better than the base, 3 after a correction for 3 trials; if training had no "
        "effect, up to 0.075 would be, and up to 7% of such sweeps would have at least one"
    )


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("missing", "trial 2 is not compared: it has no evaluate.json"),
        ("other", "trial 2 is not compared: it was measured on other items"),
        ("broken", "trial 2 is not compared: "),
    ],
)
def test_a_trial_that_cannot_be_compared_is_named_and_is_never_the_best(
    tmp_path: Path, damage: str, reason: str
) -> None:
    measures = [shares(count, ASKED) for count in (3, 12, 30)]
    if damage == "other":
        measures[2] = shares(30, JUDGED[:30])
    sweep = write(tmp_path, measures, RATES)
    file = tmp_path / "2" / "evaluate.json"
    if damage == "missing":
        file.unlink()
    elif damage == "broken":
        file.write_text("{", encoding="utf-8")
    sweep = read_sweep(tmp_path)
    assert sweep.best == 1
    assert said(sweep)["left out"].startswith(reason)
    assert sweep.ranking is not None
    assert [point.standing for point in sweep.ranking.points] == [Standing.worse, Standing.best]


def test_equal_trials_and_a_single_item_tell_nothing(tmp_path: Path) -> None:
    (tmp_path / "ties").mkdir()
    (tmp_path / "one").mkdir()
    ties = said(write(tmp_path / "ties", [shares(12, ASKED)] * 3, RATES))
    assert ties["winner"] == "none: exact_match of 30 prompts is 40% for all 3"
    single = said(write(tmp_path / "one", [shares(count, ASKED[:1]) for count in (0, 1)], RATES))
    assert (
        single["winner"]
        == "none: no significant difference in exact_match of 1 prompt between trials 0 and 1, at 95% confidence"
    )
    assert single["value"] == "100%; 1 prompt cannot give an interval"


def test_an_objective_without_items_is_not_tested(tmp_path: Path) -> None:
    write(tmp_path, [shares(count, ASKED) for count in (3, 12)], RATES)
    for run in tmp_path.iterdir():
        file = run / "report.json"
        file.write_text(file.read_text("utf-8").replace('"name": "exact_match"', '"name": "verdict.score"'), "utf-8")
    sweep = read_sweep(tmp_path)
    assert (sweep.best, sweep.ranking) == (1, None)
    assert said(sweep)["winner"] == "not tested: verdict.score is one number for each trial, without items"
