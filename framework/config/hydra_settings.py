"""Which settings of Hydra a config may hold: none that runs code, sets variables or moves the folder of a run.

Hydra calls whatever `_target_` names below its callbacks, launcher and sweeper, and logging does the same with `()` and
`class`. A config from somebody else would run code by that, so a name has to be in a config that came with an
installed package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigSource
from hydra.types import RunMode
from omegaconf import Container, DictConfig, OmegaConf

from framework.api.fields import as_text
from framework.api.problem import Problem
from framework.api.schema import plain_name
from framework.config.compose import CONFIG_NAME, conf_dir
from framework.config.user_source import PACKAGE

INSTEAD = {
    "hydra.run.dir": "the folder of a run is set with run_dir=FOLDER",
    "hydra.runtime.output_dir": "the folder of a run is set with run_dir=FOLDER",
    "hydra.output_subdir": "a run writes its config into its own folder, run_dir=FOLDER",
    "hydra.searchpath": "a folder of options is added with --config-dir FOLDER",
    "hydra.job.chdir": "a run stays in the folder where it was started",
}
"""Settings of Hydra that would do nothing here, or harm, and what does."""
_INSTANTIATED, _LOGGING = ("callbacks", "launcher", "sweeper"), ("hydra_logging", "job_logging")
# `.` sets attributes of what `class` made; a file that is logged to is appended to, in a format of the config.
CODE = {"_target_", "()", "class", "filename", "."}
"""Keys of these sections whose values name code, or a file to write."""
_OF_JOB = re.compile(r"\$\{hydra\.job\.\w+\}")
_TEXT = re.compile(r"\$\{(?:oc\.env|now):[^${}]*\}")
"""What always is a text."""
_PATH = re.compile(r"\$\{(\w+(?:\.\w+)*)\}")


# A prefix such as `framework.` would not do: `load_file` has it too. So names are compared whole (decision 0074).
def hydra_problems(config: DictConfig, loader: ConfigLoader, mode: RunMode) -> Iterator[Problem]:
    """Give what is refused of `config.hydra`, before Hydra acts on it.

    Args:
        config: what Hydra composed.
        loader: where the configs of installed packages are read.
        mode: what the command line asks for.
    """
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=False)
    settings = plain["hydra"]
    for name, value in settings.items():
        if _becomes_node(value):
            yield Problem(
                f"hydra.{name}={value}: write the settings there, not a reference to them", (f"hydra.{name}",)
            )
    defaults = loader.repository.load_config(CONFIG_NAME).config.hydra
    for key, instead in INSTEAD.items():
        value = OmegaConf.select(DictConfig({"hydra": settings}), key)
        if value not in (None, []) and value != OmegaConf.select(DictConfig({"hydra": defaults}), key):
            yield Problem(f"{key}={as_text(value)}: {instead}", (key,))
    for key in ("hydra.sweep.subdir", "hydra.job.name"):
        _, section, setting = key.split(".")
        value = str(settings[section][setting])
        # Values of `hydra.job` are names that Hydra makes itself; what else is interpolated may hold a slash.
        if "${" in (name := _OF_JOB.sub("x", value)) or not plain_name(name):
            yield Problem(
                f"{key}={value}: files and folders are named after it, so it has to be a plain name, without slashes",
                (key,),
            )
    if mode is RunMode.RUN and settings["mode"] is RunMode.MULTIRUN:
        yield Problem("hydra.mode=MULTIRUN: start a sweep with -m on the command line", ("hydra.mode",))
    for name in ("env_set", "env_copy"):
        if settings["job"][name]:
            text = f"hydra.job.{name}: a config cannot set environment variables; set them where you start the run"
            yield Problem(text, (f"hydra.job.{name}",))
    for name in _INSTANTIATED:
        entries = (
            settings[name].items()
            if name == "callbacks" and isinstance(settings[name], dict)
            else [("", settings[name])]
        )
        for key, value in entries:
            full_key = f"hydra.{name}.{key}".rstrip(".")
            if not isinstance(value, dict | list) and not _becomes_node(value):
                yield Problem(f"{full_key}={as_text(value)} must be named values", (full_key,))
    if not isinstance(verbose := settings["verbose"], bool | str) and not (
        isinstance(verbose, list) and all(isinstance(logger, str) for logger in verbose)
    ):
        text = f"hydra.verbose={as_text(verbose)} must be true, false, or the names of loggers"
        yield Problem(text, ("hydra.verbose",))
    sections = [name for name in (*_INSTANTIATED, *_LOGGING) if not _becomes_node(settings[name])]
    named = [pair for name in sections for pair in _code_settings(settings[name], f"hydra.{name}", plain)]
    foreign = {as_text(value) for _, value in named}
    # Only if something names code: all configs of all packages are read for it.
    for container in _package_configs(loader) if foreign else ():
        foreign -= {as_text(value) for _, value in _code_settings(container, _LOGGING[0], container)}
        if not foreign:
            return
    for key, value in named:
        if as_text(value) in foreign:
            text = f"{key}={as_text(value)} names code, or a file, that no config of an installed package names"
            yield Problem(f"{text}: remove it from the config", (key,))


def _becomes_node(value: Any) -> bool:
    """Whether a value is one interpolation and nothing else, so that it may be a mapping when it is read."""
    if not isinstance(value, str) or not value.startswith("${"):
        return False
    depth = 0
    for index, letter in enumerate(value):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "}" and depth == 0:
            return index == len(value) - 1
    return False


def _code_settings(value: Any, path: str, plain: Any) -> Iterator[tuple[str, Any]]:
    """Yield the settings below `path` whose values name code, and interpolations that could."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key in CODE:
                yield f"{path}.{key}", part
            else:
                yield from _code_settings(part, f"{path}.{key}", plain)
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _code_settings(part, f"{path}[{index}]", plain)
    elif isinstance(value, str):
        # Logging imports what `ext://` names, which an interpolation may put together.
        logged = "_logging" in path and ("${" in value or value.startswith(("ext://", "cfg://")))
        if logged or (_becomes_node(value) and not _is_plain(value, plain)):
            yield path, value


def _is_plain(value: Any, plain: Any) -> bool:
    """Whether a value cannot become a mapping when it is read: no resolver produces it or a value that it refers to."""
    for _ in range(9):  # a cycle of references is not a plain value
        if not _becomes_node(value) or _TEXT.fullmatch(value):
            return not isinstance(value, dict | list)
        if not (path := _PATH.fullmatch(value)):
            return False
        value = plain
        for part in path[1].split("."):
            if not isinstance(value, dict) or part not in value:
                return False
            value = value[part]
    return False


def _package_configs(loader: ConfigLoader) -> Iterator[Any]:
    """Yield the configs of installed packages as plain values: those of the ConfigStore, then those of files."""
    yield from _store_configs(ConfigStore.instance().repo)
    for source in loader.get_sources():
        # What the user adds is searched by `user`, or is not searched yet: `hydra.searchpath` is read with each config.
        packaged = source.provider not in {"user", "main"} and source.scheme() in {"pkg", "file", PACKAGE}
        if packaged or (source.provider == "main" and source.path == str(conf_dir())):
            yield from _source_configs(source, "")


def _store_configs(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        for part in node.values():
            yield from _store_configs(part)
    elif isinstance(node, ConfigNode) and isinstance(node.node, Container):
        yield OmegaConf.to_container(node.node, resolve=False)


def _source_configs(source: ConfigSource, group: str) -> Iterator[Any]:
    for name in source.list(group, ObjectType.CONFIG):
        loaded = source.load_config(f"{group}/{name}".lstrip("/"))
        yield OmegaConf.to_container(loaded.config, resolve=False)
    for name in source.list(group, ObjectType.GROUP):
        yield from _source_configs(source, f"{group}/{name}".lstrip("/"))
