"""What a run was made with besides its config: packages, plugins, Python, commits.

Nothing here needs git to be installed, and nothing waits for long: an unknown value is None.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import Distribution, distributions
from pathlib import Path
from urllib.parse import urlsplit

from framework.api.component import GROUPS
from framework.api.records.saving import VERBATIM
from framework.api.selection import Selection
from framework.config.compose import add_folder, user_folders
from framework.hooks import hookspecs
from framework.hooks.manager import Plugins
from framework.hooks.session import current
from framework.util.redact import hide
from framework.util.versions import DISTRIBUTION, installed

OUTSIDE = {"framework_components", "framework_diagnostics", "framework_sweep_finished"}
"""Hooks that do not affect a run: components count only if they are chosen, the others are called outside a run."""
GIT_SECONDS = 10


@dataclass(frozen=True)
class Commit:
    """What git knows of a folder; `dirty` tells whether files that it tracks differ from the commit."""

    commit: str
    dirty: bool | None


@dataclass(frozen=True)
class Environment:
    """What a run was made with besides its config, as `environment.json`; docs/reference/report.md explains it."""

    command: list[str]
    folder: str = field(metadata=VERBATIM)
    config_dirs: list[str] = field(metadata=VERBATIM)
    python: str
    platform: str
    packages: dict[str, str]
    plugins: dict[str, str]
    options: dict[str, str]
    commit: Commit | None
    framework_commit: Commit | None
    seed: int
    fingerprint: str


def environment(
    selections: Mapping[str, Selection], overrides: Sequence[str], seed: int, fingerprint: str
) -> Environment:
    """Describe this process and what it runs: options by their places, overrides, and the fingerprint of the rows."""
    session, folder = current(), Path.cwd()  # a plugin of the core calls this, on a hook that has only the plan
    return Environment(
        command=[hide(word) for word in overrides],
        folder=str(folder),
        config_dirs=[str(path) for path in user_folders(session) if path != folder / "conf"],
        python=platform.python_version(),
        platform=platform.platform(),
        packages=packages(),
        plugins=plugin_origins(selections.values(), session.plugins),
        options={key: selection.component.name for key, selection in selections.items()},
        commit=commit(folder),
        framework_commit=own_commit(),
        seed=seed,
        fingerprint=fingerprint,
    )


def enter(environment: Environment, missing: Callable[[str], None]) -> None:
    """Go to the folder where a run was started, as its paths are relative to it, and search what it searched.

    Args:
        environment: of the run.
        missing: gets a sentence on each folder that is not here, and may raise.
    """
    folder = Path(environment.folder)
    if not os.path.isdir(folder):  # noqa: PTH112 - `Path.is_dir` raises if the name is too long
        missing(f"the run was started in {folder}, which does not exist here")
    elif folder.resolve() != Path.cwd().resolve():
        print(f"runs in {folder}, where it was started", file=sys.stderr)
        os.chdir(folder)
    for config_dir in environment.config_dirs:
        if Path(config_dir).is_dir():
            add_folder(current(), config_dir)
        else:
            missing(f"the run took options from --config-dir={config_dir}, which does not exist here")


def packages() -> dict[str, str]:
    """Return the versions of the distributions of all modules that are loaded by now, and of the framework."""
    # What is loaded, not what is installed: a shared environment has hundreds of packages that no run uses.
    modules = {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names
    by_module = _by_module()
    # Reversed, since the last of equal names stays in a dict, and the first on the path is what was imported.
    pairs = (_named(distribution) for module in modules for distribution in reversed(by_module.get(module, ())))
    loaded = {name: version for name, version in pairs if name and version}  # the first on the path, of one name
    names = {DISTRIBUTION, *(name for module in modules - by_module.keys() if (name := _editable(module)))}
    loaded |= {name: version for name in names if (version := installed(name))}
    return dict(sorted(loaded.items(), key=lambda item: item[0].lower()))


@functools.cache  # a run asks three times for dozens of packages, and each answer parses a file
def _named(distribution: Distribution) -> tuple[str, str]:
    metadata = distribution.metadata  # each access parses the file
    return metadata["Name"], metadata["Version"]


def versions() -> dict[str, str]:
    """Return the versions of Python and of what took part."""
    return {"python": platform.python_version(), **packages()}


@functools.cache
def _by_module() -> dict[str, list[Distribution]]:
    """Return the distributions of each top-level module.

    `packages_distributions` of the library gives their names, for which it parses the metadata of all that is
    installed, once for each module, and so takes three times as long.
    """
    by_module: dict[str, list[Distribution]] = {}
    for distribution in distributions():
        for module in _modules(distribution):
            by_module.setdefault(module, []).append(distribution)
    return by_module


def _modules(distribution: Distribution) -> set[str]:
    """Return the top-level modules of a distribution: as it declares them, else by the list of its files."""
    if declared := distribution.read_text("top_level.txt"):
        return set(declared.split())
    paths = (line.partition(",")[0].strip('"') for line in (distribution.read_text("RECORD") or "").splitlines())
    # Of RECORD only code counts: scripts and licences are listed there too.
    parts = {path.partition("/") for path in paths if path.endswith((".py", ".so", ".pyd"))}
    modules = {top if slash else inspect.getmodulename(top) for top, slash, _ in parts}
    return {module for module in modules if module and module.isidentifier()}


def _editable(module: str) -> str | None:
    """Return the distribution of a module that runs from its checkout; its files are in no list of an installer."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or "site-packages" in Path(file).parts:
        return None
    return next((name for name, folder in checkouts().items() if Path(file).is_relative_to(folder)), None)


@functools.cache
def checkouts() -> dict[str, Path]:
    """Return the folders of the distributions that are installed as editable."""
    from urllib.request import url2pathname  # noqa: PLC0415 - brings http and ssl, which not every start needs

    folders = {}
    for distribution in distributions():
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        if origin.get("dir_info", {}).get("editable"):
            folders[distribution.name] = Path(url2pathname(urlsplit(origin["url"]).path))
    return folders


def plugin_origins(selections: Iterable[Selection], plugins: Plugins) -> dict[str, str]:
    """Return where the plugins come from whose options are selected, or that take part in every run.

    A distribution is named with its version, `acme 1.2`, a single file with the SHA-256 of what is in it.
    """
    chosen = {selection.component for selection in selections}
    registrations = [registration for group in GROUPS for registration in plugins.registrations(group).values()]
    names = {registration.plugin for registration in registrations if registration.component in chosen}
    hooks = plugins.manager.hook
    names |= {
        implementation.plugin_name.partition(":")[0]
        for name in run_hooks()
        for implementation in getattr(hooks, name).get_hookimpls()
    }
    return {name: origin(plugins.package(name)) for name in sorted(names) if plugins.package(name)}


def run_hooks() -> set[str]:
    """Return the hooks by which a plugin has a say in a run that chooses none of its options."""
    return {name for name in vars(hookspecs) if name.startswith("framework_")} - OUTSIDE


def origin(package: str) -> str:
    """Return `package`, and if it is a file, what is in it too."""
    file = Path(package)
    if file.suffix != ".py" or not file.is_file():
        return package
    return f"{package} sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


def commit(folder: Path) -> Commit | None:
    """Return the commit of the repository that `folder` is in; None without a repository, a commit or git."""
    sha = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if not sha:
        return None
    # Files that git does not track are not part of it: the run folders themselves would make every folder dirty.
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=untracked")
    return Commit(sha, None if changes is None else bool(changes))


@functools.cache  # the runs of a process run what it imported, whatever is committed later
def own_commit() -> Commit | None:
    """Return the commit of the framework, if it runs from a checkout."""
    root = Path(__file__).resolve().parents[2]
    # A package in site-packages may lie in somebody else's repository; only a checkout has .git beside it.
    return commit(root) if (root / ".git").exists() else None


def _git(folder: Path, *words: str) -> str | None:
    import subprocess  # noqa: PLC0415 - only a run needs it

    # In a hook of git these variables name another repository; a helper for the file system might never answer.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder), *words]
    try:
        result = subprocess.run(  # noqa: S603 - fixed words and a folder
            command,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
