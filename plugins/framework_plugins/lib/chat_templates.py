"""Chat templates by name, for base models that come without one: `model.chat_template=chatml`.

Each writes a conversation as the models of that family read it: a system prompt, turns of a user and an assistant. They
cannot write tools or thoughts, so rows with these are refused, as with any template that drops them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from framework import FrameworkError

__all__ = ["CHAT_TEMPLATES", "ChatTemplate", "chat_template_problem", "read_chat_template"]


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template.

    Attributes:
        text: Jinja.
        tokens: the special tokens that it writes; the tokenizer has to have them.
        stop: the one of them that ends an answer; empty if that is the tokenizer's own `eos_token`.
    """

    text: str
    tokens: tuple[str, ...] = ()
    stop: str = ""


_ROLES = """\
{%- for message in messages %}
    {%- if message.role not in ("system", "user", "assistant") %}
        {{- raise_exception("this chat template knows the roles system, user and assistant, not " ~ message.role) }}
    {%- endif %}
{%- endfor %}
"""
_NO_SYSTEM = """\
{%- set first = messages[0].content if messages and messages[0].role == "system" else "" %}
{%- set turns = messages[1:] if messages and messages[0].role == "system" else messages %}
{%- for message in turns %}
    {%- if (message.role == "user") != (loop.index0 % 2 == 0) or message.role not in ("user", "assistant") %}
        {{- raise_exception("this chat template knows one system prompt, and after it user and assistant in turn") }}
    {%- endif %}
{%- endfor %}
"""
CHAT_TEMPLATES = {
    "alpaca": ChatTemplate(
        _ROLES
        + """\
{{- bos_token if bos_token is defined }}
{%- for message in messages %}
    {%- if message.role == "system" %}
        {{- message.content ~ "\\n\\n" }}
    {%- elif message.role == "user" %}
        {{- "### Instruction:\\n" ~ message.content ~ "\\n\\n" }}
    {%- else %}
        {{- "### Response:\\n" ~ message.content ~ eos_token ~ "\\n\\n" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- "### Response:\\n" }}
{%- endif %}
"""
    ),
    "chatml": ChatTemplate(
        _ROLES
        + """\
{%- for message in messages %}
    {{- "<|im_start|>" ~ message.role ~ "\\n" ~ message.content ~ "<|im_end|>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- "<|im_start|>assistant\\n" }}
{%- endif %}
""",
        ("<|im_start|>", "<|im_end|>"),
        "<|im_end|>",
    ),
    "gemma": ChatTemplate(
        _NO_SYSTEM
        + """\
{{- bos_token }}
{%- for message in turns %}
    {{- "<start_of_turn>" ~ ("model" if message.role == "assistant" else "user") ~ "\\n" }}
    {{- first ~ "\\n\\n" if first and loop.first }}
    {{- message.content ~ "<end_of_turn>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- "<start_of_turn>model\\n" }}
{%- endif %}
""",
        ("<bos>", "<start_of_turn>", "<end_of_turn>"),
        "<end_of_turn>",
    ),
    "llama3": ChatTemplate(
        _ROLES
        + """\
{{- bos_token }}
{%- for message in messages %}
    {{- "<|start_header_id|>" ~ message.role ~ "<|end_header_id|>\\n\\n" ~ message.content ~ "<|eot_id|>" }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- "<|start_header_id|>assistant<|end_header_id|>\\n\\n" }}
{%- endif %}
""",
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|eot_id|>",
    ),
    "mistral": ChatTemplate(
        _NO_SYSTEM
        + """\
{{- bos_token }}
{%- for message in turns %}
    {%- if message.role == "user" %}
        {{- "[INST] " ~ (first ~ "\\n\\n" if first and loop.first) ~ message.content ~ "[/INST]" }}
    {%- else %}
        {{- " " ~ message.content ~ eos_token }}
    {%- endif %}
{%- endfor %}
""",
        ("<s>", "[INST]", "[/INST]", "</s>"),
    ),
    "phi3": ChatTemplate(
        _ROLES
        + """\
{%- for message in messages %}
    {{- "<|" ~ message.role ~ "|>\\n" ~ message.content ~ "<|end|>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- "<|assistant|>\\n" }}
{%- endif %}
""",
        ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        "<|end|>",
    ),
}
"""The chat templates by name; each name is a value of `model.chat_template`."""


def chat_template_problem(value: str) -> str:
    """Return why `model.chat_template` is neither a name nor a file; empty if it is one."""
    if value in CHAT_TEMPLATES or Path(value).is_file():
        return ""
    names = ", ".join(CHAT_TEMPLATES)
    return f"model.chat_template={value}: there is no such file, and the named chat templates are {names}"


def read_chat_template(value: str) -> ChatTemplate:
    """Return the chat template that `model.chat_template` names.

    Raises:
        FrameworkError: there is no template of this name, or the file cannot be read.
    """
    if value in CHAT_TEMPLATES:
        return CHAT_TEMPLATES[value]
    if problem := chat_template_problem(value):
        raise FrameworkError(problem)
    try:
        return ChatTemplate(Path(value).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise FrameworkError(f"model.chat_template={value}: {reason}") from error
