"""What is in a Modelfile is read back as it was, by Ollama's rules; what cannot be is refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework_plugins.exports.ollama.modelfile import QuotingError, modelfile, quote
from tests.support.modelfiles import parsed


def test_instructions_are_read_back_and_comments_stay_on_their_line() -> None:
    instructions = [
        ("FROM", "../gguf/my model-Q4_K_M.gguf"),
        ("REQUIRES", "0.30.11"),
        ("SYSTEM", 'Say "hello"'),
        ("PARAMETER stop", "<|im_end|>"),
        ("PARAMETER stop", "### "),
        ("PARAMETER num_ctx", "2048"),
        ("LICENSE", "Apache License\n   Version 2.0\n"),
    ]
    written = modelfile(["two\nlines", "FROM nothing"], instructions)
    assert written.startswith('# two lines\n# FROM nothing\nFROM "../gguf/my model-Q4_K_M.gguf"\n')
    assert parsed(written) == instructions


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("../gguf/orders-Q4_K_M.gguf", "../gguf/orders-Q4_K_M.gguf"),
        ("a b", '"a b"'),
        ("a\nb", '"a\nb"'),
        ("", '""'),
        (" a", '" a"'),
        ('"', '"""""""'),
        ('say "a"', '"""say "a""""'),
        ('"""a', '""""""a"""'),
        ("#a", '"#a"'),
    ],
)
def test_quotes_are_put_where_they_are_needed(value: str, quoted: str) -> None:
    assert quote(value) == quoted
    assert parsed(f"SYSTEM {quoted}\nFROM x\n") == [("SYSTEM", value), ("FROM", "x")]


@pytest.mark.parametrize("value", ['a"""\nb', 'a""" \r\nb', '"""\n'])
def test_a_value_that_would_end_at_one_of_its_lines_is_refused(value: str) -> None:
    with pytest.raises(QuotingError, match=re.escape('three quotes (""") at the end of a line')):
        quote(value)


@pytest.mark.parametrize(("value", "shown"), [("a\u200bb", r"'\u200b'"), ("a\u00a0", r"'\xa0'"), ("\x00", r"'\x00'")])
def test_a_character_that_would_be_dropped_is_refused(value: str, shown: str) -> None:
    with pytest.raises(QuotingError, match=re.escape(shown)):
        quote(value)


PIECES = st.sampled_from(['"', '""', '"""', "\n", "\r", " ", "\t", "a", "#", "FROM x", "é", "\u200b", "}}"])


@given(st.lists(PIECES, max_size=8).map("".join))
def test_every_value_is_refused_or_read_back(value: str) -> None:
    try:
        written = modelfile([], [("SYSTEM", value), ("FROM", "x")])
    except QuotingError:
        return
    assert parsed(written) == [("SYSTEM", value), ("FROM", "x")]
