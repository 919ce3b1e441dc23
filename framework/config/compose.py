"""From plugins and YAML to one config: fills Hydra's ConfigStore and extends its search path."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from framework.api.component import GROUPS
from framework.api.schema import RunConfig
from framework.hooks.session import Session, current
from framework.hooks.validation import COMPONENTS
from framework.util.errors import FrameworkError, one_line

CONFIG_NAME = "config"


def conf_dir() -> Path:
    """Return the `conf/` folder: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def add_folder(session: Session, folder: str) -> None:
    """Search `folder` too, as `--config-dir` asks.

    Raises:
        FrameworkError: there is no such folder.
    """
    if not Path(folder).is_dir():
        message = f"--config-dir={folder}: there is no such folder"
        raise FrameworkError(message)
    session.config_dirs.append(Path(folder).absolute())


def user_folders(session: Session) -> list[Path]:
    """Return the config folders of the user: `./conf` where there is one, and those of `--config-dir`."""
    here = Path.cwd() / "conf"
    found = [here] if here.is_dir() and here.resolve() != conf_dir().resolve() else []
    return list(dict.fromkeys([*found, *session.config_dirs]))


def announce_folders(session: Session) -> None:
    """Say on standard error what the user's config folders add.

    Raises:
        FrameworkError: a file would never be read: an option that is there already has its name, or it ends in .yml.
    """
    taken = {file.relative_to(conf_dir()): file for file in _files(conf_dir())}
    own = user_folders(session)
    for file in (found for folder in own for found in sorted(folder.rglob("*.yml"))):
        message = f"{file}: Hydra reads .yaml only: rename it to {file.stem}.yaml"
        raise FrameworkError(message)
    plugins = (place for _, places in _plugin_folders() for place in places)
    for folder in (*plugins, *own):
        adds = []
        for file in _files(folder):
            name = file.relative_to(folder)
            group, option = name.parent.as_posix(), name.stem
            if name in taken or (group in GROUPS and option in current().plugins.registrations(group)):
                other = (
                    taken.get(name)
                    or f"the {group} '{option}' of {current().plugins.registrations(group)[option].package}"
                )
                message = f"{file}: {other} has that name and is found first: give the file another name"
                raise FrameworkError(message)
            taken[name] = file
            if group != ".":  # one at the top is no option; the defaults list of another may name it
                adds.append(f"{group}={option}" if group in GROUPS else f"+{group}={option}")
        if adds and folder in own:
            print(f"options of {_short(folder)}: {', '.join(adds)}", file=sys.stderr)  # noqa: T201


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.yaml"))


def _plugin_folders() -> Iterator[tuple[str, list[Path]]]:
    """Give the config folders of plugins: each as Hydra writes it, and where it lies. What is none is left out."""
    for plugin, path in current().plugins.ask("framework_config_paths"):
        if not isinstance(path, str):
            current().plugins.leave_out(plugin, "framework_config_paths", f"it gives a {type(path).__name__}, no text")
            continue
        scheme, _, place = path.rpartition("://")
        try:
            spec = importlib.util.find_spec(place.replace("/", ".")) if scheme == "pkg" else None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the packages above it are imported
            current().plugins.leave_out(plugin, "framework_config_paths", error)
            continue
        if scheme == "pkg":
            yield path, [Path(root) for root in (spec.submodule_search_locations or [])] if spec else []
        else:
            yield path, [Path(place)]


def _short(path: Path) -> str:
    """Return a path as it would be typed here."""
    return f"./{path.relative_to(Path.cwd())}" if path.is_relative_to(Path.cwd()) else str(path)


class _Shared(dict[str, Any]):
    """What Hydra's ConfigStore holds. Hydra copies it whole each time it composes, and reads copies of single nodes."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shared:
        """Return this: nothing writes into it while a config is composed."""
        return self


class PluginConfigPaths(SearchPathPlugin):
    """Adds the config folders of plugins and of the user to Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append what `framework_config_paths` gives, then the user's folders."""
        for path, _ in _plugin_folders():
            search_path.append(provider="framework", path=path)
        for folder in user_folders(current()):
            search_path.append(provider="user", path=f"file://{folder}")


def register(session: Session) -> None:
    """Make every component an option that Hydra can compose; again only when a plugin came or went."""
    plugins = session.plugins.implementations(COMPONENTS)
    if plugins == session.stored:
        return
    session.stored = plugins
    store = ConfigStore.instance()
    store.store(name="run_config", node=RunConfig, provider="framework")
    for group in GROUPS.values():
        for name, registration in current().plugins.registrations(group).items():
            package = f"{group.name}.{name}" if group.several else None
            node = registration.component.schema
            try:
                store.store(group=group.name, name=name, node=node, package=package, provider="framework")
                _open_dicts(node, store.repo[group.name][f"{name}.yaml"].node)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a type that no config can have, a default that raises
                reason = f"its schema {node.__name__} is no config: {one_line(error)}"
                current().plugins.leave_out(registration.plugin, f"{group.name} '{name}'", reason)
    store.repo = _Shared(store.repo)
    Plugins.instance().register(PluginConfigPaths)


def _open_dicts(schema: type, node: Any) -> None:
    """Let a field that is a dict take keys without a plus, `format.columns.output=answer`; Hydra closes them else."""
    for field in dataclasses.fields(schema):
        if field.default_factory is dict:
            OmegaConf.set_struct(node[field.name], False)  # noqa: FBT003 - positional only


@contextmanager
def config_loader() -> Iterator[ConfigLoader]:
    """Give Hydra's own loader with our search path: the one that is at work, or a new one."""
    register(current())
    if GlobalHydra().is_initialized():
        yield GlobalHydra.instance().config_loader()
    else:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            yield GlobalHydra.instance().config_loader()


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """Compose a config as the command line does, without running anything; for tests and tools."""
    register(current())
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra_compose(CONFIG_NAME, overrides=list(overrides))
