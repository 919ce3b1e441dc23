"""The shapes of data that people publish: each is read as what it is, or refused with what to type."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from framework import testing
from framework.api.plan import Plan
from framework.data.stage import load_data
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


def test_an_override_that_a_refusal_shows_reads_the_row(plan: Plan, tmp_path: Path) -> None:
    row = {"problem": ASKED, "solution": ANSWERED, "answer": "Lima"}
    made = outcome(Shape("two answers", row), plan, tmp_path / "refused")
    override = next(part for part in made.refused.split('"') if part.endswith("output: solution}"))
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    words = ["data=local_file", f"data.path='{file}'", "data.validation_split=0", "audit=[]", override]
    typed = testing.plan(words, run_dir=tmp_path / "run")
    model = testing.EchoModel(typed)
    assert load_data(typed, model).result.train_rows == 1
    (example,) = model.examples.values()
    assert [turn.content for turn in example.messages] == [ASKED, ANSWERED]
