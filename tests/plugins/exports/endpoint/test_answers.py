"""A chat completion is read strictly."""

from __future__ import annotations

import pytest

from framework_plugins.exports.endpoint.answers import read_answer
from framework_plugins.lib.chat_endpoint import NoReplyError
from tests.support.endpoint import completion


def test_an_answer_has_its_tokens_and_the_length_of_its_prompt() -> None:
    answer = read_answer(completion("a b", prompt_tokens=7, tokens=[("a", -0.1), (" b", -0.2)]))
    assert (answer.text, answer.stopped, answer.prompt_tokens) == ("a b", True, 7)
    assert [(token.data, token.log_prob, token.token_id) for token in answer.tokens] == [
        (b"a", -0.1, None),
        (b" b", -0.2, None),
    ]


def test_a_token_is_not_greedy_if_another_is_likelier_by_more_than_rounding() -> None:
    reply = completion("a", tokens=[("a", -1.0)])
    (entry,) = reply["choices"][0]["logprobs"]["content"]
    for best, is_greedy in ((-1.0, True), (-0.97, True), (-0.9, False)):
        entry["top_logprobs"] = [{"token": "b", "logprob": best}]
        assert read_answer(reply).tokens[0].is_greedy is is_greedy


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (completion("a", finish=None), "half an answer: finish_reason is None after 'a'"),
        (completion("a b c", tokens=[("a", -0.1)]), "logprobs are of 1 of 5 bytes of an answer"),
        (completion("a", tokens=[("a", None)]), "logprobs are not those of OpenAI's API"),  # type: ignore[list-item]
    ],
)
def test_half_an_answer_is_refused(reply: dict[str, object], problem: str) -> None:
    with pytest.raises(NoReplyError, match=problem):
        read_answer(reply)
