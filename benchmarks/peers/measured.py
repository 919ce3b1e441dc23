"""Run a command and write when it started and its peak memory: `python measured.py RESULT COMMAND…`.

A process of its own, since Linux counts to a child's peak what its parent held when it was started.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

start = time.time()
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
result = {"start": start, "mebibytes": usage.ru_maxrss / 1024}
Path(sys.argv[1]).write_text(json.dumps(result), encoding="utf-8")
sys.exit(process.returncode)
