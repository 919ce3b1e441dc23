"""What draws answers: the model itself, in batches or with the continuous batching of transformers."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from transformers import ContinuousBatchingConfig, GenerationConfig

from framework import FrameworkError
from framework.api import Prompt, count
from framework.api.training import Generator, Sampled, SamplingModel, SamplingParams
from framework_plugins.hf.generate.merged import merged, merged_bytes
from framework_plugins.hf.packing.tree_attention import ATTENTION_NAME
from framework_plugins.hf.settings.rollouts import ContinuousRolloutConfig, ModelRolloutConfig

HALF = 2
"""Bytes of a number of 16 bits."""


class OwnBatches:
    """Draws with the model itself; see `sample.py`."""

    def __init__(self, config: ModelRolloutConfig) -> None:
        self.config = config

    def generator(self, model: SamplingModel) -> Generator:
        """Return what the model has, around which LoRA is merged if that pays."""

        def draw(prompts: Sequence[Prompt], params: SamplingParams) -> Sequence[Sequence[Sampled]]:
            with merged(model.model) if self._merges(model.model) else nullcontext():
                return model.draw(prompts, params)

        return draw

    def _merges(self, model: Any) -> bool:
        half = model.device.type == "cpu" and model.dtype.itemsize == HALF
        return self.config.merges(merged_bytes(model), half_on_cpu=half)


class Continuous:
    """Draws with the model itself, by `generate_batch` of transformers."""

    def __init__(self, config: ContinuousRolloutConfig) -> None:
        self.config = config

    def generator(self, model: SamplingModel) -> Generator:
        """Return what draws; the model has its own attention again after each draw."""

        def draw(prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Sampled]]:
            settings = GenerationConfig(
                do_sample=True, temperature=params.temperature, top_p=params.top_p, top_k=0,
                max_new_tokens=params.max_new_tokens, eos_token_id=sorted(model.stop_ids),
                pad_token_id=model.tokenizer.pad_token_id,
            )  # fmt: skip
            batching = ContinuousBatchingConfig(
                return_logprobs=True, seed=(params.seed + params.first) % 2**63,
                max_memory_percent=self.config.max_memory_percent, auto_switch_to_flash=False,
            )  # fmt: skip
            starts = [start for start in map(model.prompt_ids, prompts) for _ in range(params.n)]
            if model.model.device.type == "cpu":
                rows = min(len(starts), model.answers_at_once)
                longest = max(map(len, starts))
                bound_cache(batching, rows, longest, params.max_new_tokens)
            with _plain_attention(model.model), _mute_error_log():
                outputs = model.model.generate_batch(
                    starts, generation_config=settings, continuous_batching_config=batching, warmup=False
                )
            results = [output for output in outputs.values() if output.error is None]
            if len(results) < len(starts):
                errors = next((f": {output.error}" for output in outputs.values() if output.error), "")
                raise FrameworkError(
                    f"rollout=continuous: transformers gives {len(results)} of {count(len(starts), 'answer')}{errors}: "
                    "set another rollout.max_memory_percent, or rollout=model"
                )
            prompt_copies = [prompt for prompt in prompts for _ in range(params.n)]
            answers = [
                model.sampled(prompt, result.generated_tokens, result.logprobs)
                for prompt, result in zip(prompt_copies, results, strict=True)
            ]
            return [answers[start : start + params.n] for start in range(0, len(answers), params.n)]

        return draw


def bound_cache(batching: ContinuousBatchingConfig, rows: int, longest: int, max_new_tokens: int) -> None:
    """Let a cache hold what some rows need at once, as the plan counts it, and not a share of what is free.

    Args:
        batching: the settings of transformers.
        rows: that are answered at the same time.
        longest: tokens of the longest prompt.
        max_new_tokens: the most tokens of an answer.
    """
    page = getattr(batching, "page_size", 0) or getattr(batching, "block_size", 0)  # the name differs by version
    batching.num_blocks = rows * (math.ceil((longest + max_new_tokens) / page) + 1)
    batching.max_batch_tokens = longest + rows
    batching.max_requests_per_batch = rows


@contextmanager
def _mute_error_log() -> Iterator[None]:
    """Keep transformers from printing the traceback of an error that is reported as one."""
    log = logging.getLogger("ContinuousBatchingLogger")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


@contextmanager
def _plain_attention(model: Any) -> Iterator[None]:
    """Switch a model with branch attention to sdpa for a while."""
    attention = model.config._attn_implementation  # noqa: SLF001 - no public name
    if attention != ATTENTION_NAME:
        yield
        return
    model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(attention)
