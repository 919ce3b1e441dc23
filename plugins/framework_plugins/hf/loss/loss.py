"""The loss of one part: the states of its tokens, and the head only at the learned ones.

Most models are a body and a linear head, whose logits some scale or cap, so the logits of a few tokens at a time are
made, and thrown away; of others the model itself is asked for the logits of those positions, or for all of them.
`probe.py` finds out on the loaded model which it is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from itertools import chain
from typing import Any

import torch
from peft import PeftModel

from framework import FrameworkError
from framework_plugins.hf.loss.chunked_cross_entropy import (
    FEWEST_LOGITS,
    REFERENCE,
    Head,
    log_probs,
    log_probs_of_logits,
    logit_chunks,
    logit_columns,
    logits_at_once,
    summed_cross_entropy,
    summed_cross_entropy_of_logits,
)
from framework_plugins.hf.loss.router_loss import (
    OUTPUT_ROUTER_LOGITS,
    RouterLoss,
    auxiliary_coefficient,
    find_router_loss,
)
from framework_plugins.hf.packing.eligibility import FLASH, mask_windows
from framework_plugins.hf.packing.parts import Part, row_starts
from framework_plugins.hf.packing.tree_attention import masks_of_layers
from framework_plugins.hf.packing.tree_states import NODES, STATE_KINDS, state_layers
from framework_plugins.hf.settings.config import Packing

Tensor = torch.Tensor
MODEL_INPUTS = ("input_ids", "attention_mask", "position_ids", "branches")
TREE_MASK_DIMS = 4
FUNCTIONS = "functions of logits"
"""Key of a part: functions that its objective reads, each with the names of its inputs."""
INPUT = "input {}"
"""Key of an input of such functions, a tensor with a row for each learned token."""
WITHIN_FORWARD = "framework_within_forward"
"""Argument of a model's forward pass: what is computed within it instead."""


@dataclass(frozen=True)
class ProbeResult:
    """What a probe has found out about a model.

    Attributes:
        scale_and_cap: scale and cap of the logits that the head gives; None if the model has to be asked for them.
        selects_logits: whether the model, if it is asked, gives the logits of the positions asked for.
        has_router_loss: whether its auxiliary loss is known.
        packing: how rows are packed.
        dense_mask: whether a tree comes with a dense mask.
        problem: why rows are not packed as asked for, or a tree not along branches.
    """

    scale_and_cap: tuple[float, float] | None
    selects_logits: bool
    has_router_loss: bool
    packing: Packing
    dense_mask: bool
    problem: str


class Losses:
    """Losses of parts; what the model allows is read from its config until `probe` or `apply_probe` says it.

    Args:
        model: the loaded model, in evaluation mode as it can be trained afterwards.
        packing: what is asked for.
        dense_mask: whether a tree comes with a dense mask.
        share: whether rows in a tree share their beginnings.
        longest: tokens that a row may have; rows of more are not tried by a probe.

    Attributes:
        head: the output head; None if the model is asked for logits.
        router_loss: the auxiliary loss of a mixture of experts; None if there is none, or none that can be computed.
    """

    def __init__(self, model: Any, packing: Packing, *, dense_mask: bool, share: bool = True, longest: int = 0) -> None:
        self.model = model
        self.wrapped = model
        self.in_group = False
        self.plain = model.get_base_model() if isinstance(model, PeftModel) else model
        self.body = self.plain.base_model
        linear = self.plain.get_output_embeddings()
        # A body that is the whole model, as Llama 4's, gives logits itself.
        split = self.body is not self.plain
        self.head = Head(linear) if split and type(linear) is torch.nn.Linear else None
        self.router_loss: RouterLoss | None = find_router_loss(self.plain)
        self.selects_logits = True
        self.windows = mask_windows(self.plain)
        self.keeps_states = bool(state_layers(self.plain))
        self.packing = packing
        self.dense_mask = dense_mask
        self.share = share
        self.longest = longest
        self.logits_at_once = logits_at_once(self.plain.device)
        self.problem = ""
        self.temperature = 1.0
        """What logits are divided by."""

    def at_temperature(self, temperature: float) -> Losses:
        """Return losses of the logits divided by it, for answers that were drawn so."""
        if temperature == 1:
            return self
        losses = copy.copy(self)
        losses.temperature = temperature
        return losses

    @property
    def tempered_head(self) -> Head | None:
        """The head with logits divided by the temperature; `head` is the model's own, which a probe finds out."""
        head, temperature = self.head, self.temperature
        if head is None or temperature == 1:
            return head
        # c tanh(s x / c) / t is c' tanh(s' x / c') with c' = c / t and s' = s / t.
        return replace(head, scale=head.scale / temperature, cap=head.cap / temperature)

    @property
    def probe_result(self) -> ProbeResult:
        """What was found out, for a model like this one."""
        scale_and_cap = (self.head.scale, self.head.cap) if self.head else None
        has_router_loss = self.router_loss is not None
        return ProbeResult(
            scale_and_cap, self.selects_logits, has_router_loss, self.packing, self.dense_mask, self.problem
        )

    def apply_probe(self, result: ProbeResult) -> None:
        """Use what was found out on a model like this one."""
        self.head = Head(self.head.linear, *result.scale_and_cap) if self.head and result.scale_and_cap else None
        self.router_loss = self.router_loss if result.has_router_loss else None
        self.selects_logits, self.packing, self.dense_mask = result.selects_logits, result.packing, result.dense_mask
        self.problem = result.problem

    @property
    def packing_fallback(self) -> str:
        """How rows are packed instead of what was asked for, and why; empty if it is as asked."""
        how = "tree with a dense mask" if self.packing is Packing.tree else self.packing.value
        return f"{how} ({self.problem})" if self.problem else ""

    @property
    def auxiliary_fact(self) -> str:
        """The loss of a mixture of experts beside that of the tokens, as a text; empty if there is none."""
        if self.router_loss is not None:
            return str(self.router_loss)
        return "left out" if auxiliary_coefficient(self.plain) else ""

    def prepare_for_engine(self) -> None:
        """Make room for `attach_engine`, before the engine puts its own around the forward passes of the model."""
        for module in (self.plain, self.plain.get_output_embeddings()):
            if module is not None:
                _accept_compute(module)

    def attach_engine(self, wrapped: Any, device: torch.device) -> None:
        """Call this instead of the model, which a group of processes trains, each on its device.

        What keeps them together happens around its forward pass, so the parts of the model are called within it.
        """
        self.wrapped, self.in_group = wrapped, True  # FSDP2 changes the model itself
        # FSDP2 reads weights elsewhere, or without memory, so the model's own device told nothing.
        self.logits_at_once = logits_at_once(device)

    def sum(self, part: Part) -> Tensor:
        """Return the summed cross entropy of a part in nats."""
        return self._sum(part, None)[0]

    def mean(self, part: Part) -> Tensor:
        """Return what a part adds to the loss of its optimizer step.

        That is its summed cross entropy in nats, divided by the learned tokens of the step, not of the part: 4 x 1 and
        1 x 4 are the same training. Of a mixture of experts the auxiliary loss too, weighted by the part's tokens.
        """
        total, auxiliary = self.weighted(part)
        return self.with_auxiliary(torch.div(total, part["count"]), auxiliary, part)

    def weighted(self, part: Part) -> tuple[Tensor, Tensor | None]:
        """Return the sum of a part's cross entropies, each times its share, and its auxiliary loss."""
        if FUNCTIONS in part:
            columns, auxiliary = self.log_probs(part)
            return -(columns * part["share"]).sum(), auxiliary
        return self._sum(part, self.router_loss)

    def with_auxiliary(self, loss: Tensor, auxiliary: Tensor | None, part: Part) -> Tensor:
        """Add the auxiliary loss of a part to its share of the loss."""
        if self.router_loss is None or auxiliary is None:
            return loss
        weight: float = self.router_loss.coefficient * part["tokens"] / part["step_tokens"]
        return loss + weight * auxiliary

    def log_probs(self, part: Part) -> tuple[Tensor, Tensor | None]:
        """Return the log-probability of each id in `target` in fp32, of its shape, and the auxiliary loss of a part.

        Of a part with functions of logits (tokens, ids and functions).
        """
        if FUNCTIONS in part:
            return self._columns(part, part[FUNCTIONS])
        if self.head is None:
            return log_probs_of_logits(self.learned_logits(part).float() / self.temperature, part["target"]), None
        target = part["target"]
        return self._apply_head(
            part, self.router_loss, lambda head, states: log_probs(states, head, target, self.logits_at_once)
        )

    def _columns(
        self, part: Part, functions: Mapping[Callable[..., Tensor], Sequence[str]]
    ) -> tuple[Tensor, Tensor | None]:
        """Return log-probabilities and functions of logits, see `logit_columns`, and the auxiliary loss of a part."""
        inputs = {name: part[INPUT.format(name)] for name in dict.fromkeys(chain.from_iterable(functions.values()))}
        rest = part["target"], functions, inputs, self.logits_at_once
        if self.head is None:
            tempered = {
                name: value / self.temperature if name == REFERENCE else value for name, value in inputs.items()
            }
            logits = self.learned_logits(part).float() / self.temperature
            return logit_columns(logits, None, part["target"], functions, tempered, self.logits_at_once), None
        return self._apply_head(part, self.router_loss, lambda head, states: logit_columns(states, head, *rest))

    def states_or_logits(self, part: Part) -> Tensor:
        """Return what `logit_chunks` makes logits of: the states from which something is learned, or logits already."""
        if self.head is None:
            return self.learned_logits(part)
        states: Tensor = self.within_forward(lambda: self.learned_states(part)[0])
        return states

    def logit_chunks(self, states_or_logits: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Give the logits in fp32, a few places at a time: (places, vocabulary)."""
        return logit_chunks(states_or_logits, self.tempered_head, self.logits_at_once)

    def show_logits(self, part: Part, look: Callable[[slice, Tensor], None]) -> None:
        """Show the logits of the learned places of a part in fp32, a few places at a time: (places, vocabulary)."""

        def show(head: Head | None, states: Tensor) -> Tensor:
            for rows, logits in logit_chunks(states, head, self.logits_at_once):
                look(rows, logits)
            return torch.zeros((), device=states.device)

        if self.head is None:
            show(None, self.learned_logits(part))
        else:
            self._apply_head(part, None, show)

    def fewer_logits(self) -> str:
        """Compute a quarter of the logits at a time and say so; empty if they are few, or the model makes them."""
        if self.head is None or self.logits_at_once <= FEWEST_LOGITS:
            return ""
        self.logits_at_once //= 4
        return f"the loss of {self.logits_at_once >> 20} MiB of logits at a time"

    def _sum(self, part: Part, router_loss: RouterLoss | None) -> tuple[Tensor, Tensor | None]:
        """Return the summed cross entropy of a part, and its auxiliary loss if that is asked for."""
        if self.head is None:
            logits = self.learned_logits(part)
            logits = logits if self.temperature == 1 else logits / self.temperature
            return summed_cross_entropy_of_logits(logits, part["target"], part["share"]), None
        return self._apply_head(
            part,
            router_loss,
            lambda head, states: summed_cross_entropy(states, head, part["target"], part["share"], self.logits_at_once),
        )

    def _apply_head(
        self, part: Part, router_loss: RouterLoss | None, of_states: Callable[[Head, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Return `of_states` of the head and the states, and the auxiliary loss if `router_loss` is given."""
        head = self.tempered_head
        assert head is not None  # noqa: S101 - callers have looked

        def in_head(states: Tensor) -> Tensor:
            """In a group the result is complex, since FSDP2 casts floats to 16 bits."""
            result = of_states(head, states)
            return torch.complex(result, torch.zeros_like(result)) if self.in_group else result

        def compute() -> Tensor:
            states, out = self.learned_states(part, **(OUTPUT_ROUTER_LOGITS if router_loss else {}))
            # A head that is cut into pieces is whole in its own forward pass only.
            result: Tensor = head.linear(states, **{WITHIN_FORWARD: in_head}) if self.in_group else in_head(states)
            if router_loss:
                real = result.real
                auxiliary = router_loss(out.router_logits, part).to(real.dtype) / max(1, real.numel())
                result = torch.complex(real, auxiliary.expand_as(real))
            return result

        output: Tensor = self.within_forward(compute)
        if not output.is_complex():
            return output, None
        return output.real, output.imag.sum() if router_loss else None

    def within_forward(self, compute: Callable[[], Any]) -> Any:
        """Compute, in a group within the model's own forward pass."""
        return self.wrapped(**{WITHIN_FORWARD: compute}) if self.in_group else compute()

    def inputs(self, part: Part) -> dict[str, Any]:
        """Return the model's inputs for a part; a tree has a mask for each kind of layer."""
        inputs = model_inputs(part)
        if "branches" in inputs and self.by_row_starts:
            return {**row_starts(part), **{name: inputs[name] for name in ("input_ids", "position_ids")}}
        if (
            "branches" in inputs and part["input_ids"].device.type != "cpu"
        ):  # here, since a compiled layer only looks it up
            for window in {*self.windows.values()}:
                part["branches"].block_mask(part["input_ids"].shape[1], window, part["input_ids"].device)
        if "branches" in inputs or "attention_mask" not in inputs or inputs["attention_mask"].dim() != TREE_MASK_DIMS:
            return inputs
        # The simplest implementation adds the mask to the scores.
        added = self.plain.dtype if self.plain.config._attn_implementation == "eager" else None  # noqa: SLF001 - no public name
        masks = masks_of_layers(inputs["attention_mask"], inputs["position_ids"], self.windows, added)
        if not self.keeps_states:
            return inputs | {"attention_mask": masks}
        # A kind of layers without a mask takes the states of the nodes.
        by_kind = masks if isinstance(masks, dict) else dict.fromkeys(self.windows, masks)
        return inputs | {"attention_mask": dict.fromkeys(STATE_KINDS) | by_kind, NODES: part[NODES]}

    @property
    def by_row_starts(self) -> bool:
        """Whether attention keeps rows side by side apart by where they begin, and reads no masks."""
        return bool(self.plain.config._attn_implementation == FLASH)  # noqa: SLF001 - no public name

    def learned_states(self, part: Part, **options: Any) -> tuple[Tensor, Any]:
        """Return the states from which something is learned, (learned, features), and all that the body gives."""
        out = self.body(**self.inputs(part), use_cache=False, **options)
        states = out[0]
        return states.reshape(-1, states.shape[-1])[part["source"]], out

    def learned_logits(self, part: Part) -> Tensor:
        """Return the logits of the same places, made by the model itself: (learned, vocabulary)."""
        columns = torch.unique(part["source"] % part["input_ids"].shape[1])
        keep = {"logits_to_keep": columns} if self.selects_logits else {}
        return self.pick_learned(part, self.wrapped(**self.inputs(part), **keep, use_cache=False).logits)

    def pick_learned(self, part: Part, logits: Tensor) -> Tensor:
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


# DDP and FSDP work in hooks around the whole forward pass, so the loss is computed inside it.
def _accept_compute(module: Any) -> None:
    """Let `WITHIN_FORWARD` be computed instead of a forward pass: an engine's hooks and wrappers stay around it."""
    forward = module.forward

    @wraps(forward)  # generate() reads the arguments
    def either(*args: Any, **named: Any) -> Any:
        compute = named.pop(WITHIN_FORWARD, None)
        return forward(*args, **named) if compute is None else compute(*args)

    module.forward = either


def model_inputs(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a part a model is called with."""
    return {name: part[name] for name in MODEL_INPUTS if name in part}


def to_device(part: Part, device: torch.device | str) -> Part:
    """Return a part on a device."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in part.items()}
