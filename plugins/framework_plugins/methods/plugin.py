"""Registers the built-in method and loss."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Component, hookimpl
from framework_plugins.methods.config import CrossEntropyConfig, PretrainConfig, SftConfig


@hookimpl
def framework_components() -> Iterable[Component]:
    """What a run learns by if nothing else is chosen."""
    yield Component("sft", SftConfig, "framework_plugins.methods.sft:Sft")
    yield Component("pretrain", PretrainConfig, "framework_plugins.methods.pretrain:Pretrain")
    yield Component("cross_entropy", CrossEntropyConfig, "framework_plugins.methods.cross_entropy:CrossEntropy")
