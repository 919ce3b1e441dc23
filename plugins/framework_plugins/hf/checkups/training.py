"""The libraries that train: what a run imports of each."""

from __future__ import annotations

import importlib
from importlib.metadata import version

from framework.api.checkup import Found, State
from framework.api.plan import Plan


def transformers(_: Plan | None) -> Found:
    """Import what loads models."""
    return _imported("transformers", "AutoModelForCausalLM", "AutoTokenizer")


def peft(_: Plan | None) -> Found:
    """Import what adds adapters."""
    return _imported("peft", "LoraConfig", "get_peft_model")


def trl(_: Plan | None) -> Found:
    """Import the trainer."""
    return _imported("trl", "SFTTrainer")


def _imported(name: str, *parts: str) -> Found:
    library = importlib.import_module(name)
    for part in parts:
        getattr(library, part)  # these libraries import their parts when they are asked for
    return Found(State.ok, f"{' and '.join(parts)} can be imported", version(name))
