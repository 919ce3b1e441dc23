"""The libraries that train: what a run imports of each."""

from __future__ import annotations

import importlib
from importlib.metadata import version

from framework.checkup import Found, State
from framework.plan import Plan
from framework.requirements import missing

UNSLOTH = "pip install unsloth, in an environment of its own: it asks for versions of its own"


def transformers(_: Plan | None) -> Found:
    """Import what loads models."""
    return _imported("transformers", "AutoModelForCausalLM", "AutoTokenizer")


def peft(_: Plan | None) -> Found:
    """Import what adds adapters."""
    return _imported("peft", "LoraConfig", "get_peft_model")


def trl(_: Plan | None) -> Found:
    """Import the trainer."""
    return _imported("trl", "SFTTrainer")


def unsloth(_: Plan | None) -> Found:
    """Import it where it is installed; it changes other libraries while it is imported, and often cannot be."""
    if missing(["unsloth"]):
        return Found(State.missing, "not installed", fix=UNSLOTH)
    return _imported("unsloth", "FastLanguageModel")


def _imported(name: str, *parts: str) -> Found:
    library = importlib.import_module(name)
    for part in parts:
        getattr(library, part)  # these libraries import their parts when they are asked for
    return Found(State.ok, f"{' and '.join(parts)} can be imported", version(name))
