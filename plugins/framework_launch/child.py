"""The other end of `launch=subprocess`: takes a plan from standard input and runs it.

Not for users. `child_process.py` starts it with a file for the text of an error, and keeps standard input open: its end
means that the parent is gone, and then the run ends too.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from pathlib import Path

from framework import pipeline
from framework.errors import DoesNotFitError, FrameworkError, PrunedError, one_line
from framework.plan import Plan
from framework.plugin_file import load_file

USER_MISTAKE, DOES_NOT_FIT, PRUNED, INTERRUPTED = 2, 75, 76, 130
NOT_CARRIED = (
    "launch=subprocess cannot hand over this plan ({}): the settings of a plugin have to stand at the top of a module "
    "that can be imported. Put the plugin into a file and name that, plugins=[./mine.py], or set launch=local"
)


def main() -> int:
    """Run the plan; the exit codes are those of the program itself."""
    told = Path(sys.argv[1])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    try:
        paths, files, plan = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own parent wrote it
        threading.Thread(target=_end_with_parent, daemon=True).start()
        sys.path[:] = paths
        for file in files:
            load_file(file)
        pipeline.run(_unpack(plan))
    except FrameworkError as error:
        told.write_text(str(error), encoding="utf-8")
        codes = {DoesNotFitError: DOES_NOT_FIT, PrunedError: PRUNED}
        return next((code for kind, code in codes.items() if isinstance(error, kind)), USER_MISTAKE)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        told.write_text(one_line(error), encoding="utf-8")
        raise
    return 0


def _unpack(plan: bytes) -> Plan:
    """Read the plan, after the files of plugins are loaded: their classes may be in it."""
    try:
        found: Plan = pickle.loads(plan)  # noqa: S301 - our own parent wrote it
    except (AttributeError, ImportError) as error:
        raise FrameworkError(NOT_CARRIED.format(one_line(error))) from error
    return found


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
