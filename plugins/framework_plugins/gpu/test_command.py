"""`python -m framework test-gpu`: the tests in `framework_gpu_tests`, without a clone."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from framework import FrameworkError, __version__
from framework.api import display_path, pip_command, write_failure
from framework.api.program import CommandParser
from framework_plugins.gpu.card import Card, chosen, probe
from framework_plugins.gpu.config import TestGpuCommandConfig
from framework_plugins.gpu.results import anonymous

NAME = "test-gpu"
CPU = "--cpu runs the tests that do not need one"
FAILED = 1
NO_TESTS = 5
"""What pytest ends with if it has found none."""


class TestGpuCommand:
    """Runs the tests by pytest, and writes what to send if one fails."""

    __test__ = False

    def __init__(self, config: TestGpuCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Run the tests; return 0 if all pass, 1 otherwise."""
        parser = CommandParser(NAME, TestGpuCommandConfig.__doc__)
        parser.add_argument("--cpu", action="store_true", help="run those that do not need a GPU, on the CPU")
        parser.add_argument("--file", type=Path, default=Path("test-gpu.txt"), metavar="FILE",
                            help="written if a test fails; default: %(default)s")  # fmt: skip
        parsed = parser.read(arguments)
        if find_spec("pytest") is None:
            raise FrameworkError(f"{NAME} needs pytest: {pip_command(['framework-finetune[test-gpu]'])}")
        machine = probe(Path(sys.executable))
        card = Card() if parsed.cpu else chosen(machine, NAME, CPU)
        spec = find_spec("framework_gpu_tests")
        folder = next(iter((spec.submodule_search_locations if spec else None) or ()), "")
        print(f"{NAME}: about twenty tests on {card.name or 'the CPU'}, about three minutes", file=sys.stderr)  # noqa: T201
        lines = [json.dumps(dataclasses.asdict(machine) | {"framework": __version__}, indent=1), ""]
        code, printed = _tested(Path(folder), "not gpu" if parsed.cpu else "gpu")
        if code == 0:
            return 0
        text = "\n".join([*lines, *map(anonymous, printed)])
        try:
            parsed.file.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            reason = write_failure(error) or error.strerror
            raise FrameworkError(f"--file={parsed.file} cannot be written: {reason}") from error
        cause = "pytest found no test" if code == NO_TESTS else "a test failed"
        print(  # noqa: T201 - what to do next
            f"\n{cause}: {display_path(parsed.file)} has the versions, the GPU and the output, without names of "
            "folders or of this machine. Look through it, and send it with an issue",
            file=sys.stderr,
        )
        return FAILED


def _tested(folder: Path, marked: str, *options: str) -> tuple[int, list[str]]:
    """Run the tests with a marker; return pytest's exit code and what it printed, which is shown meanwhile."""
    command = [
        sys.executable, "-m", "pytest", str(folder), "-c", str(folder / "installed.ini"), "-m", marked, "--tb=short",
        "-p", "no:cacheprovider", "--durations=5", "--color=no", *options,
    ]  # fmt: skip
    env = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    # Plugins of other people's pytest have no part in this.
    env |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    printed = []
    with subprocess.Popen(  # noqa: S603 - our own words
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
        errors="replace",
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            print(line, end="", flush=True)  # noqa: T201 - as it is printed
            printed.append(line.rstrip("\n"))
    return process.returncode, printed
