"""The chat template of what is exported, with the switches of the training written into it.

A training renders with `model.chat_template_kwargs`; who uses the export later gives none. So the template begins with
statements that set them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from framework_plugins.exports.documents import TEMPLATE, TOKENIZER_CONFIG, read, write

TIGHT, LOOSE = "-%}", "%}\n"
"""Ends of a statement: the first takes white space behind it away, the second a line break, as `trim_blocks` does."""
COMMENT = (
    "{#- This is the chat template of the training, as it was fine-tuned with framework. Ollama compares a chat "
    "template with its own list, letter by letter, and uses its own version of one that is nearly the same; this "
    "comment prevents that. "
)
"""Ollama writes Go's version of a template of its list where fewer than 100 letters differ, and that often gives other
text: SmolLM2's is 41 letters from ChatML, which has no default system prompt."""
NOT_GIVEN = "not_given"
"""A name that nobody defines: what is set to it is not defined either."""
IN_CONFIG = "chat_template"
"""Where the template is in tokenizer_config.json; older versions of transformers put it there."""


def switched(template: str, switches: Mapping[str, Any], *, always: bool) -> str:
    """Return a template that renders by itself what it rendered with switches.

    Args:
        template: Jinja; empty if there is none. What was written into it before is replaced.
        switches: values by name.
        always: set them whatever the program that renders gives. llama.cpp gives each template `enable_thinking` and
            `date_string`, asked or not. Else only where it gives no value of its own.
    """
    switches = {name: value for name, value in switches.items() if name in template}  # the others change nothing
    if not template or not switches:
        return template
    for earlier in (_sets(switches, end, always=one) for one in (True, False) for end in (TIGHT, LOOSE)):
        template = template.removeprefix(earlier)
    return _sets(switches, LOOSE if template[:1].isspace() else TIGHT, always=always) + template


def _sets(switches: Mapping[str, Any], end: str, *, always: bool) -> str:
    values = {name: literal(value) for name, value in switches.items()}
    if not always:
        values = {name: f"{name} if {name} is defined else {value}" for name, value in values.items()}
    return _statements(values) + end


def _statements(values: Mapping[str, str]) -> str:
    return TIGHT.join(f"{{%- set {name} = {value} " for name, value in values.items())


def for_file(template: str, names: Iterable[str]) -> str:
    """Return a template for a GGUF file: the same text, whatever the program that renders it gives, and in Ollama too.

    Args:
        template: Jinja; empty if there is none.
        names: values that llama.cpp's programs give to each template and the training did not; they are taken away.
    """
    if not template:
        return ""
    loose = template[:1].isspace()
    if values := dict.fromkeys(names, NOT_GIVEN):
        template, loose = _statements(values) + (LOOSE if loose else TIGHT) + template, False
    return COMMENT + ("#}\n" if loose else "-#}") + template


def literal(value: Any) -> str:
    """Return a value as Jinja writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{literal(str(key))}: {literal(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(literal, value)) + "]"
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def of_folder(folder: Path) -> str:
    """Return the chat template of a tokenizer's folder; empty if there is none."""
    file = folder / TEMPLATE
    if file.is_file():
        return file.read_text(encoding="utf-8")
    settings = read(folder / TOKENIZER_CONFIG) if (folder / TOKENIZER_CONFIG).is_file() else {}
    template = settings.get(IN_CONFIG)
    if isinstance(template, list):  # several by name
        template = next((each["template"] for each in template if each["name"] == "default"), "")
    return str(template or "")


def switch_on(folder: Path, switches: Mapping[str, Any]) -> None:
    """Write the switches into the template of a tokenizer's folder, where it has one."""
    if switches and (template := of_folder(folder)):
        put(folder, switched(template, switches, always=False))


def put(folder: Path, template: str) -> None:
    """Put a template into the file that all look at first, and take another one out of the others."""
    (folder / TEMPLATE).write_text(template, encoding="utf-8")
    (folder / "chat_template.json").unlink(missing_ok=True)
    if (folder / TOKENIZER_CONFIG).is_file():
        settings = dict(read(folder / TOKENIZER_CONFIG))
        if settings.pop(IN_CONFIG, None) is not None:
            write(folder / TOKENIZER_CONFIG, settings)
