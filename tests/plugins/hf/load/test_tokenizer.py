"""hf/load/tokenizer.py: the chat template is the tokenizer's or that of a file, and there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.api.protocols import ModelPlace
from framework.api.records import Example, Message
from framework.util.errors import FrameworkError
from framework_plugins.hf.load.tokenizer import set_template
from framework_plugins.hf.tokens.chat import Chat
from framework_plugins.lib.chat_templates import CHAT_TEMPLATES
from tests.support.conversations import ASK, DOUBT, NO, SYSTEM, TELL, learned
from tests.support.families import make_tokenizer

PLACE = ModelPlace(Path("model"), "model")


def test_a_tokenizer_without_a_template_says_how_to_give_one(tmp_path: Path) -> None:
    tokenizer = make_tokenizer("llama3")
    template = tokenizer.chat_template
    tokenizer.chat_template = None
    with pytest.raises(
        FrameworkError,
        match=r"^model model: the tokenizer has no .*=FILE\.jinja, or one by name: alpaca, chatml, gemma, llama3",
    ):
        set_template(tokenizer, None, PLACE)
    file = tmp_path / "own.jinja"
    file.write_text(str(template), encoding="utf-8")
    set_template(tokenizer, str(file), PLACE)
    assert tokenizer.chat_template == template
    with pytest.raises(FrameworkError, match=r"missing\.jinja: there is no such file, and the named .* are alpaca"):
        set_template(tokenizer, str(tmp_path / "missing.jinja"), PLACE)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FrameworkError, match=r"own\.jinja: not UTF-8 text"):
        set_template(tokenizer, str(file), PLACE)


FAMILIES = {
    "alpaca": "llama3",
    "chatml": "chatml",
    "gemma": "gemma",
    "llama3": "llama3",
    "mistral": "mistral_v3",
    "phi3": "phi3",
}


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
@pytest.mark.parametrize("turns", [(ASK, TELL), (SYSTEM, ASK, TELL), (SYSTEM, ASK, TELL, DOUBT, NO)])
def test_rows_are_exact_by_a_template_of_that_name_and_end_with_its_stop(name: str, turns: tuple[Message, ...]) -> None:
    tokenizer = make_tokenizer(FAMILIES[name])
    tokenizer.chat_template = None
    set_template(tokenizer, name, PLACE)
    stop = CHAT_TEMPLATES[name].stop or tokenizer.eos_token
    row = Chat(tokenizer, frozenset([tokenizer.eos_token_id])).encode([Example(turns, "chatml", "a:1")])[0]
    assert row.problem == ""
    said = [message.content for message in turns if message.role == "assistant"]
    assert [text.strip() for text in learned(tokenizer, row)] == [f"{text}{stop}" for text in said]


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
def test_a_template_of_that_name_knows_no_other_roles(name: str) -> None:
    tokenizer = make_tokenizer(FAMILIES[name])
    set_template(tokenizer, name, PLACE)
    found = Message("tool", "sunny", name="weather")
    row = Chat(tokenizer, frozenset([tokenizer.eos_token_id])).encode([Example((ASK, found, TELL), "chatml", "a:1")])[0]
    assert "this chat template knows" in row.problem


def test_a_template_whose_tokens_the_tokenizer_lacks_is_refused_with_those_that_would_do() -> None:
    tokenizer = make_tokenizer("chatml")
    with pytest.raises(
        FrameworkError,
        match=r"^model\.chat_template=phi3 writes <\|system\|>, .*: of the templates by name, alpaca, chatml would",
    ):
        set_template(tokenizer, "phi3", PLACE)
