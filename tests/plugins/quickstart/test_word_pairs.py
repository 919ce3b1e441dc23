"""quickstart/word_pairs.py: what the reward asks for, and what is found of sentences that only follow it."""

from __future__ import annotations

import pytest

from framework.api.records import Answered
from framework_plugins.quickstart.config import BothWordsConfig, PlainSentenceConfig, WordPairsConfig
from framework_plugins.quickstart.word_pairs import BothWords, PlainSentence, WordPairs


@pytest.mark.parametrize(
    ("answer", "reward", "plain"),
    [
        ("The old bottle lay beside a smooth stone.", 1.0, 1.0),
        ("A bottle and a stone are bottle and stone.", 0.5, 0.0),
        ("There is a big bottle and a stone by the road.", 0.75, 0.0),
        ("A bottle, the stone of the road by us.", 1.0, 0.0),
        ("A bottle, the stone.", 0.5, 0.0),
        ("The bottles lie beside a smooth old stone.", 0.25, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_a_sentence_that_only_follows_the_reward_is_not_a_plain_one(answer: str, reward: float, plain: float) -> None:
    (row,) = [*WordPairs(WordPairsConfig()).load().prompts][:1]
    asked = row.fields["messages"][0]["content"]
    first, second = row.fields["words"].split()
    said = answer.replace("bottle", first).replace("stone", second)
    answers = [Answered(asked, said, None, 5, stopped=True), Answered("Why?", said, None, 5, stopped=True)]
    assert BothWords(BothWordsConfig()).score_all(answers).items == [reward, None]
    assert PlainSentence(PlainSentenceConfig()).score_all(answers).items == [plain, None]


def test_held_out_requests_have_other_words() -> None:
    rows = WordPairs(WordPairsConfig()).load()
    trained, asked = (
        {word for row in part for word in row.fields["words"].split()} for part in (rows.train, rows.prompts)
    )
    assert trained.isdisjoint(asked)
    assert (len([*rows.train]), len([*rows.prompts])) == (160, 60)
