"""How many small mistakes in a file the tests of that file do not notice.

    pip install mutmut==3.8.1
    python tests/benchmarks/mutants.py framework/plan/fit.py tests/framework/plan/test_fit.py
    python tests/benchmarks/mutants.py --number 100 --seed 1 FILE TEST...

mutmut lists the mistakes (`<` instead of `<=`, a number one higher, an argument left out). A sample with a fixed seed
is written into the file, one at a time, and the tests run until the first failure. A mistake that they do not notice
is printed as a diff: either a test is missing, or the mistake changes nothing that matters. Use a checkout in which
nothing else runs: the file is changed, and restored at the end.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import libcst
from mutmut.mutation.file_mutation import create_mutations, deep_replace
from rich.console import Console

# The tests of every mistake run in a fork, which finds these imported: nothing here imports what is changed.
HEAVY = ("torch", "numpy", "transformers", "peft", "datasets", "omegaconf", "hydra", "safetensors.torch")


def by_default() -> str:
    """Return what `make test` selects: a mistake that only a slow test notices counts as one that survives."""
    (selected,) = re.findall(r"^DEFAULT := (.*)$", Path("Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return str(selected)


def survives(tests: list[str], seconds: float) -> bool:
    """Return whether the tests pass; those that do not end in time fail."""
    if not (child := os.fork()):
        os.setpgid(0, 0)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        import pytest

        imported = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
        options = ["-x", "-W", imported, "-p", "no:cacheprovider", "-p", "no:xdist", "-m", by_default()]
        os._exit(int(pytest.main([*options, *tests])))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def main() -> int:
    """Try the mistakes, and print those that survive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("tests", nargs="+")
    parser.add_argument("--number", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parsed, say = parser.parse_args(), Console(markup=False, highlight=False, soft_wrap=True).print
    code = parsed.file.read_text(encoding="utf-8")
    module, mistakes, _, _ = create_mutations(str(parsed.file), code)
    sample = random.Random(parsed.seed).sample(mistakes, min(parsed.number, len(mistakes)))  # noqa: S311 - no secret
    sys.dont_write_bytecode = True  # a mistake of the same size and second would run the code of the one before
    for name in HEAVY:
        importlib.import_module(name)
    begun = time.monotonic()
    if not survives(parsed.tests, 1800):
        say("the tests fail without a mistake")
        return 2
    limit = 3 * (time.monotonic() - begun) + 30
    survivors = 0
    try:
        for number, mistake in enumerate(sample, start=1):
            changed = deep_replace(module, mistake.original_node, mistake.mutated_node)
            assert isinstance(changed, libcst.Module)
            parsed.file.write_text(changed.code, encoding="utf-8")
            if not survives(parsed.tests, limit):
                continue
            survivors += 1
            lines = difflib.unified_diff(code.splitlines(), changed.code.splitlines(), lineterm="", n=1)
            say(f"{number}:", *list(lines)[2:], sep="\n")
    finally:
        parsed.file.write_text(code, encoding="utf-8")
    say(f"{parsed.file}: {survivors} of {len(sample)} survive, of {len(mistakes)} in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
