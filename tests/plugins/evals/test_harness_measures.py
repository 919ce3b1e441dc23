"""What lm-eval says of its tasks becomes measures, with the values of the documents where those make the figure up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.api.records import Answer, Aspect, EvalResult
from framework_plugins.evals.harness.measures import result


class Said:
    """A model of which only the answers are read."""

    def __init__(self) -> None:
        self.generated = {("Ask", "Yes."): Answer("Yes.", 2, stopped=False)}


def told(
    figures: Mapping[str, Mapping[str, Any]],
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    groups: Mapping[str, Sequence[str]] | None = None,
    up: Mapping[str, Mapping[str, Any]] | None = None,
) -> EvalResult:
    results = {"results": figures, "samples": rows, "group_subtasks": groups or {}, "higher_is_better": up or {}}
    return result(results, Aspect.task, Said(), samples=5)  # type: ignore[arg-type]


def rows(metric: str, values: Sequence[Any], chosen: str = "none") -> list[dict[str, Any]]:
    asked = {"filter": chosen, "arguments": [("Ask", " b")], "resps": [[(-1.0, False)]], "metrics": [metric]}
    return [{**asked, metric: value} for value in values]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_a_mean_has_its_items(values: list[float]) -> None:
    mean = sum(values) / len(values)
    made = told({"t": {"acc,none": mean, "acc_stderr,none": 0.1, "alias": "t"}}, {"t": rows("acc", values)})
    assert list(made.measures) == ["t.acc"]
    assert made.measures["t.acc"].items == values
    assert (made.measures["t.acc"].value, made.measures["t.acc"].stderr) == (mean, 0.1)


@given(st.lists(st.tuples(st.floats(-200, -1), st.integers(1, 90)), min_size=1, max_size=20))
def test_likelihoods_spread_over_words_or_bytes_have_rates_and_weights(pairs: list[tuple[float, int]]) -> None:
    nats = -sum(likelihood for likelihood, _ in pairs) / sum(size for _, size in pairs)
    figures = {"word_perplexity,none": math.exp(nats), "bits_per_byte,none": nats / math.log(2)}
    each = [{**row, "bits_per_byte": row["word_perplexity"]} for row in rows("word_perplexity", pairs)]
    made = told({"t": figures}, {"t": each}, up={"t": {"word_perplexity": False, "bits_per_byte": False}})
    words, bits = made.measures["t.word_perplexity"], made.measures["t.bits_per_byte"]
    assert words.weights == bits.weights == [size for _, size in pairs]
    assert (words.exponential, words.higher_is_better) == (True, False)
    for measure in (words, bits):
        pieces = zip(measure.items, measure.weights, strict=True)
        mean = sum((item or 0) * weight for item, weight in pieces) / sum(measure.weights)
        assert (math.exp(mean) if measure.exponential else mean) == pytest.approx(measure.value)


def test_each_filter_is_a_measure_of_its_own() -> None:
    figures = {"em,strict-match": 0.5, "em,none": 1.0}
    made = told({"t": figures}, {"t": [*rows("em", [0.0, 1.0], "strict-match"), *rows("em", [1.0, 1.0])]})
    assert {name: measure.items for name, measure in made.measures.items()} == {
        "t.em.strict-match": [0, 1],
        "t.em": [1, 1],
    }


@pytest.mark.parametrize(("value", "weights"), [(0.4, []), (0.375, [0.5, 0.5, 1 / 3, 1 / 3, 1 / 3])])
def test_a_group_has_the_items_of_its_tasks(value: float, weights: list[float]) -> None:
    each = {"a": rows("acc", [1.0, 0.0]), "b": rows("acc", [0.0, 0.0, 1.0])}
    if weights:  # its tasks count the same: (1/2 + 1/4) / 2 of four documents in the second
        each["b"], weights = rows("acc", [0.0, 0.0, 1.0, 0.0]), [0.5, 0.5, 0.25, 0.25, 0.25, 0.25]
    made = told({"g": {"acc,none": value}}, each, groups={"g": ["h", "b"], "h": ["a"]})
    assert len(made.measures["g.acc"].items) == sum(map(len, each.values()))
    assert made.measures["g.acc"].weights == weights


@pytest.mark.parametrize("values", [[(1, 0), (0, 0)], ["a", "b"], [0.1, 0.2], []])
def test_a_figure_that_the_documents_do_not_make_up_stands_alone(values: list[Any]) -> None:
    measure = told({"t": {"f1,none": 0.7, "f1_stderr,none": "N/A"}}, {"t": rows("f1", values)}).measures["t.f1"]
    assert (measure.value, measure.items, measure.weights, measure.stderr) == (0.7, [], [], None)


@pytest.mark.parametrize("value", [float("nan"), "N/A", float("inf"), None])
def test_what_is_no_number_is_a_note(value: object) -> None:
    made = told({"t": {"acc,none": value}}, {"t": []})
    assert made.measures == {}
    assert made.notes == [f"t.acc is {value!r}, not a number"]


def test_answers_are_samples_and_choices_are_not() -> None:
    answered = {**rows("em", [1.0])[0], "resps": [["Yes."]], "target": "Yes", "arguments": [("Ask", {"until": []})]}
    made = told({"t": {"em,none": 1.0}}, {"t": [answered], "u": [{**rows("acc", [0.0])[0], "target": 1}]})
    (sample,) = made.samples
    assert (sample.prompt, sample.answer, sample.reference) == ("Ask", "Yes.", "Yes")
    assert (sample.scores, sample.stopped, sample.tokens) == ({"t.em": 1.0}, False, 2)
