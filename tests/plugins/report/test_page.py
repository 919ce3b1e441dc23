"""The words and numbers of the page."""

import pytest

from framework.api.records import Sample
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
