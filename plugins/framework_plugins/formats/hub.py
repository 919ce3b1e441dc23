"""`data=hub`: a data set of the Hugging Face Hub, through `datasets`."""

from __future__ import annotations

import json
import logging
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from datasets import disable_progress_bars, load_dataset, packaged_modules
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError, DatasetsError
from huggingface_hub import HfApi
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import OfflineModeIsEnabled

from framework import FrameworkError
from framework.api import RawData, Row, Source, counting, summarize_error
from framework_plugins.formats.config import HubConfig
from framework_plugins.formats.readers import values
from framework_plugins.lib.hub import HTTP_ERROR
from framework_plugins.lib.network import reachable

BATCH_ROWS = 256
"""Rows that are decoded at a time."""
MAX_ERROR_CHARS = 400
"""Characters of a library's message that are shown."""
COMMIT = re.compile(r"[0-9a-f]{40}")
LOADER_FOLDER = Path(packaged_modules.__file__).parent
"""Named like the kinds of files they load: `datasets` would take one for a data set, and load the working folder."""
FIRST_ROWS = re.compile(r"(?P<split>\w+)\[:(?P<rows>\d+)\]")
UNREACHABLE = (ConnectionError, OfflineModeIsEnabled, HTTP_ERROR)


class Hub(Source):
    """A source of rows on the Hub. Code that comes with a data set is never run."""

    def __init__(self, config: HubConfig) -> None:
        self.config = config

    def load(self) -> RawData:
        """Download the splits, or take them from the cache; with `streaming` only look where they are.

        Raises:
            FrameworkError: there is no such data set, split or network, it comes with code, or it is of pictures.
        """
        config = self.config
        self._check()
        if not sys.stderr.isatty():
            disable_progress_bars()
        if not reachable(ENDPOINT):
            logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it would announce each of five retries
            print("the Hub cannot be reached; looking for the data set in the cache …", file=sys.stderr)  # noqa: T201
        commit = _commit(config) if config.streaming else ""
        train = self._rows("split", config.split, commit)
        if config.validation_split_name is None:
            return RawData(train, key=_key([train], commit), streamed=config.streaming)
        validation = self._rows("validation_split_name", config.validation_split_name, commit)
        return RawData(train, validation, key=_key([train, validation], commit), streamed=config.streaming)

    def _check(self) -> None:
        config = self.config
        if Path(config.path).expanduser().exists():
            raise FrameworkError(f"data.path={config.path} is on this machine: read it with data=local_file")
        if "/" not in config.path and (LOADER_FOLDER / config.path).exists():
            raise FrameworkError(f"data.path={config.path} is not a data set: give the id of one, owner/name")
        if config.validation_split_name == config.split:
            raise FrameworkError(
                f"data.validation_split_name={config.split} is the same as data.split: set another one for validation"
            )
        for setting in ("split", "validation_split_name") if config.streaming else ():
            split: str = getattr(config, setting) or ""
            if set(split) & {"[", "+"}:
                match = FIRST_ROWS.fullmatch(split)
                instead = f"data.{setting}={match['split']} data.max_rows={match['rows']}" if match else "a whole split"
                raise FrameworkError(
                    f"data.{setting}={split} cannot be streamed: take {instead}, or data.streaming=false"
                )

    def _rows(self, setting: str, split: str, commit: str) -> HubRows:
        # In a terminal `datasets` draws bars.
        quiet = self.config.streaming or sys.stderr.isatty()
        task = f"split {split} of {self.config.path}, from the Hub or its cache"
        with nullcontext() if quiet else counting(None, "", task):
            rows = _load(self.config, setting, split, commit)
        media = sorted(name for name, feature in (rows.features or {}).items() if _is_media(feature))
        if media:
            columns = f"the column{'s' if len(media) > 1 else ''} {', '.join(media)}"
            raise FrameworkError(
                f"data.path={self.config.path}: {columns} of split {split} cannot be learned: neither text nor numbers"
            )
        return HubRows(rows, self.config.path, split, f"data.{setting}")


class HubRows(Iterable[Row]):
    """The rows of one split, read as they are iterated over, from the cache on disk or over the network."""

    def __init__(self, rows: Any, path: str, split: str, setting: str) -> None:
        self.rows = rows
        self.path = path
        self.split = split
        self.setting = setting

    def __iter__(self) -> Iterator[Row]:
        """Read the rows.

        Raises:
            FrameworkError: the connection broke, or the data are damaged; the held out split has no rows.
        """
        source = self.path if self.setting == "data.split" else f"{self.path}:{self.split}"
        unsure = None if self.rows.features is None else values.unsure_columns(self.rows.features.arrow_schema)
        index = 0
        try:
            for batch in self.rows.iter(batch_size=BATCH_ROWS):
                for cells in zip(*batch.values(), strict=True):
                    row = dict(zip(batch, cells, strict=True))
                    fields, problem = values.plain_row(row, batch if unsure is None else unsure)
                    yield Row(fields, f"{source}[{index}]", problem)
                    index += 1
        except (*UNREACHABLE, OSError, ValueError, DatasetsError, ImportError) as error:
            raise FrameworkError(
                f"{source}[{index}]: reading cannot continue here ({summarize_error(error)})"
            ) from error
        if not index and self.setting != "data.split":
            raise FrameworkError(f"{self.setting}={self.split}: the split has no rows")


def _load(config: HubConfig, setting: str, split: str, commit: str) -> Any:
    revision = commit or config.revision
    try:
        return load_dataset(config.path, config.name, split=split, revision=revision, streaming=config.streaming)
    except DatasetNotFoundError as error:
        message = f"data.path={config.path}: the Hub has no such data set, or it is gated and you are not logged in"
        if config.revision and "Revision" in str(error):
            message = f"data.path={config.path}: the data set has no data.revision={config.revision}"
        raise FrameworkError(message) from error
    except UNREACHABLE as error:
        raise FrameworkError(
            f"data.path={config.path}: the Hub cannot be reached and nothing is cached ({summarize_error(error)})"
        ) from error
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
        script = str(error).split()[-1]
        instead = "the Hub often has it as Parquet too: data.revision=refs/convert/parquet"
        raise FrameworkError(
            f"data.path={config.path} needs code of its own ({script}), which is never run; {instead}"
        ) from error
    except (ValueError, DatasetsError, FileNotFoundError) as error:
        name = f", data.name={config.name}" if config.name else ""
        raise FrameworkError(f"data.path={config.path}, data.{setting}={split}{name}: {_error_text(error)}") from error


def _error_text(error: Exception) -> str:
    """Return what `datasets` says, in one line; what it says of rows that it could not read is in the cause."""
    cause = error.__cause__ if type(error) is DatasetGenerationError else None
    return textwrap.shorten(f"{type(cause or error).__name__}: {cause or error}", MAX_ERROR_CHARS, placeholder=" …")


def _commit(config: HubConfig) -> str:
    """Return the commit that the Hub has now, so that all of a run reads one state; empty if it does not say."""
    try:
        return HfApi().dataset_info(config.path, revision=config.revision).sha or ""
    except (*UNREACHABLE, ValueError):  # loading says what is wrong
        return ""


def _key(splits: list[HubRows], commit: str) -> str:
    """Return what names the content of the rows: a commit of a data set never changes. Empty if it is not known."""
    commits = [commit or _cached_commit(split.rows) for split in splits]
    if not all(commits):
        return ""
    plain = [
        [split.path, split.rows.info.config_name, commit, split.split, str(split.rows.features)]
        for split, commit in zip(splits, commits, strict=True)
    ]
    return json.dumps(plain)


def _cached_commit(rows: Any) -> str:
    """Return the commit that a downloaded split is of; `datasets` calls the folder after it that it prepared it in."""
    folders = {Path(file["filename"]).parent.name for file in rows.cache_files}
    name = folders.pop() if len(folders) == 1 else ""
    return name if COMMIT.fullmatch(name) else ""


def _is_media(feature: Any) -> bool:
    """Whether a column is, or holds, what only a library can decode: pictures, sound, films, documents."""
    if isinstance(feature, dict):
        return any(map(_is_media, feature.values()))
    if isinstance(feature, list):
        return any(map(_is_media, feature))
    if (inner := getattr(feature, "feature", None)) is not None:
        return _is_media(inner)
    # A feature with a decoder is media; `Json` decodes text.
    return hasattr(feature, "decode_example") and type(feature).__name__ != "Json"
