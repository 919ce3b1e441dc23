"""framework/api/scoring.py: both kinds of metrics, references that are missing, and metrics that fail."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.api import scoring
from framework.api.protocols import AnswerMetric, AnyMetric, Metric
from framework.api.records import Answer, Answered, Measure, MeasureKind, Message, Prompt, Scores
from framework.hooks.decorators import FunctionMetric, metric
from framework_plugins.evals.config import TokenF1Config
from framework_plugins.evals.metrics.token_f1 import TokenF1

KNOWN = Answered("Capital of Peru?", "Lima", "Lima", 1, stopped=True)
OPEN = Answered("Say something", "No", None, 1, stopped=False)


class Same(Metric):
    higher_is_better = True
    needs_reference = True

    def score(self, answer: str, reference: str | None) -> float:
        return float(answer == reference)


class Length(Same):
    def score(self, answer: str, reference: str | None) -> float:  # noqa: ARG002 - the protocol's signature
        return float(len(answer))


class Careless(Metric):
    higher_is_better = True
    needs_reference = False

    def score(self, answer: str, reference: str | None) -> float:  # noqa: ARG002 - the protocol's signature
        return 1 / (len(answer) - len("Lima"))


class Gives(AnswerMetric):
    """Gives the scores that the test sets."""

    def __init__(self, scores: Scores, *, exponential: bool = False, needs_reference: bool = False) -> None:
        self.scores, self.exponential, self.needs_reference = scores, exponential, needs_reference
        self.seen: list[Answered] = []

    def score_all(self, answers: Sequence[Answered]) -> Scores:
        self.seen += answers
        return self.scores


def test_either_kind_of_metric_is_scored_in_the_order_of_the_answers() -> None:
    asked = [KNOWN, OPEN, KNOWN]
    gives = Gives(Scores([1.0, 2.0, None]))
    measures, notes = scoring.measure({"same": Same(), "gives": gives}, asked)
    assert (measures["same"].items, measures["same"].value) == ([1.0, None, 1.0], 1.0)
    assert (measures["gives"].items, measures["gives"].value) == ([1.0, 2.0, None], 1.5)
    assert gives.seen == asked
    assert notes == ["1 of 3 prompts have no reference and are left out by same"]


def test_a_text_metric_is_measured_beside_its_content_and_the_best_constant_answer() -> None:
    references = ["positive"] * 3 + ["negative"]
    asked = [Answered(f"{n}?", "Positive.", reference, 1, stopped=True) for n, reference in enumerate(references)]
    measure = scoring.measure({"same": Same()}, [*asked, OPEN])[0]["same"]
    assert measure.value == 0
    assert measure.content == [1.0, 1.0, 1.0, 0.0, None]
    assert (measure.constant, measure.constant_items) == ("positive", [1.0, 1.0, 1.0, 0.0, None])
    assert measure.answers == 1
    both = [replace(one, answer="It is positive or negative.") for one in asked]
    for answers, more in ((both, []), (both[:3], ["negative"])):  # an answer that names all labels says none
        assert scoring.measure({"same": Same()}, answers, more=more)[0]["same"].content == []
    right = scoring.measure({"same": Same()}, [KNOWN])[0]["same"]
    assert right.content == []  # nothing to forgive
    judge = Gives(Scores([1.0]), needs_reference=True)
    judge.kind = MeasureKind.content
    assert scoring.measure({"judge": judge}, [KNOWN])[0]["judge"].constant_items == []
    assert judge.seen == [KNOWN]  # each question costs a request


def test_what_the_model_says_most_and_its_answers_to_other_prompts_are_controls_too() -> None:
    def f1(said: Sequence[str]) -> Measure:
        asked = [
            Answered(f"{n}?", answer, f"the home of {n + 1} is number {n + 70}", 1, stopped=True)
            for n, answer in enumerate(said)
        ]
        return scoring.measure({"f1": TokenF1(TokenF1Config())}, asked)[0]["f1"]

    frame = f1(["the home of is number"] * 6)
    assert (frame.constant, frame.constant_items) == ("the home of is number", frame.items)
    assert f1([f"the home of {n + 30} is number {n + 40}" for n in range(6)]).constant == "the home of 1 is number 70"
    assert f1([f"the home of is number x{n}" for n in range(6)]).constant == scoring.DEALT
    # A metric that does not look at the reference has no such control.
    graded = scoring.measure({"length": Length()}, [KNOWN, dataclasses.replace(KNOWN, answer="Lima, Peru")])[0]
    assert graded["length"].constant != scoring.DEALT


def test_what_is_scored_already_is_not_scored_again() -> None:
    asked = [Answered("?", "Lima.", "Lima", 1, stopped=True), KNOWN, OPEN]
    costly = Gives(Scores([3.0]))
    first = scoring.measure({"same": Same(), "gives": Gives(Scores([1.0, 2.0]))}, asked[:2])[0]
    again = scoring.measure({"same": Same(), "gives": costly}, asked, first)[0]
    assert costly.seen == asked[2:]
    assert again["gives"].items == [1.0, 2.0, 3.0]
    assert again["same"] == scoring.measure({"same": Same()}, asked)[0]["same"]


def test_a_decorated_function_is_a_metric_as_before() -> None:
    @metric(higher_is_better=False)
    def words(answer: str) -> float:
        """Words of the answer."""
        return float(len(answer.split()))

    made: FunctionMetric = words.create(words.schema())  # type: ignore[attr-defined]
    measures, notes = scoring.measure({"words": made}, [KNOWN, OPEN])
    assert (measures["words"].items, measures["words"].higher_is_better, notes) == ([1.0, 1.0], False, [])


def test_weights_count_and_an_exponential_is_one_of_the_mean() -> None:
    scores = Scores([math.log(2), math.log(8), None], [1.0, 3.0, 5.0])
    measures, _ = scoring.measure({"p": Gives(scores, exponential=True)}, [KNOWN, OPEN, OPEN])
    part = measures["p"]
    assert part.exponential
    assert part.weights == [1.0, 3.0, 5.0]
    assert part.value == pytest.approx((2 * 8**3) ** (1 / 4))
    samples = scoring.samples([KNOWN, OPEN, OPEN], measures)
    assert [sample.scores.get("p") for sample in samples] == [pytest.approx(2), pytest.approx(8), None]
    assert [(sample.prompt, sample.tokens, sample.stopped) for sample in samples[:2]] == [
        ("Capital of Peru?", 1, True),
        ("Say something", 1, False),
    ]


def test_an_exponential_stays_a_number_that_can_be_saved() -> None:
    measures, _ = scoring.measure({"p": Gives(Scores([1e6]), exponential=True)}, [KNOWN])
    assert math.isfinite(measures["p"].value)
    assert math.isfinite(scoring.samples([KNOWN], measures)[0].scores["p"])


def test_a_metric_without_any_reference_says_so_and_the_others_count() -> None:
    gives = Gives(Scores([]), needs_reference=True)
    measures, notes = scoring.measure({"same": Same(), "gives": gives, "careless": Careless()}, [OPEN])
    assert list(measures) == ["careless"]
    assert notes == [f"metric '{name}' needs references, but none of the prompts has one" for name in ("same", "gives")]
    assert gives.seen == []


def test_a_metric_that_raises_is_named_with_the_answer_and_the_line_of_its_code() -> None:
    measures, notes = scoring.measure({"careless": Careless(), "same": Same()}, [KNOWN, OPEN, KNOWN])
    assert measures["careless"].items == [None, -0.5, None]
    assert measures["same"].value == 1.0
    line = notes[0]
    assert line.startswith(
        f"metric 'careless' cannot score the answer 'Lima': ZeroDivisionError: division by zero ({__file__}:"
    )
    assert line.endswith("(2 of 3 answers have no score)")


class Leaves(Metric):
    higher_is_better = True
    needs_reference = False

    def __init__(self, what: BaseException) -> None:
        self.what = what

    def score(self, answer: str, reference: str | None) -> float:  # noqa: ARG002 - the protocol's signature
        raise self.what


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FrameworkError("give it a word"), "metric 'bad' cannot score the answer 'Lima': give it a word"),
        (SystemExit(1), "metric 'bad' cannot score the answer 'Lima': SystemExit: 1"),
        (MemoryError(), "metric 'bad' cannot score the answer 'Lima': MemoryError: no message"),
    ],
)
def test_whatever_a_metric_raises_the_run_goes_on(error: BaseException, told: str) -> None:
    measures, (note,) = scoring.measure({"bad": Leaves(error)}, [KNOWN])
    assert measures == {}
    assert note.startswith(told)


def test_the_one_who_stops_the_run_is_no_failure_of_a_metric() -> None:
    with pytest.raises(KeyboardInterrupt):
        scoring.measure({"bad": Leaves(KeyboardInterrupt())}, [KNOWN])


class Returns(Metric):
    higher_is_better = True
    needs_reference = False

    def __init__(self, what: object) -> None:
        self.what = what

    def score(self, answer: str, reference: str | None) -> float:  # noqa: ARG002 - the protocol's signature
        return self.what  # type: ignore[return-value]


@pytest.mark.parametrize("what", [math.nan, math.inf])
def test_what_is_no_finite_number_is_no_score(what: object) -> None:
    measures, (note,) = scoring.measure({"odd": Returns(what)}, [KNOWN])
    assert measures == {}
    assert note == f"metric 'odd' cannot score the answer 'Lima': it returned {what!r}, which is not a finite number"


@pytest.mark.parametrize("what", [None, "yes", [1.0]])
def test_what_is_no_number_ends_the_run(what: object) -> None:
    with pytest.raises(FrameworkError) as caught:
        scoring.measure({"odd": Returns(what)}, [KNOWN])
    reason = f"it returned {what!r}, which is not a number. Return a float, such as 1.0 or 0.0"
    assert str(caught.value) == f"metric 'odd' cannot score the answer 'Lima': {reason}"


def test_what_is_no_number_among_all_scores_ends_the_run() -> None:
    with pytest.raises(FrameworkError, match=r"^metric 'odd': it returned 'yes', which is not a number"):
        scoring.measure({"odd": Gives(Scores([1.0, "yes"]))}, [KNOWN, OPEN])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("scores", "problem"),
    [
        (Scores([1.0]), "it scores 1 of 2 answers; give None for an answer without a score"),
        (Scores([1.0, 1.0], [1.0]), "it scores 1 of 2 answers; give None for an answer without a score"),
        (Scores([1.0, math.nan]), "it returned nan, which is not a finite number"),
        (Scores([1.0, 1.0], [1.0, -1.0]), "it returned the weight -1.0, which is below 0"),
        ([1.0, 1.0], "AttributeError: 'list' object has no attribute 'items'"),
    ],
)
def test_what_a_metric_of_all_answers_gives_is_checked(scores: Scores, problem: str) -> None:
    measures, (note,) = scoring.measure({"odd": Gives(scores)}, [KNOWN, OPEN])
    assert measures == {}
    assert note.startswith(f"metric 'odd' cannot score the 2 answers, the first 'Lima': {problem}")


@pytest.mark.parametrize(
    "scores", [Scores([None, None]), Scores([1.0, None], [0.0, 1.0]), Scores([1.0, 1.0], [0.0] * 2)]
)
def test_a_metric_without_a_score_is_left_out(scores: Scores) -> None:
    measures, _ = scoring.measure({"empty": Gives(scores)}, [KNOWN, OPEN])
    assert measures == {}


def test_notes_of_a_metric_carry_its_name() -> None:
    _, notes = scoring.measure({"judge": Gives(Scores([1.0], notes=["it was late"]))}, [KNOWN])
    assert notes == ["metric 'judge': it was late"]


def test_without_answers_nothing_is_said() -> None:
    assert scoring.measure({"same": Same()}, []) == ({}, [])


class Reads(AnswerMetric):
    needs_log_probs = True

    def score_all(self, answers: Sequence[Answered]) -> Scores:
        return Scores([sum(one.reference_log_probs) if one.reference_log_probs else None for one in answers])


class Watched(testing.EchoModel):
    """Counts how often it is asked to score, and how many rows."""

    asked: list[int]

    def score(self, rows):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - as the base
        self.asked.append(len(rows))
        return super().score(rows)


@pytest.fixture
def model(tmp_path: Path) -> Watched:
    made = Watched(testing.plan([], run_dir=tmp_path))
    made.asked = []
    return made


PROMPTS = [
    Prompt((Message("user", "one"),), "two three"),
    Prompt((Message("user", "four"),)),
    Prompt((Message("user", "one"), Message("assistant", "not this"), Message("user", "six")), "seven"),
]
ANSWERS = [Answer("x", 1, stopped=True)] * 3


@pytest.mark.parametrize(("metrics", "asked"), [({"reads": Reads()}, [2]), ({"same": Same()}, []), ({}, [])])
def test_the_references_are_read_once_and_only_for_a_metric_that_wants_that(
    model: Watched, metrics: dict[str, AnyMetric], asked: list[int]
) -> None:
    answered = scoring.answered(model, PROMPTS, ANSWERS, metrics)
    assert model.asked == asked
    assert [one.question for one in answered] == ["one", "four", "user: one\nassistant: not this\nuser: six"]
    lengths = [one.reference_log_probs and len(one.reference_log_probs) for one in answered]
    assert lengths == ([3, None, 2] if asked else [None] * 3)  # words of the reference alone, and the stop


def test_the_log_probabilities_are_those_of_the_model(model: Watched) -> None:
    answered = scoring.answered(model, PROMPTS[:1], ANSWERS[:1], {"reads": Reads()})
    measures, _ = scoring.measure({"reads": Reads()}, answered)
    assert measures["reads"].value == pytest.approx(-3 * math.log(len(model.words) + 1))


def test_no_reference_at_all_asks_the_model_nothing(model: Watched) -> None:
    assert [one.reference_log_probs for one in scoring.answered(model, PROMPTS[1:2], ANSWERS[:1], {"r": Reads()})] == [
        None
    ]
    assert model.asked == []


def test_another_attribute_by_the_name_of_kind_is_none_of_a_measure() -> None:
    class Named(Same):
        kind = "rouge1"  # type: ignore[assignment]

    measures, _ = scoring.measure({"named": Named()}, [KNOWN])
    assert measures["named"].kind is MeasureKind.content
