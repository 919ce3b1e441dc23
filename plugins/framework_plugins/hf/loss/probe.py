"""What a loaded model allows: tried on three rows with a common beginning.

Which logits its head gives, scaled or capped; whether it gives those of the positions asked for; whether its auxiliary
loss is known; and whether rows keep their states if they are packed: as a tree, or padded, against the same rows one by
one. If the model's attention chooses among the tokens of a long row, such rows are tried too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from framework import FrameworkError
from framework.api import is_out_of_memory, summarize_error
from framework.api.training import TokenRow
from framework_plugins.hf.loss.chunked_cross_entropy import Head, autocast_dtype
from framework_plugins.hf.loss.loss import Losses, model_inputs, to_device
from framework_plugins.hf.loss.router_loss import OUTPUT_ROUTER_LOGITS
from framework_plugins.hf.packing.eligibility import chosen_tokens
from framework_plugins.hf.packing.parts import Part, padded_batch, tree_batch
from framework_plugins.hf.packing.tree import build_tree
from framework_plugins.hf.settings.config import Packing
from framework_plugins.hf.settings.pass_size import MIN_SAVED_TOKENS

Tensor = torch.Tensor
L = TypeVar("L", bound=Losses)
FP32_TOLERANCE, HALF_TOLERANCE = 1e-3, 0.05
"""How far states may lie apart as a share of their size, in fp32 and in 16 bits: SmolLM2-135M in bf16 has 0.02 from
rounding, and 0.14 if three of its thirty layers do not turn positions."""
HALF_LOGIT_TOLERANCE = 0.02
"""How far logits may lie apart in 16 bits that the same states and the same head gave: of states they are one product
away, and a cap or another scale has to be seen."""
LOGIT_SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")
"""What configs call the number that logits are multiplied by, or divided by: that differs by model."""
LEARNED, LEARNED_OF_LONG = 3, 32
"""Tokens at the end of a row that are compared: several, so that one expert chosen by rounding does not decide; more in
rows of which attention chooses tokens, where few may differ."""
PACKED = {Packing.tree: "with shared prefixes", Packing.pad: "with padding"}
LOGIT_CAPS = ("final_logit_softcapping", "logits_soft_cap")
log = logging.getLogger(__name__)


@torch.no_grad()
def probe(losses: L) -> L:
    """Find out what may be done, on rows with a common beginning, and return the losses that use it.

    Raises:
        FrameworkError: the model cannot compute a row.
    """
    config = losses.plain.config.get_text_config()
    rows = _probe_rows(config.vocab_size)
    chosen = chosen_tokens(config)
    long = [_probe_rows(config.vocab_size, chosen, LEARNED_OF_LONG)] if 0 < chosen < losses.longest else []
    try:
        part, out = _first_pass(losses, rows)
        logits = losses.pick_learned(part, out.logits)
        dtype = _probe_head(losses, part, logits, getattr(out, "aux_loss", None))
        if losses.head is None:
            _probe_selection(losses, part, logits, dtype)
        _probe_packing(losses, [rows, *long], dtype)
    except FrameworkError:
        raise
    except Exception as error:  # a class of transformers, or a third-party one, may raise anything
        if is_out_of_memory(error):
            raise
        raise FrameworkError(
            f"{type(losses.plain).__name__} cannot compute a row of text: {summarize_error(error)}. Choose another "
            "model, or a version of transformers that runs this one"
        ) from error
    return losses


def _first_pass(losses: Losses, rows: Sequence[TokenRow]) -> tuple[Part, Any]:
    """Return a part, and all that the model gives of it: padded rows, or one row if it takes no padding."""
    options = OUTPUT_ROUTER_LOGITS if losses.router_loss else {}
    part, single = (to_device(padded_batch(batch, 0), losses.plain.device) for batch in (rows, rows[:1]))
    try:
        return part, losses.wrapped(**model_inputs(part), use_cache=False, **options)
    except Exception as error:
        if is_out_of_memory(error):
            raise
    return single, losses.wrapped(**model_inputs(single), use_cache=False, **options)


def _probe_packing(losses: Losses, lengths: Sequence[Sequence[TokenRow]], dtype: torch.dtype) -> None:
    """Choose the first packing, from the one asked for on, in which rows of all lengths keep their states."""
    requested = losses.packing
    if requested is Packing.none:
        return
    expected = [_one_by_one(losses, rows) for rows in lengths]
    problems: dict[Packing, str] = {}
    for packing, dense_mask in [*_candidates(losses)]:
        losses.packing, losses.dense_mask = packing, dense_mask
        failures = (_problem(losses, rows, states, dtype) for rows, states in zip(lengths, expected, strict=True))
        problem = next(filter(None, failures), "") if packing is not Packing.none else ""
        if not problem:
            break
        # A mask may do what the branches did not, which is slower: the problem is reported all the same.
        problems[packing] = problem
    losses.problem = "; ".join(problems.values())
    if losses.packing is not requested:
        log.warning("trainer.packing=%s instead of %s: %s", losses.packing.value, requested.value, losses.problem)


def _candidates(losses: Losses) -> Iterator[tuple[Packing, bool]]:
    """Give what is tried: each packing, and whether a tree comes with a dense mask."""
    dense = losses.dense_mask
    if losses.packing is Packing.tree:
        for dense in sorted({losses.dense_mask, not losses.by_row_starts}):
            yield Packing.tree, dense
    yield Packing.pad, dense
    yield Packing.none, dense


def _one_by_one(losses: Losses, rows: Sequence[TokenRow]) -> Tensor:
    """Return the states of rows that have a pass each."""
    parts = (to_device(padded_batch([row], 0), losses.plain.device) for row in rows)
    return torch.cat([losses.states_or_logits(part) for part in parts])


def _problem(losses: Losses, rows: Sequence[TokenRow], expected: Tensor, dtype: torch.dtype) -> str:
    """Say why rows do not have these states in the packing of the losses; empty if they do."""
    packing = losses.packing
    if packing is Packing.tree:
        # The tree has the rows in the order of their tokens, which is theirs.
        part = tree_batch(build_tree(rows, share=losses.share), dense_mask=losses.dense_mask)
    else:
        part = padded_batch(rows, 0)
    try:
        result = losses.states_or_logits(to_device(part, losses.plain.device))[: len(expected)]
    except Exception as error:  # noqa: BLE001 - no such argument, no such mask, or what else a class raises
        return f"{PACKED[packing]}, {summarize_error(error)}"
    if _relative_distance(result, expected) < _tolerance(dtype, HALF_TOLERANCE):
        return ""
    return f"{PACKED[packing]} the model computes different states"


def _probe_head(losses: Losses, part: Part, logits: Tensor, auxiliary: Any) -> torch.dtype:
    """Find out what the model makes of the logits of its head, and whether its auxiliary loss is known.

    Returns:
        the dtype that the model computes in.
    """
    head, router_loss = losses.head, losses.router_loss
    if head is None:
        losses.router_loss = None
        return logits.dtype
    linear = head.linear

    def compute() -> tuple[Tensor, torch.dtype, Tensor | None]:
        states, out = losses.learned_states(part, **(OUTPUT_ROUTER_LOGITS if router_loss else {}))
        raw = linear(states)
        return raw, autocast_dtype(states), router_loss(out.router_logits, part) if router_loss else None

    result: tuple[Tensor, torch.dtype, Tensor | None] = losses.within_forward(compute)
    raw, computed_loss = result[0], result[2]
    dtype: torch.dtype = result[1]
    config = losses.plain.config.get_text_config()
    candidates = [Head(linear, *scale_and_cap) for scale_and_cap in _scales_and_caps(config)]
    distances = [_relative_distance(candidate.finish(raw.float()), logits) for candidate in candidates]
    nearest = distances.index(min(distances))
    tolerance = _tolerance(dtype, HALF_LOGIT_TOLERANCE)
    if not distances[nearest] < tolerance:
        log.info(
            "%s changes its head's logits in an unknown way, so it computes them itself", type(losses.plain).__name__
        )
        losses.head = losses.router_loss = None
        return dtype
    losses.head = candidates[nearest]
    is_known = (
        isinstance(auxiliary, Tensor)
        and computed_loss is not None
        and _relative_distance(computed_loss, auxiliary) < tolerance
    )
    if router_loss and not is_known:
        log.warning("the auxiliary loss of %s is left out: it is of an unknown kind", type(losses.plain).__name__)
        losses.router_loss = None
    return dtype


def _probe_selection(losses: Losses, part: Part, logits: Tensor, dtype: torch.dtype) -> None:
    """Find out whether the model gives the logits of the positions that it is asked for."""
    try:
        selects = _relative_distance(losses.learned_logits(part), logits) < _tolerance(dtype, HALF_TOLERANCE)
    except (TypeError, ValueError, RuntimeError, IndexError, FrameworkError):
        selects = False  # it has no such argument, or one of another kind
    losses.selects_logits = selects


def _scales_and_caps(config: Any) -> list[tuple[float, float]]:
    """Return scales and caps that a model may apply to its logits by its config, the likelier ones first."""
    scales = [float(value) for name in LOGIT_SCALES if (value := getattr(config, name, None))]
    cap = next((float(value) for name in LOGIT_CAPS if (value := getattr(config, name, None))), 0.0)
    return [
        (scale, limit)
        for limit in dict.fromkeys((cap, 0.0))
        for factor in (1.0, *scales)
        for scale in (factor, 1 / factor)
    ]


def _probe_rows(vocabulary: int, prefix_length: int = 0, learned: int = LEARNED) -> list[TokenRow]:
    """Return sorted rows that share a beginning of at least `prefix_length` tokens; each learns its last tokens."""
    random = np.random.default_rng(0)
    start, middle = (
        random.integers(vocabulary, size=MIN_SAVED_TOKENS + size).tolist() for size in (prefix_length + 5, 3)
    )
    rows = [start + random.integers(vocabulary, size=learned + 1).tolist()]
    rows += [start + middle + random.integers(vocabulary, size=learned + size).tolist() for size in (1, 5)]
    return [TokenRow(ids, [TokenRow.IGNORE] * (len(ids) - learned) + ids[-learned:]) for ids in sorted(rows)]


def _tolerance(dtype: torch.dtype, half: float) -> float:
    return FP32_TOLERANCE if dtype in {torch.float32, torch.float64} else half


def _relative_distance(actual: Tensor, expected: Tensor) -> float:
    """Return how far `actual` lies from `expected`, as a share of the norm of `expected`."""
    return float((actual.double() - expected.double()).norm() / expected.double().norm())
