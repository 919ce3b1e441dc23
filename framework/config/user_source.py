"""Config folders as Hydra reads them, without settings that a run does not use; the user's with limits.

A YAML file of the user may be a bomb, endlessly deep, or no text.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig

from framework.hooks.session import current
from framework.util.errors import FrameworkError, display_path

SCHEME, OWN = "user", "own"
LARGEST, DEEPEST, MOST = 1 << 20, 50, 100_000
"""Bytes of a file, levels of nesting, and values, each alias counted as all that it stands for."""


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
        result = super().load_config(config_path)
        if config_path.startswith("experiment/") and isinstance(result.config, DictConfig):
            for group, _, option in (key.partition(".") for key in self._unused):
                if isinstance(node := result.config.get(group), DictConfig):
                    node.pop(option, None)
        return result


class UserSource(OwnSource):
    """Reads a folder as Hydra does, after a look at each file that is read."""

    @staticmethod
    def scheme() -> str:
        """Return how the path of this source begins."""
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        """Read a file.

        Raises:
            FrameworkError: it is no text, too large, too deep, holds itself, or is an experiment that sets nothing.
        """
        file = Path(self.path, f"{config_path.removesuffix('.yaml')}.yaml")
        check_file(file)
        result = super().load_config(config_path)
        if not result.config and config_path.startswith("experiment/") and not result.header.get("package"):
            raise FrameworkError(
                f"{display_path(file)}: the experiment sets nothing: make '# @package _global_' its first line, and "
                "write the settings below it"
            )
        return result


def check_file(file: Path) -> None:
    """Refuse a file that could not be read in bounded time and memory; what is no YAML is left for Hydra to report.

    Raises:
        FrameworkError: names the file, and the line if there is one.
    """
    name = display_path(file)
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise FrameworkError(f"{name} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise FrameworkError(f"{name}:{line}: not UTF-8 ({error.reason}): save the file as UTF-8") from error
    if len(content) > LARGEST:
        raise FrameworkError(
            f"{name} has more than {LARGEST:,} bytes: a config file is for settings; put rows into a data file"
        )
    try:
        _check_values(text, name)
    except yaml.YAMLError:
        return


def _check_values(text: str, name: str) -> None:
    """Count levels and values by the events of the parser, which holds no more than the line that it is at."""
    total = 0
    counts: dict[str, int] = {}  # of what has an anchor
    open_: list[tuple[str | None, int]] = []  # the anchor of each level, and the values before it
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        where = f"{name}:{event.start_mark.line + 1 if event.start_mark else 1}"
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in {anchor for anchor, _ in open_}:
                raise FrameworkError(
                    f"{where}: *{event.anchor} is inside the block that it refers to, so it has no end"
                )
            total += counts.get(str(event.anchor), 1)
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor:
                counts[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            if anchor:
                counts[anchor] = total - before
        if len(open_) > DEEPEST:
            raise FrameworkError(f"{where}: nested more than {DEEPEST} levels deep, which no setting is")
        if total > MOST:
            raise FrameworkError(
                f"{where}: more than {MOST:,} values with all *aliases expanded: write out what is meant"
            )
