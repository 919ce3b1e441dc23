"""Writes the fields of TRL's SFTConfig and peft's LoraConfig as they are installed.

    python tests/support/library_fields.py

A file for each version, `plugins/framework_plugins/hf/settings/fields/LIBRARY-VERSION.json`. Run it in each tested set of
versions; a test compares the file of the installed one with what the libraries say.
"""

from __future__ import annotations

import dataclasses
import json
import re
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "plugins/framework_plugins/hf/settings/fields"


def tables() -> dict[str, dict[str, Any]]:
    """Return the table of each library, by the name of its file."""
    from peft import LoraConfig
    from trl import SFTConfig

    return {
        f"trl-{version('trl')}.json": _table(SFTConfig, "trl", "transformers"),
        f"peft-{version('peft')}.json": _table(LoraConfig, "peft"),
    }


def text(table: dict[str, Any]) -> str:
    """Write a table, a field a line."""
    lines = [f"  {json.dumps(name)}: {json.dumps(about)}" for name, about in table["fields"].items()]
    versions = json.dumps(table["versions"])
    return f'{{\n "versions": {versions},\n "fields": {{\n' + ",\n".join(lines) + "\n }\n}\n"


def _table(config: Any, *libraries: str) -> dict[str, Any]:
    known = [field for field in dataclasses.fields(config) if field.init]
    return {
        "versions": {library: version(library) for library in libraries},
        "fields": {field.name: _about(field) for field in known},
    }


def _about(field: dataclasses.Field[Any]) -> dict[str, Any]:
    kind = field.type if isinstance(field.type, str) else _named(field.type)
    choices = field.metadata.get("choices") or re.findall(r"Literal\[(.*?)\]", kind)
    if choices and isinstance(choices[0] if isinstance(choices, list) else None, str) and "Literal" in kind:
        choices = [word.strip().strip("'") for word in choices[0].split(",")]
    factory = field.default_factory
    default = field.default if field.default is not dataclasses.MISSING else _made(factory)
    return {
        "type": kind,
        "choices": [str(each) for each in choices or ()],
        "default": _plain(default),
        "doc": _sentence(str(field.metadata.get("help", ""))),
    }


def _named(kind: Any) -> str:
    name = kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", name.replace("typing.", ""))


def _made(factory: Any) -> Any:
    return None if factory is dataclasses.MISSING else factory()


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return value if isinstance(value, bool | int | float | str | list | dict | None) else type(value).__name__


def _sentence(help_text: str) -> str:
    return re.split(r"(?<=[a-z)`'\"])\. ", " ".join(help_text.split()))[0].rstrip(".")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, table in tables().items():
        (FOLDER / name).write_text(text(table), encoding="utf-8")
