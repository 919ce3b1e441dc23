"""Whether this Python can run the program: `python -m framework` in a clone finds the code without its environment."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

OLDEST, NEWEST = (3, 11), (3, 13)
"""Versions that are tested. Hydra 1.3 does not start on 3.14."""
NEEDED = ("omegaconf", "annotated_types", "pluggy", "hydra")


def end_where_it_cannot() -> None:
    """End the program in a line that says which Python to use. Other code may import the package."""
    if sys.argv[:1] != ["-m"]:  # so it is while `python -m` imports the package of the module that it runs
        return
    if reason := problem():
        print(f"{reason}. Instead, {remedy(Path(__file__).parents[2])}", file=sys.stderr)
        raise SystemExit(2)


def problem() -> str:
    """Say why this Python cannot run the program; empty if it can."""
    version = sys.version_info[:2]
    if not OLDEST <= version <= NEWEST:
        return "Python {}.{} cannot run framework, which needs 3.11, 3.12 or 3.13".format(*version)
    missing_packages = [name for name in NEEDED if find_spec(name) is None]
    return (
        f"{sys.executable} has no {missing_packages[0]}: framework is installed for another Python"
        if missing_packages
        else ""
    )


def remedy(root: Path) -> str:
    """Say what to type instead, by what is in a clone."""
    for program in (root / ".venv/bin/python", root / ".venv/Scripts/python.exe"):
        if program.exists():
            cwd = Path.cwd()
            return f"type {program.relative_to(cwd) if program.is_relative_to(cwd) else program} -m framework"
    if (root / "Makefile").exists():
        return "type make quickstart, which makes an environment in .venv"
    return "activate the environment that it is installed in"
