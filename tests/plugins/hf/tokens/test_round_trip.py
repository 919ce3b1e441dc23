"""hf/tokens/round_trip.py: an answer that the learned tokens do not spell is a problem of its row."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from framework.api.records import Example, Message, TokenRow
from framework.api.schema import Learn
from framework_plugins.hf.tokens.chat import Chat
from tests.support.conversations import ASK, CALL, DOUBT, NO, TELL, with_tools
from tests.support.families import make_tokenizer

DIGITS = normalizers.Replace(Regex("[0-9]"), "")
LOSES = "the tokenizer drops or changes characters of an answer, such as "


def rows(normalizer: Any, *answers: str, learn: Learn = Learn.assistant) -> list[TokenRow]:
    tokenizer = make_tokenizer("chatml")
    tokenizer.backend_tokenizer.normalizer = normalizer
    chat = Chat(tokenizer, frozenset([tokenizer.eos_token_id]), learn=learn)
    said = [(ASK, Message("assistant", answer)) for answer in answers]
    return chat.encode([Example(turns, "chatml", f"r:{number}") for number, turns in enumerate(said, start=1)])


@pytest.mark.parametrize(
    ("normalizer", "answer", "shown"),
    [
        (DIGITS, "It is 1.", "'It is 1.', which becomes 'It is .'"),
        (DIGITS, "12 of them", "'12 of them', which becomes ' of them'"),
        (DIGITS, "them: 12", "'them: 12', which becomes 'them: '"),
        (normalizers.Lowercase(), "In Bern", "'In Bern', which becomes 'in bern'"),
        (normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]), "café", "'café', which becomes 'cafe'"),
    ],
)
def test_a_tokenizer_that_loses_text_is_a_problem_of_the_rows_that_lose_some(
    normalizer: Any, answer: str, shown: str
) -> None:
    first, fine = rows(normalizer, answer, "yes")
    assert first.problem.startswith(f"{LOSES}{shown}, so the model could never write it")
    assert fine.problem == ""
    assert not first.normalized


def test_a_tokenizer_of_bytes_may_still_lose_text_where_it_cuts_or_for_lack_of_a_byte() -> None:
    for change in ("cut", "byte"):
        tokenizer = make_tokenizer("chatml")
        core = tokenizer.backend_tokenizer
        if change == "cut":
            steps = [pre_tokenizers.Split("1", "removed"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
            core.pre_tokenizer = pre_tokenizers.Sequence(steps)
        else:
            held = json.loads(core.to_str())
            held["model"]["vocab"]["lost"] = held["model"]["vocab"].pop("1")
            tokenizer = PreTrainedTokenizerFast(
                tokenizer_object=Tokenizer.from_str(json.dumps(held)), chat_template=tokenizer.chat_template,
                eos_token=tokenizer.eos_token,
            )  # fmt: skip
        row, fine = Chat(tokenizer, frozenset([tokenizer.eos_token_id])).encode(
            [Example((ASK, Message("assistant", text)), "chatml", "r:1") for text in ("It is 1.", "It is 2.")]
        )
        assert row.problem.startswith(f"{LOSES}'It is 1.', which becomes 'It is .'"), change
        assert fine.problem == ""


def test_rows_that_lose_text_have_one_problem_which_shows_the_first() -> None:
    one, other = rows(DIGITS, "It is 1.", "It is 2.")
    assert one.problem == other.problem != ""


def test_a_normal_form_of_unicode_is_no_loss_and_a_compatible_one_is_counted() -> None:
    composed, ligature = "cafe\u0301", "x\u00b2 of\ufb01ce"
    assert [(row.problem, row.normalized) for row in rows(normalizers.NFC(), composed, ligature)] == [("", False)] * 2
    assert [(row.problem, row.normalized) for row in rows(normalizers.NFKC(), composed, ligature)] == [
        ("", False), ("", True),
    ]  # fmt: skip


def test_questions_count_where_they_are_learned_too() -> None:
    tokenizer = make_tokenizer("chatml")
    tokenizer.backend_tokenizer.normalizer = DIGITS
    for learn, problem in ((Learn.assistant, False), (Learn.everything, True)):
        chat = Chat(tokenizer, frozenset([tokenizer.eos_token_id]), learn=learn)
        row = chat.encode([Example((Message("user", "1 or 2?"), NO), "chatml", "r:1")])[0]
        assert row.problem.startswith(LOSES) is problem


def test_several_answers_calls_and_plain_text_are_compared_as_they_are_rendered() -> None:
    assert with_tools("qwen3", ASK, CALL).problem == ""
    tokenizer = make_tokenizer("chatml")
    chat = Chat(tokenizer, frozenset([tokenizer.eos_token_id]))
    assert chat.encode([Example((ASK, TELL, DOUBT, NO), "chatml", "r:1")])[0].problem == ""
    assert chat.encode([Example((), "text", "r:1", text="Two  \U0001f642")])[0].problem == ""
    tokenizer.backend_tokenizer.normalizer = DIGITS
    chat = Chat(tokenizer, frozenset([tokenizer.eos_token_id]))
    assert chat.encode([Example((), "text", "r:1", text="Two 2")])[0].problem.startswith(LOSES)
