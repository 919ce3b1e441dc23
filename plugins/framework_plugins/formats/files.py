"""`data=local_file`: files, folders and globs of every kind that `readers` knows."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from framework import FrameworkError
from framework.api import RawData, Row, Source, counting, key_of
from framework_plugins.formats.config import LocalFileConfig, SampleBy
from framework_plugins.formats.encodings import UTF8, codec
from framework_plugins.formats.readers import read, rows_about
from framework_plugins.formats.readers.find import DataFile, find, held_out, with_unique_names

MAX_NAMED_FILES = 3
"""Files that are left out and named."""
MAX_PROBED_FILES = 100
"""Files of which the first row is tried."""
LARGE_FILE_BYTES = 1_000_000_000
"""Bytes of a file whose hash takes seconds."""
EXTRA_ROW_BYTES = 1 << 20
"""Bytes of a row beside its texts: names of fields, and fields that no format reads."""
Stamp = tuple[int, int, int]
"""Size in bytes, time of change in nanoseconds, number of the inode."""


class LocalFile(Source):
    """A source of rows in local files."""

    def __init__(self, config: LocalFileConfig) -> None:
        self.config = config
        self._left_out: list[DataFile] = []

    def check(self) -> RawData:
        """Find the files of the config, and look at the first row of each; none is read to its end.

        Raises:
            FrameworkError: there are none, of an unknown kind, or all to train on are empty; one cannot be read.
        """
        raw, parts = self._raw_data()
        if parts[0] and not any(noted.stamp[0] for noted in parts[0]):
            raise FrameworkError(f"data.path={self.config.path} is empty: give a file with rows")
        for noted in itertools.islice(itertools.chain.from_iterable(parts), MAX_PROBED_FILES):
            if noted.file.is_text or not noted.file.packing:  # a packed table is unpacked whole
                next(iter(FileRows([noted], self.config.sample_by)), None)
        return raw

    def load(self) -> RawData:
        """Find the files of the config and hash them; the rows are read when they are iterated over."""
        raw, parts = self._raw_data()
        return replace(raw, key=_content_key(parts, self.config.sample_by))

    def _raw_data(self) -> tuple[RawData, list[list[WatchedFile]]]:
        """Find the files of the config, and return their rows and the files of each part.

        Files of `path` that `validation_path` or `prompts_path` names too are left out of it, where `path` is a
        folder or a glob. In a folder with a training split the files of the other splits are left out too, and the
        run says so.
        """
        config = self.config
        named = with_unique_names(self._files_with_limits())
        sets = {file.path.resolve(): name for name, files in self._validation_sets().items() for file in files}
        named[1] = [
            replace(file, name=f"{sets[file.path.resolve()]}/{file.name}") if sets else file for file in named[1]
        ]
        train, validation, prompts = (WatchedFile.all(part) for part in named)
        raw = RawData(
            FileRows(train, config.sample_by),
            FileRows(validation, config.sample_by, "data.validation_path") if validation else (),
            FileRows(prompts, config.sample_by, "data.prompts_path") if prompts else (),
            places=tuple(noted.file.name for noted in (*train, *validation, *prompts)),
            notes=self._notes(),
        )
        return raw, [train, validation, prompts]

    def _files_with_limits(self) -> list[list[DataFile]]:
        """Return the files with their encoding and the most bytes of a row, eight for a character.

        Raises:
            FrameworkError: there is no such encoding, or no text that has one.
        """
        longest = 8 * self.config.max_row_characters + EXTRA_ROW_BYTES
        encoding = codec(self.config.encoding, "data.encoding")
        parts = self._find()
        if encoding != UTF8 and not any(file.is_text for part in parts for file in part):
            raise FrameworkError(
                f"data.encoding={self.config.encoding} does nothing: there is no text file, only {parts[0][0].kind}; "
                "leave it out"
            )
        return [[replace(file, longest=longest, encoding=encoding) for file in part] for part in parts]

    def _find(self) -> list[list[DataFile]]:
        """Return the files to train on, to validate on, and with prompts."""
        config = self.config
        validation, prompts = (
            find(path, f"data.{setting}") if path is not None else []
            for path, setting in ((config.validation_path, "validation_path"), (config.prompts_path, "prompts_path"))
        )
        validation = [*validation, *(file for files in self._validation_sets().values() for file in files)]
        return [self._find_training({file.path.resolve() for file in (*validation, *prompts)}), validation, prompts]

    def _validation_sets(self) -> dict[str, list[DataFile]]:
        """Return the files of each validation set; evaluations find the rows of a set by its name in their places.

        Raises:
            FrameworkError: `validation_path` is given too, a name is not a plain word, or two sets have the same file.
        """
        config = self.config
        if config.validation_sets and config.validation_path is not None:
            raise FrameworkError(
                f"data.validation_path={config.validation_path} and data.validation_sets both say what is held out: "
                "make that file one of the sets"
            )
        sets: dict[str, list[DataFile]] = {}
        owners: dict[Path, str] = {}
        for name, path in config.validation_sets.items():
            if not re.fullmatch(r"\w+", name):
                raise FrameworkError(f"data.validation_sets.{name}: a name has letters, digits and underscores only")
            sets[name] = find(path, f"data.validation_sets.{name}")
            for file in sets[name]:
                if (owner := owners.setdefault(file.path.resolve(), name)) != name:
                    raise FrameworkError(
                        f"data.validation_sets.{name}={path}: {file.path} is in the set {owner} too: leave it out of "
                        "one"
                    )
        return sets

    def _find_training(self, reserved_paths: set[Path]) -> list[DataFile]:
        files = find(self.config.path, "data.path")
        if len(files) == 1 and files[0].path == Path(self.config.path).expanduser():
            return files
        remaining = [file for file in files if file.path.resolve() not in reserved_paths]
        if not remaining:
            raise FrameworkError(
                f"data.path={self.config.path}: validation_path and prompts_path take all of its files"
            )
        # A glob names what it is about; whoever names a folder may not know what lies there.
        self._left_out = held_out(remaining) if Path(self.config.path).expanduser().is_dir() else []
        return [file for file in remaining if file not in self._left_out]

    def _notes(self) -> tuple[str, ...]:
        if not self._left_out:
            return ()
        names = ", ".join(file.name for file in self._left_out[:MAX_NAMED_FILES])
        suffix = f" and {len(self._left_out) - MAX_NAMED_FILES} more" if len(self._left_out) > MAX_NAMED_FILES else ""
        first_path, folder = self._left_out[0].path, Path(self.config.path)
        single = len(self._left_out) == 1
        note = (
            f"{names}{suffix} {'belongs' if single else 'belong'} to another split and {'is' if single else 'are'} not "
            f"used: data.validation_path={first_path} holds {'it' if single else 'the first'} out; a glob such as "
            f"\"data.path='{folder / '**/*'}'\" trains on all"
        )
        return (note,)


@dataclass(frozen=True)
class WatchedFile:
    """A file with its size, time and inode when the run first saw it."""

    file: DataFile
    stamp: Stamp

    @classmethod
    def all(cls, files: Iterable[DataFile]) -> list[WatchedFile]:
        """Return each file with its stamp."""
        return [cls(file, _read_stamp(file)) for file in files]

    def check(self) -> None:
        """Make sure that the file is still the same.

        Raises:
            FrameworkError: it changed, or it is gone.
        """
        if _read_stamp(self.file) != self.stamp:
            raise self.file.error("the file changed while it was read; wait until it is complete, then start again")

    def digest(self) -> str:
        """Return a hash over the bytes of the file.

        Raises:
            FrameworkError: it cannot be read, or it changed meanwhile.
        """
        size = self.stamp[0]
        shown = (
            counting(None, "", f"hashing {self.file.name}, {size / 1e9:.1f} GB")
            if size >= LARGE_FILE_BYTES
            else nullcontext()
        )
        try:
            with shown, self.file.path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise _read_error(self.file, error) from error
        self.check()
        return digest


class FileRows(Iterable[Row]):
    """The rows of files, one file after the other, read again in every pass.

    `setting` is where the files were named, if having no rows would go unnoticed.
    """

    def __init__(self, files: Sequence[WatchedFile], sample_by: SampleBy, setting: str = "") -> None:
        self.files = files
        self.sample_by = sample_by
        self.setting = setting

    def __iter__(self) -> Iterator[Row]:
        """Read the rows.

        Raises:
            FrameworkError: reading cannot continue, a file changed or is gone, or no file has a row.
        """
        empty = True
        for noted in self.files:
            for row in self._read(noted):
                empty = False
                yield row
        if empty and self.setting:
            raise FrameworkError(
                f"{self.setting}: no rows in {', '.join(str(noted.file.path) for noted in self.files)}"
            )

    def __length_hint__(self) -> int:
        """Return about how many rows there are, for the time that is left; NotImplemented if a look is not cheap."""
        counts = [rows_about(noted.file) for noted in self.files]
        return NotImplemented if None in counts else sum(count or 0 for count in counts)

    def _read(self, noted: WatchedFile) -> Iterator[Row]:
        noted.check()
        try:
            yield from read(noted.file, self.sample_by)
        except FrameworkError:
            noted.check()  # a file that is being written looks damaged, and this says why
            raise
        noted.check()


def _read_stamp(file: DataFile) -> Stamp:
    try:
        status = file.path.stat()
    except OSError as error:
        raise _read_error(file, error) from error
    # The inode too: a file that was replaced may have the old one's size and time.
    return status.st_size, status.st_mtime_ns, status.st_ino


def _read_error(file: DataFile, error: OSError) -> FrameworkError:
    if isinstance(error, FileNotFoundError):
        return file.error("the file is gone; it was there when the run started")
    return file.error(f"the file cannot be read ({error.strerror or error})")


def _content_key(parts: Sequence[Sequence[WatchedFile]], sample_by: SampleBy) -> str:
    """Return a hash over all that the rows depend on: the bytes, their order and kinds; not over names and places."""
    plain = [
        [[noted.file.kind, noted.file.packing, sample_by.value if noted.file.kind == ".txt" else "", noted.digest(),
          *([noted.file.encoding] if noted.file.is_text and noted.file.encoding != UTF8 else [])]
         for noted in part]
        for part in parts
    ]  # fmt: skip
    return key_of(plain)
