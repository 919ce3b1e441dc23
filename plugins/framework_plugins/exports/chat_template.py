"""The chat template of what is exported, with the switches of the training written into it.

A training renders with `model.chat_template_kwargs`; who uses the export later gives none. So the template begins with
statements that set them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from framework import Stage
from framework.api import DataResult, ExportContext, Message, RunFolder, redact
from framework_plugins.exports.export_folder import CHAT_TEMPLATE, TOKENIZER_CONFIG, read_json, write_json

TRIMMED_END, LINE_END = "-%}", "%}\n"
"""Ends of a statement: the first removes white space after it, the second a line break, as `trim_blocks` does."""
OLLAMA_COMMENT = (
    "{#- This is the chat template of the training, as it was fine-tuned with framework. Ollama compares a chat "
    "template with its own list, letter by letter, and uses its own version of one that is nearly the same; this "
    "comment prevents that. "
)
"""Ollama writes Go's version of a template of its list where fewer than 100 letters differ, and that often gives other
text: SmolLM2's is 41 letters from ChatML, which has no default system prompt."""
UNDEFINED = "not_given"
"""A name that nobody defines: what is set to it is not defined either."""
CONFIG_KEY = "chat_template"
"""Where the template is in tokenizer_config.json; older versions of transformers put it there."""

SAMPLE_CONVERSATIONS = (
    [Message("user", "What is it?")],
    [Message("system", "Be brief."), Message("user", "What is it?")],
    [Message("user", "What is it?"), Message("assistant", "It is 3."), Message("user", "Why?")],
    [
        Message("system", "Be brief."),
        Message("user", "What is it?"),
        Message("assistant", "It is 3."),
        Message("user", "Why?"),
    ],
)
"""Conversations that are rendered; a template may refuse some."""


def with_switches(template: str, switches: Mapping[str, Any], *, always: bool) -> str:
    """Return a template that renders without switches as it did with them.

    Args:
        template: Jinja; empty if there is none. What was written into it before is replaced.
        switches: values by name.
        always: set them whatever the program that renders gives. llama.cpp gives each template `enable_thinking` and
            `date_string`, asked or not. Else only where it gives no value of its own.
    """
    switches = {name: value for name, value in switches.items() if name in template}  # the others change nothing
    if not template or not switches:
        return template
    for earlier in (
        _set_switches(switches, end, always=forced) for forced in (True, False) for end in (TRIMMED_END, LINE_END)
    ):
        template = template.removeprefix(earlier)
    return _set_switches(switches, LINE_END if template[:1].isspace() else TRIMMED_END, always=always) + template


def _set_switches(switches: Mapping[str, Any], end: str, *, always: bool) -> str:
    values = {name: jinja_literal(value) for name, value in switches.items()}
    if not always:
        values = {name: f"{name} if {name} is defined else {value}" for name, value in values.items()}
    return _set_statements(values) + end


def _set_statements(values: Mapping[str, str]) -> str:
    return TRIMMED_END.join(f"{{%- set {name} = {value} " for name, value in values.items())


def template_for_gguf(template: str, names: Iterable[str]) -> str:
    """Return a template for a GGUF file: the same text, whatever the program that renders it gives, and in Ollama too.

    Args:
        template: Jinja; empty if there is none.
        names: values that llama.cpp's programs give to each template and the training did not; they are taken away.
    """
    if not template:
        return ""
    loose = template[:1].isspace()
    if values := dict.fromkeys(names, UNDEFINED):
        template, loose = _set_statements(values) + (LINE_END if loose else TRIMMED_END) + template, False
    return OLLAMA_COMMENT + ("#}\n" if loose else "-#}") + template


def jinja_literal(value: Any) -> str:
    """Return a value as Jinja writes it."""
    if isinstance(value, Mapping):
        return (
            "{"
            + ", ".join(f"{jinja_literal(str(key))}: {jinja_literal(member)}" for key, member in value.items())
            + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(jinja_literal, value)) + "]"
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def read_template(folder: Path) -> str:
    """Return the chat template of a tokenizer's folder; empty if there is none."""
    file = folder / CHAT_TEMPLATE
    if file.is_file():
        return file.read_text(encoding="utf-8")
    settings = read_json(folder / TOKENIZER_CONFIG) if (folder / TOKENIZER_CONFIG).is_file() else {}
    template = settings.get(CONFIG_KEY)
    if isinstance(template, list):  # several by name
        template = next((named["template"] for named in template if named["name"] == "default"), "")
    return str(template or "")


def write_switches(folder: Path, switches: Mapping[str, Any]) -> None:
    """Write the switches into the template of a tokenizer's folder, if it has one."""
    if switches and (template := read_template(folder)):
        write_template(folder, with_switches(template, switches, always=False))


def write_template(folder: Path, template: str) -> None:
    """Write a template into the file that has precedence, and remove it from the others."""
    (folder / CHAT_TEMPLATE).write_text(template, encoding="utf-8")
    (folder / "chat_template.json").unlink(missing_ok=True)
    if (folder / TOKENIZER_CONFIG).is_file():
        settings = dict(read_json(folder / TOKENIZER_CONFIG))
        if settings.pop(CONFIG_KEY, None) is not None:
            write_json(folder / TOKENIZER_CONFIG, settings)


def system_prompt(context: ExportContext) -> str:
    """Return the system prompt that most training rows had, without secrets; empty if most had none."""
    data = RunFolder(context.run_dir).load_result(Stage.data, DataResult)
    # Without a record of the rows, or where few have a prompt of their own, the config's is what they were given.
    return str(redact((data.system_prompt if data else "") or context.plan.format.config.system_prompt or ""))
