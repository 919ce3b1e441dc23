"""The shapes of data that people publish: each is read as what it is, or refused with what to type."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from framework import testing
from framework.api.plan import Plan
from tests.support.shapes import ANSWERED, ASKED, FINDINGS, PAGE, SHAPES, Shape, outcome, page, shapes_plan

TELLS = {
    "not wanted": "has an answer that its label calls unwanted, and method=sft would learn it: method=kto learns",
    "two labels that disagree": 'leave one out, "format.columns={kto_tag: null}"',
    "better and safer disagree": '"format.columns={safer_response_id: null}"',
    "A label that": "has \"geography\" in 'label', which does not say whether the answer is wanted: type format=unpai",
    "A weight": "'weight', found 0.5",
    "LMSYS": "turn field redacted",
    "LLaMA-Factory, images": "'images'",
    "LLaMA-Factory, audio": "'audios'",
    "LLaVA": "'image'",
    "Parts with an image": "image_url",
    "OpenAssistant's message tree": "parent_id",
    "Clone of a Hub folder": "data/test-00000-of-00001.parquet",
    "Text rendered by ChatML": "<|im_start|>",
    "Text rendered by Llama 2": "[INST]",
    "Text rendered by Llama 3": "<|start_header_id|>",
    "Text rendered by Gemma": "<start_of_turn>",
    "Guanaco": "### Human:",
    "UltraFeedback": "1 rejected answer left out",
    "MetaMath": "original_question",
    "Four rated answers": "'completions' is a list of answers to the same question: write a file whose rows have the",
    "PKU-SafeRLHF, two answers": "'response_0' and 'response_1' are answers to the same question",
    "all answers tie": "needs two answers of different rank",
    "Arena, a tie": "which calls neither answer the better one",
    "in halves": "as rendered text does, and the model's own template is put around it",
    "An end of a turn": "ends with '</s>'",
    "by speakers": "a whole dialogue in 'text' ('User:' and 'Assistant:')",
    "line by line": "each would be a row without the line before it",
    "WhatsApp": "each would be a row without the message before it",
    "Subtitles": "numbers and times",
    "A mark of an image": "'<image>' in a question",
    "as base64": "'data:image",
    "A thumb beside": "its label calls unwanted",
    "CR line ends": "tr '\\r' '\\n' < rows.csv > fixed.csv",
    "with commas": "sed 's/,[[:space:]]*$//' rows.jsonl > fixed.jsonl",
    "JSON in JSON": "written by json.dumps twice",
    "Telegram": "'messages' is a chat between people",
    "Discord": "'messages' is a chat between people",
    "Slack": "one message of a chat between people",
    "without the worse answer": "write the worse answer into 'rejected'",
    "A pair of null": "needs text in 'chosen', found null",
    "A pair without a prompt": "needs text in 'prompt', found null",
    "beside another prompt": "another question in 'prompt' (\"Why?\") than in 'chosen'",
    "not a number": "needs numbers in 'rank' of 'answers', found NaN",
    "functionCall": "@formatter",
    "OpenAI, a batch": "'body.messages' ends with a question, and no field answers it",
}
"""What must not pass in silence."""
ADVICE = (
    "format.columns",
    "@formatter",
    "format=",
    "write ",
    "python -c",
    "data.",
    "iconv",
    "messages",
    "save ",
    "sed ",
    "tr ",
    "valid:",
    "Valid:",
)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return shapes_plan(tmp_path_factory.mktemp("plan"))


def test_the_page_of_shapes_is_what_runs_make_of_them(tmp_path: Path) -> None:
    assert len(SHAPES) >= 60
    assert len(SHAPES) - len(FINDINGS) >= 20
    assert page(tmp_path) == PAGE.read_text(encoding="utf-8"), "run python -m tests.support.shapes"


@pytest.mark.parametrize("shape", SHAPES, ids=[shape.name for shape in SHAPES])
def test_a_shape_is_read_as_it_is_meant_or_refused_with_what_to_do(shape: Shape, plan: Plan, tmp_path: Path) -> None:
    made = outcome(shape, plan, tmp_path / "shape")
    if made.data is None:
        assert any(advice in made.refused for advice in ADVICE), made.refused
        assert "Traceback" not in made.refused
    for example in made.examples.values():
        if example.text is not None:
            assert example.text == ANSWERED
        elif example.messages[-1].tool_calls:
            assert example.messages[-1].tool_calls[0].name == "capital"
        else:
            learned = [turn.content for turn in example.messages if turn.role == "assistant" and turn.learned]
            assert [text for text in learned if text] == [ANSWERED]
            assert any(turn.content.startswith(ASKED) for turn in example.messages if turn.role == "user")
    for name, shown in TELLS.items():
        if name in shape.name:
            assert shown in made.line


LONGER_ANSWERS = {
    "RACE, with choices", "SAMSum", "CNN/DailyMail", "MBPP", "HumanEval", "The Stack, content", "BoolQ",
    "problem, solution, answer",
}  # fmt: skip
"""Shapes with other texts than the question and the answer of the page."""


def test_the_overrides_that_refusals_show_read_the_rows(plan: Plan, tmp_path: Path) -> None:
    wrong, tried = [], 0
    for number, shape in enumerate(SHAPES):
        made = outcome(shape, plan, tmp_path / f"refused{number}")
        for override in re.findall(r'"(format\.columns=.*?)"', made.refused)[:1]:
            tried += 1
            typed = testing.plan(["data=local_file", "data.path=rows.jsonl", override], run_dir=tmp_path / "run")
            columns = dataclasses.replace(plan, format=typed.format)
            read = outcome(shape, columns, tmp_path / f"typed{number}")
            learned = {turns[-1].content for turns in (one.messages for one in read.examples.values()) if turns}
            if read.data is None or (shape.name not in LONGER_ANSWERS and learned - {ANSWERED}):
                wrong.append(f"{shape.name}: {override}: {read.line} {learned}")
            if "FIELD" in made.refused:
                wrong.append(f"{shape.name}: {made.refused}")
    assert wrong == []
    assert tried > 30
