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
    text = page.cut("a" * 3000 + "b" * 3000)
    assert text == "a" * 2000 + " … " + "b" * 2000


def test_an_answer_is_right_only_beside_a_reference() -> None:
    sample = Sample("q", " b\n", "b", stopped=False, scores={})
    assert page.said(sample) == {"text": "b", "right": True, "stopped": False}
    assert not page.said(Sample("q", "b", None, stopped=True, scores={}))["right"]
