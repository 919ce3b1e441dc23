"""The commands `bench-gpu` and `test-gpu`."""

from __future__ import annotations

from dataclasses import dataclass

from framework.api.program import CommandConfig


@dataclass
class BenchGpuCommandConfig(CommandConfig):
    """Measure training on this GPU beside TRL and Unsloth.

    It measures tokens per second, peak memory and losses. Weights are random, in the shapes of Llama 3.2 1B and Llama
    3.1 8B, so no model is downloaded. TRL and Unsloth get an environment each, which the command makes; a tool that
    cannot be installed is a row that says so. The command first prints how long it takes, how much it downloads and
    how much disk space it needs. A part takes at most eight minutes; if interrupted, the same command continues. --dry
    goes through the same steps on the CPU, with tiny shapes. --report reads the files of any number of GPUs and prints
    their table.
    """

    usage = "[--dry] [--report FILES]"


@dataclass
class TestGpuCommandConfig(CommandConfig):
    """Run about twenty tests on this GPU, in about three minutes.

    They are the tests of this project that need a GPU. If one fails, the command writes a file to send.
    """

    __test__ = False  # its name looks like a test's
    usage = "[--cpu]"
