"""quickstart/make_pairs.py: the shipped pairs are answers to its questions, and the prompts ask other ones."""

from __future__ import annotations

import json
from importlib.resources import files

from framework_plugins.quickstart import make_pairs

SHIPPED = files("framework_plugins.quickstart").joinpath("data")


def shipped(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in SHIPPED.joinpath(name).read_text("utf-8").splitlines()]


def test_the_shipped_pairs_answer_the_questions_and_the_shorter_answer_is_chosen() -> None:
    pairs, held_out = shipped("answers_train.jsonl"), [*make_pairs.held_out()]
    questions = make_pairs.train_questions()
    assert [pair["prompt"] for pair in pairs] == [one for one in questions if one in {pair["prompt"] for pair in pairs}]
    assert all(len(pair["chosen"].split()) < len(pair["rejected"].split()) for pair in pairs)
    assert shipped("questions_held_out.jsonl") == held_out
    assert (len(held_out), len({*questions, *(row["prompt"] for row in held_out)})) == (60, len(questions) + 60)


def test_a_pair_is_the_shortest_and_the_longest_answer_that_ended() -> None:
    drawn = [["It is Lima.", "Lima", "I say it is Lima."], ["It is Oslo.", "Oslo it is."]]
    assert [*make_pairs.pairs(["Peru?", "Norway?"], drawn)] == [
        {"prompt": "Peru?", "chosen": "It is Lima.", "rejected": "I say it is Lima."}
    ]
