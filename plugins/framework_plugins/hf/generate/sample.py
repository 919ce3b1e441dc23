"""Several answers to each prompt, drawn from the model's distribution, with the log-probability of each token.

A prompt is read once for all of its answers in a batch: its keys and values are repeated for each of them. Every answer
has dice of its own, from the seed, the number of its prompt and its own, so it does not depend on what else is in the
batch, except for rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerBase

from framework.api import counting
from framework.api.training import SamplingParams
from framework_plugins.hf.generate.generate import (
    by_length,
    contiguous_head_input,
    keys_and_values,
    likeliest,
    pad_after,
)
from framework_plugins.hf.machine.out_of_memory import Batches

Tensor = torch.Tensor
NEVER = float("-inf")


@dataclass(frozen=True)
class Drawn:
    """An answer.

    Attributes:
        ids: its tokens, with the stop token if it has one.
        log_probs: of each of them, at the temperature of the draw.
        stopped: whether it ended by itself.
    """

    ids: list[int]
    log_probs: list[float]
    stopped: bool


@torch.inference_mode()
def sample(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    stop_ids: frozenset[int],
    batch_size: int,
    batches: Batches,
    *,
    share: bool,
) -> list[list[Drawn]]:
    """Draw answers to each prompt.

    Args:
        model: in evaluation mode.
        tokenizer: of the model.
        prompts: token ids.
        params: how they are drawn; the dice of an answer depend on the numbers of its prompt and its own.
        stop_ids: the tokens that end an answer.
        batch_size: answers at once.
        batches: makes them smaller if memory runs out.
        share: read a prompt once, which models that see a token by its distance do not allow.
    """
    answers = [(prompt, index) for prompt in by_length(prompts) for index in range(params.n)]
    pad_id = int(tokenizer.pad_token_id)
    settings = likeliest(params.max_new_tokens, stop_ids, pad_id)
    results: dict[tuple[int, int], Drawn] = {}

    def batch(keys: Sequence[tuple[int, int]]) -> list[Drawn]:
        batch_prompts = [*dict.fromkeys(prompt for prompt, _ in keys)]
        places = torch.tensor([batch_prompts.index(prompt) for prompt, _ in keys])
        inputs = pad_after([], [prompts[prompt] for prompt in batch_prompts], pad_id, model.device)
        repeated = {name: part[places.to(model.device)] for name, part in inputs.items()}
        dice = np.stack(
            [
                np.random.default_rng([params.seed, params.first + prompt, index]).random(params.max_new_tokens)
                for prompt, index in keys
            ]
        )
        draw = _Draw(torch.from_numpy(dice).float().to(model.device), params)
        with contiguous_head_input(model):
            read = _read(model, inputs, places, settings) if share else {}
            out = model.generate(
                **repeated, **read, generation_config=settings, logits_processor=LogitsProcessorList([draw])
            )
        token_rows: list[list[int]] = out[:, repeated["input_ids"].shape[1] :].tolist()
        log_probs = torch.stack(draw.log_probs, dim=1).tolist()
        return [_until_stop(*answer, stop_ids) for answer in zip(token_rows, log_probs, strict=True)]

    with counting(len(answers), "answer", "sampling") as counter:
        for keys, batch_answers in batches.map(answers, batch_size, batch):
            results |= zip(keys, batch_answers, strict=True)
            counter.move(len(results))
    return [[results[prompt, index] for index in range(params.n)] for prompt in range(len(prompts))]


class _Draw(LogitsProcessor):
    """Leaves one token of each answer, which it draws, and keeps its log-probability.

    Args:
        dice: numbers from 0 to 1, (answers, tokens).
        params: how to draw.
    """

    def __init__(self, dice: Tensor, params: SamplingParams) -> None:
        self.dice, self.temperature, self.top_p = dice, params.temperature, params.top_p
        self.log_probs: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002 - as transformers calls it
        likely = torch.log_softmax(scores.float() / self.temperature, dim=-1)
        weights, order = likely.exp(), None
        if self.top_p < 1:
            weights, order = weights.sort(dim=-1, descending=True)
            weights = torch.where(weights.cumsum(-1) - weights < self.top_p, weights, 0.0)  # the likeliest stays
        summed = weights.cumsum(-1)
        # The last token of a row with a weight is the last one that a die may be below.
        chosen = torch.searchsorted(summed, self.dice[:, len(self.log_probs), None] * summed[:, -1:], right=True)
        chosen = chosen.clamp(max=(weights > 0).int().cumsum(-1).argmax(-1, keepdim=True))
        if order is not None:
            chosen = order.gather(1, chosen)
        self.log_probs.append(likely.gather(1, chosen)[:, 0])
        return torch.full_like(scores, NEVER).scatter_(1, chosen, 0.0)


def _read(model: Any, inputs: dict[str, Tensor], places: Tensor, settings: GenerationConfig) -> dict[str, Any]:
    """Return the keys and values of all but the last token of prompts, repeated for their answers.

    `generate` reads them: it knows what a padded row needs.
    """
    if inputs["input_ids"].shape[1] == 1 or int(inputs["attention_mask"][:, :-1].sum(1).min()) == 0:
        return {}
    before = {name: part[:, :-1] for name, part in inputs.items()}
    once = copy.copy(settings)
    once.max_new_tokens = 1
    out = model.generate(**before, generation_config=once, return_dict_in_generate=True)
    read = keys_and_values(out)
    for part in read.values():
        part.batch_select_indices(places)  # on the CPU: the layers may be on several GPUs
    return read


def _until_stop(ids: list[int], log_probs: list[float], stop_ids: frozenset[int]) -> Drawn:
    end = next((index + 1 for index, token in enumerate(ids) if token in stop_ids), None)
    return Drawn(ids[:end], log_probs[:end], stopped=end is not None)
