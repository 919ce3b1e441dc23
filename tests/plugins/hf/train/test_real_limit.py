"""Retries where it is the kernel that gives no more memory, and torch's own allocator that says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import limited
from tests.support.tiny import tiny_llama

ROOM = 160
"""MiB: less than 16 rows of the test need in one pass, more than one of them does."""


def trained(base: Path, rows: Path, folder: Path, mib: int) -> Any:
    command = [sys.executable, limited.__file__, str(base), str(rows), str(folder), str(mib)]
    one = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}  # each thread's arena would reserve address space
    done = subprocess.run(command, env=os.environ | one, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_training_for_which_there_is_no_room_finishes_with_the_same_losses(tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base", hidden_size=256)
    rows = tmp_path / "rows.jsonl"
    made = [
        {"instruction": f"Which number follows {number}? " * 60, "input": "", "output": f"{number + 1}"}
        for number in range(32)
    ]
    rows.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    free, limited = (trained(base, rows, tmp_path / str(mib), mib) for mib in (0, ROOM))
    assert free["oom_fallbacks"] == []
    assert limited["oom_fallbacks"]
    assert all(fallback.startswith("training step 1: ") for fallback in limited["oom_fallbacks"])
    assert limited["losses"] == pytest.approx(free["losses"], rel=1e-5)
