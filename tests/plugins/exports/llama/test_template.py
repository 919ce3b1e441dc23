"""exports/llama/template.py: what it renders is what transformers renders, for every family."""

from __future__ import annotations

import pytest

from framework.api.records import Message
from framework.util.errors import FrameworkError
from framework_plugins.exports.llama.template import Template
from tests.support.families import FAMILIES, TEMPLATES, family_tokenizer

USER, ANSWER = Message("user", "How many? <3 & 'more'"), Message("assistant", "Two, I think.")
CONVERSATIONS = {
    "one turn": [USER],
    "three turns": [USER, ANSWER, Message("user", "Sure?")],
    "a system prompt": [Message("system", "Be brief."), USER, ANSWER, Message("user", "Grüße 🙂")],
}


def template(family: str, **switches: bool) -> Template:
    tokenizer = family_tokenizer(family)
    names = {role: str(token) for role, token in tokenizer.special_tokens_map.items()}
    return Template((TEMPLATES / f"{family}.jinja").read_text(encoding="utf-8"), {**names, **switches})


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_prompt_is_rendered_as_transformers_does(family: str, name: str) -> None:
    turns = [{"role": message.role, "content": message.content} for message in CONVERSATIONS[name]]
    try:
        wanted = family_tokenizer(family).apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except Exception:  # noqa: BLE001 - the family takes no system prompt
        with pytest.raises(FrameworkError, match="the chat template refuses the turns system, user"):
            template(family).render(CONVERSATIONS[name])
        return
    assert template(family).render(CONVERSATIONS[name]) == wanted


def test_a_switch_of_the_template_arrives() -> None:
    turns = [{"role": "user", "content": USER.content}]
    tokenizer = family_tokenizer("qwen3")
    for thinks in (True, False):
        wanted = tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True, enable_thinking=thinks
        )
        assert template("qwen3", enable_thinking=thinks).render([USER]) == wanted


def test_masks_loops_and_dates_are_understood() -> None:
    source = (
        "{% generation %}{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.content | tojson }}"
        "{% endfor %}{% endgeneration %}{{ strftime_now('%%') }}"
    )
    assert Template(source, {}).render([USER, ANSWER]) == "\"How many? <3 & 'more'\"%"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{% if %}", "the chat template cannot be read: "),
        ("{{ raise_exception('only one turn') }}", "refuses the turns user: only one turn"),
        ("{{ messages[7].content }}", "refuses the turns user: "),
        ("{{ ''.__class__.__mro__ }}", "refuses the turns user: "),
    ],
)
def test_a_broken_template_is_reported(source: str, told: str) -> None:
    with pytest.raises(FrameworkError) as refused:
        Template(source, {}).render([USER])
    assert told in str(refused.value)
