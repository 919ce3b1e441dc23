"""The libraries that train: what a run imports of each."""

from __future__ import annotations

import importlib
from importlib.metadata import version

from framework.api.diagnostic import DiagnosticResult, State
from framework.api.plan import Plan


def transformers(_: Plan | None) -> DiagnosticResult:
    """Import what loads models."""
    return _imported("transformers", "AutoModelForCausalLM", "AutoTokenizer")


def peft(_: Plan | None) -> DiagnosticResult:
    """Import what adds adapters."""
    return _imported("peft", "LoraConfig", "get_peft_model")


def trl(_: Plan | None) -> DiagnosticResult:
    """Import the trainer."""
    return _imported("trl", "SFTTrainer")


def _imported(name: str, *parts: str) -> DiagnosticResult:
    library = importlib.import_module(name)
    for part in parts:
        getattr(library, part)  # these libraries import their parts when they are asked for
    return DiagnosticResult(State.ok, f"{' and '.join(parts)} can be imported", version(name))
