"""The machines of a Slurm job, from the environment of its process."""

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


def nodes() -> int | None:
    """Return how many machines the job has, or its step; None where Slurm does not say."""
    number = os.environ.get("SLURM_STEP_NUM_NODES") or os.environ.get("SLURM_NNODES")
    return int(number) if number else None


def tasks() -> int | None:
    """Return how often the command is started on the machine where it is most often; None where Slurm does not say.

    Slurm writes `2(x3),1` for three machines with two and one with one.
    """
    listed = os.environ.get("SLURM_STEP_TASKS_PER_NODE") or os.environ.get("SLURM_NTASKS_PER_NODE")
    return max(int(each.partition("(")[0]) for each in listed.split(",")) if listed else None


def first(hosts: str) -> str:
    """Return the first of a list as Slurm writes it: `gpu[03-05,9],login` gives `gpu03`."""
    found = re.match(r"([^\[,]+)(?:\[([^\],-]+)[^\]]*\])?([^\[,]*)", hosts)
    return "".join(part or "" for part in found.groups()) if found else hosts
