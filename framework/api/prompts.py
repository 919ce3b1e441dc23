"""The user's own prompts, in any format that the data stage reads, from a file or inline.

This module re-exports names from the rooms above `api`, so nothing in the core imports it.
"""

from framework.data.prompts import AUTO, chosen, from_file, inline

__all__ = ["AUTO", "chosen", "from_file", "inline"]
