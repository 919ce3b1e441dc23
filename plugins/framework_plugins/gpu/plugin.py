"""Registers the commands `bench-gpu` and `test-gpu`."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Component, hookimpl
from framework_plugins.gpu import config


@hookimpl
def framework_components() -> Iterable[Component]:
    """`python -m framework bench-gpu` and `python -m framework test-gpu`."""
    yield Component("bench-gpu", config.BenchGpuCommandConfig, "framework_plugins.gpu.bench_command:BenchGpuCommand")
    yield Component(
        "test-gpu",
        config.TestGpuCommandConfig,
        "framework_plugins.gpu.test_command:TestGpuCommand",
        extra="framework-finetune[test-gpu]",
    )
