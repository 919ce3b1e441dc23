"""Which Unsloth is installed, and whether it admits the libraries beside it. Imports none of them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from framework.api import Problem, pip_command
from framework.api import installed as installed_version
from framework_plugins.unsloth.config import EXTRA

TESTED = {"unsloth": "2026.10.9", "transformers": "5.17.0", "trl": "1.15.0", "peft": "0.21.2"}
"""The versions that the tests ran, in which a training has the losses of `trainer=hf`."""


def installed() -> str:
    """Return the version of Unsloth; empty if it is not installed."""
    return installed_version("unsloth") or ""


def problems() -> Iterator[Problem]:
    """Give what keeps the installed versions from working together."""
    if not installed():
        install = pip_command([EXTRA])
        yield Problem(
            f"trainer=unsloth needs unsloth, which is not installed: {install}; or set trainer=hf",
            ("trainer",),
            missing_library=True,
        )
    elif text := conflict():
        yield Problem(f"trainer=unsloth: {text}", ("trainer",))


def conflict() -> str:
    """Say which installed libraries Unsloth does not admit; empty if it admits all."""
    conflicts = list(refused())
    if not conflicts:
        return ""
    text = "; ".join(f"{name} {specifier}, and {version} is installed" for name, version, specifier in conflicts)
    words = shlex.join(f"{name}{specifier}" for name, _, specifier in conflicts)
    return f"unsloth {installed()} requires {text}. pip install {words}, or set trainer=hf"


def other() -> str:
    """Say that another Unsloth is installed than the tests ran; empty if it is that one, or none."""
    version, tested = installed(), TESTED["unsloth"]
    if version in {"", tested}:
        return ""
    return (
        f"trainer=unsloth: unsloth {version} is installed, and on a GPU only {tested} is used, the version that the "
        f"tests ran: pip install unsloth=={tested}, or set trainer=hf"
    )


def untested() -> str:
    """Say which versions are installed that the tests did not run; empty if there are none, or no Unsloth."""
    versions = {name: installed_version(name) for name in TESTED} if installed() else {}
    notes = [
        f"{name} {version} is installed, but {TESTED[name]} was tested"
        for name, version in versions.items()
        if version != TESTED[name]
    ]
    return "; ".join(notes)


def refused() -> Iterator[tuple[str, str, str]]:
    """Give the libraries that Unsloth does not admit as they are installed: name, version, and what it admits."""
    reported = set()
    for line in (*_required("unsloth"), *_required("unsloth_zoo")):
        requirement = Requirement(line)
        if (
            requirement.name in reported
            or not requirement.specifier
            or (requirement.marker and not requirement.marker.evaluate({"extra": ""}))
        ):
            continue
        version = installed_version(requirement.name)
        if version and not requirement.specifier.contains(version, prereleases=True):
            reported.add(requirement.name)
            yield requirement.name, version, _in_short(requirement.specifier, version)


def _required(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:  # an older or a later Unsloth may do without its second package
        return []


def _in_short(specifier: SpecifierSet, version: str) -> str:
    """Return a range without single versions that are left out, unless one of those is installed."""
    bounds = [str(part) for part in specifier if part.operator != "!=" or not part.contains(version)]
    return ",".join(sorted(bounds))
