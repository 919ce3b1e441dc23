"""From plugins and YAML to one config: gives Hydra the components and extends its search path."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from framework.api.component import GROUPS
from framework.api.schema import RunConfig
from framework.config.user_source import OWN, PACKAGE, SCHEME, OwnSource, PackageSource, UserSource
from framework.hooks.local_file import load_file
from framework.hooks.session import Session, current
from framework.hooks.validation import COMPONENTS
from framework.util.errors import FrameworkError, summarize_error
from framework.util.guard import Caught
from framework.util.template import Template

CONFIG_NAME = "config"
EXPERIMENT = "experiment"
"""The folder of `conf/` with experiments: choices and values, which belong to no group."""
COMPONENT = "component"
"""The scheme of the source of components on Hydra's search path."""


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
        raise FrameworkError(f"--config-dir={folder}: there is no such folder")
    session.config_dirs.append(Path(folder).absolute())


def user_folders(session: Session) -> list[Path]:
    """Return the config folders of the user: `./conf` if there is one, and those of `--config-dir`."""
    folder = Path.cwd() / "conf"
    # In a checkout ./conf is the framework's own, which is searched already.
    local_folders = [folder] if folder.is_dir() and folder.resolve() != conf_dir().resolve() else []
    return list(dict.fromkeys([*local_folders, *session.config_dirs]))


def announce_folders(session: Session) -> None:
    """Say on standard error what the user's config folders add.

    Raises:
        FrameworkError: a file would never be read: an option that is there already has its name, or it ends in .yml.
    """
    file_by_name = {file.relative_to(conf_dir()): file for file in _files(conf_dir())}
    user_dirs = user_folders(session)
    # Only the folders of the user: what is in an installed package, its user cannot rename.
    for file in (misnamed for folder in user_dirs for misnamed in sorted(folder.rglob("*.yml"))):
        raise FrameworkError(f"{file}: Hydra reads only .yaml files: rename it to {file.stem}.yaml")
    plugin_dirs = (root for _, roots in _plugin_folders(session) for root in roots)
    for folder in (*plugin_dirs, *user_dirs):
        adds = []
        for file in _files(folder):
            name = file.relative_to(folder)
            group, option = name.parent.as_posix(), name.stem
            option_by_name = session.plugins.registrations(group) if group in GROUPS else {}
            if name in file_by_name or option in option_by_name:
                owner = file_by_name.get(name) or f"the {group} '{option}' of {option_by_name[option].package}"
                raise FrameworkError(f"{file}: {owner} has the same name and is found first: rename the file")
            file_by_name[name] = file
            if group != ".":  # one at the top is not an option; the defaults list of another may name it
                adds.append(f"{group}={option}" if group in GROUPS else f"+{group}={option}")
        if adds and folder in user_dirs:
            print(f"options of {_short(folder)}: {', '.join(adds)}", file=sys.stderr)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.yaml"))


def _plugin_folders(session: Session) -> Iterator[tuple[str, list[Path]]]:
    """Give the config folders of plugins: each as Hydra writes it, and its paths. A package that fails is left out."""
    for plugin, path in session.plugins.ask("framework_config_paths", str):
        scheme, _, location = path.rpartition("://")
        spec, failed = None, Caught()
        with failed:  # the packages above it are imported
            # A namespace package has several folders, and no file.
            spec = importlib.util.find_spec(location.replace("/", ".")) if scheme == "pkg" else None
        if failed.error:
            session.plugins.skip_plugin(plugin, "framework_config_paths", failed.error)
            continue
        if scheme == "pkg":
            yield path, [Path(root) for root in (spec.submodule_search_locations or [])] if spec else []
        else:
            yield path, [Path(location)]


def _short(path: Path) -> str:
    """Return a path as it would be typed here."""
    return f"./{path.relative_to(Path.cwd())}" if path.is_relative_to(Path.cwd()) else str(path)


class ComponentSource(ConfigSource):
    """Gives Hydra each component as the option `group/name`.

    Hydra copies what its ConfigStore holds with each composition and some forty times for `--help`, so there is little
    in it: a copy of all schemas takes as long as a composition, and a start may take three times as long as a bare
    Hydra app (`benchmarks/startup.py`).
    """

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider, path)
        session = current()  # now: a launcher pickles this in a thread that has no session
        self._files, self._config_dirs = sorted(session.plugins.files), list(session.config_dirs)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load what the sweep was started with: the worker of a launcher composes before anything else."""
        self.__dict__.update(state)
        session = current()
        for file in sorted({*self._files} - session.plugins.files):  # a copy in the same process has them
            load_file(session.plugins, file)
        session.config_dirs = list(dict.fromkeys([*session.config_dirs, *self._config_dirs]))

    @staticmethod
    def scheme() -> str:
        """Return how the path of this source begins."""
        return COMPONENT

    def load_config(self, config_path: str) -> ConfigResult:
        """Return the schema of an option; it is below the option's name in a group of several."""
        key = config_path.removesuffix(".yaml")
        group, _, name = key.partition("/")
        package = f"{group}.{name}" if name and GROUPS[group].several else None
        # Hydra merges into what it is given.
        node = register(current())[key].copy()
        return ConfigResult(self.provider, self.full_path(), node, header={"package": package})

    def available(self) -> bool:
        """Whether there is anything to read."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Whether this is a config group, or the root above all of them."""
        return config_path.strip("/") in {"", *GROUPS}

    def is_config(self, config_path: str) -> bool:
        """Whether this is an option."""
        return config_path.removesuffix(".yaml") in register(current())

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Return the groups, or the options of one."""
        group = config_path.strip("/")
        if not group:
            return sorted(GROUPS) if results_filter is not ObjectType.CONFIG else []
        options = [key.partition("/")[2] for key in register(current()) if key.startswith(f"{group}/")]
        return sorted(options) if results_filter is not ObjectType.GROUP else []


class PluginConfigPaths(SearchPathPlugin):
    """Adds components and the config folders of plugins and of the user to Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append what `framework_config_paths` gives, the user's folders, and the components."""
        for element in search_path.get_path():
            if element.provider == "main":
                element.path = f"{OWN}://{element.path.removeprefix('file://')}"
            elif element.provider == "hydra":
                element.path = f"{PACKAGE}://{element.path.removeprefix('pkg://')}"
        for path, _ in _plugin_folders(current()):
            search_path.append(provider="framework", path=path)
        for folder in user_folders(current()):
            search_path.append(provider="user", path=f"{SCHEME}://{folder}")
        # Hydra takes the first that has a name. Components come last; `announce_folders` refuses a file that would hide
        # one, and with it the schema that the config is checked by.
        search_path.append(provider="framework", path=f"{COMPONENT}://")


def register(session: Session) -> Mapping[str, Template[DictConfig]]:
    """Make every component an option of Hydra, `group/name`, and return their schemas.

    They are cached until a plugin is added or removed.
    """
    plugins = session.plugins.implementations(COMPONENTS)
    if session.schemas[0] == plugins:
        return session.schemas[1]
    schemas: dict[str, Template[DictConfig]] = {"run_config": _run_template()}
    for group in GROUPS.values():
        for name, registration in session.plugins.registrations(group).items():
            schema = registration.component.schema
            failed = Caught()
            with failed:  # a type that no config can have, a default that raises
                schemas[f"{group.name}/{name}"] = _template(schema)
            if failed.error:
                reason = f"its schema {schema.__name__} cannot be a config: {summarize_error(failed.error)}"
                session.plugins.skip_plugin(registration.plugin, f"{group.name} '{name}'", reason)
    session.schemas = plugins, schemas
    # Hydra looks for sources and search paths among its own plugins only.
    Plugins.instance().register(ComponentSource)
    Plugins.instance().register(OwnSource)
    Plugins.instance().register(PackageSource)
    Plugins.instance().register(UserSource)
    Plugins.instance().register(PluginConfigPaths)
    return schemas


@functools.cache
def _run_template() -> Template[DictConfig]:
    return Template(OmegaConf.structured(RunConfig))


@functools.lru_cache(maxsize=1024)  # to make all of them takes as long as a composition
def _template(schema: type) -> Template[DictConfig]:
    node = OmegaConf.structured(schema)
    _open_dicts(schema, node)
    return Template(node)


def _open_dicts(schema: type, node: Any) -> None:
    """Let a field that is a dict take new keys without a plus, `format.columns.output=answer`, as Hydra does not."""
    for field in dataclasses.fields(schema):
        if field.default_factory is dict:
            OmegaConf.set_struct(node[field.name], False)  # noqa: FBT003 - positional only


@contextmanager
def config_loader() -> Iterator[ConfigLoader]:
    """Give Hydra's own loader with our search path: the active one, or a new one."""
    register(current())
    # During a run Hydra is initialized, and does not initialize a second time.
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
