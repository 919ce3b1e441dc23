"""hf/tokens/render.py: conversations as chat templates read them, many at a time."""

from __future__ import annotations

from typing import Any

import pytest
from jinja2 import Environment
from transformers import PreTrainedTokenizerFast

from framework.api.records import Message, ToolCall
from framework.util.errors import FrameworkError
from framework_plugins.hf.tokens import render
from framework_plugins.hf.tokens.render import Job, Renderer
from framework_plugins.lib.turns import as_turns
from tests.support.families import FAMILIES, family_tokenizer, make_tokenizer

ASK = Message("user", "How many?")
TELL = Message("assistant", "Two, I think.")
TOOL = {"type": "function", "function": {"name": "count", "parameters": {"type": "object"}}}


def renderer(tokenizer: PreTrainedTokenizerFast, **settings: Any) -> Renderer:
    return Renderer(tokenizer, settings)


def texts(tokenizer: PreTrainedTokenizerFast, jobs: list[Job], **settings: Any) -> list[str | FrameworkError]:
    return list(map(renderer(tokenizer, **settings).make_render(), jobs))


def test_a_turn_has_the_fields_that_its_message_has() -> None:
    call = Message("assistant", "", (ToolCall("count", {"what": "sheep"}, "c1"), ToolCall("stop", {})))
    assert as_turns([ASK, call, Message("tool", "3", name="count", tool_call_id="c1")]) == [
        {"role": "user", "content": "How many?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "count", "arguments": {"what": "sheep"}}},
                {"type": "function", "function": {"name": "stop", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "3", "name": "count", "tool_call_id": "c1"},
    ]
    assert as_turns([Message("assistant", "3", reasoning_content="Hm.")]) == [
        {"role": "assistant", "content": "3", "reasoning_content": "Hm."}
    ]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_many_conversations_come_out_as_one_by_one(
    name: str, monkeypatch: pytest.MonkeyPatch, *, compiled: bool
) -> None:
    if not compiled:
        monkeypatch.setattr(render, "COMPILE", None)
    tokenizer = family_tokenizer(name)
    thinking = Message("assistant", "No", reasoning_content="Let me see.")
    asked = [
        [ASK, TELL],
        [Message("user", "\n hi"), TELL],
        [ASK, thinking],
        [Message("system", "Be brief."), ASK, TELL],
        [ASK, ASK],
    ]
    jobs = [
        Job(as_turns(messages), tools, prompt)
        for messages in asked
        for tools in ((), (TOOL,))
        for prompt in (True, False)
    ]
    made = texts(tokenizer, jobs)
    for job, text in zip(jobs, made, strict=True):
        try:
            alone = tokenizer.apply_chat_template(
                job.turns, tools=list(job.tools) or None, tokenize=False, add_generation_prompt=job.prompt
            )
        except Exception:  # noqa: BLE001 - the template's
            assert isinstance(text, FrameworkError)
        else:
            assert text == alone


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_a_thought_is_handed_over_by_the_names_that_this_transformers_knows(field: str) -> None:
    tokenizer = make_tokenizer("chatml")
    tokenizer.chat_template = f"{{{{ messages[-1].{field} or 'none' }}}}"
    thinking = Message("assistant", "No", reasoning_content="Let me see.")
    jobs = [Job(as_turns([ASK, answer]), (), prompt=False) for answer in (TELL, thinking, TELL)]
    alone = tokenizer.apply_chat_template(as_turns([ASK, thinking]), tokenize=False)
    assert texts(tokenizer, jobs) == ["none", alone, "none"]


def test_the_short_way_is_left_where_it_comes_to_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Environment(autoescape=True).from_string("something else")
    monkeypatch.setattr(render, "COMPILE", lambda _: other)
    jobs = [Job(as_turns([ASK]), (), prompt=True) for _ in range(3)]
    assert "something else" not in texts(family_tokenizer("chatml"), jobs)


def test_switches_of_the_template_reach_every_rendering() -> None:
    jobs = [Job(as_turns([ASK]), (), prompt=True)] * 3
    made = texts(family_tokenizer("qwen3"), jobs, enable_thinking=False)
    assert [str(text).endswith("<think>\n\n</think>\n\n") for text in made] == [True] * 3


def test_a_tokenizer_with_a_template_for_tools_uses_it_for_conversations_with_tools_only() -> None:
    tokenizer = make_tokenizer("chatml")
    tokenizer.chat_template = {"default": "plain {{ messages | length }}", "tool_use": "tools {{ tools | length }}"}
    jobs = [Job(as_turns([ASK, TELL]), tools, prompt=False) for tools in ((), (TOOL,), (), (TOOL, TOOL), (TOOL,))]
    assert texts(tokenizer, jobs) == ["plain 2", "tools 1", "plain 2", "tools 2", "tools 1"]


def test_a_refusal_names_the_first_roles_only() -> None:
    job = Job(as_turns([ASK, TELL] * 4 + [TELL]), (), prompt=False)
    with pytest.raises(FrameworkError, match="turns user, assistant, user, assistant, user, assistant, …: Roles must"):
        renderer(family_tokenizer("gemma")).text(job)


@pytest.mark.parametrize(
    ("template", "advice"),
    [
        (
            "{{ tools | length }}",
            "; it asks for tools in every conversation: give the row 'tools', or take another chat",
        ),
        ("{{ messages[0].content[0].text + 'a' }}", "; it reads a turn as a list of parts, as those of vision models"),
        ("{{ messages[0].content + 1 }}", "; the template fails by a fault of its own: take another chat template, mo"),
        ("{{ raise_exception('no') }}", ": no; this is the template's rule"),
    ],
)
def test_a_refusal_says_what_the_template_asks_for(template: str, advice: str) -> None:
    tokenizer = make_tokenizer("chatml")
    tokenizer.chat_template = template
    with pytest.raises(FrameworkError) as caught:
        renderer(tokenizer).text(Job(as_turns([ASK]), (), prompt=False))
    assert advice in str(caught.value)


def counting(tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list to which each call of the public method adds whether it is for a prompt."""
    calls: list[bool] = []
    public = tokenizer.apply_chat_template

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(options["add_generation_prompt"])
        return public(*arguments, **options)

    monkeypatch.setattr(tokenizer, "apply_chat_template", counted)
    return calls


def test_the_short_way_is_taken_from_the_third_conversation_on(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_tokenizer("chatml")
    calls = counting(tokenizer, monkeypatch)
    jobs = [Job(as_turns([ASK]), tools, prompt=prompt) for tools in ((), (TOOL,)) for prompt in (True, False)]
    made = texts(tokenizer, jobs * 5)
    assert made == made[:4] * 5
    assert calls == [True, False, True, False] * 2


def test_a_conversation_that_is_refused_leaves_the_short_way_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_tokenizer("gemma")
    calls = counting(tokenizer, monkeypatch)
    good, bad = (Job(as_turns(turns), (), prompt=False) for turns in ([ASK, TELL], [ASK, ASK]))
    made = texts(tokenizer, [good, good, bad, good, good])
    assert [isinstance(text, FrameworkError) for text in made] == [False, False, True, False, False]
    assert len(calls) == 5  # the first two, and for the words of the refusal itself, with a tool, and by parts
