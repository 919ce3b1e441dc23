"""The errors that are shown as text. Raise `FrameworkError` for what a user can fix.

    FrameworkError                exit code 2, never a traceback
    ├── DoesNotFitError           the run needs more memory than there is; a sweep passes over the trial
    └── PrunedError               a sweep prunes the trial; it has not failed
    KeyboardInterrupt
    └── Interrupted               a signal has asked the run to end; exit code 128 and the signal's number

A message names the place, the value, the valid choices and the fix, in one or two lines.
"""

from framework.util.errors import USER_MISTAKE, DoesNotFitError, FrameworkError, Interrupted, PrunedError

__all__ = ["USER_MISTAKE", "DoesNotFitError", "FrameworkError", "Interrupted", "PrunedError"]
