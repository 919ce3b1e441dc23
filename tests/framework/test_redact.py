"""No secret of a config gets through, and what is none stays as it is."""

from typing import Any

import pytest

from framework.redact import HIDDEN, redact


@pytest.mark.parametrize(
    "secret",
    [
        "hf_" + "aB3" * 10,
        "sk-" + "a1-B" * 6,
        "ghp_" + "x" * 36,
        "gho_" + "x" * 36,
        "AKIA" + "ABCDEFGH12345678",
    ],
)
@pytest.mark.parametrize("around", ["{}", "see {}!", "https://hub/{}/x", "--token={} "])
def test_what_looks_like_a_token_is_hidden_wherever_it_stands(secret: str, around: str) -> None:
    text = around.format(secret)
    expected = around.format(HIDDEN)
    assert redact({"notes": text, "tags": [text, {"deep": (text,)}]}) == {
        "notes": expected,
        "tags": [expected, {"deep": [expected]}],
    }


def test_the_password_in_an_address_is_hidden() -> None:
    assert redact("https://ann:hunter2@example.org/x") == f"https://{HIDDEN}@example.org/x"


@pytest.mark.parametrize("name", ["token", "hf_token", "API_KEY", "apikey", "client_secret", "password", "auth"])
def test_text_under_a_telling_name_is_hidden(name: str) -> None:
    assert redact({name: "abc", "other": "abc"}) == {name: HIDDEN, "other": "abc"}


@pytest.mark.parametrize("variable", ["ACME_TOKEN", "WANDB_API_KEY", "DB_PASSWORD"])
def test_the_value_of_a_telling_variable_is_hidden(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "open-sesame")
    assert redact(["say open-sesame twice: open-sesame"]) == [f"say {HIDDEN} twice: {HIDDEN}"]


def test_of_two_secrets_that_begin_alike_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):  # in either order of the set
        monkeypatch.setenv(f"A{number}_TOKEN", "open-sesame" + "-more" * number)
    for number in range(8):
        assert redact("open-sesame" + "-more" * number) == HIDDEN


@pytest.mark.parametrize(
    "value",
    [
        {"max_new_tokens": 5, "tokenizer": "fast", "author": "ann", "keys": "q_proj", "token": None},
        {"path": "unsloth/Meta-Llama-3.1-8B-Instruct", "url": "https://example.org:80/a@b", "n": [1, 2.5, True]},
        "task-sk-short",
    ],
)
def test_what_is_no_secret_stays(value: Any) -> None:
    assert redact(value) == value


def test_a_short_value_of_a_telling_variable_is_too_common_to_be_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_TOKEN", "lora")
    assert redact("lora") == "lora"
