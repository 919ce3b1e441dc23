"""Config folders as Hydra reads them, without settings that a run does not use; the user's with limits."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig

from framework.config.limits import check_file
from framework.hooks.session import current
from framework.util.errors import FrameworkError, display_path
from framework.util.template import Template

# A scheme of their own brings files to these sources, which limit and filter them.
SCHEME, OWN, PACKAGE = "user", "own", "package"


class OwnSource(FileConfigSource):
    """Reads the framework's own folder as Hydra does, without what experiments set for options that are not chosen."""

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider, path)
        self._unused = current().unused  # now: a launcher pickles this

    @staticmethod
    def scheme() -> str:
        """Return how the path of this source begins."""
        return OWN

    def load_config(self, config_path: str) -> ConfigResult:
        """Read a file."""
        result = self._read(config_path)
        if config_path.startswith("experiment/") and isinstance(result.config, DictConfig):
            for group, _, option in (key.partition(".") for key in self._unused):
                if isinstance(node := result.config.get(group), DictConfig):
                    node.pop(option, None)
        return result

    def _read(self, config_path: str) -> ConfigResult:
        return dataclasses.replace(
            _own_file(self.path, config_path).copy(), provider=self.provider, path=self.full_path()
        )


@functools.cache  # they do not change; YAML is a tenth of a composition, and a program makes several
def _own_file(folder: str, config_path: str) -> Template[ConfigResult]:
    return Template(FileConfigSource("", folder).load_config(config_path))


class PackageSource(ImportlibResourcesConfigSource):
    """Reads the config folder of an installed package as Hydra does, each file once in a process."""

    @staticmethod
    def scheme() -> str:
        """Return how the path of this source begins."""
        return PACKAGE

    def load_config(self, config_path: str) -> ConfigResult:
        """Read a file."""
        return dataclasses.replace(_package_file(self.path, config_path).copy(), provider=self.provider)

    def is_group(self, config_path: str) -> bool:
        """Whether this is a folder."""
        return _in_package(self.path, config_path)[0]

    def is_config(self, config_path: str) -> bool:
        """Whether this is a file."""
        return _in_package(self.path, config_path)[1]


@functools.cache  # they do not change; a composition asks for each some ten times
def _in_package(package: str, config_path: str) -> tuple[bool, bool]:
    source = ImportlibResourcesConfigSource("", f"pkg://{package}")
    return source.is_group(config_path), source.is_config(config_path)


@functools.cache
def _package_file(package: str, config_path: str) -> Template[ConfigResult]:
    return Template(ImportlibResourcesConfigSource("", f"pkg://{package}").load_config(config_path))


class UserSource(OwnSource):
    """Reads a folder as Hydra does, after a look at each file that is read."""

    @staticmethod
    def scheme() -> str:
        """Return how the path of this source begins."""
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        """Read a file.

        Raises:
            FrameworkError: it is not text, too large, too deep, holds itself, or is an experiment that sets nothing.
        """
        file = Path(self.path, f"{config_path.removesuffix('.yaml')}.yaml")
        check_file(file)
        result = super().load_config(config_path)
        if not result.config and config_path.startswith("experiment/"):
            raise FrameworkError(
                f"{display_path(file)}: the experiment sets nothing: make '# @package _global_' its first line, and "
                "write the settings below it"
            )
        return result

    def _read(self, config_path: str) -> ConfigResult:
        return FileConfigSource.load_config(self, config_path)
