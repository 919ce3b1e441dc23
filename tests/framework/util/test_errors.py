"""Error texts name what is nearest, what is valid, and one line of what a library said."""

import pickle
import signal
from pathlib import Path

import pytest

from framework.util.errors import (
    FrameworkError,
    Interrupted,
    describe_error,
    display_path,
    nearest,
    signal_name,
    summarize_error,
    unknown,
)

NAMES = ["learning_rate", "max_steps", "optim"]


@pytest.mark.parametrize(
    ("word", "expected"), [("lerning_rate", ["learning_rate"]), ("steps_max", ["max_steps"]), ("zzz", [])]
)
def test_the_nearest_name_is_the_one_spelled_most_alike(word: str, expected: list[str]) -> None:
    assert nearest(word, NAMES) == expected


def test_several_near_names_come_best_first() -> None:
    assert nearest("dorra", ["rslora", "dora", "lora", "full"], count=3) == ["dora", "lora", "rslora"]


@pytest.mark.parametrize(
    ("word", "choices", "expected"),
    [
        ("lr", ["max_steps", "learning_rate"], "learning_rate"),
        ("epochs", ["num_train_epochs", "max_steps"], "num_train_epochs"),
        ("alpha", ["lora_alpha", "lora_dropout", "r"], "lora_alpha"),
        ("batch_size", ["max_steps", "per_device_train_batch_size"], "per_device_train_batch_size"),
        ("max_setps", ["max_steps", "max_seq_length"], "max_steps"),
    ],
)
def test_what_people_write_elsewhere_leads_to_the_field_here(word: str, choices: list[str], expected: str) -> None:
    assert nearest(word, choices) == [expected]


def test_an_unknown_name_is_reported_with_a_suggestion_and_all_valid_names_in_order() -> None:
    text = unknown("adapter", "loro", ["rslora", "lora"])
    assert text == "unknown adapter 'loro'. Did you mean 'lora'? Valid: lora, rslora."


def test_an_unknown_name_without_a_neighbour_gets_no_suggestion() -> None:
    assert unknown("command", "zzz", []) == "unknown command 'zzz'. Valid: none."


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("\n first\nsecond"), "ValueError: first"),
        (KeyError(), "KeyError: no message"),
    ],
)
def test_one_line_keeps_the_type_and_the_first_line(error: Exception, text: str) -> None:
    assert summarize_error(error) == text


def test_a_first_line_that_only_announces_the_reason_is_given_with_the_next() -> None:
    error = ValueError("Validation error for field 'eps':\n    expected float, got str\n    see the manual")
    assert summarize_error(error) == "ValueError: Validation error for field 'eps': expected float, got str"


def test_what_was_raised_is_reported_with_its_place_and_a_mistake_of_the_user_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 // 0
    assert describe_error(caught.value).startswith(f"ZeroDivisionError: {caught.value} ({__file__}:")
    assert describe_error(FrameworkError("take another")) == "take another"


def test_an_interruption_is_the_same_in_another_process() -> None:
    error = pickle.loads(pickle.dumps(Interrupted(signal.SIGTERM)))  # noqa: S301 - our own
    assert (str(error), error.code) == ("interrupted by SIGTERM", 143)


def test_a_signal_has_its_number_and_its_name() -> None:
    assert signal_name(signal.SIGSEGV) == "signal 11 (SIGSEGV)"
    assert signal_name(200) == "signal 200"


def test_a_path_below_the_folder_is_written_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert display_path(tmp_path / "a" / "b") == str(Path("a", "b"))
    assert display_path(tmp_path / "a" / "b", tmp_path / "a") == "b"
    assert display_path(tmp_path.parent / "c") == str(tmp_path.parent / "c")
