"""Fuzz of third-party input: see `__main__.py`."""
