"""Print the versions installed of what pyproject.toml names, for `make constraints`: those that the tests ran."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.version import Version

ROOT = Path(__file__).parents[2]
INDIRECT = ("kernels",)
"""What transformers calls in each forward pass, and nothing in pyproject.toml names."""
APART = ("gpu", "ray", "s3", "unsloth")
"""Extras that are not installed beside the others."""
HEAD = """\
# The versions with which the tests passed; `make constraints` writes them from .venv. A newer release within the bounds
# of pyproject.toml can break what the framework calls inside of a library: pip install -c constraints.txt -e .
"""


def named() -> Iterator[str]:
    """Yield the distributions that the project and its extras name, without its own."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [lines for extra, lines in project["optional-dependencies"].items() if extra not in APART]
    for line in (*project["dependencies"], *(line for lines in extras for line in lines), *INDIRECT):
        name = re.match(r"[\w.-]+", line)
        assert name, line
        if name[0] != project["name"]:
            yield name[0].lower().replace("_", "-")


def pinned() -> Iterator[str]:
    """Yield a line for each that is installed: on some systems there is no bitsandbytes."""
    for name in sorted({*named()}):
        try:
            yield f"{name}=={Version(version(name)).public}"  # the build of torch is the machine's
        except PackageNotFoundError:
            continue


if __name__ == "__main__":
    sys.stdout.write(HEAD + "".join(f"{line}\n" for line in pinned()))
