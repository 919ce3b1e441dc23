"""Error texts name what is nearest, what is valid, and one line of what a library said."""

import errno
import os
import pickle
import signal
from pathlib import Path

import pytest

from framework import formatter
from framework.util.errors import (
    FrameworkError,
    Interrupted,
    describe_error,
    display_path,
    error_location,
    error_traceback,
    nearest,
    of_the_system,
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


def test_an_unknown_name_may_be_one_of_a_plugin_that_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEWORK_DISABLE_PLUGINS", "formats")
    text = unknown("format", "auto", [])
    assert text.endswith("Valid: none. FRAMEWORK_DISABLE_PLUGINS=formats leaves out what these plugins add.")


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


def test_no_text_of_an_exception_holds_a_secret() -> None:
    secret = "PLANTED"  # noqa: S105 - planted
    said = f"cannot reach https://joe:{secret}@host with password={secret}"
    texts = [str(FrameworkError(said)), f"{FrameworkError(said)}", summarize_error(OSError(said))]
    caused = FrameworkError(said)
    caused.__cause__ = OSError(said)
    texts += [describe_error(caused), error_traceback(caused)]
    assert all("(hidden)@host" in text and secret not in text for text in texts)


def test_a_mistake_of_the_user_shows_what_a_terminal_would_act_on() -> None:
    assert str(FrameworkError("\x1b[31m\x9b2J: no such\r folder\n\tgive é")) == (
        "\\x1b[31m\\x9b2J: no such\\x0d folder\n\tgive é"
    )


def test_a_mistake_that_a_decorator_refuses_is_in_the_line_that_calls_it() -> None:
    with pytest.raises(TypeError) as caught:
        formatter()
    assert error_location(caught.value).startswith(f" ({__file__}:")


def test_a_variable_that_a_library_cannot_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBRARY_TIMEOUT", "x")
    with pytest.raises(ValueError, match="invalid literal") as raised:
        int(os.environ["LIBRARY_TIMEOUT"])
    assert error_location(raised.value).endswith("; it depends on the variable LIBRARY_TIMEOUT)")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300), "xxx…: a name of a file has at most 255 bytes"),
        (OSError(errno.EMFILE, "Too many open files"), "this process may open no more files: raise the limit, `ulimit"),
        (BlockingIOError(errno.EAGAIN, "fork"), "this user may start no more processes or threads: raise the limit"),
        (
            RuntimeError("Could not determine home directory."),
            "this user has no home folder: set HOME=FOLDER, or FRAME",
        ),
        (
            Exception("Unknown error: Failed to launch worker thread: Resource temporarily"),
            "or threads: raise the limit",
        ),
        (MemoryError(), "this process gets no more memory: end other programs, or raise the limit, `ulimit -v`"),
        (ImportError("a.so: failed to map segment from shared object"), "this process gets no more memory: end other"),
        (RuntimeError("can't start new thread"), "this user may start no more processes or threads: raise the limit"),
    ],
)
def test_a_limit_of_the_system_is_put_into_words(error: Exception, told: str) -> None:
    assert told in str(of_the_system(error))
    assert of_the_system(OSError(errno.EIO, "x")) is None


def test_the_place_of_an_error_is_in_the_code_that_the_core_called() -> None:
    with pytest.raises(TypeError) as raised:
        unknown("a", "b", None)  # type: ignore[arg-type]
    assert error_location(raised.value).startswith(f" ({__file__}:")
