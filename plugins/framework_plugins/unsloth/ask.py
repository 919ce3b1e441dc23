"""The process that tests a trainer: it trains a tiny copy of a run's model as the run would.

Not for users. `capabilities.py` starts it with a plan's options and a config.json on standard input, and reads one line
of JSON: the answer. `questions.py` says what is tried.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import sys
from typing import Any


def main() -> int:
    """Answer on what was standard output; what libraries print goes to standard error."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    asked: dict[str, Any] = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own parent wrote it
    importlib.import_module(asked["trainer"].component.factory.partition(":")[0])  # Unsloth before all that it changes
    from framework_plugins.unsloth import questions  # noqa: PLC0415 - as said

    found = {"device": questions.device(asked["trainer"].config), "problem": questions.problem(**asked)}
    print(json.dumps(found), file=answer, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
