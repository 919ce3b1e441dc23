"""What a loaded model allows: tried on three rows with a common beginning.

Which logits its head gives, scaled or capped; whether it gives those of the positions asked for; whether its auxiliary
loss is known; and whether it keeps branches apart: the rows as a tree against the same rows one by one.
"""

from __future__ import annotations

import logging
from typing import Any, TypeVar

import numpy as np
import torch

from framework import FrameworkError
from framework.api.training import IGNORE, TokenRow
from framework_plugins.hf.loss.chunked_cross_entropy import Head, autocast_dtype
from framework_plugins.hf.loss.loss import Losses, model_inputs, to_device
from framework_plugins.hf.loss.router_loss import OUTPUT_ROUTER_LOGITS
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
LOGIT_CAPS = ("final_logit_softcapping", "logits_soft_cap")
log = logging.getLogger(__name__)


@torch.no_grad()
def probe(losses: L) -> L:
    """Find out what may be done, on three rows with a common beginning, and return the losses that use it."""
    device = losses.plain.device
    rows = _probe_rows(losses.plain.config.get_text_config().vocab_size)
    padded = to_device(padded_batch(rows, 0), device)
    more = OUTPUT_ROUTER_LOGITS if losses.router_loss else {}
    out = losses.wrapped(**model_inputs(padded), use_cache=False, **more)
    logits = losses.pick_learned(padded, out.logits)
    expected, dtype = _probe_head(losses, padded, logits, getattr(out, "aux_loss", None))
    if losses.head is None:
        _probe_selection(losses, padded, logits, dtype)
    if losses.packing is not Packing.tree:
        return losses
    for dense_mask in sorted({losses.dense_mask, not losses.by_row_starts}):
        losses.dense_mask = dense_mask
        # The tree has the rows in the order of their tokens, which is theirs.
        part = to_device(tree_batch(build_tree(rows, share=losses.share), dense_mask=dense_mask), device)
        try:
            result = losses.states_or_logits(part)[: len(rows)]
        except (TypeError, ValueError, RuntimeError) as error:  # no such argument, or no such mask
            losses.problem = f"{type(error).__name__}: {error}"
            continue
        if _relative_distance(result, expected) < _tolerance(dtype, HALF_TOLERANCE):
            # A mask may do what the branches did not, which is slower: the problem is reported all the same.
            return losses
        losses.problem = "with shared prefixes the model computes different states"
    losses.packing = Packing.pad
    log.warning("trainer.packing=pad instead of tree: %s", losses.problem)
    return losses


def _probe_head(losses: Losses, part: Part, logits: Tensor, auxiliary: Any) -> tuple[Tensor, torch.dtype]:
    """Find out what the model makes of the logits of its head, and whether its auxiliary loss is known.

    Returns:
        what `states_or_logits` gives of the part, and the dtype that the model computes in.
    """
    head, router_loss = losses.head, losses.router_loss
    if head is None:
        losses.router_loss = None
        return logits, logits.dtype
    linear = head.linear

    def compute() -> tuple[Tensor, Tensor, torch.dtype, Tensor | None]:
        states, out = losses.learned_states(part, **(OUTPUT_ROUTER_LOGITS if router_loss else {}))
        raw = linear(states)
        return states, raw, autocast_dtype(states), router_loss(out.router_logits, part) if router_loss else None

    states, raw, dtype, own = losses.within_forward(compute)
    config = losses.plain.config.get_text_config()
    candidates = [Head(linear, *scale_and_cap) for scale_and_cap in _scales_and_caps(config)]
    distances = [_relative_distance(each.finish(raw.float()), logits) for each in candidates]
    nearest = distances.index(min(distances))
    tolerance = _tolerance(dtype, HALF_LOGIT_TOLERANCE)
    if not distances[nearest] < tolerance:
        log.info(
            "%s changes its head's logits in an unknown way, so it computes them itself", type(losses.plain).__name__
        )
        losses.head = losses.router_loss = None
        return logits, dtype
    losses.head = candidates[nearest]
    known = isinstance(auxiliary, Tensor) and own is not None and _relative_distance(own, auxiliary) < tolerance
    if router_loss and not known:
        log.warning("the auxiliary loss of %s is left out: it is of an unknown kind", type(losses.plain).__name__)
        losses.router_loss = None
    return states, dtype


def _probe_selection(losses: Losses, part: Part, logits: Tensor, dtype: torch.dtype) -> None:
    """Find out whether the model gives the logits of the positions that it is asked for."""
    try:
        same = _relative_distance(losses.learned_logits(part), logits) < _tolerance(dtype, HALF_TOLERANCE)
    except (TypeError, ValueError, RuntimeError, IndexError, FrameworkError):
        same = False  # it has no such argument, or one of another kind
    losses.selects_logits = same


def _scales_and_caps(config: Any) -> list[tuple[float, float]]:
    """Return scales and caps that a model may apply to its logits by its config, the likelier ones first."""
    scales = [float(value) for name in LOGIT_SCALES if (value := getattr(config, name, None))]
    cap = next((float(value) for name in LOGIT_CAPS if (value := getattr(config, name, None))), 0.0)
    return [(scale, each) for each in dict.fromkeys((cap, 0.0)) for one in (1.0, *scales) for scale in (one, 1 / one)]


def _probe_rows(vocabulary: int) -> list[TokenRow]:
    """Return sorted rows with a common beginning, of which each learns its last token."""
    random = np.random.default_rng(0)
    start, middle = (random.integers(vocabulary, size=MIN_SAVED_TOKENS + more).tolist() for more in (5, 3))
    rows = [start + random.integers(vocabulary, size=4).tolist()]
    rows += [start + middle + random.integers(vocabulary, size=size).tolist() for size in (3, 7)]
    return [TokenRow(ids, [IGNORE] * (len(ids) - 1) + ids[-1:]) for ids in sorted(rows)]


def _tolerance(dtype: torch.dtype, half: float) -> float:
    return FP32_TOLERANCE if dtype in {torch.float32, torch.float64} else half


def _relative_distance(one: Tensor, two: Tensor) -> float:
    """Return how far tensors lie apart, as a share of the size of the second."""
    return float((one.double() - two.double()).norm() / two.double().norm())
