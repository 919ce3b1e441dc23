"""What the plan says of `format.columns` and `format.system_prompt` before a row is read."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from framework import FrameworkError, testing


@pytest.mark.parametrize("key", ["data.path", "data.prompts_path", "data.encoding"])
def test_an_empty_setting_of_a_file_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(FrameworkError, match=rf"{key}='' must be text that is not empty"):
        testing.plan(["data=local_file", "data.path=rows.jsonl", f"{key}="], run_dir=tmp_path)


def problems(folder: Path, words: Sequence[str]) -> str:
    with pytest.raises(FrameworkError) as caught:
        testing.plan(words, run_dir=folder)
    return str(caught.value)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["format=alpaca", "format.columns={instrction: question, output: answer}"],
            "format.columns.instrction: unknown field of format=alpaca 'instrction'. Did you mean 'instruction'? Va",
        ),
        (
            ["format=alpaca", "format.columns={messages: turns}"],
            "Valid: desirable, functions, history, input, instruction, kto_tag, label, out",
        ),
        (
            ["format=auto", "format.columns={mesages: turns}"],
            "unknown field of format=auto 'mesages'. Did you mean 'mess",
        ),
        (["format=text", "format.columns={txt: body}"], "Valid: text."),
        (
            ["data=local_file", "data.path=rows.jsonl", "data.encoding=windows-1225"],
            "data.encoding=windows-1225: unknown encoding. Did you mean 'cp125",
        ),
        (["data=local_file", "data.path=rows.jsonl", "data.encoding=rot13"], "unknown encoding. Did you mean "),
        (
            ["format=text", "format.system_prompt='Be brief'"],
            "format.system_prompt does nothing with format=text: plain text has no turns",
        ),
    ],
)
def test_a_setting_that_nothing_would_read_is_refused(tmp_path: Path, words: list[str], text: str) -> None:
    assert text in problems(tmp_path, words)


@pytest.mark.parametrize(
    "words",
    [
        ["format=alpaca", "format.columns={instruction: question, output: answer}", "format.system_prompt='Be brief'"],
        ["format=auto", "format.columns={messages: dialogue, tools: functions}"],
        ["format=preference", "format.columns={prompt: question}"],
        ["format=text", "format.columns={text: content}"],
    ],
)
def test_names_that_the_format_reads_are_taken(tmp_path: Path, words: list[str]) -> None:
    plan = testing.plan(words, run_dir=tmp_path)
    assert plan.format.config.columns
