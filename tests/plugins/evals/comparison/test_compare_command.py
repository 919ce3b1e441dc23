"""`python -m framework compare`: evaluations of any origin, what they come to, and what cannot be compared."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from backports.zstd import zipfile

from framework.api.records import EvalResult, Measure, MeasureKind, Sample, save
from framework_plugins.evals.comparison.command import ACCEPTED
from tests.plugins.report.test_html import assert_policy
from tests.support.browser import layout, needs_browser
from tests.support.forked_program import Result
from tests.support.project import Project, project

LOGS = Path(__file__).parent / "inspect_logs"
"""Two evaluations by inspect 0.3.285 with its mock model, which `test_compare_real.py` makes again."""
SCHEMA = Path(__file__).parents[4] / "plugins" / "framework_plugins" / "evals" / "comparison" / "compare.schema.json"
Rows = Sequence[Mapping[str, Any]]


def lines(rows: Rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def scored(values: Sequence[Any], metric: str = "acc", **more: Any) -> Rows:
    """Return items, each with a prompt that is like no other."""
    return [
        {"id": f"q{place}", "scores": {metric: value}, "prompt": f"{7919 * place:x} is {104729 * place:b}?", **more}
        for place, value in enumerate(values)
    ]


def compared(place: Path, first: Rows, second: Rows, *words: str) -> Result:
    return project(place, {"a.jsonl": lines(first), "b.jsonl": lines(second)}).run(
        "compare", "a.jsonl", "b.jsonl", *words
    )


def sample(place: int, **scores: Any) -> dict[str, Any]:
    """Return a line of lm-eval's log, with what `compare` reads of it."""
    doc = {"question": f"What follows {place * 7919}?", "book": place // 4}
    return {"doc_id": place, "doc": doc, "target": str(place), "filter": "none", "metrics": [*scores], **scores}


def lm_eval_log(folder: Path, rows: Mapping[str, Rows], figures: Mapping[str, Any], **more: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for task, samples in rows.items():
        (folder / f"samples_{task}_2026-11-30T01-02-03.4.jsonl").write_text(lines(samples), encoding="utf-8")
    results = {"results": figures, **more}
    (folder / "results_2026-11-30T01-02-03.4.json").write_text(json.dumps(results), encoding="utf-8")


def thread(place: Path) -> Project:
    """Write two logs with the figures of pull request 3868 of lm-eval: n = 220, .080 unpaired and .008 paired.

    143 and 160 right answers, of which 133 are to the same questions: 27 are gained and 10 lost.
    """
    for name, right in (("a", {*range(143)}), ("b", {*range(133), *range(150, 177)})):
        rows = [sample(number, acc=float(number in right)) for number in range(220)]
        share = len(right) / 220
        error = (share * (1 - share) / 219) ** 0.5
        lm_eval_log(
            place / name, {"arc": rows}, {"arc": {"acc,none": share, "acc_stderr,none": error}},
            higher_is_better={"arc": {"acc": True}}, versions={"arc": 1.0},
        )  # fmt: skip
    return project(place)


def test_a_difference_that_an_unpaired_test_misses_shows_if_items_are_paired(tmp_path: Path) -> None:
    result = thread(tmp_path).run("compare", "a", "b")
    assert result.err == ""
    assert "B against A: better in arc.acc.\n" in result.out
    assert "A  0.6500 ± 0.0322" in result.out
    assert "B  0.7273 ± 0.0301  B − A  +2 to +13 points  0.0076  better" in result.out
    assert "an unpaired test of them gives p = 0.08 for arc.acc of B" in result.out


def test_clusters_are_found_by_a_field_and_make_the_difference_less_certain(tmp_path: Path) -> None:
    result = thread(tmp_path).run("compare", "a", "b", "--cluster", "book", "--json")
    (measure,) = json.loads(result.out)["measures"]
    assert (measure["items"], measure["clusters"]) == (220, 55)
    assert measure["comparisons"][0]["p_value"] > 0.03
    rows = [{**row, "cluster": place // 4} for place, row in enumerate(scored([1, 0] * 10))]
    named = compared(tmp_path, rows, scored([1] * 20), "--json")
    assert json.loads(named.out)["measures"][0]["clusters"] == 5
    none = thread(tmp_path).run("compare", "a", "b", "--cluster", "none", "--json")
    assert json.loads(none.out)["measures"][0]["clusters"] == 0


def test_the_order_of_the_files_has_no_effect_and_the_coarser_clusters_count(tmp_path: Path) -> None:
    values = [1.0, 0.25, 0.5, 0.75] * 10
    fine, coarse = ([{**row, "cluster": place // size} for place, row in enumerate(scored(values))] for size in (2, 4))
    other = scored([value / (1 + place % 3) for place, value in enumerate(values)])
    found = []
    for pair in ((fine, other), (other[::-1], fine)):
        (measure,) = json.loads(compared(tmp_path, *pair, "--json").out)["measures"]
        found.append((measure["clusters"], measure["comparisons"][0]["p_value"]))
    assert found[0] == found[1]
    assert found[0][0] == 20
    notes = json.loads(compared(tmp_path, fine, coarse, "--json").out)
    assert notes["measures"][0]["clusters"] == 10
    assert any("A, B have different clusters: items that share one" in note for note in notes["notes"])


def test_the_figures_are_those_of_the_items_that_are_compared(tmp_path: Path) -> None:
    first, second = scored([1] * 6 + [0] * 4), scored([1] * 8 + [None, 0])
    common = compared(tmp_path, first, second[:6], "--common").out
    assert "A  1.0000 ± 0.0000" in common
    assert "acc: 4 of the items are not in all of them, and are left out (--missing-as-wrong counts" in common
    assert "A  0.6667 ± 0.1667" in compared(tmp_path, first, second).out
    wrong = compared(tmp_path, first, second[:9], "--missing-as-wrong").out
    assert "acc: 10 items" in wrong
    assert "A  0.6000 ± 0.1633" in wrong
    assert "B  0.8000 ± 0.1333" in wrong


def test_logs_of_inspect_are_read_with_the_figures_that_it_prints(tmp_path: Path) -> None:
    result = project(tmp_path).run("compare", str(LOGS / "one.eval"), str(LOGS / "two.eval"), "--all-pairs")
    assert result.err == ""
    assert "A  0.125 ± 0.125" in result.out
    assert "B  0.875 ± 0.125  B − A  +13 to +100 points  0.031  better" in result.out


def test_a_json_log_of_inspect_is_the_same_as_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(LOGS / "one.eval") as archive:
        names = [name for name in archive.namelist() if name.startswith("samples/")]
        samples = [json.loads(archive.read(name)) for name in names]
        header = json.loads(archive.read("header.json"))
    (tmp_path / "one.json").write_text(json.dumps(header | {"samples": samples}), encoding="utf-8")
    result = project(tmp_path).run("compare", "one.json", str(LOGS / "one.eval"))
    assert result.err == ""
    assert "B against A: no difference on these items in match." in result.out


def archive(file: Path, samples: Rows, **header: Any) -> None:
    """Write an archive as older versions of inspect did, without zstd."""
    whole = {"version": 2, "status": "success", "eval": {"task": "sums", "task_version": 0}, **header}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("header.json", json.dumps(whole))
        opened.writestr("summaries.json", json.dumps(samples))


def asked(place: int, value: Any, **more: Any) -> dict[str, Any]:
    scores = {} if value is None else {"grader": {"value": value}}
    return {"id": place, "epoch": 1, "input": f"What is {place * 7919}?", "target": "x", "scores": scores, **more}


def test_letters_words_and_several_values_of_inspect_are_scores_and_epochs_are_one_item(tmp_path: Path) -> None:
    values = ["C", "P", "I", "N", "yes", {"tone": 3, "facts": True}]
    first = [asked(place, value) for place, value in enumerate(values)]
    archive(
        tmp_path / "a.eval", [*first, *({**one, "epoch": 2, "scores": {"grader": {"value": "I"}}} for one in first[:2])]
    )
    archive(tmp_path / "b.eval", [asked(place, "C") for place in range(6)])
    words = ("--metric", "grader", "--higher-is-better", "grader", "--json")
    result = project(tmp_path).run("compare", "a.eval", "b.eval", *words)
    (measure,) = json.loads(result.out)["measures"]
    assert measure["systems"]["A"]["value"] == pytest.approx((0.5 + 0.25 + 0 + 0 + 1) / 5)
    assert measure["systems"]["A"]["missing"] == 1
    assert measure["comparisons"][0]["difference"] == pytest.approx(1 - 1.75 / 5)


def test_perplexities_and_groups_of_lm_eval_are_compared_by_their_items(tmp_path: Path) -> None:
    nats = [2.0 + 0.1 * number for number in range(8)]
    for name, more in (("a", 0.0), ("b", 0.5)):
        texts = [sample(place, word_perplexity=[-(nat + more) * 9, 9]) for place, nat in enumerate(nats)]
        mean = sum(nats) / 8 + more
        tasks = {"x": [sample(k, acc=1.0) for k in range(6)], "y": [sample(k, acc=float(k > 4)) for k in range(6)]}
        lm_eval_log(
            tmp_path / name / "model", {"texts": texts, **tasks},
            {
                "texts": {"word_perplexity,none": 2.718281828459045**mean, "word_perplexity_stderr,none": "N/A"},
                "both": {"acc,none": 7 / 12}, "x": {"acc,none": 1.0}, "y": {"acc,none": 1 / 6, "f1,none": 0.7},
            },
            higher_is_better={"texts": {"word_perplexity": False}}, group_subtasks={"both": ["x", "y"]},
        )  # fmt: skip
    result = project(tmp_path).run("compare", "a", "b")
    assert result.err == ""
    assert "B against A: worse in texts.word_perplexity; no difference on these items in both.acc.\n" in result.out
    assert "both.acc: 12 items" in result.out
    assert "not compared: 2 measures of the tasks in both, unless --metric names them" in result.out
    named = project(tmp_path).run("compare", "a", "b", "--metric", "y.acc", "--metric", "both.acc", "--json")
    assert [measure["items"] for measure in json.loads(named.out)["measures"]] == [6, 12]
    files = [next((tmp_path / name / "model").glob("samples_x*")) for name in "ab"]
    alone = project(tmp_path).run("compare", *map(str, files), "--json")
    assert [measure["name"] for measure in json.loads(alone.out)["measures"]] == ["x.acc"]


def test_a_figure_that_is_no_mean_over_items_is_named_and_left_out(tmp_path: Path) -> None:
    for name in "ab":
        rows = [sample(place, acc=1.0, f1=[1, 0]) for place in range(6)]
        lm_eval_log(tmp_path / name, {"arc": rows}, {"arc": {"acc,none": 1.0, "f1,none": 0.4}})
    result = project(tmp_path).run("compare", "a", "b")
    assert "not compared: arc.f1; lm-eval's figure is not a mean over items, so nothing can be paired" in result.out


def test_samples_without_the_file_of_results_are_compared_by_metrics_that_are_known(tmp_path: Path) -> None:
    for name in "ab":
        lm_eval_log(tmp_path / name, {"arc": [sample(place, acc=1.0, perplexity=-2.0) for place in range(6)]}, {})
        (tmp_path / name / "results_2026-11-30T01-02-03.4.json").unlink()
    files = [str(next((tmp_path / name).glob("*.jsonl"))) for name in "ab"]
    result = project(tmp_path).run("compare", *files)
    assert result.err == ""
    assert "B against A: no difference on these items in arc.acc.\n" in result.out
    named = [Path(file).rename(tmp_path / f"{name}.jsonl") for name, file in zip("ab", files, strict=True)]
    result = project(tmp_path).run("compare", *map(str, named))
    assert "B against A: no difference on these items in task.acc.\n" in result.out


@pytest.mark.parametrize("metrics", [0.5, [{"name": "acc"}], {"acc": 1}])
def test_a_sample_of_lm_eval_that_names_no_metrics_is_refused(tmp_path: Path, metrics: Any) -> None:
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text(lines([{**sample(1, acc=1.0), "metrics": metrics}]), encoding="utf-8")
    result = project(tmp_path).run("compare", "a.jsonl", "b.jsonl")
    assert result.code == 2
    assert result.err == "a.jsonl:1: 'metrics' is not a list of names, as lm-eval writes it\n"


def run_folder(folder: Path, right: int, size: int = 12, **more: Any) -> None:
    """Write what `compare` reads of a run."""
    items: list[float | None] = [float(place < right) for place in range(size)]
    samples = [Sample(f"Ask {place}", "x", "y", stopped=True, scores={}) for place in range(size)]
    measure = Measure(right / size, items, higher_is_better=True, kind=MeasureKind.content, **more)
    folder.mkdir()
    save(EvalResult({"exact_match": measure, "copied": Measure(0.5)}, samples), folder / "evaluate.json")
    for name, value in (("plan.json", {}), ("overrides.json", [])):
        (folder / name).write_text(json.dumps(value), encoding="utf-8")


def test_runs_are_compared_with_their_own_clusters(tmp_path: Path) -> None:
    for name, right in (("a", 2), ("b", 10)):
        run_folder(tmp_path / name, right, clusters=[place // 2 for place in range(12)])
    result = project(tmp_path).run("compare", "a", "b")
    assert result.err == ""
    assert "exact_match: 12 items in 6 clusters" in result.out
    assert "not compared: copied; neither better nor worse, or without items" in result.out


def test_runs_that_looked_other_numbers_of_times_are_compared_on_what_both_were_asked(tmp_path: Path) -> None:
    run_folder(tmp_path / "a", 2, look_share=0.2)
    run_folder(tmp_path / "b", 30, 40, look_share=0.8)
    result = project(tmp_path).run("compare", "a", "b", "--metric", "exact_match")
    assert (result.err, "exact_match: 12 items" in result.out) == ("", True)
    assert "12 of A, 40 of B were asked. The 12 that all were asked are compared" in " ".join(result.out.split())
    for name, size in (("c", 12), ("d", 40)):  # these asked all at once
        run_folder(tmp_path / name, 10, size)
    assert "--common compares the 12 that all have" in project(tmp_path).run("compare", "c", "d").err


def test_a_worse_system_ends_with_the_code_of_a_bad_verdict_and_a_page_is_written(tmp_path: Path) -> None:
    first, second = scored([1] * 40), scored([0] * 12 + [1] * 28)
    result = compared(tmp_path, first, second, "--fail-on", "worse", "--html", "page.html")
    assert result.code == 3
    assert "--fail-on worse: B in acc, -47 to -13 points from A\n" in result.out
    assert_policy((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert compared(tmp_path, second, first, "--fail-on", "worse").code == 0


@pytest.mark.parametrize(
    ("lost", "words", "code"),
    [
        (12, ("worse",), 3),
        (12, ("worse", "--margin", "0.5"), 0),  # significantly worse, and more than 50 points are ruled out
        (3, ("worse",), 0),
        (3, ("undecided",), 3),  # more than 5 points are not ruled out
        (3, ("undecided", "--margin", "0.3"), 0),
    ],
)
def test_a_margin_is_a_loss_that_is_allowed(lost: int, words: Sequence[str], code: int, tmp_path: Path) -> None:
    result = compared(tmp_path, scored([1] * 40), scored([0] * lost + [1] * (40 - lost)), "--fail-on", *words)
    assert (result.code, result.err) == (code, "")


def test_the_json_fits_its_schema(tmp_path: Path) -> None:
    result = compared(tmp_path, scored([1] * 8, reward=0), scored([None, 0, *[1] * 6]), "--json", "--fail-on", "worse")
    value = json.loads(result.out)
    jsonschema.validate(value, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert value["measures"][0]["systems"]["B"] == {"value": 6 / 7, "printed": "0.8571 ± 0.1429", "missing": 1}


@needs_browser
def test_the_page_fits_a_telephone(tmp_path: Path) -> None:
    name, metric = "long_" * 20 + ".jsonl", "task_" * 20 + ".f1"
    files = {name: lines(scored([1] * 8, metric)), "b.jsonl": lines(scored([0.5] * 8, metric))}
    result = project(tmp_path, files).run("compare", name, "b.jsonl", "--html", "page.html")
    assert result.err == ""
    assert layout((tmp_path / "page.html").read_text(encoding="utf-8"), tmp_path, 390).wider == 0


TWO = scored([1, 0, 1, 0, 1, 0])
NAMED = [{**row, "id": f"p{place}"} for place, row in enumerate(TWO)]
TASTE = scored([1] * 6, "taste")
BAD: dict[str, tuple[Rows, Rows, Sequence[str], str]] = {
    "other items": (
        TWO, NAMED, (),
        "acc: 6 of the 6 items in A (a.jsonl) are not in B (b.jsonl), first q0; 6 in B (b.jsonl) are not in A, first "
        "p0: they are evaluations of other things",
    ),
    "missing items": (
        TWO, TWO[:4], (),
        "acc: 2 of the 6 items in A (a.jsonl) are not in B (b.jsonl), first q4: --common compares the 4 that all have",
    ),
    "other prompts": (
        TWO, [{**row, "prompt": "?"} for row in TWO], (),
        "acc: 6 of 6 items have one name and different contents in A (a.jsonl) and B (b.jsonl), first q0: the prompts ",
    ),
    "an item twice": (TWO, [*TWO, TWO[2]], (), "b.jsonl:7: the item q2 is there twice, first in line 3. Each "),
    "one item": (TWO[:1], TWO[:1], (), "acc: not compared, 1 item in common cannot show "),
    "no direction": (
        TASTE, TASTE, (),
        "taste: nothing says whether a higher value is better. Add --higher-is-better taste or --lower-is-better taste",
    ),
    "other metrics": (TWO, scored([1] * 6, "f1"), (), "no measure is in all of them: A has acc; B has f1"),
    "an unknown metric": (TWO, TWO, ("--metric", "accc"), "--metric accc is not in A, B: unknown metric 'accc'"),
    "a text for a score": (TWO, scored(["good"] * 6), (), "b.jsonl:1: the score of acc is 'good'; a number, true, "),
    "an infinite score": (TWO, scored([1, 0, 1, 0, 1, math.inf]), (), "b.jsonl:6: acc: inf is too large for a score: "),
    "a large score": (TWO, scored([1e308] * 6), (), "b.jsonl:1: acc: 1e+308 is too large for a score: the largest is "),
    "a larger score": (TWO, scored([10**400] * 6), (), "b.jsonl:1: acc: 1000"),
    "a page for an evaluation": (
        TWO, TWO, ("--html", "a.jsonl"), "--html a.jsonl would replace the evaluation a.jsonl: name another file",
    ),
    "another shape": (TWO, [{"id": 1, "acc": 1}], (), 'b.jsonl:1: a line looks like {"id": "q1", "scores": {"acc": '),
    "no such field": (TWO, TWO, ("--cluster", "book"), "a.jsonl:1: the item has no field 'book', which --cluster "),
    "shares beside percents": (
        TWO, scored([100, 0, 100, 0, 50, 100]), (),
        "acc: the scores are at most 1 in A (a.jsonl) and 100 in B (b.jsonl), as if these were shares and those "
        "percents: divide the scores of B by 100, ",
    ),
    "clusters that cross": (
        [{**row, "cluster": place % 2} for place, row in enumerate(TWO)],
        [{**row, "cluster": place % 3} for place, row in enumerate(TWO)], (),
        "acc: A, B have different clusters, and those of none contain the others: write the same 'cluster' into all ",
    ),
    "one measure of other items": (
        [{**row, "scores": {"acc": 1, "f1": 1}} for row in TWO],
        [{**row, "scores": {"acc": 1} | ({"f1": 1} if place < 4 else {})} for place, row in enumerate(TWO)], (),
        "f1: 2 of the 6 items in A (a.jsonl) are not in B (b.jsonl), first q4: --common compares the 4 that all have, "
        "--missing-as-wrong counts the others as wrong\nTo compare the rest: --metric acc\n",
    ),
    "grades that are missing": (
        scored([1, 5, 3], "f1"), scored([2, 4], "f1"), ("--missing-as-wrong",),
        "--missing-as-wrong: f1 has scores from 1 to 5 in A (a.jsonl), so what is wrong is not known. It needs ",
    ),
    "a margin of 5": (TWO, TWO, ("--margin", "5"), "--margin: '5' is not a number from 0 to below 1, such as 0.05. "),
}  # fmt: skip


@pytest.mark.parametrize(("first", "second", "words", "text"), BAD.values(), ids=BAD)
def test_what_cannot_be_compared_is_refused(
    first: Rows, second: Rows, words: Sequence[str], text: str, tmp_path: Path
) -> None:
    result = compared(tmp_path, first, second, *words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(text)
    assert result.err.count("\n") <= 2


def test_half_a_character_and_escape_codes_are_no_obstacle(tmp_path: Path) -> None:
    rows = [{**row, "prompt": f"{row['prompt']} \ud800"} for row in scored([1, 0] * 10, "\x1b[31macc")]
    words = ("--higher-is-better", "\x1b[31macc")
    result = compared(tmp_path, rows, [{**row, "scores": {"\x1b[31macc": 1}} for row in rows], *words)
    assert (result.code, result.err) == (0, "")
    assert "\x1b" not in result.out


def test_files_that_are_no_evaluations_are_refused(tmp_path: Path) -> None:
    place = project(tmp_path, {"a.jsonl": lines(TWO), "cut.jsonl": '{"id": 1, "sco', "empty.jsonl": "", "x.csv": "id"})
    archive(tmp_path / "old.eval", [], version=1)
    archive(tmp_path / "failed.eval", [], status="error", error={"message": "no model\nat all"})
    archive(tmp_path / "numbers.eval", [5])  # type: ignore[list-item] # not a sample
    (tmp_path / "cut.eval").write_bytes((LOGS / "one.eval").read_bytes()[:5000])
    (tmp_path / "lm").mkdir()
    (tmp_path / "lm" / "results_1.json").write_text("{}")
    told = {
        name: place.run("compare", "a.jsonl", name).err
        for name in ("a.jsonl", "nope", "cut.jsonl", "empty.jsonl", "x.csv", "old.eval", "cut.eval", "lm")
    }
    assert place.run("compare", "a.jsonl", "numbers.eval").err == "numbers.eval: sample 1 has no 'id' and 'input'\n"
    archive(tmp_path / "odd.eval", [asked(0, "C", epoch=[1])])
    assert place.run("compare", "a.jsonl", "odd.eval").err.startswith(
        "odd.eval does not have the form of a log of inspect (TypeError: int() argument must be"
    )
    assert place.run("compare", "a.jsonl", "failed.eval").err.startswith(
        "failed.eval: the evaluation failed, status 'error' (no model), so its samples"
    )
    assert told == {
        "a.jsonl": "a.jsonl is named twice: an evaluation does not differ from itself\n",
        "nope": "nope: there is no such file or folder\n",
        "cut.jsonl": "cut.jsonl:1: not valid JSON (Unterminated string starting at: line 1 column 11 (char 10)). "
        "Was the file copied in part?\n",
        "empty.jsonl": "empty.jsonl is empty\n",
        "x.csv": f"x.csv is not {ACCEPTED}\n",
        "old.eval": "old.eval has version 1 of inspect's log format, and version 2 is read: convert it with a newer "
        "inspect, `inspect log convert`\n",
        "cut.eval": "cut.eval is damaged (File is not a zip file): was it copied in part?\n",
        "lm": f"lm is not {ACCEPTED}. lm-eval's results are there without samples: evaluate with --log_samples\n",
    }
