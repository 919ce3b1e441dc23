"""An answer matches when it is the reference."""

import pytest

from framework_plugins.evals.config import ExactMatchConfig
from framework_plugins.evals.metrics.exact_match import ExactMatch


@pytest.mark.parametrize(
    ("answer", "reference", "exact", "folded"),
    [
        ("Paris", "Paris", 1, 1),
        ("\n Paris ", "Paris", 1, 1),
        ("paris", "PARIS", 0, 1),
        ("Straße", "STRASSE", 0, 1),
        ("Paris.", "Paris", 0, 0),
        ("a  b", "a b", 0, 0),
        ("", "Paris", 0, 0),
    ],
)
def test_an_answer_matches_when_it_is_the_reference(answer: str, reference: str, exact: int, folded: int) -> None:
    assert ExactMatch(ExactMatchConfig()).score(answer, reference) == exact
    assert ExactMatch(ExactMatchConfig(ignore_case=True)).score(answer, reference) == folded
