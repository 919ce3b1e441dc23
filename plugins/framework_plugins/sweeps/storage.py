"""Where the study of a sweep is kept: a journal file, or a database behind a URL."""

from __future__ import annotations

import json
import time
from pathlib import Path

from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from framework import FrameworkError
from framework.api import display_path, summarize_error
from framework_plugins.sweeps.config import Optuna5Config

JOURNAL = "study.journal"
RETRY_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between the tries to open a new database in which other processes make the same tables."""


def storage_of(settings: Optuna5Config, folder: Path) -> str:
    """Return where the study is kept, so that every process finds it: a URL, or the path of a journal file."""
    if settings.storage is None:
        return str(folder / JOURNAL)
    return settings.storage if "://" in settings.storage else str(Path(settings.storage).expanduser().absolute())


def open_storage(address: str) -> BaseStorage:
    """Open what `storage_of` names.

    Raises:
        FrameworkError: it cannot be opened.
    """
    try:
        if "://" in address:
            return _open_database(address)
        return _open_journal(Path(address))
    except FrameworkError:
        raise
    except Exception as error:  # of a database's own library
        redacted = (
            address if "@" not in address else f"{address.partition('://')[0]}://…"
        )  # what is there is a password
        raise FrameworkError(f"hydra.sweeper.storage={redacted} cannot be opened: {summarize_error(error)}") from error


def _open_journal(file: Path) -> BaseStorage:
    """Open a journal; optuna would write after the first line of any file.

    Raises:
        FrameworkError: the file is none.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():
        with file.open("rb") as lines:
            first_line = lines.readline()
        if first_line and not _is_entry(first_line):
            raise FrameworkError(
                f"hydra.sweeper.storage={display_path(file)} is not the journal of a study: "
                "name another file, or a database by "
                f"its URL, sqlite:///{file.name}"
            )
    return JournalStorage(JournalFileBackend(str(file)))


def _is_entry(line: bytes) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and "op_code" in entry


def _open_database(url: str) -> BaseStorage:
    """Open a database; processes that open a new one at the same time meet half made tables of each other."""
    # A file is closed after each use: nobody closes the storage of a study, and Python 3.13 warns of open databases.
    named = make_url(url)
    is_file = named.get_backend_name() == "sqlite" and named.database not in {None, "", ":memory:"}
    engine = {"poolclass": NullPool} if is_file else {}
    for pause in RETRY_SECONDS:
        try:
            return RDBStorage(url, engine_kwargs=engine)
        except DBAPIError as error:
            if not isinstance(error, IntegrityError) and "already exists" not in str(error):
                raise
        time.sleep(pause)
    return RDBStorage(url, engine_kwargs=engine)
