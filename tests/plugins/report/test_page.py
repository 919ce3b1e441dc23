"""The words and numbers of the page."""

from pathlib import Path

import pytest

from framework import testing
from framework.api.records import EvalResult, Measure, MeasureKind, Sample, Step
from framework.hooks.session import current
from framework.run.report import make_report
from framework_plugins.report import page


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (59.4, "59.4 s"),
        (59.96, "1 min 0 s"),
        (190, "3 min 10 s"),
        (3599.7, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_a_time_is_written_in_units_that_fit(seconds: float, words: str) -> None:
    assert page.duration(seconds) == words


def test_a_long_text_is_cut_in_its_middle() -> None:
    text = page.shorten("a" * 3000 + "b" * 3000)
    assert text == "a" * 2000 + " … " + "b" * 2000


def test_an_answer_is_right_only_beside_a_reference() -> None:
    sample = Sample("q", " b\n", "b", stopped=False, scores={})
    assert page.answer_pieces(sample) == {"pieces": [("b", False)], "right": True, "stopped": False}
    assert not page.answer_pieces(Sample("q", "b", None, stopped=True, scores={}))["right"]


@pytest.mark.parametrize(
    ("answer", "reference", "pieces"),
    [
        ("two red lamps", "two blue lamps", [("two ", False), ("red", True), (" lamps", False)]),
        ("two lamps", "two blue lamps", [("two lamps", False)]),
        ("a  b\n c", "a b c", [("a  b\n c", False)]),
        (" two very red lamps", "two lamps", [("two ", False), ("very red", True), (" lamps", False)]),
        ("no idea", "two blue lamps", [("no idea", False)]),  # nothing in common
    ],
)
def test_words_of_an_answer_that_the_reference_has_not_are_marked(
    answer: str, reference: str, pieces: list[tuple[str, bool]]
) -> None:
    found = page.answer_pieces(Sample("q", answer, reference, stopped=True, scores={}))["pieces"]
    assert found == pieces
    assert "".join(text for text, _ in found) == answer.strip()


def test_answers_that_got_worse_come_first(tmp_path: Path) -> None:
    plan = testing.plan([], run_dir=tmp_path)
    scores = {"kept": (1.0, 1.0), "gained": (0.0, 1.0), "lost": (1.0, 0.0)}
    sides = [
        [Sample(name, name, "x", stopped=True, scores={"exact_match": pair[side]}) for name, pair in scores.items()]
        for side in (0, 1)
    ]
    items = [[each.scores["exact_match"] for each in side] for side in sides]
    measures = [Measure(2 / 3, [*part], higher_is_better=True, kind=MeasureKind.content) for part in items]
    before, after = (EvalResult({"exact_match": one}, side) for one, side in zip(measures, sides, strict=True))
    report = make_report(plan, {}, {}, None, before, None, after, None, current().plugins)
    pairs = [*zip(*sides, strict=True)]
    found = page.worst_first(pairs, report, 2)
    assert [each["prompt"] for each in found["pairs"]] == ["lost", "kept"]
    assert found["sorted"]
    assert not page.worst_first(pairs[:2], report, 2)["sorted"]


def test_answers_that_were_learned_are_those_of_steps_from_all_over_the_training() -> None:
    sample = Sample("Why?", "<b>", None, stopped=True, scores={"good": 0.5, "short": 1.0})
    steps = [Step(n, 40, 0.1, 1.5, 2e-4, 1.0, 300, 2.0, samples=[sample] if n % 2 else []) for n in range(1, 41)]
    found = [*page.drawn_answers(steps)]
    assert [each["step"] for each in found] == [1, 7, 13, 19, 25, 31, 37]
    assert found[0]["scores"] == "good 0.5, short 1"
    assert [*page.drawn_answers([])] == []
