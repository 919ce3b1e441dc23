"""The special tokens of a model as its files name them: what begins a text, and what ends an answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG, CORE, TEMPLATE = "tokenizer_config.json", "tokenizer.json", "chat_template.jinja"
MODEL, GENERATION = "config.json", "generation_config.json"


@dataclass(frozen=True)
class Tokens:
    """Tokens as texts.

    Attributes:
        begin: the token that begins a text (BOS); empty where there is none.
        begins: whether the tokenizer puts it there by itself.
        stops: the tokens that end an answer.
        template: the chat template's Jinja, where it is known.
    """

    begin: str = ""
    begins: bool = False
    stops: tuple[str, ...] = ()
    template: str = ""


def read(tokenizer: Path, model: Path) -> Tokens:
    """Read what is there.

    Args:
        tokenizer: a folder into which a tokenizer was saved.
        model: the folder of the base model, for its generation_config.json.
    """
    config, core = _json(tokenizer / CONFIG), _json(tokenizer / CORE)
    added = {token["id"]: token["content"] for token in core.get("added_tokens", [])}
    begin, end = _content(config.get("bos_token")), _content(config.get("eos_token"))
    listed = _json(model / GENERATION).get("eos_token_id") if (model / MODEL).is_file() else None
    ends = [added[number] for number in (listed if isinstance(listed, list) else [listed]) if number in added]
    jinja = tokenizer / TEMPLATE
    return Tokens(
        begin=begin,
        begins=bool(begin) and (config.get("add_bos_token") is True or _puts(core.get("post_processor"), begin)),
        stops=tuple(dict.fromkeys(stop for stop in (end, *ends) if stop)),
        template=jinja.read_text(encoding="utf-8") if jinja.is_file() else "",
    )


def _json(file: Path) -> Mapping[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _content(token: str | Mapping[str, Any] | None) -> str:
    """Return a token as text; files have it as text or with its properties."""
    return str(token.get("content", "")) if isinstance(token, Mapping) else token or ""


def _puts(processor: Any, begin: str) -> bool:
    """Whether a post-processor of a tokenizer, or one of those that it is made of, puts `begin` before a text."""
    if not isinstance(processor, Mapping):
        return False
    single: Iterable[Mapping[str, Any]] = processor.get("single", [])
    first = next(iter(single), {}).get("SpecialToken", {}).get("id")
    return first == begin or any(_puts(part, begin) for part in processor.get("processors", []))
