"""The marks of hooks: `hookspec` for their definitions, `hookimpl` for what a plugin implements."""

from __future__ import annotations

import pluggy

__all__ = ["hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("framework")


hookimpl = pluggy.HookimplMarker("framework")
