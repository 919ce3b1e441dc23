"""Imports Unsloth, which patches torch, transformers, trl and peft on import: so before all of them.

Nothing of it goes out, and nothing lands in the working folder: it would tell its makers of this machine, and write
what it generates to wherever the run was started. What it prints goes to the log.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Iterator
from importlib.metadata import version

import framework_plugins.hf.machine.allocator  # noqa: F401 - before torch, which Unsloth imports

# isort: split
from framework import FrameworkError
from framework.api import cache_dir, summarize_error
from framework_plugins.lib.import_order import imported_too_late
from framework_plugins.unsloth.config import ORDER, UnslothRefusalError

TRANSFER_VARIABLE = "HF_HUB_ENABLE_HF_TRANSFER_VARIABLE"
log = logging.getLogger(__name__)


@contextlib.contextmanager
def logging_output() -> Iterator[None]:
    """Log what Unsloth prints: a run's own output is for its loggers, and for programs that read it."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        for line in filter(None, printed.getvalue().splitlines()):
            log.info("%s", line)


def configure_unsloth() -> None:
    """Switch its statistics off, and name our cache folder for the code that it generates.

    Unsloth 2026.10.9 sends statistics unless the first of these variables is set, to whatever.
    """
    os.environ["UNSLOTH_DISABLE_STATISTICS"] = "1"
    generated = cache_dir() / "unsloth" / version("unsloth") / "unsloth_compiled_cache"
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(generated))


@contextlib.contextmanager
def restoring_logging() -> Iterator[None]:
    """Keep what it changes for others while it is imported: where logs go, and a variable that the Hub warns of."""
    root = logging.getLogger()
    handlers, transfer = list(root.handlers), os.environ.get(TRANSFER_VARIABLE)
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)  # torchao calls what torch has outlived
    try:
        yield
    finally:
        root.handlers[:] = handlers
        if transfer is None:
            os.environ.pop(TRANSFER_VARIABLE, None)


if too_late := imported_too_late(ORDER):
    raise FrameworkError(
        f"{', '.join(too_late)} was imported in this process before unsloth, which must be imported first: use a "
        "fresh process, as launch=single and launch=subprocess do by themselves"
    )
configure_unsloth()
try:
    with logging_output(), restoring_logging():
        from unsloth import DEVICE_TYPE, FastLanguageModel
except Exception as error:  # of a card, a driver or a library that it does not take
    raise UnslothRefusalError(
        f"unsloth {version('unsloth')} refuses this machine: {summarize_error(error)}",
        "Set trainer=hf, or install what it asks for",
    ) from error

ON_GPU = DEVICE_TYPE != "cpu"
"""Whether models are computed by Unsloth's own functions; on a CPU it leaves them to transformers and peft."""

__all__ = ["DEVICE_TYPE", "ON_GPU", "FastLanguageModel", "logging_output"]
