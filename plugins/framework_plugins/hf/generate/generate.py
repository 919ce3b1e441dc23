"""Greedy answers in batches of similar length, padded on the left, ended by any of the stop tokens.

What all prompts have in common at their beginning, a system prompt or an instruction, is read once: its keys and values
are repeated for each prompt of a batch, and the padding follows it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList

from framework.api import Answer, Counter, Message, counting
from framework_plugins.hf.machine.out_of_memory import Batches, OomRetry
from framework_plugins.hf.packing.tree import common_prefix_length

MIN_SHARED_PREFIX = 16
"""Tokens that prompts have to have in common for it to be worth a pass of its own."""


@torch.inference_mode()
def complete(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[list[int]],
    stop_ids: frozenset[int],
    max_new_tokens: int,
    batch_size: int,
    *,
    share: bool = True,
    start: Sequence[int] | None = None,
    batches: Batches | None = None,
) -> list[Answer]:
    """Continue rows of token ids; the answers come in their order.

    `share`: read a common beginning once, which models that see a token by its distance do not allow; `start` is that
    beginning if it is known. `batches` makes them smaller if memory runs out.
    """
    order = by_length(rows)
    start = list(start) if start is not None else shared_beginning(rows) if share and len(rows) > 1 else []
    cache = _prefill(model, start) if start else {}
    pad_id = int(tokenizer.pad_token_id)
    settings = likeliest(max_new_tokens, stop_ids, pad_id)
    answers: dict[int, Answer] = {}

    def batch(indexes: Sequence[int]) -> list[list[int]]:
        inputs = pad_after(start, [rows[index] for index in indexes], pad_id, model.device)
        start_of_answers = inputs["input_ids"].shape[1]
        ended = _CountEnded(counter, len(answers), len(rows), start_of_answers, stop_ids, max_new_tokens)
        read = {name: copy.deepcopy(part) for name, part in cache.items()}
        for part in read.values():
            part.batch_repeat_interleave(len(indexes))
        with contiguous_head_input(model):
            out = model.generate(
                **inputs, **read, generation_config=settings, stopping_criteria=StoppingCriteriaList([ended])
            )
        new_ids: list[list[int]] = out[:, inputs["input_ids"].shape[1] :].tolist()
        return new_ids

    batches = batches or Batches(OomRetry({}, "", retries=False), "answering", "")
    with counting(len(rows), "prompt") as counter:
        for indexes, continuations in batches.map(order, batch_size, batch):
            answers |= {
                index: to_answer(tokenizer, ids, stop_ids) for index, ids in zip(indexes, continuations, strict=True)
            }
            counter.move(len(answers))
    return [answers[index] for index in range(len(rows))]


class _CountEnded(StoppingCriteria):
    """Counts the tokens of a batch and its answers that have ended, now and then; it stops none."""

    def __init__(
        self, counter: Counter, before: int, total: int, start: int, stop_ids: frozenset[int], max_new_tokens: int
    ) -> None:
        self._counter, self._before, self._total = counter, before, total
        self._start, self._stop_ids, self._most = start, sorted(stop_ids), max_new_tokens

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> Any:  # noqa: ARG002 - as transformers calls it
        batch, length = input_ids.shape[0], input_ids.shape[1] - self._start
        if self._counter.is_due:
            stops = torch.tensor(self._stop_ids, device=input_ids.device)
            ended = int(torch.isin(input_ids[:, self._start :], stops).any(dim=1).sum())
            in_work = max(length / self._most * batch, ended)
            begun = self._before or 10 * length >= self._most  # the first token takes as long as reading the prompts
            share = min(1.0, (self._before + in_work) / self._total) if begun else None
            self._counter.move(self._before + ended, f"token {length} of at most {self._most}", share)
        return torch.zeros(batch, dtype=torch.bool, device=input_ids.device)


@contextmanager
def contiguous_head_input(model: Any) -> Iterator[None]:
    """Give the head its states as one block of memory.

    The last states of rows lie apart; on a CPU torch (seen in 2.13) then multiplies row by row, with a copy of the head
    for each of them: 900 MB for 16 rows of a model of 135 million parameters.
    """
    head = model.get_output_embeddings()
    if head is None:
        yield
        return
    hook = head.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(), *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()


def by_length(rows: Sequence[Sequence[int]]) -> list[int]:
    """Return the indexes of rows in the order in which they fill batches."""
    return sorted(range(len(rows)), key=lambda index: len(rows[index]))


def shared_beginning(rows: Sequence[list[int]]) -> list[int]:
    """Return what all rows begin with, if that is worth it; a token of each is left to predict from."""
    shared = min(common_prefix_length(min(rows), max(rows)), min(map(len, rows)) - 1)
    return rows[0][:shared] if shared >= MIN_SHARED_PREFIX else []


def _prefill(model: Any, start: list[int]) -> dict[str, Any]:
    """Return the keys and values of a beginning."""
    tokens = torch.tensor([start], device=model.device)
    return keys_and_values(model(input_ids=tokens, use_cache=True, logits_to_keep=1))


def keys_and_values(out: Any) -> dict[str, Any]:
    """Return those of a pass under the name that this version of transformers has; nothing if there are none."""
    name = "cache" if "cache" in out else "past_key_values"
    return {name: out[name]} if out.get(name) is not None else {}


def likeliest(max_new_tokens: int, stop_ids: frozenset[int], pad_id: int, **options: Any) -> GenerationConfig:
    """Return how `generate` takes the likeliest token each time."""
    return GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=sorted(stop_ids), pad_token_id=pad_id, **options
    )


def pad_after(
    start: list[int], rows: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> dict[str, torch.Tensor]:
    """Pad rows to one length, after what they begin with."""
    longest = max(len(row) for row in rows)
    gaps = [(row[len(start) :], longest - len(row)) for row in rows]
    parts = {
        "input_ids": [[*start, *[pad_id] * gap, *tail] for tail, gap in gaps],
        "attention_mask": [[1] * len(start) + [0] * gap + [1] * len(tail) for tail, gap in gaps],
    }
    return {name: torch.tensor(part, device=device) for name, part in parts.items()}


def to_answer(tokenizer: PreTrainedTokenizerBase, ids: list[int], stop_ids: frozenset[int]) -> Answer:
    """Return the tokens of an answer as text, up to the stop token and without a thought at the beginning."""
    length = next((index for index, token in enumerate(ids) if token in stop_ids), None)
    answer_ids = ids[:length]
    # A thought is not a part of what is shown and scored.
    _, text = Message.split_thought(str(tokenizer.decode(answer_ids, skip_special_tokens=True)))
    return Answer(text, len(answer_ids), stopped=length is not None, ids=tuple(answer_ids))
