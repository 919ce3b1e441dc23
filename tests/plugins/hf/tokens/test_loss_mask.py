"""hf/tokens/loss_mask.py: what is learned of a row, family by family."""

from __future__ import annotations

import dataclasses

import pytest

from framework.api.records import Example, Message
from framework.api.training import TokenRow
from framework_plugins.hf.tokens.chat import Chat
from tests.support.conversations import ASK, CALL, DOUBT, NO, RESULT, SYSTEM, TELL, encode, learned, with_tools
from tests.support.families import FAMILIES, family_tokenizer, make_tokenizer, stop_ids

ENDS = {
    "llama3": "<|eot_id|>", "mistral_v3": "</s>", "mistral_v7": "</s>", "chatml": "<|im_end|>",
    "chatml_marked": "<|im_end|>", "gemma": "<end_of_turn>", "qwen3": "<|im_end|>", "phi3": "<|end|>",
    "phi4": "<|im_end|>", "deepseek_v3": "<｜end▁of▁sentence｜>",
}  # fmt: skip
BEFORE = {"mistral_v3": " ", "qwen3": "<think>\n\n</think>\n\n"}
PLAIN_DIALOGUES = sorted(set(ENDS) - {"qwen3"})


@pytest.mark.parametrize("name", ENDS)
def test_only_the_answer_and_its_stop_token_are_learned(name: str) -> None:
    row = encode(name, ASK, TELL)
    assert row.problem == ""
    assert row.where == "rows.jsonl:7"
    assert len(row.labels) == len(row.input_ids)
    assert learned(family_tokenizer(name), row) == [f"{BEFORE.get(name, '')}Two, I think.{ENDS[name]}"]


@pytest.mark.parametrize("name", PLAIN_DIALOGUES)
def test_every_assistants_turn_of_a_dialogue_is_learned_with_its_stop_token(name: str) -> None:
    row = encode(name, ASK, TELL, DOUBT, NO)
    before = BEFORE.get(name, "")
    assert row.problem == ""
    assert learned(family_tokenizer(name), row) == [f"{before}Two, I think.{ENDS[name]}", f"{before}No{ENDS[name]}"]


@pytest.mark.parametrize("name", sorted(set(PLAIN_DIALOGUES) - {"gemma", "mistral_v3"}))
def test_a_system_prompt_is_seen_and_not_learned(name: str) -> None:
    row = encode(name, SYSTEM, ASK, TELL)
    assert row.problem == ""
    assert "Be brief." in family_tokenizer(name).decode(row.input_ids)
    assert learned(family_tokenizer(name), row) == [f"Two, I think.{ENDS[name]}"]


@pytest.mark.parametrize("name", ENDS)
def test_the_row_has_the_bos_tokens_of_inference_and_at_most_one(name: str) -> None:
    tokenizer = family_tokenizer(name)
    row = encode(name, ASK, TELL)
    prompt = Chat(tokenizer, stop_ids(name)).prompt([ASK])
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    wanted = 0 if FAMILIES[name].bos is None or name == "phi3" else 1
    assert ids.count(tokenizer.bos_token_id) == row.input_ids.count(tokenizer.bos_token_id) == wanted


def test_the_mask_is_the_same_with_and_without_generation_markers() -> None:
    rows = [encode(name, SYSTEM, ASK, TELL, DOUBT, NO) for name in ("chatml", "chatml_marked")]
    assert rows[0] == rows[1]
    assert rows[0].supervised > 0


@pytest.mark.parametrize("name", ["llama3", "mistral_v3"])
def test_a_tool_call_is_learned_and_the_tools_answer_is_not(name: str) -> None:
    row = with_tools(name, ASK, CALL, RESULT, TELL)
    first, second = learned(family_tokenizer(name), row)
    assert row.problem == ""
    assert "get_weather" in first
    assert '"city": "Bern"' in first
    assert first.endswith(ENDS[name])
    assert "sunny" not in first + second
    assert second.strip() == f"Two, I think.{ENDS[name]}"


def test_a_tool_call_in_qwen3s_form_is_learned_where_its_thought_is_given() -> None:
    thinking = dataclasses.replace(CALL, reasoning_content="Ask.")
    row = with_tools("qwen3", ASK, thinking, RESULT, dataclasses.replace(TELL, reasoning_content="Hm."))
    assert row.problem == ""
    assert [run.split("\n")[1] for run in learned(family_tokenizer("qwen3"), row)] == ["Ask.", "Hm."]


@pytest.mark.parametrize("name", ["chatml", "gemma", "phi4", "mistral_v7", "llama3"])
def test_white_space_before_an_answer_is_refused_only_where_it_joins_the_prompts_last_token(name: str) -> None:
    row = encode(name, ASK, Message("assistant", "\n\nTwo"))
    tokenizer = family_tokenizer(name)
    prompt = tokenizer(Chat(tokenizer, stop_ids(name)).prompt([ASK]), add_special_tokens=False)["input_ids"]
    joined = row.input_ids[: len(prompt)] != prompt
    assert ("strip the white space before the answer" in row.problem) is joined
    assert (row.supervised == 0) is joined


def test_white_space_that_joins_the_prompts_last_token_is_refused() -> None:
    tokenizer = make_tokenizer("gemma")
    tokenizer.chat_template = str(tokenizer.chat_template).replace(" | trim", "")
    chat = Chat(tokenizer, stop_ids("gemma"))
    row = chat.encode([Example((ASK, Message("assistant", "\nTwo")), "chatml")])[0]
    assert "strip the white space before the answer" in row.problem
    assert row.supervised == 0
    row = chat.encode([Example((ASK, Message("assistant", "\n ")), "chatml")])[0]
    assert row.problem.startswith("the answer is only white space: fill it, or leave the row out")


def test_a_conversation_without_a_learned_turn_has_nothing_to_learn_and_a_prompt_need_not() -> None:
    row = encode("chatml", ASK, Message("assistant", "Two", learned=False))
    assert row.problem == "there is no assistant's turn to learn"
    assert row.supervised == 0
    prompt = encode("chatml", ASK)
    assert (prompt.problem, prompt.supervised) == ("", 0)


@pytest.mark.parametrize(("name", "bos"), [("mistral_v7", True), ("chatml", False)])
def test_plain_text_is_learned_from_its_first_to_its_last_token_with_a_stop_token(name: str, *, bos: bool) -> None:
    tokenizer = make_tokenizer(name)
    if bos:
        tokenizer.add_bos_token = True
    text = Example((), "text", "notes.txt:1", text="It is sunny.")
    row = Chat(tokenizer, stop_ids(name)).encode([text])[0]
    said = [*tokenizer("It is sunny.", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    assert row.problem == ""
    assert row.where == "notes.txt:1"
    assert row.labels == [*([TokenRow.IGNORE] if bos else []), *said]
    assert row.input_ids == [*([tokenizer.bos_token_id] if bos else []), *said]


def test_plain_text_gets_no_second_bos_and_no_second_eos() -> None:
    tokenizer = make_tokenizer("mistral_v7")
    tokenizer.add_bos_token = True
    row = Chat(tokenizer, stop_ids("mistral_v7")).encode([Example((), "text", text="<s>It</s>")])[0]
    assert tokenizer.decode(row.input_ids) == "<s>It</s>"


def test_plain_text_whose_eos_does_not_stop_generation_is_a_problem() -> None:
    chat = Chat(family_tokenizer("chatml"), frozenset([0]))
    assert "without a stop token" in chat.encode([Example((), "text", text="It")])[0].problem
