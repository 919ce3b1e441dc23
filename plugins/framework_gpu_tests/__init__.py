"""Tests of one CUDA GPU: `python -m framework test-gpu` runs them, and a clone runs them with its other tests.

They are part of the distribution, so they need no clone. On a CPU the same bodies run in the
default suite. What they share with other tests, a tiny model say, is here too. Tests look into everything, so this is
not a plugin.
"""
