"""framework/util/command.py: arguments of a command, read or refused in one line."""

import pytest

from framework import FrameworkError
from framework.util.command import CommandParser


def parser(*, overrides: bool = True) -> CommandParser:
    made = CommandParser("shout", "Print in capitals.")
    made.add_argument("text", metavar="TEXT", help="what is printed")
    made.add_argument("--times", type=int, default=1, metavar="N", help="how often")
    if overrides:
        made.add_overrides("settings")
    return made


@pytest.mark.parametrize(
    "words",
    [["hi", "a=1", "--times", "2", "~b"], ["--times=2", "hi", "a=1", "~b"], ["hi", "a=1", "~b", "--times", "2"]],
)
def test_options_stand_before_between_and_after_the_others(words: list[str]) -> None:
    given = parser().read(words)
    assert (given.text, given.times, given.overrides) == ("hi", 2, ["a=1", "~b"])


USAGE = "Usage: python -m framework shout [-h] [--times N] TEXT"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "the following arguments are required: TEXT. "),
        (["hi", "--time", "2"], "unknown option '--time'. Did you mean '--times'? Valid: --help, --times, -h. "),
        (["hi", "--times", "two"], "--times: invalid int value: 'two'. "),
        (["hi", "you"], "unexpected argument 'you'. "),
    ],
)
def test_what_is_wrong_is_reported_in_one_line_with_the_usage(words: list[str], told: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        parser(overrides=False).read(words)
    assert str(caught.value) == told + USAGE


def test_an_override_that_is_none_is_refused() -> None:
    with pytest.raises(FrameworkError, match=r"^'you' is not an override of the form key=value\. Usage: "):
        parser().read(["hi", "you"])
    with pytest.raises(FrameworkError, match=r"^unknown option '--loud'"):
        parser().read(["hi", "--loud", "you"])


def test_files_of_plugins_are_passed_over_where_a_command_takes_no_overrides() -> None:
    assert parser(overrides=False).read(["plugins=[./mine.py]", "hi"]).text == "hi"
    assert parser().read(["hi", "plugins=[./mine.py]"]).overrides == ["plugins=[./mine.py]"]


def test_the_help_is_printed_and_ends_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().read(["--help"])
    assert not ended.value.code
    assert "Print in capitals." in capsys.readouterr().out
