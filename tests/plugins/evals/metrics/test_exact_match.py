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
    for ignore_case, score in ((False, exact), (True, folded)):
        metric = ExactMatch(ExactMatchConfig(ignore_case=ignore_case))
        assert metric.score(answer, reference) == score
        may = [metric.may_match(answer[:end], reference) for end in range(len(answer) + 1)]
        assert all(may) or not score  # no beginning of an answer that matches is refused
