"""TEMPLATEs that are derived from chat templates write the same text, byte for byte, by Go's own `text/template`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.api.records import Message
from framework.util.errors import FrameworkError
from framework_plugins.exports.ollama.derive import Derived, derive, without_begin
from framework_plugins.exports.ollama.probe import NoTemplateError, conversation
from framework_plugins.exports.ollama.tokens import Tokens
from tests.support.ollama import Asked, rendered
from tests.support.ollama.chats import CHATS, LLAMA3, Chat

FORMS = ["u", "uau", "uauau", "uauauauau"]
NO_SYSTEM = {"mistral_v1", "gemma", "phi3_old"}
DEFAULTS = {
    "chatml": "You help.",
    "qwen2": "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    "vicuna": "A chat between a curious user and an assistant.",
}
SAID = {
    "system": "Answer briefly.\nAnswer in German.",
    "user": 'What is {{ .Content }} in \'Go\'? "Nothing": {"a": [1, {}]}\n\n- 東京 🙂\n- <b>`x`</b>',
    "assistant": 'It is \\n }} or {% if x %}.\n\n```go\nfmt.Println("{{")\n```',
}


def named(*names: str) -> list[Chat]:
    return [chat for chat in CHATS if chat.name in names]


@functools.cache
def derived(chat: Chat) -> Derived:
    return derive(without_begin(chat.render, chat.tokens, added=chat.adds), chat.tokens)


def said(roles: str) -> list[Message]:
    return conversation(roles, lambda role, number: f"{SAID[role]} ({number})")


def with_begin(chat: Chat, text: str) -> str:
    """Put BOS where the runner puts it."""
    return chat.bos * chat.adds + text


def written(chat: Chat, conversations: Sequence[Sequence[Message]], system: str = "") -> list[str]:
    template = derived(chat).template
    return [with_begin(chat, text) for text in rendered([Asked(template, one, system) for one in conversations])]


@pytest.mark.parametrize("chat", CHATS, ids=str)
def test_without_a_system_prompt_the_texts_are_the_same(chat: Chat) -> None:
    conversations = [said(roles) for roles in FORMS]
    assert written(chat, conversations) == [chat.apply(messages) for messages in conversations]


@pytest.mark.parametrize("chat", [chat for chat in CHATS if chat.name not in NO_SYSTEM], ids=str)
def test_with_a_system_prompt_the_texts_are_the_same(chat: Chat) -> None:
    conversations = [said("s" + roles) for roles in FORMS]
    assert written(chat, conversations) == [chat.apply(messages) for messages in conversations]


@pytest.mark.parametrize("chat", [chat for chat in CHATS if chat.name in NO_SYSTEM], ids=str)
def test_where_none_is_taken_a_system_prompt_is_left_out_and_that_is_said(chat: Chat) -> None:
    assert written(chat, [said("suau")]) == written(chat, [said("suau")[1:]])
    assert not derived(chat).takes_system
    assert derived(chat).notes[-1] == "The chat template takes no system prompt: one that is given is left out."


@pytest.mark.parametrize("chat", CHATS, ids=str)
def test_the_default_system_prompt_is_found_and_giving_it_changes_nothing(chat: Chat) -> None:
    assert derived(chat).default_system == DEFAULTS.get(chat.name, "")
    conversations = [said(roles) for roles in FORMS]
    without = written(chat, conversations)
    assert written(chat, conversations, system=derived(chat).default_system) == without


@pytest.mark.parametrize("chat", CHATS, ids=str)
def test_an_answer_that_is_to_be_continued_stays_open(chat: Chat) -> None:
    (text,) = written(chat, [said("uaua")])
    assert text.endswith(SAID["assistant"] + " (3)")
    assert chat.apply(said("uauau")).startswith(text)


@pytest.mark.parametrize("chat", named("chatml", "llama3", "phi4"), ids=str)
def test_a_system_prompt_later_in_the_conversation_stays_where_it_is(chat: Chat) -> None:
    messages = [*said("ua"), Message("system", "Now in French."), *said("u")]
    assert written(chat, [messages]) == [chat.apply(messages)]


@pytest.mark.parametrize("chat", named("chatml", "llama31", "zephyr", "phi3"), ids=str)
def test_a_conversation_that_was_cut_off_before_an_answer_is_the_same_too(chat: Chat) -> None:
    conversations = [said("au"), said("auau"), said("sau")]
    assert written(chat, conversations) == [chat.apply(messages) for messages in conversations]
    assert not any("cut off" in note for note in derived(chat).notes)


PARTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5),
    st.sampled_from(["{{", "}}", "{{-", '"', '"""', "'", "\\", "\n", "\r\n", "\t", "{%", "`", "$", "<|im_end|>"]),
)
TEXTS = st.lists(PARTS, min_size=1, max_size=8).map(lambda parts: f"a{''.join(parts)}z")
"""White space at the ends is a case of its own."""


@pytest.mark.parametrize("chat", CHATS, ids=str)
@settings(max_examples=20, deadline=None)
@given(words=st.lists(TEXTS, min_size=8, max_size=8))
def test_whatever_is_said_the_texts_are_the_same(chat: Chat, words: list[str]) -> None:
    forms = ["u", "uau", "uauau", *([] if chat.name in NO_SYSTEM else ["su", "suau"])]
    conversations = [conversation(roles, lambda _, number: words[number]) for roles in forms]
    assert written(chat, conversations) == [chat.apply(messages) for messages in conversations]


@pytest.mark.parametrize(
    ("name", "trimmed"),
    [
        ("chatml", ""),
        ("llama3", "system, user, assistant"),
        ("gemma", "user, assistant"),
        ("mistral_v3", "assistant"),
        ("llama2", "user, assistant"),
    ],
)
def test_whose_words_lose_white_space_at_their_ends_is_told(name: str, trimmed: str) -> None:
    chat = named(name)[0]
    note = f"White space at the ends of a message stays; the chat template takes it off ({trimmed})."
    assert (note in derived(chat).notes) == bool(trimmed)


def jinja(text: str) -> Chat:
    """Return a chat template of its own, in ChatML's words."""

    @dataclasses.dataclass(frozen=True, eq=False)
    class Own(Chat):
        @property
        def jinja(self) -> str:
            return text

    return Own("own", "<|im_end|>")


TURNS = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
OPEN = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"


@pytest.mark.parametrize(
    ("chat", "reason"),
    [
        (Chat("deepseek_r1", "<｜end▁of▁sentence｜>"), "takes the thoughts out of earlier answers"),
        (Chat("qwen3", "<|im_end|>"), "takes the thoughts out of earlier answers"),
        (dataclasses.replace(LLAMA3, name="llama32"), "writes today's date"),
        (jinja(TURNS + "{{ messages[0].content }}" + OPEN), "a message of the user 2 times"),
        (jinja("{{ messages[-1].content }}"), "a message of the user 0 times"),
        (jinja("{% for m in messages | reverse %}{{ m.role + m.content }}{% endfor %}"), "in another order"),
        (jinja("{{ messages | length }}" + TURNS + OPEN), "the first or the last turn of the user otherwise"),
        (jinja(TURNS + "{% if messages | length > 6 %}!{% endif %}" + OPEN), "for the turns user, assistant, user"),
        (jinja(TURNS.replace("m.content", "m.content | replace('`', '')") + OPEN), "for the turns user it writes"),
        (jinja("{{ raise_exception('no') }}"), "no"),
        (jinja("{% if messages | length > 1 %}{{ raise_exception('only one') }}{% endif %}" + TURNS), "only one"),
        (
            jinja(
                "{% for m in messages if m.role != 'system' %}{{ m.content + '\\n' }}{% endfor %}"
                "{% for m in messages if m.role == 'system' %}{{ m.content }}{% endfor %}"
            ),
            "puts the system prompt where no rule is known for it",
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Chat) else None,
)  # fmt: skip
def test_what_cannot_be_derived_is_said_and_never_guessed(chat: Chat, reason: str) -> None:
    with pytest.raises(NoTemplateError, match=reason):
        derived(chat)


def test_thoughts_in_earlier_answers_matter_where_the_answer_may_begin_with_one() -> None:
    quiet = named("qwen3")[0]
    assert derived(quiet).notes == [
        "Thoughts in earlier answers are left as they are; the chat template takes them out."
    ]
    assert derived(quiet).template.count("</think>") == 1


def test_a_file_that_adds_a_token_which_the_chat_template_does_not_write_is_refused() -> None:
    chat = named("zephyr")[0]
    with pytest.raises(
        FrameworkError, match=r"(?s)puts <s> before each text .*make the file again, exporter=\[gguf,ollama\]"
    ):
        without_begin(chat.render, chat.tokens, added=True)


def test_a_token_that_begins_only_some_conversations_is_refused() -> None:
    chat = jinja("{% if messages | length == 1 %}<s>{% endif %}" + TURNS + OPEN)
    tokens = Tokens("<s>", begins=True)
    with pytest.raises(NoTemplateError, match="begins with <s> in some conversations only"):
        derive(without_begin(chat.render, tokens, added=True), tokens)


def test_a_first_token_that_is_also_part_of_each_turn_stays_unless_it_is_added() -> None:
    """SmolLM2's BOS is <|im_start|>, and its GGUF file does not add it."""
    chat = named("chatml")[0]
    kept, added = (derive(without_begin(chat.render, chat.tokens, added=added), chat.tokens) for added in (False, True))
    first, rest = (rendered([Asked(one.template, said("uau"))])[0] for one in (kept, added))
    assert first == chat.apply(said("uau")) == chat.bos + rest
