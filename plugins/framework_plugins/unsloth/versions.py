"""Which Unsloth is installed, and whether it admits the libraries beside it. Imports none of them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from framework.api import machine
from framework_plugins.unsloth.config import EXTRA

TESTED = {"unsloth": "2026.10.9", "transformers": "5.17.0", "trl": "1.15.0", "peft": "0.21.2"}
"""The versions that the tests ran, in which a training has the losses of `trainer=hf`."""


def installed() -> str:
    """Return the version of Unsloth; empty where it is not installed."""
    return machine.installed("unsloth") or ""


def problems() -> Iterator[str]:
    """Say what keeps the installed versions from working together."""
    if not installed():
        install = machine.pip_command([EXTRA])
        yield f"trainer=unsloth needs unsloth, which is not installed: {install}; or set trainer=hf"
        return
    found = list(refused())
    if found:
        unsloth = installed()
        told = "; ".join(f"{name} {wanted}, and {has} is installed" for name, has, wanted in found)
        words = shlex.join(f"{name}{wanted}" for name, _, wanted in found)
        yield f"trainer=unsloth: unsloth {unsloth} admits {told}. pip install {words}, or set trainer=hf"


def untested() -> str:
    """Say which versions are installed that the tests did not run; empty where there are none, or no Unsloth."""
    has = {name: machine.installed(name) for name in TESTED} if installed() else {}
    others = [f"{name} {version}, tested is {TESTED[name]}" for name, version in has.items() if version != TESTED[name]]
    return f"installed is {'; '.join(others)}" if others else ""


def refused() -> Iterator[tuple[str, str, str]]:
    """Give the libraries that Unsloth does not admit as they are installed: name, version, and what it admits."""
    told = set()
    for line in (*_required("unsloth"), *_required("unsloth_zoo")):
        wanted = Requirement(line)
        if wanted.name in told or not wanted.specifier or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        has = machine.installed(wanted.name)
        if has and not wanted.specifier.contains(has, prereleases=True):
            told.add(wanted.name)
            yield wanted.name, has, _in_short(wanted.specifier, has)


def _required(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:  # an older or a later Unsloth may do without its second package
        return []


def _in_short(admitted: SpecifierSet, has: str) -> str:
    """Return a range without single versions that are left out, unless one of those is installed."""
    bounds = [str(part) for part in admitted if part.operator != "!=" or not part.contains(has)]
    return ",".join(sorted(bounds))
