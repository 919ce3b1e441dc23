"""Preference pairs by other names: a label, a rank or a score says which answer is better."""

from typing import Any

import pytest

from framework import FrameworkError
from framework.api.records import Message
from framework.api.schema import FormatConfig
from framework_plugins.formats.formats import Auto, Preference

CONFIG = FormatConfig()
ASKED, BETTER, WORSE = "Capital of Peru?", "Lima", "Quito"
USER = {"role": "user", "content": ASKED}
TWO = {"response_0": WORSE, "response_1": BETTER}
SHOWN = {"response1": BETTER, "response2": WORSE, "context": [USER]}
ARENA = {
    "conversation_a": [USER, {"role": "assistant", "content": WORSE}],
    "conversation_b": [USER, {"role": "assistant", "content": BETTER}],
}
RANKED = [
    {"answer": "Cusco", "rank": 2.0},
    {"answer": BETTER, "rank": 1.0},
    {"answer": WORSE, "rank": 4.0},
    {"answer": "La Paz", "rank": 4.0},
]
Fields = dict[str, Any]


@pytest.mark.parametrize(
    ("row", "facts"),
    [
        ({"prompt": ASKED, **TWO, "better_response_id": 1, "safer_response_id": 1}, {}),
        ({"prompt": ASKED, **TWO, "better_response_id": None, "safer_response_id": "1"}, {}),
        ({**SHOWN, "overall_preference": -2}, {}),
        ({"history": ASKED, "human_ref_A": BETTER, "human_ref_B": WORSE, "labels": 1.0}, {}),
        ({**ARENA, "winner": "model_b"}, {}),
        ({"prompt": f"\n\nHuman: {ASKED}\n\nAssistant: ", "answers": RANKED}, {"answers": 4.0, "tied": 1.0}),
        (
            {
                "instruction": ASKED,
                "completions": [{"response": WORSE, "overall_score": 2}, {"response": BETTER, "overall_score": 8}],
            },
            {},
        ),
        (
            {"question": ASKED, "answers": [{"text": BETTER, "pm_score": 3}, {"text": WORSE, "pm_score": 0}]},
            {},
        ),
        (
            {
                "input": {"messages": [USER]},
                "preferred_output": [{"role": "assistant", "content": BETTER}],
                "non_preferred_output": [{"role": "assistant", "content": WORSE}],
            },
            {},
        ),
    ],
)
def test_a_pair_is_read_by_its_own_names_with_the_format_and_with_auto(row: Fields, facts: dict[str, float]) -> None:
    example = Preference(CONFIG).example(row)
    assert example.messages == (Message("user", ASKED), Message("assistant", BETTER))
    assert example.rejected == (Message("assistant", WORSE),)
    assert example.facts == facts
    assert Auto(CONFIG).example(row) == example


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": ASKED, **TWO, "better_response_id": 1, "safer_response_id": 0},
            "has two labels that disagree, 'better_response_id' is 1 and 'safer_response_id' is 0: say which decides, "
            '"format.columns={safer_response_id: null}" or "format.columns={better_response_id: null}"',
        ),
        (
            {**ARENA, "winner": "tie (bothbad)"},
            "has \"tie (bothbad)\" in 'winner', which calls neither answer the better",
        ),
        (
            {**SHOWN, "overall_preference": 0},
            "has 0 in 'overall_preference', which calls neither answer the better one",
        ),
        (
            {"prompt": ASKED, "answers": [{"answer": BETTER, "rank": 1}, {"answer": WORSE, "rank": 1}]},
            "needs two answers of different rank in 'answers', and all tie: data.on_bad_row=skip",
        ),
        ({"prompt": ASKED, "answers": [{"answer": BETTER, "rank": 1}]}, "in 'answers', and it has one"),
        ({"prompt": ASKED, "answers": [{"answer": BETTER, "rank": None}]}, "needs numbers in 'rank' of 'answers'"),
    ],
)
def test_a_row_of_which_no_answer_is_the_better_one_is_refused(row: Fields, message: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        Auto(CONFIG).example(row)
    assert message in str(caught.value)
