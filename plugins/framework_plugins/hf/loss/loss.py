"""The loss of one part: the states of its tokens, and the head at the learned ones alone.

`Losses` finds out on the loaded model how that may be done. Most models are a body and a linear head, whose logits some
scale or cap, so the logits of a few tokens at a time are made, and thrown away; of others the model itself is asked for
the logits of those positions, or for all of them. Whether branches are kept apart is tested too: three rows as a tree
against the same rows one by one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import numpy as np
import torch
from peft import PeftModel

from framework.api.errors import FrameworkError
from framework.api.records import IGNORE, TokenRow
from framework_plugins.hf.loss.chunked_cross_entropy import (
    LEAST,
    Head,
    blocks,
    computed_in,
    kept,
    summed_cross_entropy,
    summed_of_logits,
)
from framework_plugins.hf.loss.router_loss import ASKS, Balance, auxiliary_coefficient, balance
from framework_plugins.hf.packing.parts import Part, padded, planted
from framework_plugins.hf.packing.tree import WORTH, plant
from framework_plugins.hf.settings.config import Packing

Tensor = torch.Tensor
INPUTS = ("input_ids", "attention_mask", "position_ids", "branches")
EXACT, ROUNDED = 1e-3, 0.05
"""How far states may lie apart as a share of their size, in fp32 and in 16 bits: SmolLM2-135M in bf16 has 0.02 from
rounding, and 0.14 if three of its thirty layers do not turn positions."""
ONE_PRODUCT = 0.02
"""How far logits may lie apart in 16 bits that the same states and the same head gave: of states they are one product
away, and a cap or another scale has to be seen."""
SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")
"""What configs call the number that logits are multiplied by, or divided by: that differs by model."""
CAPS = ("final_logit_softcapping", "logits_soft_cap")
INSIDE = "framework_inside"
"""Argument of a model's forward pass: what is computed within it instead."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProbeResult:
    """What was found out.

    Attributes:
        made: scale and cap of the logits that the head gives; None where the model has to be asked for them.
        selects: whether the model, where it is asked, gives the logits of the positions asked for.
        balanced: whether its auxiliary loss is known.
        packing: how rows are packed.
        masked: whether a tree comes with a dense mask.
        problem: why rows are not packed as a tree, or not along branches.
    """

    made: tuple[float, float] | None
    selects: bool
    balanced: bool
    packing: Packing
    masked: bool
    problem: str


class Losses:
    """Losses of parts.

    Args:
        model: the loaded model, in evaluation mode as it can be trained afterwards.
        packing: what is asked for.
        masked: whether a tree comes with a dense mask.
        looks: whether that is found out now; else `through` does it.
        found: of a model like this one, so that nothing has to be found out.

    Attributes:
        head: the output head; None where the model is asked for logits.
        balance: the auxiliary loss of a mixture of experts; None if there is none, or none that can be computed.
    """

    def __init__(
        self, model: Any, packing: Packing, *, masked: bool, looks: bool = True, found: ProbeResult | None = None
    ) -> None:
        self.model = model
        self.caller = model
        self.grouped = False
        self.plain = model.get_base_model() if isinstance(model, PeftModel) else model
        self.body = self.plain.base_model
        linear = self.plain.get_output_embeddings()
        self.head = Head(linear) if type(linear) is torch.nn.Linear else None
        self.balance: Balance | None = balance(self.plain)
        self.selects = True
        self.packing = packing
        self.masked = masked
        self.logits = kept(self.plain.device)
        self.problem = ""
        if found:
            self.take(found)
        elif looks:
            self._look()
        else:
            for module in (self.plain, linear):  # before an engine puts its own around their forward passes
                if module is not None:
                    _let_in(module)

    @property
    def found(self) -> ProbeResult:
        """What was found out, for a model like this one."""
        made = (self.head.scale, self.head.cap) if self.head else None
        return ProbeResult(made, self.selects, self.balance is not None, self.packing, self.masked, self.problem)

    def take(self, found: ProbeResult) -> None:
        """Use what was found out on a model like this one."""
        self.head = Head(self.head.linear, *found.made) if self.head and found.made else None
        self.balance = self.balance if found.balanced else None
        self.selects, self.packing, self.masked = found.selects, found.packing, found.masked
        self.problem = found.problem

    @property
    def fallback(self) -> str:
        """How rows are packed instead of what was asked for, and why; empty if it is as asked."""
        how = "tree with a dense mask" if self.packing is Packing.tree else self.packing.value
        return f"{how} ({self.problem})" if self.problem else ""

    @property
    def auxiliary(self) -> str:
        """The loss of a mixture of experts beside that of the tokens, in words; empty if there is none."""
        if self.balance is not None:
            return str(self.balance)
        return "left out" if auxiliary_coefficient(self.plain) else ""

    def through(self, caller: Any) -> None:
        """Call this instead of the model, which a group of processes trains.

        What keeps them together happens around its forward pass, so the parts of the model are called within it.
        """
        self.caller, self.grouped = caller, True  # FSDP2 changes the model itself
        self._look()

    def sum(self, part: Part) -> Tensor:
        """Return the summed cross entropy of a part in nats."""
        return self._sum(part, None)[0]

    def mean(self, part: Part) -> Tensor:
        """Return what a part adds to the loss of its optimizer step.

        That is its summed cross entropy in nats, divided by the learned tokens of the step, not of the part: 4 x 1 and
        1 x 4 are the same training. Of a mixture of experts the auxiliary loss too, weighted by the part's tokens.
        """
        total, auxiliary = self._sum(part, self.balance)
        loss = torch.div(total, part["count"])
        if self.balance is None or auxiliary is None:
            return loss
        weight: float = self.balance.coefficient * part["tokens"] / part["step_tokens"]
        return loss + weight * auxiliary

    def seen(self, part: Part) -> Tensor:
        """Return what `blocks` makes logits of: the states from which something is learned, or logits already."""
        if self.head is None:
            return self._logits(part)
        states: Tensor = self._inside(lambda: self._states(part)[0])
        return states

    def blocks(self, seen: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Give the logits in fp32, a few places at a time: (places, vocabulary)."""
        return blocks(seen, self.head, self.logits)

    def fewer_logits(self) -> str:
        """Compute a quarter of the logits at a time and say so; empty where they are few, or the model makes them."""
        if self.head is None or self.logits <= LEAST:
            return ""
        self.logits //= 4
        return f"the loss of {self.logits >> 20} MiB of logits at a time"

    def _sum(self, part: Part, balanced: Balance | None) -> tuple[Tensor, Tensor | None]:
        """Return the summed cross entropy of a part, and its auxiliary loss where that is asked for."""
        head = self.head
        if head is None:
            return summed_of_logits(self._logits(part), part["target"], part["share"]), None

        def compute() -> Tensor:
            states, out = self._states(part, **(ASKS if balanced else {}))
            behind = partial(self._behind, head, part)
            # A head that is cut into pieces is whole in its own forward pass only.
            total = head.linear(states, **{INSIDE: behind}) if self.grouped else behind(states)
            if balanced:
                total = torch.complex(total.real, balanced(out.router_logits, part).to(total.real.dtype))
            return total

        found: Tensor = self._inside(compute)
        return (found.real, found.imag if balanced else None) if found.is_complex() else (found, None)

    def _behind(self, head: Head, part: Part, states: Tensor) -> Tensor:
        """Return the summed cross entropy; in a group as a complex number, since FSDP2 casts floats to 16 bits."""
        total = summed_cross_entropy(states, head, part["target"], part["share"], self.logits)
        return torch.complex(total, torch.zeros_like(total)) if self.grouped else total

    def _inside(self, compute: Callable[[], Any]) -> Any:
        """Compute, in a group within the model's own forward pass."""
        return self.caller(**{INSIDE: compute}) if self.grouped else compute()

    def _states(self, part: Part, **more: Any) -> tuple[Tensor, Any]:
        """Return the states from which something is learned, (learned, features), and all that the body gives."""
        out = self.body(**_inputs(part), use_cache=False, **more)
        states = out[0]
        return states.reshape(-1, states.shape[-1])[part["source"]], out

    def _logits(self, part: Part) -> Tensor:
        """Return the logits of the same places, made by the model itself: (learned, vocabulary)."""
        columns = torch.unique(part["source"] % part["input_ids"].shape[1])
        keep = {"logits_to_keep": columns} if self.selects else {}
        return self._picked(part, self.caller(**_inputs(part), **keep, use_cache=False).logits)

    def _picked(self, part: Part, logits: Tensor) -> Tensor:
        """Pick those of the learned places from logits of all positions, or of those where something is learned.

        Raises:
            FrameworkError: they are of other positions.
        """
        longest = part["input_ids"].shape[1]
        row, column = part["source"] // longest, part["source"] % longest
        columns, which = torch.unique(column, return_inverse=True)
        if logits.shape[1] == longest:  # not every model reads `logits_to_keep`
            which = column
        elif logits.shape[1] != len(columns):
            raise FrameworkError(
                f"{type(self.plain).__name__} gives the logits of {logits.shape[1]} of {longest} tokens where "
                f"{len(columns)} were asked for (logits_to_keep): its loss cannot be computed"
            )
        return logits[row, which]

    @torch.no_grad()
    def _look(self) -> None:
        """Find out what may be done, on three rows that begin alike."""
        device = self.plain.device
        rows = _rows(self.plain.config.get_text_config().vocab_size)
        beside = moved(padded(rows, 0), device)
        whole = self.caller(**_inputs(beside), use_cache=False, **(ASKS if self.balance else {}))
        logits = self._picked(beside, whole.logits)
        expected, dtype = self._look_at_head(beside, logits, getattr(whole, "aux_loss", None))
        if self.head is None:
            self._look_at_selection(beside, logits, dtype)
        if self.packing is not Packing.tree:
            return
        for masked in sorted({self.masked, True}):
            self.masked = masked
            # The tree has the rows in the order of their tokens, which is theirs.
            part = moved(planted(plant(rows), 0, masked=masked), device)
            try:
                result = self.seen(part)[: len(rows)]
            except (TypeError, ValueError, RuntimeError) as error:  # no such argument, or no such mask
                self.problem = f"{type(error).__name__}: {error}"
                continue
            if _distance(result, expected) < (EXACT if _exact(dtype) else ROUNDED):
                return  # a mask may do what the branches did not, which is slower: the problem is reported all the same
            self.problem = "with shared prefixes the model computes different states"
        self.packing = Packing.pad
        log.warning("trainer.packing=pad instead of tree: %s", self.problem)

    def _look_at_head(self, part: Part, logits: Tensor, auxiliary: Any) -> tuple[Tensor, torch.dtype]:
        """Find out what the model makes of the logits of its head, and whether its auxiliary loss is known.

        Returns:
            what `seen` gives of the part, and the dtype that the model computes in.
        """
        head, balanced = self.head, self.balance
        if head is None:
            self.balance = None
            return logits, logits.dtype
        linear = head.linear

        def compute() -> tuple[Tensor, Tensor, torch.dtype, Tensor | None]:
            states, out = self._states(part, **(ASKS if balanced else {}))
            raw = linear(states)
            return states, raw, computed_in(states), balanced(out.router_logits, part) if balanced else None

        states, raw, dtype, own = self._inside(compute)
        heads = [Head(linear, *made) for made in _ways(self.plain.config.get_text_config())]
        apart = [_distance(one.finish(raw.float()), logits) for one in heads]
        nearest = apart.index(min(apart))
        near = EXACT if _exact(dtype) else ONE_PRODUCT
        if not apart[nearest] < near:
            log.info(
                "%s changes its head's logits in an unknown way, so it computes them itself", type(self.plain).__name__
            )
            self.head = self.balance = None
            return logits, dtype
        self.head = heads[nearest]
        if balanced and not (isinstance(auxiliary, Tensor) and own is not None and _distance(own, auxiliary) < near):
            log.warning("the auxiliary loss of %s is left out: it is of an unknown kind", type(self.plain).__name__)
            self.balance = None
        return states, dtype

    def _look_at_selection(self, part: Part, logits: Tensor, dtype: torch.dtype) -> None:
        """Find out whether the model gives the logits of the positions that it is asked for."""
        try:
            same = _distance(self._logits(part), logits) < (EXACT if _exact(dtype) else ROUNDED)
        except (TypeError, ValueError, RuntimeError, IndexError, FrameworkError):
            same = False  # it has no such argument, or one of another kind
        self.selects = same


def _let_in(module: Any) -> None:
    """Let `INSIDE` be computed instead of a module's forward pass: an engine's hooks and wrappers stay around it."""
    forward = module.forward

    @wraps(forward)  # generate() reads the arguments
    def either(*args: Any, **named: Any) -> Any:
        compute = named.pop(INSIDE, None)
        return forward(*args, **named) if compute is None else compute(*args)

    module.forward = either


def _ways(config: Any) -> list[tuple[float, float]]:
    """Return scales and caps that a model may apply to its logits by its config, the likelier ones first."""
    scales = [float(value) for name in SCALES if (value := getattr(config, name, None))]
    cap = next((float(value) for name in CAPS if (value := getattr(config, name, None))), 0.0)
    return [(scale, each) for each in dict.fromkeys((cap, 0.0)) for one in (1.0, *scales) for scale in (one, 1 / one)]


def _rows(vocabulary: int) -> list[TokenRow]:
    """Return sorted rows that begin alike, of which each learns its last token."""
    random = np.random.default_rng(0)
    start, middle = (random.integers(vocabulary, size=WORTH + more).tolist() for more in (5, 3))
    rows = [start + random.integers(vocabulary, size=4).tolist()]
    rows += [start + middle + random.integers(vocabulary, size=size).tolist() for size in (3, 7)]
    return [TokenRow(ids, [IGNORE] * (len(ids) - 1) + ids[-1:]) for ids in sorted(rows)]


def _inputs(part: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part[name] for name in INPUTS if name in part}


def moved(part: Part, device: torch.device | str) -> Part:
    """Return a part on a device."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in part.items()}


def _exact(dtype: torch.dtype) -> bool:
    return dtype in {torch.float32, torch.float64}


def _distance(one: Tensor, two: Tensor) -> float:
    """Return how far tensors lie apart, as a share of the size of the second."""
    return float((one.double() - two.double()).norm() / two.double().norm())
