"""The marks of hooks: `hookspec` for their definitions, `hookimpl` for what a plugin implements."""

from __future__ import annotations

import pluggy

__all__ = ["hookimpl"]

hookspec = pluggy.HookspecMarker("framework")
"""Marks the definitions in `framework/hooks/hookspecs.py`."""
hookimpl = pluggy.HookimplMarker("framework")
"""`@hookimpl` marks a function that implements the hook of its name."""
