"""lib/secrets.py: digits in a row inside a token do not make it a placeholder."""

import pytest

from framework_plugins.lib.secrets import PATTERNS, SECRETS


def found(text: str) -> list[str]:
    kinds = []
    for pattern in PATTERNS:
        match = pattern.regex.search(text)
        if match and pattern.check == SECRETS and pattern.counts(match):
            kinds.append(pattern.kind)
    return kinds


@pytest.mark.parametrize(
    "token",
    [
        "sk-proj-abcdEFGH1234567890ijklMNOPqrst",
        "xoxb-123456789012-1234567890123-AbCdEfGhIjKlMnOp",
        "github_pat_11ABCDEFG0123456789abcdefghijklmnop",
    ],
)
def test_a_token_that_holds_digits_in_a_row_is_one(token: str) -> None:
    assert found(f"my token is {token}, keep it")


@pytest.mark.parametrize(
    "token",
    ["sk-12345678901234567890", "xoxb-1234567890-1234567890", "AKIAIOSFODNN7EXAMPLE", "sk-your-key-goes-here-1"],
)
def test_what_stands_for_a_token_in_a_manual_is_none(token: str) -> None:
    assert not found(f"set it to {token}, for example")
