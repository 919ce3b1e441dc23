"""The template of an export renders by itself what the training rendered with switches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from framework.api.records import Message
from framework_plugins.exports import chat_template
from framework_plugins.exports.chat_template import with_switches
from framework_plugins.exports.llama.template import Template
from tests.support.families import make_tokenizer

TALK = [Message("user", "What is it?"), Message("assistant", "It is 3."), Message("user", "Why?")]
OFF = {"enable_thinking": False}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def transformers(template: str, **switches: Any) -> str:
    """Render as transformers does."""
    tokenizer = make_tokenizer("qwen3")
    tokenizer.chat_template = template
    turns = [{"role": message.role, "content": message.content} for message in TALK]
    text: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **switches)
    return text


def llama_cpp(template: str, **switches: Any) -> str:
    """Render with the values that llama.cpp gives each template, asked or not."""
    given = {"enable_thinking": True, "date_string": "01 Jan 2030", "datetime": "Jan 01 2030", **switches}
    return Template(template, given).render(TALK)


def test_a_template_renders_without_switches_what_it_rendered_with_them() -> None:
    plain = make_tokenizer("qwen3").chat_template
    expected = transformers(plain, **OFF)
    assert expected != transformers(plain)
    assert transformers(with_switches(plain, OFF, always=False)) == expected
    assert llama_cpp(with_switches(plain, OFF, always=True)) == expected


def test_in_a_folder_who_asks_may_switch_and_in_llama_cpp_the_program_may_not() -> None:
    plain = make_tokenizer("qwen3").chat_template
    assert transformers(with_switches(plain, OFF, always=False), enable_thinking=True) == transformers(plain)
    assert llama_cpp(with_switches(plain, OFF, always=False)) == llama_cpp(plain)  # why there it is set always
    assert llama_cpp(with_switches(plain, OFF, always=True), enable_thinking=True) == llama_cpp(plain, **OFF)


@pytest.mark.parametrize(
    "plain", ["{{ x }}|{{ y }}", "\n  {% if true %}\n  {{ x }}{{ y }}{% endif %}", "  {{- x }} {{ y }}"]
)
@pytest.mark.parametrize("always", [True, False])
@given(x=VALUES, y=VALUES)
def test_any_value_comes_out_as_it_went_in(plain: str, x: Any, y: Any, *, always: bool) -> None:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    made = environment.from_string(with_switches(plain, {"x": x, "y": y}, always=always)).render()
    assert made == environment.from_string(plain).render(x=x, y=y)


@pytest.mark.parametrize("plain", ["{{ x }}", " {{ x }}"])
def test_writing_them_twice_is_writing_them_once(plain: str) -> None:
    for first in (True, False):
        for then in (True, False):
            once = with_switches(plain, {"x": 1, "y": "a"}, always=first)
            assert with_switches(once, {"x": 1, "y": "a"}, always=then) == with_switches(
                plain, {"x": 1, "y": "a"}, always=then
            )


def test_without_a_template_or_without_switches_nothing_changes() -> None:
    assert with_switches("", OFF, always=True) == ""
    assert with_switches("{{ x }}", {}, always=True) == "{{ x }}"


@pytest.mark.parametrize(
    "said",
    [
        {"chat_template": "{{ x }}"},
        {"chat_template": [{"name": "rag", "template": "no"}, {"name": "default", "template": "{{ x }}"}]},
    ],
)
def test_a_template_inside_the_tokenizers_config_moves_into_its_own_file(
    said: Mapping[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "e", **said}), encoding="utf-8")
    assert chat_template.read_template(tmp_path) == "{{ x }}"
    chat_template.write_switches(tmp_path, {"x": 1})
    assert chat_template.read_template(tmp_path) == "{%- set x = x if x is defined else 1 -%}{{ x }}"
    assert json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8")) == {"eos_token": "e"}
    chat_template.write_switches(tmp_path / "nothing", {"x": 1})


@pytest.mark.parametrize("names", [(), ("date_string", "enable_thinking")])
@pytest.mark.parametrize("plain", ["{{ x }}|", "\n  {% if true %}\n  {{ x }}{% endif %}", "  {{- x }} "])
def test_a_file_s_template_writes_the_same_and_is_like_none_of_ollamas(plain: str, names: tuple[str, ...]) -> None:
    made = chat_template.template_for_gguf(plain, names)
    assert made.endswith(plain)
    assert len(made) - len(plain) >= 200  # Ollama takes one of its own where fewer than 100 letters differ
    given = {"x": 1, **dict.fromkeys(names, "given")}
    assert Template(made, given).render(TALK) == Template(plain, {"x": 1}).render(TALK)
    shows = "".join(f"{{{{ {name} is defined }}}}" for name in names)
    assert Template(made + shows, given).render(TALK).endswith("False" * len(names))


def test_without_a_template_a_file_gets_none() -> None:
    assert chat_template.template_for_gguf("", ["date_string"]) == ""
