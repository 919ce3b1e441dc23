"""The child process of `launch=subprocess`: reads a plan from standard input and runs it.

Not for users. `child_process.py` starts it with a file for the text of an error, and keeps standard input open: its end
means that the parent is gone, and then the run ends too.
"""

from __future__ import annotations

import pickle
import signal
import sys
import threading
from pathlib import Path

from framework import FrameworkError
from framework.api import PrunedError, summarize_error
from framework.api.program import DoesNotFitError, Interrupted, error_traceback, run_plan
from framework_plugins.launch.pickled_plan import PickledPlan, end_with

FAILED, USER_MISTAKE, DOES_NOT_FIT, PRUNED, LOST, INTERRUPTED = 1, 2, 75, 76, 77, 130


def main() -> int:
    """Run the plan; the exit codes are those of the program itself."""
    error_file = Path(sys.argv[1])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    try:
        packed: PickledPlan = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own parent wrote it
        threading.Thread(target=end_with, args=(sys.stdin.fileno(),), daemon=True).start()
        run_plan(packed.load())
    except FrameworkError as error:
        error_file.write_text(str(error), encoding="utf-8")
        codes = {DoesNotFitError: DOES_NOT_FIT, PrunedError: PRUNED}
        return next((code for kind, code in codes.items() if isinstance(error, kind)), USER_MISTAKE)
    except KeyboardInterrupt as error:
        return error.code if isinstance(error, Interrupted) else INTERRUPTED
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent tells it
        print(error_traceback(error), end="", file=sys.stderr)  # noqa: T201 - as Python would
        error_file.write_text(summarize_error(error), encoding="utf-8")
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
