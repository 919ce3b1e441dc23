"""What the processes of a group receive from each other, in bytes, worked out from the sizes of the model.

Collectives pass data around a ring: of what n processes gather, or reduce to shards, each receives (n - 1) / n, and
twice that of what they all reduce.
"""

from __future__ import annotations

from framework.api.records import Traffic
from framework.memory import MemorySettings, Shape, Weights
from framework.memory.terms import sent_bytes, trained_parameters


def traffic(shape: Shape, settings: MemorySettings) -> Traffic | None:
    """Return what each process receives; None if there is only one.

    Shards gather the weights for the forward and again for the backward pass, and reduce the gradients of each pass.
    Replicas reduce the sum of these once in a step.
    """
    if settings.processes == 1:
        return None
    shards, replicas = settings.pieces, settings.replicas
    gradients = sent_bytes(settings) * trained_parameters(shape, settings)
    of_pass = 2 * gathered_weights(shape, settings) + gradients
    of_step = 2 * gradients / shards
    return Traffic(shards, replicas, round(of_pass * (1 - 1 / shards)), round(of_step * (1 - 1 / replicas)))


def gathered_weights(shape: Shape, settings: MemorySettings) -> float:
    """Return the bytes of all weights in the dtype of products; NF4 is gathered as it is stored."""
    width = settings.compute_bytes
    if settings.weights is not Weights.nf4:
        return float(width * shape.total)
    packed = shape.linear_parameters + shape.other + (shape.expert_parameters if settings.packed_experts else 0)
    return 0.5 * packed + width * (shape.total - packed)
