"""Greedy answers in batches of similar length, padded on the left, ended by any of the stop tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from framework.records import Answer

THOUGHT = re.compile(r"^\s*<think>.*?</think>\s*", re.DOTALL)
"""What a reasoning model writes before its answer; it is no part of what is shown and scored."""


@torch.inference_mode()
def generate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    stop_ids: frozenset[int],
    max_new_tokens: int,
    batch_size: int,
) -> list[Answer]:
    """Answer rendered prompts; the answers come in the order of `texts`.

    The texts hold the template's own BOS, so none is added here.
    """
    rows = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    order = sorted(range(len(rows)), key=lambda number: len(rows[number]))
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=sorted(stop_ids),
        pad_token_id=tokenizer.pad_token_id,
    )
    answers: dict[int, Answer] = {}
    for start in range(0, len(order), batch_size):
        numbers = order[start : start + batch_size]
        batch = _pad_left([rows[number] for number in numbers], int(tokenizer.pad_token_id))
        batch = {name: part.to(model.device) for name, part in batch.items()}
        out = model.generate(**batch, generation_config=settings)[:, batch["input_ids"].shape[1] :]
        for number, ids in zip(numbers, out.tolist(), strict=True):
            answers[number] = _answer(tokenizer, ids, stop_ids)
    return [answers[number] for number in range(len(rows))]


def _pad_left(rows: Sequence[list[int]], pad_id: int) -> dict[str, torch.Tensor]:
    longest = max(len(row) for row in rows)
    return {
        "input_ids": torch.tensor([[pad_id] * (longest - len(row)) + row for row in rows]),
        "attention_mask": torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows]),
    }


def _answer(tokenizer: PreTrainedTokenizerBase, ids: list[int], stop_ids: frozenset[int]) -> Answer:
    length = next((number for number, token in enumerate(ids) if token in stop_ids), None)
    said = ids[:length]
    text = THOUGHT.sub("", str(tokenizer.decode(said, skip_special_tokens=True)))
    return Answer(text, len(said), stopped=length is not None)
