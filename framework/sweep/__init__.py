"""A multirun: what is checked before it starts, its folder, which process owns a trial, which GPU a trial takes.

Imports: `data`, `evaluate`, `monitor` and below.
Start with `folder.py`.
"""

from framework.sweep.folder import SweepFolder

__all__ = ["SweepFolder"]
