"""The presets and experiments that a plugin brings: whether they are found, compose, and pass the check."""

from __future__ import annotations

import importlib.resources
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from framework.api.component import GROUPS, hookimpl
from framework.config.check import check
from framework.config.compose import compose, conf_dir
from framework.hooks.session import current
from framework.hooks.validation import COMPONENTS
from framework.testing.checks.hooks import PATHS, Offer, PluginParts
from framework.testing.checks.names import Others
from framework.util.errors import FrameworkError, summarize_error, unknown

EXPERIMENT = "experiment"


def problems(plugin: PluginParts, offers: Sequence[Offer], other_plugins: Others) -> Iterator[str]:
    """Register the plugin's components and folders in this process, and compose every preset and experiment."""
    owners = dict.fromkeys(_files(conf_dir()), "conf/")
    for owner, path in other_plugins.paths():
        owners |= dict.fromkeys(_files(folder(path)), f"the plugin '{owner}'")
    current().plugins.manager.register(Gives(COMPONENTS, [offer.component for offer in offers]), name="components")
    presets: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as copy:
        for path in plugin.paths:
            names = list(_files(folder(path)))
            if not names:
                yield f"{PATHS}: {path} {_form(path)}"
            for name in names:
                if problem := _name(name, owners, other_plugins):
                    yield f"{path}/{name}: {problem}"
                else:
                    presets[name] = path
                    _copy(folder(path), name, Path(copy, f"{name}.yaml"))
        # Hydra gets only those that can be read: one that bears the name of a component would break all others.
        current().plugins.manager.register(Gives(PATHS, [f"file://{copy}"]), name="folders")
        for name, path in presets.items():
            errors = _composed(*name.split("/", 1))
            yield from (f"{path}/{name}: {problem.replace(copy, path)}" for problem in errors)


def _copy(source: Traversable | None, name: str, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(source.joinpath(f"{name}.yaml").read_bytes() if source is not None else b"")


class Gives:
    """A plugin with one hook that returns a given value."""

    def __init__(self, hook: str, items: Iterable[Any]) -> None:
        setattr(self, hook, hookimpl(lambda: items))


def folder(path: str) -> Traversable | None:
    """Return the folder that a search path of Hydra stands for; None if there is none."""
    kind, _, location = path.partition("://")
    if kind == "file":
        return Path(location) if Path(location).is_dir() and Path(location).is_absolute() else None
    if kind != "pkg":
        return None
    try:
        package = importlib.resources.files(location.replace("/", ".").rstrip("."))
        return package if package.joinpath("__init__.py").is_file() else None
    except (ImportError, ValueError, TypeError, AttributeError):
        return None


def _form(path: str) -> str:
    """Say why nothing is found in a folder."""
    kind, _, location = path.partition("://")
    if kind not in {"pkg", "file"}:
        return "is neither 'pkg://package.conf' nor 'file://' with an absolute path"
    if folder(path) is not None:
        return "holds no .yaml file"
    if kind == "file":
        return "is not a folder, or not absolute"
    return f"is not a package: Hydra reads {location.replace('.', '/')}/ only if it has an __init__.py"


def _files(root: Traversable | None, below: str = "") -> Iterator[str]:
    """Give the YAML files of a folder, without their suffix: `model/llama8b`."""
    for entry in sorted(root.iterdir(), key=lambda entry: entry.name) if root is not None else ():
        if entry.is_dir() and not entry.name.startswith(("__pycache__", ".")):
            yield from _files(entry, f"{below}{entry.name}/")
        elif entry.name.endswith((".yaml", ".yml")):
            yield f"{below}{entry.name}".removesuffix(".yaml")


def _name(name: str, owners: Mapping[str, str], other_plugins: Others) -> str:
    """Say what is wrong with the place of a file; empty if nothing is."""
    group, _, option = name.partition("/")
    if name in owners:
        return f"{owners[name]} has a file of that name, and one of them is never read: rename it"
    if name.endswith(".yml"):
        return "Hydra reads only .yaml files: rename it"
    if group in GROUPS and option in other_plugins.of(GROUPS[group]):
        return f"it has the name of a component of '{group}', which Hydra would mix up with it: give it another name"
    if option and group not in GROUPS and group not in (EXPERIMENT, "hydra") and not group.startswith("_"):
        return f"{unknown('config group', group, [*GROUPS, EXPERIMENT])} One for presets to build on begins with '_'"
    return ""


def _composed(group: str, option: str = "") -> Iterator[str]:
    if group not in (*GROUPS, EXPERIMENT) or not option:
        return  # nothing that a user chooses
    word = f"+{EXPERIMENT}={option}" if group == EXPERIMENT else f"{group}={option}"
    if group in GROUPS and GROUPS[group].several:
        word = f"{group}=[{option}]"
    try:
        config = compose([word])
    except Exception as error:  # noqa: BLE001 - Hydra, OmegaConf and PyYAML have no class in common
        yield f"{word} cannot be composed: {' '.join(str(error).split()).partition(' Config search path')[0]}"
        return
    try:
        check(config)
    except FrameworkError as error:
        keys = "|".join(map(re.escape, OmegaConf.missing_keys(config)))
        gaps = re.compile(rf"no value for ({keys})\b|({keys}) has no value") if keys else re.compile(r"(?!)")
        yield from (f"{word}: {line}" for line in str(error).splitlines() if not gaps.search(line))
    except Exception as error:  # noqa: BLE001 - it looks for the place of a mistake in all files, and may fail at one
        yield f"{word} cannot be checked: {summarize_error(error)}"
