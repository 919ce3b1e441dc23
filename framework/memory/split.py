"""Which of several devices has which layer of a model that none of them can hold."""

from __future__ import annotations

from collections.abc import Sequence


def devices_of_layers(sizes: Sequence[float], rest: float, devices: int) -> list[int]:
    """Return the device of each layer: stretches of layers in their order, as even as whole layers allow.

    The first device has what is around the layers, embedding, norm and head, and the last layer too. So what goes into
    the model and comes out of its layers is there, and code around them need not know about other devices.

    Args:
        sizes: the bytes of each layer.
        rest: the bytes of all else.
        devices: how many there are.
    """
    *inner, last_size = sizes
    load, share = rest + last_size, (rest + sum(sizes)) / devices
    start, filled = 0, load
    if load >= share and devices > 1:
        start, filled, share = 1, 0.0, sum(inner) / (devices - 1)
    places = []
    for size in inner:
        places.append(min(devices - 1, start + int((filled + size / 2) / share)))
        filled += size
    return [*places, 0]
