"""Adds the echo backend before anything composes, and what several test files share."""

import gc
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from framework import testing
from framework.hooks.session import current
from tests.support import (
    examples,  # noqa: F401 - it loads the profile of hypothesis
    forks,
    kinds,
)

freeze = gc.freeze
gc.disable()  # until the tests are collected: what that imports and makes stays, and each look through it takes longer
testing.install()
forks.compose_once()
forks.skip_the_disk()

# nohup, and a script's `&`, leave these ignored; a run keeps to that, as its children do, and tests send both.
for number, default in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, default)

Rows = list[dict[str, str]]


@pytest.fixture(autouse=True, scope="module")
def frozen() -> None:
    """Leave what earlier files imported and made out of what each model that is closed looks through."""
    gc.collect()
    freeze()


@pytest.fixture(autouse=True, scope="module")
def loaded_plugins() -> Iterator[None]:
    """Unregister the plugins that a file of tests has loaded: the next one counts the options of the program."""
    plugins = current().plugins
    before = {*plugins.manager.list_name_plugin()}
    yield
    for name, module in {*plugins.manager.list_name_plugin()} - before:
        plugins.manager.unregister(module)
        plugins.files = {file for file in plugins.files if Path(file).stem != name}
        if sys.modules.get(name) is module:
            del sys.modules[name]


@pytest.fixture
def rows() -> Rows:
    """Twenty Alpaca rows, all different."""
    return [{"instruction": f"say {number}", "input": "", "output": f"it is {number}"} for number in range(20)]


@pytest.fixture
def write_rows(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[dict[str, str]]], Path]:
    """Write rows as JSON lines outside `tmp_path`, so that a test can ask whether that is empty."""

    def write(rows: Rows) -> Path:
        file = tmp_path_factory.mktemp("data") / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return file

    return write


@pytest.fixture
def data_file(rows: Rows, write_rows: Callable[[Rows], Path]) -> Path:
    """Return the file with `rows`."""
    return write_rows(rows)


@pytest.fixture
def place(tmp_path: Path, data_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with data, and be in it."""
    (tmp_path / "rows.jsonl").write_bytes(data_file.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the kinds if they select, and start the longest file first, so that the other worker does the rest."""
    if any(kind in config.option.markexpr for kind in ("static", *kinds.KINDS)):  # it takes seconds
        kinds.mark(items)
    items.sort(key=lambda item: item.path.name != "test_main_job.py")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Look for garbage again, but a tenth as often through all that is old, which takes up to a second."""
    freeze()
    # A model that is closed would end that for all that the session has imported, and look through it three times.
    gc.freeze = gc.unfreeze = lambda: None
    gc.set_threshold(700, 10, 100)
    gc.enable()
