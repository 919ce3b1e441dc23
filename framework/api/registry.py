"""What the installed plugins register, and how to ask their hooks.

This module looks up: it hands on what stands in rooms above `api`. Nothing in the core imports it.
"""

from framework.hooks.local_file import load_file
from framework.hooks.manager import (
    LeftOut,
    Registration,
    ask,
    components,
    leave_out,
    left_out,
    package,
    registrations,
    selection_of,
)

__all__ = [
    "LeftOut",
    "Registration",
    "ask",
    "components",
    "leave_out",
    "left_out",
    "load_file",
    "package",
    "registrations",
    "selection_of",
]
