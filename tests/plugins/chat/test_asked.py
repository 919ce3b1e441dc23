"""A chat asks as the training did: by the system prompt of its rows, and with the beginning of all prompts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from framework import testing
from framework.api import records
from framework.api.records import EvalResult, Sample
from framework.api.run_folder import SavedRun
from framework.run import pipeline
from framework_plugins.chat.asked import common_beginning
from framework_plugins.chat.options import Sampling
from framework_plugins.chat.session import Beginning, ChatSession, Speakers
from tests.plugins.chat.parrot import Parrot, said, turns

CLERK = "You are the clerk."


def run(tmp_path: Path, system: str | None, *words: str) -> SavedRun:
    """Run the data stage on rows with a system prompt."""
    first = [{"role": "system", "content": system}] if system else []
    turn = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    rows = [{"messages": [*first, turn[0] | {"content": f"hi {number}"}, turn[1]]} for number in range(9)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    plan = testing.plan(["data=local_file", f"data.path={file}", "stages=[data]", *words], run_dir=tmp_path / "run")
    pipeline.run(plan)
    return SavedRun(plan.run_dir, plan.config, ())


def test_the_system_prompt_is_that_of_the_rows_then_that_of_the_config(tmp_path: Path) -> None:
    assert run(tmp_path, CLERK).system_prompt() == CLERK
    assert run(tmp_path, None).system_prompt() == ""
    configured: Mapping[str, Any] = {"format": {"system_prompt": "Be brief."}}
    assert SavedRun(tmp_path / "none", configured, ()).system_prompt() == "Be brief."


@pytest.mark.parametrize(
    ("prompts", "start"),
    [
        (["Add the two.\n\n1 and 2", "Add the two.\n\n3 and 4"], "Add the two.\n\n"),
        ([f"system: {CLERK}\nuser: Add.\n1", f"system: {CLERK}\nuser: Add.\n2"], "Add.\n"),
        (["user: a\nassistant: b\nuser: Add.\n1", "Add.\n2"], "Add.\n"),
        (["one", "two"], ""),
        ([], ""),
    ],
)
def test_what_all_prompts_begin_with_is_that_of_the_users_turns(tmp_path: Path, prompts: list[str], start: str) -> None:
    samples = [Sample(prompt, "x", None, stopped=True, scores={}) for prompt in prompts]
    records.save(EvalResult({}, samples), tmp_path / "evaluate.json")
    assert common_beginning(SavedRun(tmp_path, {}, ())) == start


def test_the_beginning_is_put_before_a_prompt_on_request_and_once() -> None:
    parrot = Parrot("tuned")
    chat = ChatSession(Speakers({"tuned": parrot}), ("tuned",), None, Sampling(), Beginning("Add the two.\n\n"))
    said(chat, "1 and 2")
    told = chat.run_command("/begin")
    assert told == '"Add the two." is put before each prompt, as in the run; /begin switches this off'
    said(chat, "1 and 2")
    said(chat, "Add the two.\n\n3 and 4")
    assert "/begin puts this before each prompt" in chat.run_command("/begin")
    said(chat, "5")
    asked = [turns(prompt)[-1] for prompt in parrot.asked]
    assert asked == [
        ("user", "1 and 2"),
        ("user", "Add the two.\n\n1 and 2"),
        ("user", "Add the two.\n\n3 and 4"),
        ("user", "5"),
    ]


def test_where_prompts_have_nothing_in_common_nothing_is_offered() -> None:
    chat = ChatSession(Speakers({"tuned": Parrot("tuned")}), ("tuned",), None, Sampling())
    assert chat.run_command("/begin") == "the prompts of the run have no first lines in common"
