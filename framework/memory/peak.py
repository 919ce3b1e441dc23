"""The terms put together: what is resident, what each phase of a step adds, and the peak of them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from framework.memory import terms
from framework.memory.settings import MemorySettings
from framework.memory.shape import Shape

BELOW, ABOVE = 0.77, 1.15
"""The band about the reserved memory: the worst of 90 published peaks, and 3% beyond. Made without the peaks of one
source, it holds 96% of all (docs/explanation/memory.md)."""
BELOW_PROCESS, ABOVE_PROCESS = 0.90, 1.12
"""The band of a process on a CPU, which was measured with `trainer=hf` itself."""


@dataclass(frozen=True)
class Estimate:
    """What a training takes, in bytes.

    Attributes:
        parts: what is resident throughout, by name.
        phases: what each phase adds at its peak, by name.
        allocated: the peak of torch's `max_memory_allocated`.
        reserved: the peak of `max_memory_reserved`, which decides whether it fits.
        low: the lower end of the band about `reserved`; what is resident is needed in any case.
        high: its upper end.
    """

    parts: dict[str, int]
    phases: dict[str, int]
    allocated: int
    reserved: int
    low: int
    high: int

    @property
    def resident(self) -> int:
        """What is there throughout."""
        return sum(self.parts.values())


# The plan answers before torch is imported, so memory is computed, not measured.
def estimate(shape: Shape, settings: MemorySettings) -> Estimate:
    """Estimate the memory of a training.

    Peak = resident + the largest of: forward pass, loss, backward pass, optimizer step, evaluation, answers. With
    checkpointing the backward pass needs one layer at a time, after the loss is complete: the larger counts.
    """
    parts = _parts(shape, settings)
    phases = _phases(shape, settings)
    resident = sum(parts.values())
    allocated = resident + max(phases.values())
    # torch keeps the blocks that it freed, and a GPU is full when they do not fit, not when tensors do not.
    baseline = resident + terms.gathered(shape, settings)
    lowest, usual, highest = (
        max(allocated, baseline + _allocator_blocks(shape, settings, regrown))
        for regrown in (1.0, terms.REGROWN, terms.MOST_REGROWN)
    )
    return Estimate(
        parts={name: round(size) for name, size in parts.items()},
        phases={name: round(size) for name, size in phases.items()},
        allocated=round(allocated),
        reserved=round(usual),
        low=round(usual * BELOW_PROCESS if settings.process else max(resident, lowest * BELOW)),
        high=round(usual * ABOVE_PROCESS if settings.process else highest * ABOVE),
    )


def least(shape: Shape, settings: MemorySettings) -> Estimate:
    """Return what a training takes with passes as small as can be: one row, checkpointing, one prompt at a time."""
    length = settings.evaluated_length or settings.length
    smallest = dataclasses.replace(
        settings,
        rows=1,
        length=min(length, settings.length),
        checkpointing=True,
        evaluated_rows=min(1, settings.evaluated_rows),
        answer_rows=min(1, settings.answer_rows),
        prompt_tokens=min(length, settings.prompt_tokens),
    )
    return estimate(shape, smallest)


def _parts(shape: Shape, settings: MemorySettings) -> dict[str, float]:
    trained = terms.trained_parameters(shape, settings) / settings.pieces
    width = terms.trained_bytes(settings)
    process = {"libraries": settings.process} if settings.process else {}
    adapter = {} if settings.full else {"adapter": trained * width}
    adapter |= {"frozen weights": settings.frozen} if settings.frozen else {}
    base = {name: size / settings.pieces for name, size in terms.base_weights(shape, settings).items()}
    states = {"gradients": trained * width, "optimizer": terms.optimizer_states(shape, settings) / settings.pieces}
    buckets = terms.buckets(shape, settings)
    # With weights in the CPU's memory, gradients and states are there too.
    if settings.sharded and settings.offloaded_weights:
        return process  # they come one layer at a time
    return {**process, **base, **adapter, **states, **({"buckets": buckets} if buckets else {})}


def _phases(shape: Shape, settings: MemorySettings) -> dict[str, float]:
    activations = saved_activations(shape, settings)
    scored = terms.kept_scores(shape, settings)
    cast = 0.0 if settings.sharded else terms.cast_weights(shape, settings)  # pieces come in the dtype of products
    gathered, patched = terms.gathered(shape, settings), terms.patched(shape, settings)
    copied = terms.trained_parameters(shape, settings) * terms.trained_bytes(settings) / settings.pieces
    norm = terms.magnitude_norm(shape, settings)
    phases = {
        "forward": activations
        + max(terms.loss_forward(shape, settings), norm and norm + terms.raised_input(shape, settings))
        + cast
        + gathered
        + patched / 2,
        "loss": activations
        + terms.loss_backward(shape, settings)
        + (0 if settings.checkpointing else cast - terms.head_copy(shape, settings))
        + gathered
        + patched,
        "optimizer step": copied * settings.copies,
    }
    passing = terms.mlp_backward(shape, settings)
    # The last norm's backward pass is over, and where the head is the embedding, its gradient waits for the other one.
    saved = activations - (terms.last_norm(shape, settings) if passing else 0)
    saved += terms.head_gradient(shape, settings) * shape.tied
    # The MLP's backward pass frees what the last layer's MLP keeps before the gradients of the scores are made.
    mlp = min(terms.layer(shape, block, settings)[1] for block in shape.counts)
    gradients = max(passing, terms.scores_backward(shape, settings) - terms.kept_scores(shape, settings) - mlp)
    if not settings.checkpointing and gradients:
        phases["backward"] = saved + gradients + cast - terms.head_copy(shape, settings) + gathered + patched
    if settings.checkpointing:
        # The MLP is finished before attention's backward pass begins.
        layers = [terms.layer(shape, block, settings) for block in shape.counts]
        layer_peak, attention = max(map(sum, layers)), max(attention for attention, _ in layers)
        # An input is raised, and DoRA's norm taken, when the gradients of the MLP are not there.
        input_copy, whole_weight = terms.raised_input(shape, settings) + norm, terms.dequantized(shape, settings)
        attending = attention + terms.scores_backward(shape, settings) + whole_weight
        again = max(
            layer_peak + scored + (max(passing, input_copy) if passing else input_copy + whole_weight),
            attending + input_copy,
        )
        retained = terms.held_logits(shape, settings)
        # The product of the adapter's two matrices, and the gradient by it, are as large as the experts.
        retained += 2 * max(terms.adapted_experts(block, settings) for block in shape.counts)
        phases["backward"] = saved + retained + again + gathered + patched
    if settings.evaluated_rows:
        phases["evaluation"] = _evaluation(shape, settings) + gathered
    if loading := settings.file + terms.packing(shape, settings):
        # While files are read, adapter, gradients and states are not there yet, but are counted as resident.
        later = sum(_parts(shape, settings).get(name, 0) for name in ("adapter", "gradients", "optimizer"))
        phases["loading"] = max(0.0, loading - later)
    if settings.answer_rows:
        made = terms.kv_cache(shape, settings) + terms.next_tokens(shape, settings)
        phases["answers"] = made + terms.dequantized(shape, settings) + settings.merged
    if settings.sharded and settings.evaluated_on:  # by one process, while the others have freed their pieces
        difference = terms.evaluated_weights(shape, settings) - sum(_parts(shape, settings).values())
        if settings.evaluated_rows:
            phases["evaluation"] = max(phases["evaluation"], _evaluation(shape, settings) + difference)
        if settings.answer_rows:
            share = math.ceil(shape.layers / settings.evaluated_on) / shape.layers
            phases["answers"] += difference - (1 - share) * terms.kv_cache(shape, settings)
    return phases


def saved_activations(shape: Shape, settings: MemorySettings) -> float:
    """Return what the forward pass keeps for the backward pass, with the gaps that a process has between it."""
    if settings.checkpointing:
        states = terms.checkpoints(shape, settings) * (1 + settings.heap)
        return states + terms.mask(settings) + terms.last_norm(shape, settings)
    layers = sum(count * sum(terms.layer(shape, block, settings)) for block, count in shape.counts.items())
    attended = sum(count for block, count in shape.counts.items() if block.q)
    activations = layers + attended * terms.kept_scores(shape, settings)
    return activations * (1 + settings.heap) + terms.mask(settings) + terms.last_norm(shape, settings)


def _evaluation(shape: Shape, settings: MemorySettings) -> float:
    """Return the bytes that a pass of the validation loss adds: one layer at a time, and the loss."""
    length = settings.evaluated_length or settings.length
    evaluated = dataclasses.replace(settings, rows=settings.evaluated_rows, length=length)
    passing = terms.FORWARD_SCORES * terms.scores(shape, evaluated) + terms.mask(evaluated)
    return terms.passing(shape, evaluated) + passing + terms.loss_forward(shape, evaluated)


def _allocator_blocks(shape: Shape, settings: MemorySettings, regrown: float) -> float:
    """Return the bytes of the allocator's blocks besides what is resident.

    `regrown` is how often blocks grow where rows vary in length.

    Blocks that one phase freed rarely fit the tensors of another: those of a layer are too small for the logits, and
    are held beside them. The other way round logits' blocks serve a layer's scores if they are as large.
    """
    cast, back = terms.cast_weights(shape, settings), terms.loss_backward(shape, settings)
    # What autocast copied is freed in blocks too small for the head's gradients.
    back += cast * (terms.head_gradient(shape, settings) > 0)
    workspace = max(back, terms.loss_forward(shape, settings) + cast)
    if settings.checkpointing:
        count = terms.scores(shape, settings)
        fits = count <= settings.tokens * shape.vocab and terms.held_logits(shape, settings) > 0
        forward = (terms.FORWARD_SCORES + terms.raised_scores(settings)) * count
        scored = forward if fits else terms.scores_backward(shape, settings)
        workspace += terms.largest_layer(shape, settings) + scored
    workspace += terms.patched(shape, settings)
    return saved_activations(shape, settings) + workspace * (regrown if settings.varied else 1.0)
