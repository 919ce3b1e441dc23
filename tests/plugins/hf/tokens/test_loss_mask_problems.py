"""hf/tokens/loss_mask.py: which rows are not proven, in which words that is said, what is left of them."""

from __future__ import annotations

import dataclasses
import pickle
import re

import pytest

from framework.api.records import Example, Message
from framework.api.schema import Learn
from framework_plugins.hf.tokens.chat import Chat
from tests.support.conversations import (
    ASK,
    CALL,
    DOUBT,
    NO,
    RESULT,
    SYSTEM,
    TELL,
    encode,
    encode_by,
    learned,
    with_tools,
)
from tests.support.families import family_tokenizer, make_tokenizer, stop_ids

NOT_THE_BEGINNING = "not the beginning of the training text"
REWRITTEN = "learned differently from how it would be generated"
PER_ANSWER = "data.learn=each"


def test_gemma_refuses_a_system_prompt_with_a_way_out() -> None:
    row = encode("gemma", SYSTEM, ASK, TELL)
    assert row.problem.startswith("the chat template refuses the turns system, user, assistant: System role not supp")
    assert "put that text into the first user's turn" in row.problem
    assert row.input_ids == row.labels == []
    assert pickle.loads(pickle.dumps(row)) == row  # noqa: S301 - our own: rows go to other processes


def test_turns_in_an_order_that_a_template_forbids_are_refused_as_its_rule() -> None:
    row = encode("gemma", ASK, DOUBT, TELL)
    assert row.problem == (
        "the chat template refuses the turns user, user, assistant: Roles must alternate user/assistant/user/assistant;"
        " this is the template's rule"
    )


def test_a_system_prompt_that_is_written_for_inference_only_is_a_problem() -> None:
    for learn in (Learn.assistant, Learn.last):
        row = encode("mistral_v3", SYSTEM, ASK, TELL, learn=learn)
        assert "drops or changes the system prompt" in row.problem
        assert row.supervised == 0


def test_a_system_prompt_that_moves_to_the_last_question_allows_the_last_answer_only() -> None:
    tokenizer = make_tokenizer("mistral_v3")
    moved = str(tokenizer.chat_template).replace("loop.last and system is defined", "message == asked[-1] and system")
    tokenizer.chat_template = moved
    example = Example((SYSTEM, ASK, TELL, DOUBT, NO), "chatml")
    row = Chat(tokenizer, stop_ids("mistral_v3")).encode([example])[0]
    assert NOT_THE_BEGINNING in row.problem
    assert PER_ANSWER in row.problem
    assert learned(tokenizer, row) == [" No</s>"]
    last = Chat(tokenizer, stop_ids("mistral_v3"), learn=Learn.last).encode([example])[0]
    assert last.problem == ""
    assert last.labels == row.labels


def test_thoughts_that_go_once_a_turn_follows_allow_the_last_answer_only() -> None:
    row = encode("qwen3", ASK, TELL, DOUBT, NO)
    assert REWRITTEN in row.problem
    assert PER_ANSWER in row.problem
    last = encode("qwen3", ASK, TELL, DOUBT, NO, learn=Learn.last)
    assert last.problem == ""
    assert learned(family_tokenizer("qwen3"), last) == ["<think>\n\n</think>\n\nNo<|im_end|>"]
    assert last.labels == row.labels


@pytest.mark.parametrize(
    "thoughtful",
    [
        Message("assistant", "No", reasoning_content="Let me see."),
        Message("assistant", "<think>\nLet me see.\n</think>\n\nNo"),
        Message("assistant", "<think>Let me see.</think>No"),
    ],
    ids=["field", "as-is", "moved"],
)
def test_a_thought_is_learned_before_its_answer(thoughtful: Message) -> None:
    row = encode("qwen3", ASK, thoughtful)
    assert row.problem == ""
    assert learned(family_tokenizer("qwen3"), row) == ["<think>\nLet me see.\n</think>\n\nNo<|im_end|>"]


def test_with_thinking_switched_off_its_empty_form_is_part_of_the_prompt() -> None:
    row = encode("qwen3", ASK, TELL, enable_thinking=False)
    assert row.problem == ""
    assert learned(family_tokenizer("qwen3"), row) == ["Two, I think.<|im_end|>"]
    thoughtful = dataclasses.replace(TELL, reasoning_content="Let me see.")
    assert NOT_THE_BEGINNING in encode("qwen3", ASK, thoughtful, enable_thinking=False).problem


@pytest.mark.parametrize("name", ["chatml", "llama3", "deepseek_v3"])
def test_a_thought_that_the_template_does_not_write_is_a_problem(name: str) -> None:
    row = encode(name, ASK, dataclasses.replace(TELL, reasoning_content="Let me see."))
    assert "drops or changes the assistant's thoughts (reasoning_content)" in row.problem
    assert row.supervised == 0


@pytest.mark.parametrize("learn", [Learn.assistant, Learn.last])
@pytest.mark.parametrize("answer", ["Two", "<think>\nLet me see.\n</think>\n\nTwo"])
def test_r1_opens_a_thought_for_inference_that_it_does_not_train(answer: str, *, learn: Learn) -> None:
    row = encode("deepseek_r1", ASK, Message("assistant", answer), learn=learn)
    assert NOT_THE_BEGINNING in row.problem
    assert "inference would continue with '<think>\\n'" in row.problem
    assert PER_ANSWER not in row.problem
    assert row.supervised == 0


def test_tools_that_a_template_does_not_write_are_a_problem() -> None:
    row = with_tools("chatml", ASK, TELL)
    assert "leaves out the tools" in row.problem


def test_a_tool_call_that_a_template_does_not_write_is_a_problem() -> None:
    row = encode("chatml", ASK, CALL, RESULT, TELL)
    assert "drops or changes an assistant's tool call" in row.problem


def test_a_tools_answer_that_a_template_does_not_write_is_a_problem() -> None:
    row = encode("deepseek_v3", ASK, TELL, RESULT, NO)
    assert "drops or changes a turn of the tool" in row.problem


EACH = "{% for m in messages %}{{ m.role }}:\n{{ m.content }}{{ eos_token }}{% endfor %}"
ANSWER = "{% if add_generation_prompt %}assistant:\n{% endif %}"


@pytest.mark.parametrize(
    ("template", "problem", "saved"),
    [
        ("{{ bos_token }}{{ bos_token }}" + EACH + ANSWER,
         "<|begin_of_text|> twice at the start", "Two, I think.<|eot_id|>"),
        ("{% for m in messages %}{{ m.role }}:\n{{ m.content }}\n{% endfor %}" + ANSWER,
         "without a stop token.*<|eot_id|>", "Two, I think."),
        ("{% for m in messages %}{{ m.role }}:\n{{ m.content | upper }}{{ eos_token }}{% endfor %}" + ANSWER,
         "drops or changes", ""),
        (EACH + "{% if add_generation_prompt %}### Answer: {% endif %}",
         "not the beginning of the training text.*with '### Answer: '", ""),
        ("{% for m in messages %}{{ m.role }}:\n{{ bos_token if m.role == 'assistant' }}{{ m.content }}{{ eos_token }}"
         "{% endfor %}" + ANSWER, "before an answer", "<|begin_of_text|>Two, I think.<|eot_id|>"),
        ("{{ raise_exception('no such roles here') }}", "user, assistant: no such roles here", ""),
        ("{{ messages[0].content + 1 }}", "TypeError", ""),
        ("{{ '' }}", "drops or changes", ""),
        ("{{ missing.field }}", "UndefinedError", ""),
        ("{% for %}", "TemplateSyntaxError", ""),
        (EACH + "{{ raise_exception('no prompts') if add_generation_prompt }}", "the turns user: no prompts", ""),
    ],
    ids=["two-bos", "no-stop", "changed", "other-prompt", "bos-before-answer", "refused", "type-error", "empty",
         "undefined", "syntax", "prompt-refused"],
)  # fmt: skip
def test_a_template_that_cannot_be_masked_exactly_is_a_problem_of_the_row(
    template: str, problem: str, saved: str
) -> None:
    tokenizer = make_tokenizer("llama3")
    tokenizer.chat_template = template
    row = encode_by(tokenizer, ASK, TELL)
    assert re.search(problem.replace("|", r"\|"), row.problem)
    assert "".join(learned(tokenizer, row)) == saved


def test_a_users_stop_token_does_not_stand_in_for_the_assistants() -> None:
    tokenizer = make_tokenizer("llama3")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}:\n{{ m.content }}{{ eos_token if m.role == 'user' }}\n{% endfor %}"
        + ANSWER
    )
    row = encode_by(tokenizer, ASK, TELL, DOUBT, NO)
    assert "without a stop token" in row.problem
    assert learned(tokenizer, row) == ["Two, I think.", "No"]


def test_a_stop_token_after_the_last_answer_only_is_a_problem_of_the_earlier_ones() -> None:
    tokenizer = make_tokenizer("llama3")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}:\n{{ m.content }}{{ eos_token if loop.last }}\n{% endfor %}" + ANSWER
    ).replace("loop.last", "loop.last and not add_generation_prompt")
    row = encode_by(tokenizer, ASK, TELL, DOUBT, NO)
    assert REWRITTEN in row.problem
    assert learned(tokenizer, row) == ["No<|eot_id|>"]


def test_a_stop_token_that_is_an_ordinary_word_is_compared_token_by_token() -> None:
    tokenizer = make_tokenizer("mistral_v7")
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}:\n{{ m.content }}\n{% endfor %}" + ANSWER
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
    chat = Chat(tokenizer, frozenset(newline))
    row = chat.encode([Example((ASK, TELL, DOUBT, NO), "chatml")])[0]
    assert row.problem == ""
    assert learned(tokenizer, row) == ["Two, I think.\n", "No\n"]


def test_a_stop_word_that_joins_what_follows_for_inference_only_is_not_learned() -> None:
    tokenizer = make_tokenizer("gemma")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}:\n{{ m.content }}{{ '\n' }}{{ '\n' if loop.last }}{% endfor %}" + ANSWER
    ).replace("if loop.last", "if loop.last and m.role == 'assistant'")
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
    row = Chat(tokenizer, frozenset(newline)).encode([Example((ASK, TELL, DOUBT, NO), "chatml")])[0]
    assert "without a stop token" in row.problem  # the two line breaks of the last turn are one token
    assert learned(tokenizer, row) == ["No"]


def test_an_opening_that_ends_with_a_space_is_refused_where_the_tokenizer_joins_it_to_the_answer() -> None:
    tokenizer = make_tokenizer("llama3")
    tokenizer.chat_template = (EACH + ANSWER).replace(":\n", ": ")
    row = encode_by(tokenizer, ASK, TELL)
    assert "the template's opening of an answer must not end with white space" in row.problem


@pytest.mark.parametrize("context", [
    TELL,
    dataclasses.replace(TELL, reasoning_content="Hm."),
    Message("assistant", "<think>\nHm.\n</think>\n\nTwo"),
])  # fmt: skip
def test_earlier_turns_that_are_context_only_need_not_be_learnable(context: Message) -> None:
    assert REWRITTEN in encode("qwen3", ASK, TELL, DOUBT, NO).problem
    row = encode("qwen3", ASK, dataclasses.replace(context, learned=False), DOUBT, NO)
    assert row.problem == ""
    assert learned(family_tokenizer("qwen3"), row) == ["<think>\n\n</think>\n\nNo<|im_end|>"]


def test_a_turn_that_is_context_only_must_be_kept_with_its_call() -> None:
    call = dataclasses.replace(CALL, learned=False)
    assert "drops or changes an assistant's tool call" in encode("chatml", ASK, call, RESULT, TELL).problem
    assert with_tools("llama3", ASK, call, RESULT, TELL).problem == ""
