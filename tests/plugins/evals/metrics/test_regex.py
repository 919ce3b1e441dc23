"""A pattern is searched in the answer, or compared with all of it."""

import pytest

from framework import FrameworkError
from framework_plugins.evals.config import RegexConfig
from framework_plugins.evals.metrics.regex import Regex, compile_pattern


@pytest.mark.parametrize(
    ("pattern", "answer", "search", "full"),
    [
        (r"\d+", "about 12", 1, 0),
        (r"\d+", " 12\n", 1, 1),
        (r"^\d+$", "12", 1, 1),
        (r"a.b", "a\nb", 0, 0),
        (r"(?s)a.b", "a\nb", 1, 1),
        (r"", "anything", 1, 0),
        (r"YES", "yes", 0, 0),
    ],
)
def test_a_pattern_is_found_somewhere_or_is_the_whole(pattern: str, answer: str, search: int, full: int) -> None:
    assert Regex(RegexConfig(pattern)).score(answer, None) == search
    assert Regex(RegexConfig(pattern, full=True)).score(answer, None) == full


def test_case_may_be_ignored() -> None:
    assert Regex(RegexConfig("YES", ignore_case=True)).score("oh yes", None) == 1


@pytest.mark.parametrize("pattern", ["[a-", "(", "*", "(?P<a>x)(?P<a>y)", "a{99999999999}"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(FrameworkError, match=r"^not a regular expression: "):
        compile_pattern(RegexConfig(pattern))
