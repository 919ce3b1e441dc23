"""EVA (Paischer et al., arXiv 2410.07170): a new adapter begins with the directions in which its inputs vary most."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from peft import EvaConfig, PeftModel, initialize_lora_eva_weights

from framework import FrameworkError
from framework.api.training import TokenRow
from framework_plugins.hf.settings.library_fields import EVA

MOST_BATCHES = 500
"""Batches after which the directions are hardly changed by more of them."""


def begin_from_rows(model: PeftModel, rows: Sequence[TokenRow], at_once: int) -> None:
    """Initialize the adapter of a model from the inputs of its layers for some rows.

    Args:
        model: with a new adapter.
        rows: of the training; some from all over them are read.
        at_once: rows in a pass.

    Raises:
        FrameworkError: there are too few rows.
    """
    config, passes, body = model.peft_config["default"], itertools.count(1), model.get_base_model().base_model
    batches = list(itertools.islice(_batches(rows, at_once, 2 * config.r), MOST_BATCHES))

    def forward(_: Any, inputs: Mapping[str, torch.Tensor]) -> None:
        if next(passes) > MOST_BATCHES:  # peft would never end
            raise FrameworkError(
                f"adapter.args.init_lora_weights=eva: {MOST_BATCHES} passes are not enough for {config.r} directions: "
                "set a lower adapter.r, or init_lora_weights=true"
            )
        body(**inputs, use_cache=False)

    options = {"show_progress_bar": False, "gather_distributed_inputs": False}
    # All ranks stay as they are set.
    config.init_lora_weights, config.eva_config = EVA, EvaConfig(rho=1.0, use_label_mask=False)
    initialize_lora_eva_weights(model, batches, forward_fn=forward, **options)
    config.init_lora_weights, config.eva_config = True, None


def _batches(rows: Sequence[TokenRow], at_once: int, tokens: int) -> Iterator[dict[str, torch.Tensor]]:
    """Give rows as a model reads them, in batches of at least `tokens`: peft needs more of them than directions."""
    batch: list[torch.Tensor] = []
    if sum(len(rows[index].input_ids) for index in range(min(len(rows), tokens))) < tokens:
        raise FrameworkError(
            f"adapter.args.init_lora_weights=eva needs {tokens} tokens, twice the rank, and the rows have fewer: set "
            "init_lora_weights=true"
        )
    for index in range(0, len(rows), max(1, len(rows) // (MOST_BATCHES * at_once))):
        batch.append(torch.tensor(rows[index].input_ids))
        if len(batch) >= at_once and sum(map(len, batch)) >= tokens:
            yield _pad(batch)
            batch = []
    if sum(map(len, batch)) >= tokens:
        yield _pad(batch)


def _pad(rows: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return rows as one batch, padded on the right, with its attention mask."""
    masks = [torch.ones_like(row) for row in rows]
    pairs = {"input_ids": rows, "attention_mask": masks}
    return {name: torch.nn.utils.rnn.pad_sequence(list(part), batch_first=True) for name, part in pairs.items()}
