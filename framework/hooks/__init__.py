"""The plugin system: the hooks, the manager that finds plugins and asks them, decorators, plugins of one file.

Imports: `api` and below.
Start with `hookspecs.py`, then `manager.py`.
"""
