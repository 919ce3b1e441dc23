"""What would reduce the memory that a plan of `trainer=hf` takes. Without torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from framework import Plan
from framework.api.training import Evaluation, MemoryReduction
from framework_plugins.hf.settings.config import FullConfig, HFTrainerConfig, NF4Config, NoQuantizationConfig, Switch
from framework_plugins.hf.settings.optimizers import AdamWTorchConfig, BuiltInConfig
from framework_plugins.hf.settings.pass_size import MIN_KEPT_TOKENS

MIN_ANSWERS = 2
"""Fewer answers to a prompt cannot be compared."""
MIN_USEFUL_RANK = 8
"""Below it an adapter learns little."""


def reductions(plan: Plan) -> Iterator[MemoryReduction]:
    """Give what makes a plan smaller, the cheapest first."""
    config: HFTrainerConfig = plan.trainer.config
    yield from _smaller_passes(config)
    answers = math.ceil(plan.cost.rows) if plan.cost.rollout_tokens else 0
    while answers >= 2 * MIN_ANSWERS:
        answers //= 2
        yield MemoryReduction({"method.num_generations": answers}, "a noisier mean to compare answers with", price=1)
    group = plan.launch.config.group()
    if group and group.hybrid:
        yield MemoryReduction(
            {"launch.dp_shard_size": group.processes}, "traffic: all processes gather the weights from each other"
        )
    if group and group.sharded:  # the optimizers of 8 bits cannot be cut into pieces
        if group.evaluation is Evaluation.whole and group.on_each_machine > 1:
            yield MemoryReduction({"launch.evaluation": Evaluation.split}, "time: one process answers all prompts", 0)
        yield from _smaller_weights(plan)
        return
    optimizer = plan.optimizer.config
    is_torch = isinstance(optimizer, AdamWTorchConfig)
    # Another one would need another learning rate; groups of weights would be lost with another option.
    if (is_torch or (isinstance(optimizer, BuiltInConfig) and optimizer.replaced)) and not optimizer.groups:
        if is_torch:
            yield MemoryReduction({"optimizer": "adamw_8bit"}, "little: optimizer states of 8 bits", price=1)
        if not optimizer.paged:
            yield MemoryReduction({"optimizer": "paged_adamw_8bit"}, "time, whenever the states are moved")
    yield from _smaller_weights(plan)


def _smaller_passes(config: HFTrainerConfig) -> Iterator[MemoryReduction]:
    cost, tokens = "nothing: the same rows in a step, in smaller passes", config.pass_tokens
    while tokens > MIN_KEPT_TOKENS:
        tokens //= 2
        yield MemoryReduction({"trainer.tokens_per_pass": tokens}, cost, price=0)
    if config.per_device_eval_batch_size > 1:
        slower = "nothing but a slower validation loss"
        yield MemoryReduction({"trainer.per_device_eval_batch_size": 1}, slower, price=0)
    answers = config.planned_answers() or 1
    while answers > 1:  # each half is offered, so that the plan can take the largest that fits
        answers //= 2
        yield MemoryReduction({"trainer.answers_at_once": answers}, "nothing but slower answers", price=0)
    rows, accumulated = config.per_device_train_batch_size, config.gradient_accumulation_steps
    while rows > 1 and not config.pass_tokens:
        divisor = next(candidate for candidate in range(2, rows + 1) if rows % candidate == 0)
        rows, accumulated = rows // divisor, accumulated * divisor
        smaller = {"trainer.per_device_train_batch_size": rows, "trainer.gradient_accumulation_steps": accumulated}
        yield MemoryReduction(smaller, cost, price=0)
    if accumulated > 1 and not config.pass_tokens:  # on a CPU a pass may have twice as many
        yield MemoryReduction({"trainer.tokens_per_pass": MIN_KEPT_TOKENS}, cost, price=0)
    if config.gradient_checkpointing is not Switch.enabled:
        yield MemoryReduction({"trainer.gradient_checkpointing": Switch.enabled}, "a third more time")


def _smaller_weights(plan: Plan) -> Iterator[MemoryReduction]:
    adapter: Any = plan.adapter.config
    quantization = plan.quantization.config
    if isinstance(adapter, FullConfig):
        yield MemoryReduction(
            {"adapter": "lora"}, "only an adapter is trained: a tenfold learning rate suits it", price=2
        )
    if isinstance(quantization, NoQuantizationConfig):
        yield MemoryReduction({"quantization": "nf4"}, "a little quality, and time: the base in four bits", price=2)
    elif isinstance(quantization, NF4Config) and not quantization.double_quant:
        yield MemoryReduction({"quantization.double_quant": True}, "no noticeable difference", price=0)
    trained_before = adapter.starts_from() and not adapter.merge_first
    rank = MIN_USEFUL_RANK if trained_before else adapter.rank() or MIN_USEFUL_RANK
    while rank > MIN_USEFUL_RANK:
        rank = max(MIN_USEFUL_RANK, rank // 2)
        yield MemoryReduction({"adapter.r": rank}, "room to learn: an adapter of a lower rank", price=2)
