"""hf/tokens/prompt_tokens.py: a prompt's tokens are counted without tokenizing it, and the count is right."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from framework_plugins.hf.tokens.prompt_tokens import PromptCut, PromptTokens
from tests.support.examples import examples
from tests.support.families import FAMILIES, core_tokenizer, family_tokenizer, make_tokenizer

ODD = (
    AddedToken("<left>", lstrip=True, normalized=False),
    AddedToken("<right>", rstrip=True, normalized=False),
    AddedToken("<word>", single_word=True, normalized=False),
    AddedToken("<norm>", normalized=True, special=False),
    AddedToken("<a>", normalized=False),
    AddedToken("<a>b", normalized=False),
    AddedToken(">\n", normalized=False, special=False),
    AddedToken("w<", normalized=False, special=False),
    AddedToken("the", normalized=False, special=False, single_word=True),
    AddedToken(" ", normalized=False, special=False),
)
WORDS = (
    "How",
    " many",
    "the",
    "b",
    "w",
    "  ",
    "\n",
    "\n\n",
    "\t",
    "é",
    "e\u0301",
    "👍🏽",
    "▁",
    "<",
    ">",
    "中",
    "\u200d",
)


def odd_tokenizer(words: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose added tokens have every odd property."""
    core = core_tokenizer(words)
    core.add_tokens([token for token in ODD if token.content != " " or words == "bytes"])
    return PreTrainedTokenizerFast(tokenizer_object=core)


TOKENIZERS = {name: family_tokenizer(name) for name in FAMILIES if name != "chatml_marked"}
TOKENIZERS |= {
    f"odd-{words}": odd_tokenizer(words) for words in ("bytes", "first", "unknown", "always", "legacy", "gemma")
}
TOKENIZERS["split"] = make_tokenizer("chatml")
TOKENIZERS["split"].split_special_tokens = True
# As Llama's does: it puts a BOS before whatever is tokenized with special tokens.
TOKENIZERS["bos"] = make_tokenizer("chatml")
TOKENIZERS["bos"].backend_tokenizer.post_processor = TemplateProcessing("<|im_start|> $A", None, [("<|im_start|>", 1)])


def test_only_what_is_needed_again_is_remembered() -> None:
    prompts = PromptTokens(family_tokenizer("chatml"))
    prompts.tokenize_tails([PromptCut(0, "a"), PromptCut(0, "b"), PromptCut(3, "a")])
    assert sorted(prompts.tails) == ["a", "b"]
    prompts.tokenize_tails([PromptCut(0, "b"), PromptCut(0, "c")])
    assert sorted(prompts.tails) == ["b", "c"]


def test_a_text_by_itself_has_no_special_token_before_it() -> None:
    tokenizer = TOKENIZERS["bos"]
    plain = PromptTokens(tokenizer).ids("How many?")
    assert len(tokenizer("How many?")["input_ids"]) == len(plain) + 1
    assert plain == tokenizer("How many?", add_special_tokens=False)["input_ids"]


def test_a_text_is_cut_only_at_tokens_that_stand_whatever_comes_before_or_after() -> None:
    added = set(PromptTokens(TOKENIZERS["odd-bytes"]).added.values())
    assert added == {token.content for token in ODD} - {"<norm>", "<word>", "the"}
    assert PromptTokens(TOKENIZERS["split"]).added == {}


def test_a_token_that_begins_in_a_prompt_and_ends_behind_it_is_none_of_the_prompts() -> None:
    tokenizer = odd_tokenizer("unknown")
    text = "中<a>"
    ids, count = quickly(tokenizer, text, 2)
    assert count == slowly(tokenizer, ids, text[:2])
    assert (len(ids), count) == (3, 2)  # a space, an unknown word, `<a>`; in the prompt both letters are the word


def test_the_usual_opening_is_tokenized_once() -> None:
    text = "<|im_start|>user\nHow many?<|im_end|>\n<|im_start|>assistant\nTwo.<|im_end|>\n"
    core = family_tokenizer("chatml").backend_tokenizer
    prompts, length = PromptTokens(family_tokenizer("chatml")), text.index("Two.")
    encoding = core.encode(text, add_special_tokens=False)
    assert prompts.cut(encoding, encoding.ids, text, length).tail == "<|im_start|>assistant\n"


def slowly(tokenizer: PreTrainedTokenizerFast, ids: list[int], prompt: str) -> int | None:
    own: list[int] = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    return len(own) if ids[: len(own)] == own else None


def quickly(tokenizer: PreTrainedTokenizerFast, text: str, length: int) -> tuple[list[int], int | None]:
    prompts = PromptTokens(tokenizer)
    tokenizer("", add_special_tokens=False)  # puts its settings into the core
    encoding: Any = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    cut = prompts.cut(encoding, encoding.ids, text, length)
    prompts.tokenize_tails([cut])
    return encoding.ids, prompts.count(encoding.ids, cut)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=examples(150))
@given(data=st.data())
def test_a_prompt_cut_anywhere_has_as_many_tokens_as_when_it_is_tokenized_by_itself(
    name: str, data: st.DataObject
) -> None:
    tokenizer = TOKENIZERS[name]
    added = [token.content for token in tokenizer.added_tokens_decoder.values()]
    piece = st.one_of(st.sampled_from(added), st.sampled_from(WORDS), st.text(max_size=3))
    text = "".join(data.draw(st.lists(piece, min_size=1, max_size=10)))
    length = data.draw(st.integers(0, len(text)))
    ids, count = quickly(tokenizer, text, length)
    assert ids == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert count == slowly(tokenizer, ids, text[:length])
