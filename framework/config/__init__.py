"""The config: composed by Hydra, checked as a whole, described for readers and for editors.

Imports: `hooks` and below.
Start with `compose.py`, then `check.py`; `sources.py` knows where each value was set.
"""
