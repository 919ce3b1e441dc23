"""Answers to rendered prompts, as the model of a run makes them of token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from framework.api import Answer
from framework_plugins.hf.generate.generate import complete


def generate(
    model: Any, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *settings: Any, **more: Any
) -> list[Answer]:
    """Answer rendered prompts; the texts hold the template's own BOS, so none is added. See `complete`."""
    return complete(model, tokenizer, tokenizer(list(texts), add_special_tokens=False)["input_ids"], *settings, **more)
