"""The loss of one part: the states of its tokens, and the head at the learned ones alone.

`Losses` finds out on the loaded model how that may be done. Most models are a body and a linear head, so the logits of
a few tokens at a time are made, and thrown away; of others the model itself is asked for the logits of those positions.
Whether branches are kept apart is tested too: three rows as a tree against the same rows one by one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from peft import PeftModel

from framework.api.records import IGNORE, TokenRow
from framework_plugins.hf.config import Packing
from framework_plugins.hf.fast.head import LEAST, blocks, kept, summed_cross_entropy, summed_of_logits
from framework_plugins.hf.packing.parts import Part, padded, planted
from framework_plugins.hf.packing.tree import WORTH, plant

Tensor = torch.Tensor
INPUTS = ("input_ids", "attention_mask", "position_ids", "branches")
EXACT, ROUNDED = 1e-3, 0.1
"""How far states may lie apart as a share of their size, in fp32 and in 16 bits; tokens of other rows change more."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProbeResult:
    """What was found out: whether the head stands by itself, how rows are packed, and why not as a tree."""

    headed: bool
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
    """

    def __init__(
        self, model: Any, packing: Packing, *, masked: bool, looks: bool = True, found: ProbeResult | None = None
    ) -> None:
        self.model = model
        self.caller = model
        plain = model.get_base_model() if isinstance(model, PeftModel) else model
        self.body = plain.base_model
        head = plain.get_output_embeddings()
        self.head: torch.nn.Linear | None = head if type(head) is torch.nn.Linear else None
        self.packing = packing
        self.masked = masked
        self.logits = kept(plain.device)
        self.problem = ""
        if found:
            self.head = self.head if found.headed else None
            self.packing, self.masked, self.problem = found.packing, found.masked, found.problem
        elif looks:
            self._look()

    @property
    def found(self) -> ProbeResult:
        """What was found out, for a model like this one."""
        return ProbeResult(self.head is not None, self.packing, self.masked, self.problem)

    def through(self, caller: Any) -> None:
        """Call this instead of the model, which a group of processes trains.

        What keeps them together happens around its forward pass, so nothing within the model is called by itself.
        """
        self.caller, self.head = caller, None
        self._look()

    def sum(self, part: Part) -> Tensor:
        """Return the summed cross entropy of a part in nats."""
        if self.head is None:
            return summed_of_logits(self._logits(part), part["target"], part["share"], self.logits)
        return summed_cross_entropy(self._states(part), self.head, part["target"], part["share"], self.logits)

    def seen(self, part: Part) -> Tensor:
        """Return what `blocks` makes logits of: the states from which something is learned, or logits already."""
        return self._logits(part) if self.head is None else self._states(part)

    def blocks(self, seen: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Give the logits in fp32, a few places at a time: (places, vocabulary)."""
        return blocks(seen, self.head, self.logits)

    def fewer_logits(self) -> str:
        """Compute a quarter of the logits at a time and say so; empty where they are few already."""
        if self.logits <= LEAST:
            return ""
        self.logits //= 4
        return f"the loss of {self.logits >> 20} MiB of logits at a time"

    def _states(self, part: Part) -> Tensor:
        """Return the states from which something is learned: (learned, features)."""
        states = self.body(**_inputs(part), use_cache=False)[0]
        return states.reshape(-1, states.shape[-1])[part["source"]]  # type: ignore[no-any-return]

    def _logits(self, part: Part) -> Tensor:
        """Return the logits of the same places, made by the model itself: (learned, vocabulary)."""
        longest = part["input_ids"].shape[1]
        columns, which = torch.unique(part["source"] % longest, return_inverse=True)
        logits = self.caller(**_inputs(part), logits_to_keep=columns, use_cache=False).logits
        return logits[part["source"] // longest, which]  # type: ignore[no-any-return]

    @torch.no_grad()
    def _look(self) -> None:
        """Find out what may be done, on three rows that begin alike."""
        table = self.body.get_input_embeddings()
        rows = _rows(table.num_embeddings)
        beside = moved(padded(rows, 0), table.weight.device)
        compute, expected = self._logits, self._logits(beside)
        if self.head is not None:
            states = self._states(beside)
            if _same(self.head(states), expected):
                compute, expected = self._states, states
            else:
                self.head = None  # the logits are scaled, capped or made in another way
        if self.packing is not Packing.tree:
            return
        for masked in sorted({self.masked, True}):
            self.masked = masked
            # The tree has the rows in the order of their tokens, which is theirs.
            part = moved(planted(plant(rows), 0, masked=masked), table.weight.device)
            try:
                result = compute(part)[: len(rows)]
            except (TypeError, ValueError, RuntimeError) as error:  # no such argument, or no such mask
                self.problem = f"{type(error).__name__}: {error}"
                continue
            self.problem = "" if _same(result, expected) else "with beginnings shared the model gives other states"
            if not self.problem:
                return
        self.packing = Packing.pad
        log.warning("trainer.packing=pad instead of tree: %s", self.problem)


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


def _same(one: Tensor, two: Tensor) -> bool:
    distance = (one.double() - two.double()).norm() / two.double().norm()
    exact = one.dtype in {torch.float32, torch.float64}
    return bool(distance < (EXACT if exact else ROUNDED))
