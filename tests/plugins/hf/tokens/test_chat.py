"""hf/tokens/chat.py: what is learned is exactly what inference will generate; the key of the cache."""

from __future__ import annotations

import dataclasses
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from framework.api.records import Example, Message, TokenRow
from framework.api.schema import Learn
from framework.util.errors import FrameworkError
from framework_plugins.hf.tokens import chat
from framework_plugins.hf.tokens.chat import Chat
from tests.support.conversations import DOUBT, NO, SYSTEM, encode
from tests.support.examples import examples
from tests.support.families import FAMILIES, family_tokenizer, make_tokenizer, stop_ids
from tests.support.tiny import tiny_chatml, tiny_llama

ASK = Message("user", "How many?")
TELL = Message("assistant", "Two, I think.")
PROVABLE = sorted(set(FAMILIES) - {"deepseek_r1", "chatml_marked"})


@pytest.fixture(scope="module", params=[tiny_llama, tiny_chatml], ids=["llama3", "chatml"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    folder: Path = request.param(tmp_path_factory.mktemp("model"))
    return AutoTokenizer.from_pretrained(folder)


def of(tokenizer: PreTrainedTokenizerFast, **options: Any) -> Chat:
    assert tokenizer.eos_token_id is not None
    return Chat(tokenizer, frozenset([tokenizer.eos_token_id]), **options)


def said(tokenizer: PreTrainedTokenizerFast, row: TokenRow) -> str:
    return str(tokenizer.decode([label for label in row.labels if label != TokenRow.IGNORE]))


def test_the_prompt_of_inference_is_the_beginning_of_the_training_ids(tokenizer: PreTrainedTokenizerFast) -> None:
    row = of(tokenizer).encode([Example((ASK, TELL), "chatml", "rows.jsonl:7")])[0]
    prompt = tokenizer(of(tokenizer).prompt([ASK]), add_special_tokens=False)["input_ids"]
    assert row.problem == ""
    assert row.input_ids[: len(prompt)] == prompt
    assert row.labels[: len(prompt)] == [TokenRow.IGNORE] * len(prompt)
    assert said(tokenizer, row) == f"Two, I think.{tokenizer.eos_token}"


def test_many_rows_come_out_as_they_do_one_by_one(tokenizer: PreTrainedTokenizerFast) -> None:
    examples = [Example((ASK, Message("assistant", f"{n} of them")), "chatml", f"r:{n}") for n in range(5)]
    examples[2] = Example((), "text", "r:2", text="Two of them.")
    examples[3] = Example((*examples[3].messages, ASK, TELL), "chatml", "r:3")
    together = of(tokenizer).encode(examples)
    assert together == [of(tokenizer).encode([example])[0] for example in examples]
    assert [row.where for row in together] == ["r:0", "r:1", "r:2", "r:3", "r:4"]


def test_portions_come_out_as_one(tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = [Example((ASK, Message("assistant", f"{n} of them"), ASK, TELL), "chatml", f"r:{n}") for n in range(9)]
    whole = of(tokenizer).encode(examples)
    for size in (1, 100, 250):
        monkeypatch.setattr(chat, "PORTION_CHARACTERS", size)
        assert of(tokenizer).encode(examples) == whole


def test_of_the_prompts_of_a_long_dialogue_one_is_held_at_a_time() -> None:
    turns = tuple(Message(("user", "assistant")[n % 2], "How many are there? " * 100) for n in range(100))
    encoder = Chat(family_tokenizer("chatml"), stop_ids("chatml"))
    encoder.encode([Example(turns[:2], "chatml")])
    tracemalloc.start()
    try:
        (row,) = encoder.encode([Example(turns, "chatml")])
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert row.problem == ""
    assert peak - held < 5 * sum(len(turn.content) for turn in turns)  # all prompts: 50 times half of the text


def test_a_row_that_fails_leaves_the_others_of_its_batch_alone() -> None:
    gemma = Chat(family_tokenizer("gemma"), stop_ids("gemma"))
    good = Example((ASK, TELL), "chatml", "r:1")
    system = Example((Message("system", "Be brief."), ASK, TELL), "chatml", "r:2")
    rows = gemma.encode([good, system, good])
    assert [bool(row.problem) for row in rows] == [False, True, False]
    assert rows[0] == rows[2] == gemma.encode([good])[0]


def test_a_text_that_no_tokenizer_takes_is_a_problem_of_its_row(tokenizer: PreTrainedTokenizerFast) -> None:
    broken = Example((ASK, Message("assistant", "half \ud83d")), "chatml", "r:2")
    rows = of(tokenizer).encode([Example((ASK, TELL), "chatml"), broken])
    assert rows[0].problem == ""
    assert rows[1].problem.startswith("the tokenizer refuses the text")
    assert rows[1].supervised == 0


def test_a_limit_in_the_tokenizers_file_does_not_cut_or_pad_rows(tokenizer: PreTrainedTokenizerFast) -> None:
    whole = of(tokenizer).encode([Example((ASK, TELL), "chatml"), Example((ASK, ASK, TELL), "chatml")])
    tokenizer.backend_tokenizer.enable_truncation(max_length=5)
    tokenizer.backend_tokenizer.enable_padding(length=50)
    assert of(tokenizer).encode([Example((ASK, TELL), "chatml"), Example((ASK, ASK, TELL), "chatml")]) == whole


LEAD = st.sampled_from(["", "", " ", "\n", "\n\n", "  \n"])
BITS = st.sampled_from(
    ["How", " many", "?", " ", "\n", "\n\n", "é", "e\u0301", "👍🏽", "\u200d", "▁", "中", "<think>", "</think>", "a"]
)


@st.composite
def texts(draw: st.DrawFn, added: list[str]) -> str:
    pieces = draw(st.lists(st.one_of(BITS, BITS, st.sampled_from(added), st.text(max_size=2)), max_size=5))
    return draw(LEAD) + "a" + "".join(pieces)


@pytest.mark.parametrize("name", PROVABLE)
@settings(max_examples=examples(60))
@given(data=st.data())
def test_a_row_without_a_problem_teaches_what_tokenizing_turn_by_turn_says(name: str, data: st.DataObject) -> None:
    tokenizer, last_only = family_tokenizer(name), data.draw(st.booleans())
    some = texts([token.content for token in tokenizer.added_tokens_decoder.values()])
    roles = ["user", "assistant"] * data.draw(st.integers(1, 2))
    messages = tuple(Message(role, data.draw(some)) for role in roles)
    encoder = Chat(tokenizer, stop_ids(name), learn=Learn.last if last_only else Learn.assistant)
    row = encoder.encode([Example(messages, "chatml")])[0]
    whole = tokenizer.apply_chat_template(turns(messages), tokenize=False)
    assert row.input_ids == tokenizer(whole, add_special_tokens=False)["input_ids"]
    numbers = [number for number, role in enumerate(roles) if role == "assistant"]
    wanted, misfits = [TokenRow.IGNORE] * len(row.input_ids), 0
    for number in numbers[-1:] if last_only else numbers:
        start, stop = turn_by_turn(tokenizer, messages, number, stop_ids(name), row.input_ids)
        misfits += start is None
        wanted[start or 0 : stop] = row.input_ids[start or 0 : stop]
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    forged = not all(map(special.isdisjoint, tokenizer([message.content for message in messages])["input_ids"]))
    if name != "qwen3":  # which rewrites what is given as a thought
        assert bool(row.problem) is bool(misfits or forged)
        assert row.labels == wanted
    elif not row.problem:
        # A thought of an earlier turn is left out, in training as in inference, with whatever is in it.
        assert misfits == 0
        assert not forged or any(message.content.strip() not in whole for message in messages)
        assert row.labels == wanted
    else:
        assert all(label in (TokenRow.IGNORE, right) for label, right in zip(row.labels, wanted, strict=True))


def test_a_special_token_in_a_thought_that_the_template_leaves_out_is_no_problem() -> None:
    tokenizer = family_tokenizer("qwen3")
    texts_ = ("a", "a<|endoftext|></think>", "a", "a")
    messages = tuple(Message(role, text) for role, text in zip(["user", "assistant"] * 2, texts_, strict=True))
    row = Chat(tokenizer, stop_ids("qwen3"), learn=Learn.last).encode([Example(messages, "chatml")])[0]
    assert row.problem == ""
    assert tokenizer.convert_tokens_to_ids("<|endoftext|>") not in row.input_ids


def turns(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def turn_by_turn(
    tokenizer: PreTrainedTokenizerFast,
    messages: tuple[Message, ...],
    number: int,
    stops: frozenset[int],
    ids: list[int],
) -> tuple[int | None, int]:
    """Find a learned turn by tokenizing its prompt and the conversation up to it; None if they do not fit."""
    asked = tokenizer.apply_chat_template(turns(messages[:number]), tokenize=False, add_generation_prompt=True)
    prompt = tokenizer(asked, add_special_tokens=False)["input_ids"]
    upto = tokenizer.apply_chat_template(turns(messages[: number + 1]), tokenize=False)
    alone = tokenizer(upto, add_special_tokens=False)["input_ids"]
    written = not stops.isdisjoint(tokenizer(messages[number].content, add_special_tokens=False)["input_ids"])
    end = next((place + 1 for place in range(len(prompt), len(alone)) if alone[place] in stops), None)
    if written or end is None or ids[: len(prompt)] != prompt or ids[:end] != alone[:end]:
        return None, 0
    return len(prompt), end


def test_inference_is_refused_a_conversation_that_the_template_refuses() -> None:
    gemma = Chat(family_tokenizer("gemma"), stop_ids("gemma"))
    with pytest.raises(FrameworkError, match="refuses the turns system, user: System role not supported"):
        gemma.prompt([Message("system", "Be brief."), ASK])


def _other(name: str, **changes: Any) -> Chat:
    tokenizer = make_tokenizer(name)
    for attribute, value in changes.items():
        setattr(tokenizer, attribute, value)
    return of(tokenizer)


def _with_another_token() -> Chat:
    tokenizer = make_tokenizer("chatml")
    tokenizer.add_tokens(["<new>"])
    return of(tokenizer)


def test_the_key_changes_with_all_that_rows_depend_on_and_with_nothing_else() -> None:
    key = _other("chatml").key
    used = _other("chatml")
    used.encode([Example((ASK, TELL), "chatml")])
    used.tokenizer(["a", "a b"], padding=False, truncation=True, max_length=2)
    assert used.key == key
    named = {"default": str(make_tokenizer("chatml").chat_template), "tool_use": "{{ tools }}"}
    others = [
        _other("phi4").key,
        _other("chatml", chat_template="{{ messages[0].content }}").key,
        _other("chatml", chat_template=named).key,
        _other("chatml", chat_template=named | {"tool_use": "{{ tools }} "}).key,
        _other("chatml", eos_token="<|endoftext|>").key,  # noqa: S106 - no password
        _other("chatml", bos_token="<|im_start|>").key,  # noqa: S106 - no password
        _other("chatml", split_special_tokens=True).key,
        _with_another_token().key,
        of(make_tokenizer("chatml"), settings={"enable_thinking": False}).key,
        of(make_tokenizer("chatml"), learn=Learn.last).key,
        Chat(make_tokenizer("chatml"), frozenset([1])).key,
    ]
    assert len({key, *others}) == len(others) + 1
    sets = (frozenset([1, 5, 300]), {"b": 1, "a": "x"}), (frozenset([300, 5, 1]), {"a": "x", "b": 1})
    assert len({Chat(make_tokenizer("qwen3"), stops, settings).key for stops, settings in sets}) == 1


def test_a_turn_that_is_context_only_is_not_learned(tokenizer: PreTrainedTokenizerFast) -> None:
    context = Message("assistant", "Three!", learned=False)
    row = of(tokenizer).encode([Example((ASK, context, ASK, TELL), "chatml", "r:1")])[0]
    whole = of(tokenizer).encode([Example((ASK, Message("assistant", "Three!"), ASK, TELL), "chatml", "r:1")])[0]
    assert said(tokenizer, row) == f"Two, I think.{tokenizer.eos_token}"
    assert said(tokenizer, whole) == f"Three!{tokenizer.eos_token}Two, I think.{tokenizer.eos_token}"
    assert row.input_ids == whole.input_ids


def test_a_template_that_writes_the_date_has_another_key_the_next_day(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_tokenizer("chatml")
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}" + str(tokenizer.chat_template)
    today = of(tokenizer).key
    assert of(tokenizer).key == today
    later = Chat(tokenizer, frozenset([tokenizer.eos_token_id]))
    monkeypatch.setattr(later, "prompt", lambda messages: f"the next day {messages}")
    assert later.key != today


def test_everything_is_learned_but_the_bos_token_and_the_last_answer_is_proven() -> None:
    tokenizer = family_tokenizer("llama3")
    chat = Chat(tokenizer, stop_ids("llama3"), learn=Learn.everything)
    row, light = chat.encode(
        [
            Example((SYSTEM, ASK, TELL, DOUBT, NO), "chatml", "a:1"),
            Example((ASK, dataclasses.replace(TELL, learned=False), DOUBT, NO), "chatml", "a:2"),
        ]
    )
    assert row.problem == ""
    assert row.labels == [TokenRow.IGNORE, *row.input_ids[1:]]
    assert light.problem.startswith("an assistant's turn has the weight 0, and data.learn=everything learns all")
    qwen = Chat(family_tokenizer("qwen3"), stop_ids("qwen3"), learn=Learn.everything)
    assert qwen.encode([Example((ASK, TELL, DOUBT, NO), "chatml", "a:3")])[0].problem == ""


def test_the_ways_for_thoughts_that_a_template_drops_are_named() -> None:
    row = encode("llama3", ASK, dataclasses.replace(TELL, reasoning_content="Let me see."))
    assert row.problem.endswith(
        ": set format.thoughts=inline or format.thoughts=drop, with either of which it is exact"
    )
