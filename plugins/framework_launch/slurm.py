"""What Slurm tells a process of the machines that it was started on together."""

from __future__ import annotations

import os
import re


def node() -> int | None:
    """Return the number of this machine in its job; None outside of Slurm."""
    number = os.environ.get("SLURM_NODEID")
    return int(number) if number else None


def first_host() -> str | None:
    """Return the name of the job's first machine; None outside of Slurm."""
    hosts = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_JOB_NODELIST")
    return first(hosts) if hosts else None


def first(hosts: str) -> str:
    """Return the first of a list as Slurm writes it: `gpu[03-05,9],login` gives `gpu03`."""
    found = re.match(r"([^\[,]+)(?:\[([^\],-]+)[^\]]*\])?([^\[,]*)", hosts)
    return "".join(part or "" for part in found.groups()) if found else hosts
