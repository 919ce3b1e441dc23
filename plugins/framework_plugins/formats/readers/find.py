"""Which files a path stands for: a file, a folder or a glob."""

from __future__ import annotations

import errno
import glob
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from framework import FrameworkError
from framework.api import nearest
from framework_plugins.formats.encodings import UTF8

TEXT_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt")
KINDS = (*TEXT_SUFFIXES[:-1], ".parquet", ".arrow", ".feather", ".txt")
PACKINGS = (".gz", ".zst")
DATASETS_FILES = ("dataset_info.json", "dataset_infos.json", "state.json")
"""What `datasets` writes beside the rows."""
SPLITS_FILE = "dataset_dict.json"
"""What `datasets` writes into a folder that holds a folder for each split."""
OTHER_KINDS = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the table as .csv"),
    **dict.fromkeys((".sqlite", ".sqlite3", ".db", ".duckdb"), "export the table as .csv"),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".rar", ".7z", ".bz2", ".xz"), "unpack it"),
    **dict.fromkeys(
        (".yaml", ".yml", ".xml", ".pkl", ".npz", ".npy", ".h5", ".orc", ".avro"), "write a row a line, as JSON"
    ),
    **dict.fromkeys((".docx", ".doc", ".odt", ".rtf", ".pdf", ".epub"), "save its text as .txt"),
    **dict.fromkeys((".md", ".html", ".htm", ".rst"), "as plain text, give it a name that ends with .txt"),
}
"""What to do with files that people have."""
ADDRESS = re.compile(r"([A-Za-z][\w+.-]+)://(.*)")
HUB = re.compile(r"huggingface\.co/datasets/([^/]+/[^/?#]+)")
HELD_OUT_WORDS = {"test", "testing", "validation", "valid", "val", "dev", "eval", "heldout"}
TRAIN_WORDS = {"train", "training"}
NOT_LETTERS = re.compile(r"[^a-zA-Z]+")
VALID_KINDS = f"{', '.join(KINDS)}, each also with {' or '.join(PACKINGS)}"
MAX_NAMED_FILES = 5


@dataclass(frozen=True)
class DataFile:
    """A file of rows. `name` is how its rows call it, `kind` and `packing` are its suffixes: .jsonl and .gz.

    `longest` is how many bytes a line or a value may have that becomes a row. `encoding` is Python's name of that of a
    text.
    """

    path: Path
    name: str
    kind: str
    packing: str
    longest: int = 1 << 30
    encoding: str = UTF8

    @property
    def is_text(self) -> bool:
        """Whether it is unpacked text, which has an encoding."""
        return self.kind in TEXT_SUFFIXES

    def where(self, position: int | str) -> str:
        """Say where a row is."""
        return f"{self.name}:{position}"

    def error(
        self, problem: str, position: int | str = "", settings: Mapping[str, str] | None = None
    ) -> FrameworkError:
        """Return the error that says why and where reading cannot continue; `settings` would fix it."""
        where = f"{self.path}:{position}: " if position else f"{self.path}: "
        return FrameworkError(f"{where}{problem}", settings=settings)

    def too_long(self, subject: str, position: int | str) -> FrameworkError:
        """Return the error for a line or a value that is longer than a row may be."""
        packed = " unpacked" if self.packing else ""
        return self.error(
            f"{subject} is longer than {self.longest:,} bytes{packed}: cut the row into several, or raise "
            "data.max_row_characters",
            position,
        )


def find(path: str, setting: str) -> list[DataFile]:
    """Find the files of a path, sorted by name; `setting` is where the path was given.

    Raises:
        FrameworkError: there is none, or none of a known kind, or a folder may not be read.
    """
    _refuse_address(path, setting)
    location = Path(path).expanduser()
    try:
        if location.is_dir():
            files = _folder_files(location, setting)
        elif location.exists():
            files = [_file_of(location)]
        elif glob.has_magic(path):
            files = _glob_files(str(location), setting)
        else:
            _raise_missing(location)
    except OSError as error:
        raise FrameworkError(f"{setting}={path}: {_os_error_text(error)}") from error
    return files


def held_out(files: Sequence[DataFile]) -> list[DataFile]:
    """Return the files of a folder named like a test or validation split, if other files are there to train on.

    As in a clone of a Hub data set, `data/train-00000-of-00001.parquet` beside `data/test-00000-of-00001.parquet`. The
    name of the file counts, and where it says nothing, those of its folders.
    """
    splits = {file: _split(file) for file in files}
    return [file for file in files if splits[file] == "held out"] if "train" in splits.values() else []


def _split(file: DataFile) -> str:
    for part in reversed(Path(file.name).parts):
        words = {word.lower() for word in NOT_LETTERS.split(part)}
        is_train, is_held_out = not words.isdisjoint(TRAIN_WORDS), not words.isdisjoint(HELD_OUT_WORDS)
        # `train_test_split.json` says both, so it says nothing.
        if is_train != is_held_out:
            return "train" if is_train else "held out"
    return ""


def with_unique_names(parts: Sequence[Sequence[DataFile]]) -> list[list[DataFile]]:
    """Return the files with unique names: a name that two files have gets more of the path."""
    places = {file: file.path.resolve() for part in parts for file in part}
    names = {file: file.name for file in places}
    while longer := {file: name for file in _ambiguous(names, places) if (name := _extend(file.path, names[file]))}:
        names.update(longer)
    return [[replace(file, name=names[file]) for file in part] for part in parts]


def _ambiguous(names: Mapping[DataFile, str], places: Mapping[DataFile, Path]) -> Iterator[DataFile]:
    """Give the files that share their name with another file."""
    folders_by_name = defaultdict[str, set[Path]](set)
    for file, name in names.items():
        folders_by_name[name].add(places[file])
    return (file for file, name in names.items() if len(folders_by_name[name]) > 1)


def _extend(path: Path, name: str) -> str:
    """Return a name with one more folder; empty if it has all of them."""
    parts = path.absolute().parts[1:]
    count = len(Path(name).parts)
    return "/".join(parts[-count - 1 :]) if count < len(parts) else ""


def _os_error_text(error: OSError) -> str:
    reason = error.strerror or str(error)
    name = f" ({os.fsdecode(error.filename)})" if isinstance(error.filename, str | bytes) else ""
    advice = "; give yourself permission to read it" if error.errno in {errno.EACCES, errno.EPERM} else ""
    return f"{reason}{name}{advice}"


def kind_of(path: Path) -> tuple[str, str] | None:
    """Return kind and packing of a file by its name; None if it is not a data file."""
    name = path.name.lower()
    packing = next((ending for ending in PACKINGS if name.endswith(ending)), "")
    kind = Path(name.removesuffix(packing)).suffix
    return (kind, packing) if kind in KINDS else None


def _file_of(path: Path) -> DataFile:
    if (kind := kind_of(_check_file(path))) is None:
        advice = _conversion_advice([path])
        raise FrameworkError(
            f"{path} is not a kind of file that data=local_file reads{advice}. Data files are {VALID_KINDS}."
        )
    return DataFile(path, _decode_name(path.name), *kind)


def _refuse_address(path: str, setting: str) -> None:
    """Refuse an address: rows are read from this machine, more than once."""
    if not (match := ADDRESS.match(path)):
        return
    scheme, location = match.groups()
    instead = "download the file, and give its path"
    if scheme.lower() == "file":
        instead = f"write it as a path, {setting}=/{location.partition('/')[2]}"
    elif hub := HUB.match(location):
        instead = f"set data=hub data.path={hub[1]}"
    raise FrameworkError(f"{setting}={path} is an address, which data=local_file does not read: {instead}")


def _conversion_advice(paths: Sequence[Path]) -> str:
    """Return the advice for the first file that has one."""
    conversions = (OTHER_KINDS[path.suffix.lower()] for path in paths if path.suffix.lower() in OTHER_KINDS)
    advice = next(conversions, "")
    return f"; {advice}" if advice else ""


def _raise_missing(path: Path) -> NoReturn:
    if path.is_symlink():
        raise FrameworkError(f"{path} is a link to {path.readlink()}, which does not exist")
    siblings = sorted(item.name for item in path.parent.iterdir()) if path.parent.is_dir() else []
    similar = [name for name in siblings if kind_of(Path(name))]
    similar = list(dict.fromkeys([*nearest(path.name, similar, count=MAX_NAMED_FILES), *similar]))
    hint = f" Beside it: {', '.join(similar[:MAX_NAMED_FILES])}." if similar else ""
    raise FrameworkError(f"there is no data file {path}.{hint}")


def _folder_files(folder: Path, setting: str) -> list[DataFile]:
    """Return all data files below a folder; plain text only if there is nothing else, for it may be a README."""
    if (folder / SPLITS_FILE).is_file():
        splits = sorted(item.name for item in folder.iterdir() if item.is_dir())
        split = "train" if "train" in splits else splits[0] if splits else ""
        hint = f" (there are {', '.join(splits)})" if len(splits) > 1 else ""
        raise FrameworkError(f"{folder} holds splits: choose one of them, {setting}={folder / split}{hint}")
    paths = sorted(_walk(folder), key=lambda path: path.relative_to(folder).as_posix())
    files = _data_files((path for path in paths if path.name not in DATASETS_FILES), folder)
    files = [file for file in files if file.kind != ".txt"] or files
    if not files:
        raise _no_files_error(f"{setting}={folder}: the folder holds", paths)
    return files


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> NoReturn:
        raise error

    for directory, folders, files in os.walk(folder, onerror=refuse):
        # In place: `os.walk` then does not enter them. `.cache` and `.git` hold no rows of the user.
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(directory, name) for name in files if not name.startswith("."))


def _glob_files(pattern: str, setting: str) -> list[DataFile]:
    paths = [path for path in map(Path, sorted(glob.glob(pattern, recursive=True))) if not path.is_dir()]  # noqa: PTH207 - hides what pathlib does not
    files = _data_files(paths, _fixed_part(pattern))
    if not files:
        raise _no_files_error(f"{setting}={pattern} matches", paths)
    return files


def _fixed_part(pattern: str) -> Path:
    parts = Path(pattern).parts
    fixed_count = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:fixed_count])


def _data_files(paths: Iterator[Path] | list[Path], root: Path) -> list[DataFile]:
    return [
        DataFile(_check_file(path), _decode_name(path.relative_to(root).as_posix()), *kind)
        for path in paths
        if (kind := kind_of(path))
    ]


def _decode_name(name: str) -> str:
    """Return the name of a file as text: the bytes of one that is not UTF-8 are spelled out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _check_file(path: Path) -> Path:
    if not path.exists():
        _raise_missing(path)
    if not path.is_file():  # to open a pipe would be to wait for whoever writes into it
        raise FrameworkError(
            f"{path} is neither a file nor a folder, and rows are read more than once: save them to a file first"
        )
    return path


def _no_files_error(subject: str, paths: list[Path]) -> FrameworkError:
    names = [path.name for path in paths]
    suffix = f" and {len(names) - MAX_NAMED_FILES} more" if len(names) > MAX_NAMED_FILES else ""
    content = f"no data file, only {', '.join(names[:MAX_NAMED_FILES])}{suffix}" if names else "no file"
    return FrameworkError(f"{subject} {content}{_conversion_advice(paths)}. Data files are {VALID_KINDS}.")
